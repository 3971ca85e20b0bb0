import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_aggregator.backend import bars_reader
from bff_aggregator.backend.bars_reader import Malformed, parse

BAR = {"t": "2024-01-02T14:30:00Z", "o": 1.5, "h": 2.0, "l": 1.0, "c": 1.25, "v": 10}


def bar(minute: int, **changes: Any) -> dict[str, Any]:
    return {**BAR, "t": f"2024-01-02T14:{minute:02}:00Z", **changes}


def body(*bars: Any) -> bytes:
    return json.dumps({"symbol": "X", "bars": bars}).encode()


def minutes(parsed: bars_reader.Parsed) -> list[int]:
    return [t // 60 % 60 for t in parsed.bars.t.tolist()]


def test_bars_out_of_order_are_put_right_and_counted() -> None:
    parsed = parse(body(bar(31), bar(30), bar(32)), trades=False)
    assert minutes(parsed) == [30, 31, 32]
    assert parsed.rejected == 1


def test_last_of_two_bars_with_one_time_is_kept_and_the_other_counted() -> None:
    parsed = parse(body(bar(30), bar(31, c=1.1), bar(31, c=1.2)), trades=False)
    assert parsed.bars.c.tolist() == [1.25, 1.2]
    assert parsed.rejected == 1


@pytest.mark.parametrize(
    "bad",
    [
        None,
        7,
        {},
        bar(31, o=None),
        bar(31, h=float("nan")),
        bar(31, l=float("-inf")),
        bar(31, c="1,5"),
        bar(31, c="1_5"),
        bar(31, c="nan"),
        bar(31, o=True),
        bar(31, t=None),
        bar(31, t="yesterday"),
    ],
)
def test_unusable_bars_are_left_out_and_counted(bad: Any) -> None:
    parsed = parse(body(bar(30), bad, bar(32)), trades=False)
    assert minutes(parsed) == [30, 32]
    assert parsed.rejected == 1


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"bars":{}}', b'{"items":[]}', b"<html>", b"[" * 10_000]
)
def test_bodies_that_are_not_bars_are_malformed(content: bytes) -> None:
    with pytest.raises(Malformed):
        parse(content, trades=False)


@pytest.mark.parametrize(
    "content",
    [
        b'{"bars":[1,2,3,4,5,6,7,8,9,10,11,12,13]}',
        b'{"bars":["a","b","c","d","e","f","g","h","i","j"]}',
        b'{"bars":[[1,2,3],[4,5,6],[7,8,9],{"t":[]}]}',
    ],
)
def test_lists_of_other_things_are_malformed(content: bytes) -> None:
    with pytest.raises(Malformed, match="no bar has a usable `t`, `o`, `h`, `l`, `c`"):
        parse(content, trades=False)


def outcome(read: Callable[[bytes], bars_reader.Parsed], content: bytes) -> Any:
    try:
        parsed = read(content)
    except Malformed:
        return "malformed"
    return parsed.rejected, [[None if x != x else x for x in column.tolist()] for column in parsed.bars.columns]


@pytest.mark.parametrize("replacement", list(b'019.,:{}[]"-+eTZ \\n'))
def test_damage_to_a_compact_body_never_goes_unseen(replacement: int) -> None:
    bars = [bar(30), bar(31, v=123456789012), bar(32, o=1234.56789)]
    whole = orjson.dumps({"symbol": "X", "bars": bars})
    for place in range(len(whole)):
        content = whole[:place] + bytes([replacement]) + whole[place + 1 :]
        by_parser = outcome(
            lambda text: bars_reader.tidy(*bars_reader.columns(bars_reader.rows(text), trades=False)), content
        )
        assert outcome(lambda text: parse(text, trades=False), content) == by_parser


@pytest.mark.parametrize("end", [b"]}", b"}]}", b":::::::}]}", b'"}],"x":[]}'])
def test_body_that_breaks_off_never_reads_as_another(end: bytes) -> None:
    whole = orjson.dumps({"symbol": "X", "bars": [bar(30), bar(31)]})
    for place in range(len(whole)):
        content = whole[:place] + end
        by_parser = outcome(
            lambda text: bars_reader.tidy(*bars_reader.columns(bars_reader.rows(text), trades=False)), content
        )
        assert outcome(lambda text: parse(text, trades=False), content) == by_parser


def test_volume_is_whole_even_where_it_came_as_a_float() -> None:
    parsed = parse(body(bar(30, v=12.0)), trades=False)
    assert parsed.bars.v.tolist() == [12]
    assert parsed.bars.v.dtype.kind == "i"


prices = st.floats(0, 1e6, allow_nan=False) | st.integers(0, 10**7).map(lambda n: n / 100) | st.integers(0, 5000)
counts = st.integers(0, 2**53)


