"""JSON from a backend: whatever can be read can be written again, and the rest is refused by name."""

import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_shared.foreign_json import MAX_DEPTH, MalformedJson, loads


def nested(levels: int) -> bytes:
    return b"[" * levels + b"1" + b"]" * levels


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a":[1,2.5,"x",true,null]}', {"a": [1, 2.5, "x", True, None]}),
        ('{"a":"\u00e9"}', {"a": "\u00e9"}),
        (b'"\\ud83d"', "\ufffd"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'{"\\udc00":["a\\ud800b"]}', {"\ufffd": ["a\ufffdb"]}),
        (b'"\xed\xa0\x80"', "\ufffd"),
        (b"[NaN, Infinity, -Infinity, 1e400, -1e400]", [None] * 5),
        (b"[18446744073709551615, -9223372036854775808]", [2**64 - 1, -(2**63)]),
        (b"[18446744073709551616, -9223372036854775809]", [float(2**64), -float(2**63)]),
        (b"[NaN, 18446744073709551616, -9223372036854775809]", [None, float(2**64), -float(2**63)]),
        (b"1" * 400, None),
        (b"-" + b"1" * 400, None),
        (b"1" * 5_000, None),
        (b"0." + b"1" * 5_000, 1 / 9),
        (b"\xef\xbb\xbf{}", {}),
        (b'{"a":1,"a":2}', {"a": 2}),
    ],
)
def test_a_value_is_normalised_so_that_it_can_be_written_again(text: bytes | str, value: Any) -> None:
    assert loads(text) == value
    assert orjson.loads(orjson.dumps(loads(text))) == value


@pytest.mark.parametrize("text", [b"", b"{", b"nope", b"1 2", b"\xff", b'"\xff"', "", "nan", b"1],[2", b"[1],[2]"])
def test_what_is_no_json_is_refused(text: bytes | str) -> None:
    with pytest.raises(MalformedJson, match="not JSON"):
        loads(text)


@pytest.mark.parametrize("rest", [b"],[2", b",2", b"", b"]" * 3 + b",[[[1"])
def test_what_is_no_json_is_refused_also_where_its_many_brackets_are_counted(rest: bytes) -> None:
    filling = b"[" + b",".join([b"[]"] * 300) + b"]"
    with pytest.raises(MalformedJson, match="not JSON"):
        loads(filling + (rest or b","))


@pytest.mark.parametrize("prefix", [b"", b"NaN,"])
def test_nesting_is_bounded_exactly_on_the_fast_and_on_the_slow_path(prefix: bytes) -> None:
    inside = MAX_DEPTH - 1
    value = loads(b"[" + prefix + nested(inside) + b"]")
    for _ in range(50):
        value = {"wrapped": value}
    assert orjson.dumps(value)
    deeper = loads(b"[" + prefix + nested(inside + 1) + b"]")
    for _ in range(MAX_DEPTH):
        deeper = deeper[-1]
    assert deeper is None


@pytest.mark.parametrize("levels", [201, 255, 300])
def test_what_is_nested_deeper_is_null_and_the_rest_is_there(levels: int) -> None:
    rows = loads(b'[{"a":1},' + nested(levels) + b',{"b":2}]')
    assert (rows[0], rows[2]) == ({"a": 1}, {"b": 2})
    assert orjson.dumps(rows)
    assert orjson.dumps(loads(nested(levels).decode()))
    assert orjson.dumps(loads(b'{"a":' * levels + b"1" + b"}" * levels))


def test_nesting_that_nobody_can_read_is_refused() -> None:
    for text in (nested(100_000), nested(100_000).decode(), b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b"[" * 300):
        with pytest.raises(MalformedJson):
            loads(text)


def test_brackets_in_texts_are_no_nesting() -> None:
    assert loads(orjson.dumps(["[{" * 1_000])) == ["[{" * 1_000]
    assert loads(b'["' + b"[" * 1_000 + b'", NaN]') == ["[" * 1_000, None]


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats()
    | st.text(st.characters(exclude_categories=[]) | st.sampled_from("[]{}\ud800\udfff"), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(anything, st.booleans())
def test_whatever_python_writes_is_read_and_can_be_written(value: Any, as_text: bool) -> None:
    text = json.dumps([value, [[]] * 300])
    for one in (text if as_text else text.encode(), json.dumps(value)):
        read = loads(one)
        assert loads(orjson.dumps(read)) == read
    assert loads(text)[1] == [[]] * 300


@given(st.text('[]{},:"0a'))
def test_what_orjson_reads_is_read_as_it_reads_it(text: str) -> None:
    for one in (text, text + " "):
        try:
            value = orjson.loads(one)
        except orjson.JSONDecodeError:
            with pytest.raises(MalformedJson):
                loads(one)
        else:
            assert loads(one) == value


def test_large_finite_numbers_stay_finite() -> None:
    value = loads(b"[NaN, " + b"1" * 300 + b"]")[1]
    assert math.isfinite(value)
