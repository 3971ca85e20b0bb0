import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bff_aggregator.backend import equity_reader
from bff_aggregator.backend.equity_curve import Curve
from bff_aggregator.backend.equity_reader import Scanner, parse_curve
from bff_aggregator.backend.schema import UnexpectedShape
from bff_aggregator.backend.timestamps import iso_times

SAMPLES = Path(__file__).parents[1] / "samples"
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)


def points(count: int, **names: str) -> list[dict[str, Any]]:
    rng = np.random.default_rng(count)
    when, what = names.get("when", "timestamp"), names.get("what", "equity")
    times = iso_times(np.arange(count, dtype=np.int64) * 60_000_000 + 1_735_828_200_000_000)
    values = (100_000 + np.cumsum(rng.standard_normal(count))).tolist()
    return [{when: ts, what: value} for ts, value in zip(times, values, strict=True)]


def same(curve: Curve, rows: list[dict[str, Any]], when: str = "timestamp", what: str = "equity") -> None:
    assert iso_times(curve.at) == [row[when] for row in rows]
    assert curve.value.tolist() == [float(row[what]) for row in rows]


@pytest.mark.parametrize(("when", "what"), [("timestamp", "equity"), ("ts", "value"), ("ts_utc", "value")])
@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("style", ["compact", "spaced", "indented"])
def test_every_spelling_reads_to_the_same_numbers(when: str, what: str, wrapped: bool, style: str) -> None:
    rows = points(300, when=when, what=what)
    answer: Any = {"equity": rows} if wrapped else rows
    texts = {"compact": orjson.dumps(answer), "spaced": json.dumps(answer).encode()}
    texts["indented"] = json.dumps(answer, indent=2).encode()
    curve, rest = parse_curve(texts[style], size=1000)
    same(curve, rows, when, what)
    assert (rest, curve.given, curve.extra, curve.rejected) == ({}, False, None, 0)


def test_usual_shape_is_never_made_into_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(rows: list[Any]) -> None:
        raise AssertionError(f"{len(rows)} points were made into objects")

    monkeypatch.setattr(equity_reader, "_plain", refuse)
    rows = points(5000)
    same(parse_curve(orjson.dumps({"equity": rows}))[0], rows)
    with_drawdown = [{**row, "drawdown": i / 7} for i, row in enumerate(rows)]
    curve, _ = parse_curve(orjson.dumps({"equity": with_drawdown}))
    assert (curve.given, curve.drawdown.tolist()) == (True, [row["drawdown"] for row in with_drawdown])


@given(st.lists(st.tuples(NUMBERS, st.none() | NUMBERS), min_size=1, max_size=40), st.integers(40, 400))
@settings(max_examples=150)
def test_numbers_of_any_length_are_read_to_the_last_digit(values: list[tuple[float, float | None]], size: int) -> None:
    rows = points(len(values))
    for row, (value, drawdown) in zip(rows, values, strict=True):
        row["equity"] = value
        if drawdown is not None:
            row["drawdown"] = drawdown
    text = orjson.dumps({"equity": rows})
    same(parse_curve(text, size)[0], rows)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=30), st.integers(60, 400))
@settings(max_examples=60)
def test_text_that_comes_in_bits_gives_the_pieces_of_the_whole(bits: list[int], size: int) -> None:
    rows = points(30)
    text = json.dumps({"equity": rows}).encode()
    scanner, found, at = Scanner(size), list[bytes](), 0
    for index in range(len(text)):
        bit = bits[index % len(bits)]
        found += scanner.feed(text[at : at + bit])
        at += bit
    last = scanner.end()
    assert last is not None
    assert json.loads(b"[" + b",".join([*found, *last]) + b"]") == rows
    assert scanner.text == text


def test_text_without_seams_is_not_searched_again_with_every_bit() -> None:
    scanner = Scanner(size=16)
    assert [scanner.feed(b'[{"note":0,') for _ in range(100)] == [[]] * 100
    assert scanner.end() is None


@pytest.mark.parametrize("number", [b"1 2", b"1,2", b"\x102", b"0x1", b"+1", b"01", b"1.", b"--1", b"1" * 40])
def test_what_is_no_number_is_never_read_as_one(number: bytes) -> None:
    text = b'{"equity":[' + b",".join(orjson.dumps(row) for row in points(20)) + b"]}"
    at = text.rindex(b":") + 1
    altered = text[:at] + number + text[text.rindex(b"}]") :]
    try:
        value = json.loads(altered)["equity"][-1]["equity"]
    except ValueError:
        with pytest.raises(UnexpectedShape):
            parse_curve(altered)
    else:
        assert parse_curve(altered)[0].value[-1] == value


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"equity": None}, 99),
        ({"equity": "12"}, 99),
        ({"equity": True}, 99),
        ({"timestamp": None}, 99),
        ({"timestamp": "2025-13-41T14:30:00Z"}, 99),
        ({"timestamp": "2025-01-02T25:30:00Z"}, 99),
        ({"timestamp": "2025-01-02T14:35:00Z"}, 99),
        ({"timestamp": "2025-01-02T14:30:00.250Z"}, 100),
        ({"timestamp": "2025-01-02T09:30:30-05:00"}, 100),
        ({"note": "},{"}, 100),
        ({"note": {"a": [{}, {}]}}, 100),
    ],
)
def test_odd_point_among_usual_ones_is_read_for_what_it_is(change: dict[str, Any], kept: int) -> None:
    rows = points(100)
    rows[50] |= change
    curve, _ = parse_curve(orjson.dumps({"equity": rows}))
    assert (len(curve), curve.rejected) == (kept, 100 - kept)
    assert set(curve.value.tolist()) >= {row["equity"] for row in rows[:50] + rows[51:] if row is not rows[5]}
    if "note" in change:
        assert curve.extra is not None
        assert curve.extra[50] == change
        assert curve.extra[0] == {}


def test_other_fields_of_the_answer_are_kept() -> None:
    rows = points(3)
    curve, rest = parse_curve(orjson.dumps({"currency": "USD", "equity": rows}))
    same(curve, rows)
    assert rest == {"currency": "USD"}


def test_numbers_that_json_has_no_word_for_are_left_out() -> None:
    rows = points(100)
    rows[50]["equity"] = float("nan")
    rows[60]["equity"] = float("inf")
    curve, _ = parse_curve(json.dumps({"equity": rows}).encode())
    assert (len(curve), curve.rejected) == (98, 2)


@pytest.mark.parametrize("text", [b"[]", b'{"equity":[]}', b' { "equity" : [ ] } '])
def test_no_points_make_an_empty_curve(text: bytes) -> None:
    assert len(parse_curve(text)[0]) == 0


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"null",
        b'{"unexpected":true}',
        b'{"equity":{}}',
        b'{"equity":[1]}',
        b'{"equity":[{"x":1}]}',
        b'{"equity":[{"ts":"2025-01-02T14:30:00Z","value":1},{"ts":"2025-01-0',
        b'[{"ts":"x","value":1}}]',
    ],
)
def test_what_is_no_curve_is_refused(text: bytes) -> None:
    with pytest.raises(UnexpectedShape):
        parse_curve(text)


def test_recorded_answer() -> None:
    text = (SAMPLES / "equity_head.json").read_bytes()
    same(parse_curve(text)[0], json.loads(text)["equity"])
