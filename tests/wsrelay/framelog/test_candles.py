"""Candles as bytes: exact for every number that JSON can carry, and small for prices."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_wsrelay.framelog.candles import columns_of, concatenated, followed, pack, unpack
from tests.support.runs import covering, source

floats = st.floats(allow_nan=False, allow_infinity=False)
prices = st.one_of(
    floats, st.integers(-(2**63) + 1, 2**63 - 1), st.decimals(0, 9999, places=2).map(float), st.just(0.1 + 0.2)
)
candle = st.fixed_dictionaries(dict.fromkeys("ohlcv", prices))


@given(st.lists(st.one_of(st.none(), candle), max_size=64))
def test_candles_come_back_exactly(candles: list[dict[str, Any] | None]) -> None:
    columns = columns_of(candles)
    unpacked = unpack(pack(columns), len(candles))
    for column, again in zip(columns.columns, unpacked.columns, strict=True):
        assert column == again or _differ_as_floats_do(column, again)


def _differ_as_floats_do(column: Any, again: Any) -> bool:
    """Beside floats an integer of more than 53 bits is read as JavaScript reads it."""
    return all(
        one == other or (one is not None and float(one) == other) for one, other in zip(column, again, strict=True)
    )


def test_prices_of_cents_take_about_a_dozen_bytes_a_frame() -> None:
    columns = columns_of(frame["ohlc"] for frame in source(64))
    assert len(pack(columns)) < 64 * 13


@pytest.mark.parametrize("packed", [b"x", b"\0" * 8, b"\0" * 21 + b"d\0" + b"\0" * 12, b"\xff" * 50])
def test_bytes_of_something_else_are_refused(packed: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  whatever is wrong with it
        unpack(packed, 64)


@given(st.integers(0, 299), st.integers(1, 300), st.integers(1, 64))
def test_merged_candle_is_that_of_its_frames(start: int, count: int, size: int) -> None:
    frames = source(300)
    end = min(300, start + count)
    parts = [columns_of(frame["ohlc"] for frame in frames[at : at + size]) for at in range(0, 300, size)]
    expected = covering(frames[start:end])["ohlc"]
    assert concatenated(parts).merged(start, end) == (expected and tuple(expected[name] for name in "ohlcv"))
    whole = None
    for frame in frames[start:end]:
        whole = followed(whole, columns_of([frame["ohlc"]]).merged(0, 1))
    assert whole == (expected and tuple(expected[name] for name in "ohlcv"))


def test_a_sum_that_json_cannot_carry_is_the_nearest_that_it_can() -> None:
    most = 2**63 - 1
    columns = columns_of([dict.fromkeys("ohlcv", most), dict.fromkeys("ohlcv", most)])
    assert columns.merged(0, 2) == (most, most, most, most, float(2 * most))
    huge = dict.fromkeys("ohlcv", 1.7e308)
    merged = columns_of([huge, huge]).merged(0, 2)
    assert merged is not None
    assert math.isfinite(merged[4])
