import itertools
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_aggregator.backend.bars import Bars, Source
from bff_aggregator.charts import chunk_codec, chunk_plan
from bff_aggregator.charts.chunk_codec import Unreadable
from bff_shared.upstream.client import MAX_BODY

TODAY = date(2025, 6, 30)
EXTREME = [0.0, -0.0, 1e-9, 0.1 + 0.2, 214748.3647, 214748.3648, 1e300]


@given(
    st.lists(st.sampled_from(EXTREME) | st.integers(0, 10**8).map(lambda n: n / 10_000), max_size=60),
    st.sampled_from([0, 7, 2**32 - 1, 2**32, 2**60]),
    st.sampled_from([60, 61]),
    st.booleans(),
)
def test_bars_come_out_of_chunks_to_the_last_bit(prices: list[float], count: int, step: int, trades: bool) -> None:
    size = len(prices)
    t, column = np.arange(size, dtype=np.int64) * step, np.array(prices, np.float64)
    counts = np.full(size, count, np.int64)
    bars = Bars(t, column, column[::-1].copy(), column, column, counts, counts if trades else None)
    bounds = [(start, start + 600) for start in range(0, size * step + 1, 600)]
    piece = chunk_codec.join(chunk_codec.split(bars, bounds, 3))
    assert piece.rejected == 3
    assert piece.bars.equals(bars)
    assert np.array_equal(np.signbit(piece.bars.o), np.signbit(bars.o))


def test_narrow_and_wide_chunks_join() -> None:
    def bar(t: int, price: float) -> Bars:
        p = np.array([price])
        return Bars(np.array([t], np.int64), p, p, p, p, np.array([1], np.int64))

    values = chunk_codec.split(bar(60, 1.5), [(0, 120)], 0) + chunk_codec.split(bar(180, 1 / 3), [(120, 240)], 1)
    piece = chunk_codec.join(values)
    assert piece.bars.t.tolist() == [60, 180]
    assert piece.bars.o.tolist() == [1.5, 1 / 3]


@given(st.lists(st.sampled_from([0.3, 0.0, -1.5, 1e300, 2.0**60, np.nan]), max_size=30), st.booleans())
def test_volumes_that_are_fractions_or_missing_come_out_to_the_last_bit(volumes: list[float], trades: bool) -> None:
    size = len(volumes)
    t, column, v = np.arange(size, dtype=np.int64) * 60, np.full(size, 1.5), np.array(volumes, np.float64)
    bars = Bars(t, column, column, column, column, v, t + 7 if trades else None)
    values = chunk_codec.split(bars, [(start, start + 600) for start in range(0, size * 60 + 1, 600)], 0)
    assert chunk_codec.join(values).bars.equals(bars)
    if size:
        whole = Bars(t + 10**6, column, column, column, column, t, t if trades else None)
        mixed = chunk_codec.join(values + chunk_codec.split(whole, [(0, 10**7)], 0)).bars
        assert np.array_equal(mixed.v, np.concatenate([v, t.astype(np.float64)]), equal_nan=True)


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x03" + bytes(9), b"\x02\x02" + bytes(8), b"\x01\x00\x05" + bytes(7)])
def test_other_bytes_are_unreadable(data: bytes) -> None:
    with pytest.raises(Unreadable):
        chunk_codec.join([data])


@given(st.dates(date(1970, 1, 1), date(2040, 1, 1)), st.integers(0, 400), st.sampled_from([*Source]))
def test_chunks_cover_a_window_without_gaps(first: date, days: int, source: Source) -> None:
    last = first + timedelta(days=days)
    found = chunk_plan.chunks(source, first, last)
    assert found[0].first <= first <= found[0].last
    assert found[-1].first <= last <= found[-1].last
    assert all((b.first - a.last).days == 1 for a, b in itertools.pairwise(found))
    assert all(chunk_plan.chunk_of(source, day) == chunk for chunk in found for day in (chunk.first, chunk.last))
    if source is Source.MINUTE:
        assert (found[0].first, found[-1].last) == (first, last)
    groups = chunk_plan.runs(source, found[::-1])
    assert [chunk for group in groups for chunk in group] == found
    assert source is Source.MINUTE or len(groups) == 1


def test_calls_for_years_of_minutes_around_the_clock_are_what_a_response_may_be() -> None:
    ten_years = chunk_plan.chunks(Source.MINUTE, date(2015, 1, 1), date(2024, 12, 31))
    groups = chunk_plan.runs(Source.MINUTE, ten_years)
    # 1,440 bars a day of 105 bytes each, which is what crypto currencies with long prices have.
    assert all(len(group) * 1440 * 105 < MAX_BODY for group in groups)
    assert len(groups) == 10
    assert chunk_plan.calls_at_once(Source.MINUTE, groups) == 2
    assert chunk_plan.calls_at_once(Source.MINUTE, chunk_plan.runs(Source.MINUTE, ten_years[::2])) == 8
    assert len(chunk_plan.runs(Source.MINUTE, ten_years[:366])) == 1


def test_distant_chunks_are_separate_calls() -> None:
    found = chunk_plan.chunks(Source.MINUTE, date(2024, 1, 1), date(2024, 1, 9))
    groups = chunk_plan.runs(Source.MINUTE, [found[0], found[1], found[4], found[8], found[7]])
    assert groups == [found[0:2], found[4:5], found[7:9]]


@pytest.mark.parametrize(("age", "fresh"), [(-3, 300), (0, 300), (1, 3600), (7, 3600), (8, 86_400), (1000, 86_400)])
def test_time_to_live_follows_the_age_of_the_data(age: int, fresh: float) -> None:
    chunk = chunk_plan.chunk_of(Source.MINUTE, TODAY - timedelta(days=age))
    assert chunk_plan.lifetime(chunk, TODAY, known_empty=False).fresh == fresh
    assert chunk_plan.lifetime(chunk, TODAY, known_empty=False).stale_if_error == 86_400
    assert chunk_plan.lifetime(chunk, TODAY, known_empty=True).fresh == 60


def test_month_of_days_with_today_in_it_is_open() -> None:
    chunk = chunk_plan.chunk_of(Source.DAILY, date(2025, 6, 1))
    assert chunk_plan.lifetime(chunk, TODAY, known_empty=False).fresh == 300