@given(st.lists(st.tuples(prices, prices, prices, prices, counts, counts), max_size=30), st.booleans(), st.booleans())
def test_compact_bodies_read_the_same_as_any_other(rows: list[Any], trades: bool, spaced: bool) -> None:
    names = "ohlcvn" if trades else "ohlcv"
    bars = [{"t": bar(n)["t"], **dict(zip(names, row, strict=False))} for n, row in enumerate(rows)]
    document = {"symbol": 'q"\\', "bars": bars}
    content = json.dumps(document).encode() if spaced else orjson.dumps(document)
    parsed = parse(content, trades=trades)
    assert parsed.rejected == 0
    columns = [parsed.bars.o, parsed.bars.h, parsed.bars.l, parsed.bars.c, parsed.bars.v]
    columns += [parsed.bars.n] if parsed.bars.n is not None else []
    assert [list(row) for row in zip(*(c.tolist() for c in columns), strict=True)] == [
        [float(x) if i < 4 else x for i, x in enumerate(row[: len(names)])] for row in rows
    ]
    assert minutes(parsed) == list(range(len(rows)))


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize(
    ("volumes", "read", "kind"),
    [
        ([0.3, 0.25], [0.3, 0.25], "f"),
        ([3, 0.25], [3.0, 0.25], "f"),
        ([1e300, 1.0], [1e300, 1.0], "f"),
        ([2**62, 2**63], [2.0**62, 2.0**63], "f"),
        ([2**53 + 1, 1], [2**53 + 1, 1], "i"),
        ([12.0, 3.0], [12, 3], "i"),
        ([None, 3], [None, 3.0], "f"),
        ([None, None], [None, None], "f"),
        (["0.3", "7"], [0.3, 7.0], "f"),
        (["3", "7"], [3, 7], "i"),
        (["many", True], [None, None], "f"),
    ],
)
def test_any_volume_makes_a_bar(volumes: list[Any], read: list[Any], kind: str, compact: bool) -> None:
    bars = [bar(30, v=volumes[0]), bar(31, v=volumes[1])]
    parsed = parse(orjson.dumps({"bars": bars}) if compact else body(*bars), trades=False)
    assert [None if v != v else v for v in parsed.bars.v.tolist()] == read
    assert parsed.bars.v.dtype.kind == kind
    assert parsed.rejected == 0


def test_bar_without_volume_or_trades_is_a_bar() -> None:
    quote = {name: value for name, value in BAR.items() if name != "v"}
    parsed = parse(body(quote), trades=True)
    assert len(parsed.bars) == 1
    assert parsed.bars.n is not None
    assert parsed.bars.n.tolist() == [0]
    assert parse(body({**quote, "n": None}), trades=True).rejected == 0


SECONDS = 1_704_205_800


@pytest.mark.parametrize("unit", [1, 1000, 1_000_000, 1_000_000_000])
def test_stamps_counted_from_the_epoch_are_read_in_the_unit_that_their_size_tells(unit: int) -> None:
    for kind in (int, float):
        parsed = parse(body(*({**BAR, "t": kind((SECONDS + 60 * n) * unit)} for n in range(3))), trades=False)
        assert parsed.bars.t.tolist() == [SECONDS, SECONDS + 60, SECONDS + 120]


@pytest.mark.parametrize("stamp", [5e10, 5e13, 5e16, 1e19, True, [], "1704205800"])
def test_stamps_that_may_mean_several_times_are_named(stamp: Any) -> None:
    with pytest.raises(Malformed, match="no bar has a usable `t`"):
        parse(body({**BAR, "t": stamp}), trades=False)


def test_vendors_names_and_numbers_in_texts_are_read() -> None:
    foreign = {"timestamp": SECONDS * 1000, "open": "1.5", "high": "2", "low": " 1e0 ", "close": "-1.25", "volume": "7"}
    parsed = parse(body(foreign), trades=False)
    assert [column.tolist() for column in parsed.bars.columns] == [[SECONDS], [1.5], [2.0], [1.0], [-1.25], [7]]


def test_contracts_own_name_wins() -> None:
    assert parse(body({**BAR, "open": 9.0, "volume": 9}), trades=False).bars.o.tolist() == [1.5]


@pytest.mark.parametrize("field", ["t", "o", "h", "l", "c"])
def test_field_that_no_bar_has_is_named(field: str) -> None:
    bars = [{**bar(minute), field: None} for minute in (30, 31)]
    with pytest.raises(Malformed, match=f"no bar has a usable `{field}`"):
        parse(body(*bars), trades=False)


def test_bars_that_all_lack_something_else_are_malformed_too() -> None:
    with pytest.raises(Malformed, match="no bar has a usable set of fields"):
        parse(body(bar(30, o=None), bar(31, c=None)), trades=False)
