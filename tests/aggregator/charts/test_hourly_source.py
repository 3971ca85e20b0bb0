"""When hours stand in for minutes, and that the chart is the same then."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bff_aggregator.backend import bars_reader
from bff_aggregator.backend.bars import Bars
from bff_aggregator.charts import hourly_source
from bff_aggregator.charts.chunk_codec import Piece
from bff_aggregator.charts.hourly_source import NotInterchangeable, may_stand_in, odd_dates, with_minutes
from bff_aggregator.charts.query import ChartQuery
from bff_aggregator.charts.resample import Size, Span, bucket, merge, resample
from bff_aggregator.charts.timeframes import Timeframe
from bff_demo.market import build_market
from bff_shared.trading_sessions import BAR_MINUTES
from tests.aggregator.charts.test_resample import EPOCH, HOUR, MINUTE, from_demo, generated

WHOLE_HOURS = [size for size in BAR_MINUTES if size >= hourly_source.HOUR]
TODAY = date(2026, 1, 5)


def by_the_hour(minutes: Bars) -> Bars:
    """Make hours as the backend makes them: from half past to half past, UTC."""
    start = (minutes.t - 1800) // 3600 * 3600 + 1800
    first = np.flatnonzero(np.diff(start, prepend=0))
    return merge(minutes, first, start[first])


def minutes_of(first: date, last: date) -> Bars:
    """Return the demo's regular minutes of some dates."""
    everything = build_market(42).minutes["NVDA"]
    return from_demo(everything.window(first, last, rth_only=True))


def hours_of(first: date, last: date) -> Bars:
    return by_the_hour(minutes_of(first, last))


def require_fit(hours: Bars, rejected: int, target: int) -> None:
    """Raise NotInterchangeable unless hours stand in for minutes, by themselves."""
    if odd_dates(hours, rejected):
        raise NotInterchangeable
    with_minutes(hours, (), Piece(hours, 0)).require_fit(hours.t, target)


def recorded(name: str) -> Bars:
    content = (Path(__file__).parents[1] / "samples" / name).read_bytes()
    return bars_reader.parse(content, trades="daily" in name).bars


def test_recorded_hours_and_days_of_the_backend_are_its_minutes_merged() -> None:
    minutes = recorded("bars_minute_AAPL_2024-10-31_to_11-04.json")
    hourly, daily = recorded("bars_hour_AAPL_2024-10.json"), recorded("bars_daily_AAPL_2024-10.json")
    last_day = hourly.between(int(minutes.t[0]), int(hourly.t[-1]) + 1)
    assert len(last_day) == 7
    assert bucket(minutes, 60, MINUTE).take(slice(0, 7)).equals(last_day)
    days = bucket(hourly, Span.SESSION, HOUR)
    assert len(days) == len(daily) == 23
    assert all(np.array_equal(*both) for both in zip(days.columns[1:], daily.columns[1:6], strict=True))


@settings(max_examples=60)
@given(generated(), st.sampled_from([*WHOLE_HOURS, *Span]))
def test_hours_merge_into_the_buckets_of_the_minutes(bars: Bars, size: Size) -> None:
    if len(bars):
        assert bucket(by_the_hour(bars), size, HOUR).equals(bucket(bars, size, MINUTE))


@pytest.mark.parametrize("size", [*WHOLE_HOURS, *Span])
@pytest.mark.parametrize(
    ("first", "last"),
    [
        pytest.param(date(2024, 5, 6), date(2024, 5, 10), id="whole days"),
        pytest.param(date(2024, 3, 4), date(2024, 3, 15), id="clocks go forward"),
        pytest.param(date(2024, 10, 28), date(2024, 11, 8), id="clocks go back"),
        pytest.param(date(2024, 7, 1), date(2024, 7, 5), id="3 July"),
        pytest.param(date(2024, 11, 25), date(2024, 12, 2), id="after Thanksgiving"),
        pytest.param(date(2024, 12, 23), date(2024, 12, 27), id="24 December"),
    ],
)
def test_hours_of_the_demo_merge_into_the_buckets_of_its_minutes(size: Size, first: date, last: date) -> None:
    minutes = minutes_of(first, last)
    asked = from_demo(build_market(42).minutes["NVDA"].window(first, last, rth_only=True).hourly())
    assert bucket(asked, size, HOUR).equals(bucket(minutes, size, MINUTE))
    assert (minutes.t[0] - 1800) % 3600 == 0


@settings(max_examples=60)
@given(
    st.dates(date(2024, 1, 1), date(2025, 12, 31)),
    st.integers(10, 500),
    st.integers(100, 2600),
)
def test_chart_is_the_same_where_hours_fit_and_finer_where_they_do_not(first: date, days: int, target: int) -> None:
    last = min(first + timedelta(days=days), date(2025, 12, 31))
    minutes = minutes_of(first, last)
    by_minutes = resample(minutes, target, MINUTE)
    coarse = by_the_hour(minutes)
    try:
        require_fit(coarse, 0, target)
    except NotInterchangeable:
        assert by_minutes.stride < hourly_source.HOUR
        return
    by_hours = resample(coarse, target, HOUR)
    assert by_hours.stride == by_minutes.stride >= hourly_source.HOUR
    assert by_hours.bars.equals(by_minutes.bars)
    assert may_stand_in(ChartQuery("NVDA", Timeframe.MINUTE, first, last, target), TODAY)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        # Eleven weekdays, ten buckets of 39 minutes in each.
        (ChartQuery("A", Timeframe.MINUTE, date(2024, 1, 1), date(2024, 1, 15), 109), True),
        (ChartQuery("A", Timeframe.MINUTE, date(2024, 1, 1), date(2024, 1, 15), 110), False),
        (ChartQuery("A", Timeframe.DECIMATED, date(2024, 1, 1), date(2024, 1, 15), 109), True),
        (ChartQuery("A", Timeframe.MINUTE, date(2024, 1, 1), date(2024, 1, 15), 109, rth_only=False), False),
        (ChartQuery("A", Timeframe.HOUR, date(2024, 1, 1), date(2024, 12, 31), 100), False),
        (ChartQuery("A", Timeframe.DAY, date(2024, 1, 1), date(2024, 12, 31), 100), False),
        # What lies in the future has no bars: these are the ten weekdays up to today.
        (ChartQuery("A", Timeframe.MINUTE, date(2025, 12, 23), date(2026, 12, 31), 100), False),
        (ChartQuery("A", Timeframe.MINUTE, date(2025, 12, 22), date(2026, 12, 31), 100), True),
        (ChartQuery("A", Timeframe.MINUTE, date(2026, 3, 1), date(2026, 3, 31), 100), False),
    ],
)
def test_dates_tell_whether_hours_may_do(query: ChartQuery, expected: bool) -> None:
    assert may_stand_in(query, TODAY) is expected


def test_hours_fit_as_long_as_the_longest_shorter_bucket_does_not() -> None:
    first, last = date(2024, 11, 25), date(2024, 12, 31)
    # 23 regular sessions, and two that end at 13:00 with six buckets of 39 minutes.
    shorter = 23 * 10 + 2 * 6
    assert len(bucket(minutes_of(first, last), hourly_source.BELOW, MINUTE)) == shorter
    require_fit(hours_of(first, last), 0, shorter - 1)
    with pytest.raises(NotInterchangeable):
        require_fit(hours_of(first, last), 0, shorter)


def without(bars: Bars, *rows: int) -> Bars:
    return bars.take(np.delete(np.arange(len(bars)), rows))


def test_one_session_in_fifty_may_lack_hours() -> None:
    year = hours_of(date(2024, 1, 1), date(2024, 12, 31))
    sessions = [int(row) for row in np.flatnonzero(np.diff(year.t // 86_400, prepend=0))]
    assert len(sessions) == 252
    require_fit(without(year, *sessions[:5]), 0, 2000)
    with pytest.raises(NotInterchangeable):
        require_fit(without(year, *sessions[:6]), 0, 2000)


def test_session_that_is_under_way_may_lack_hours_and_counts_for_nothing() -> None:
    month = hours_of(date(2024, 5, 1), date(2024, 5, 31))
    require_fit(without(month, -3, -2, -1), 0, 209)
    with pytest.raises(NotInterchangeable):
        require_fit(without(month, -3, -2, -1), 0, 210)
    with pytest.raises(NotInterchangeable):
        require_fit(without(month, 0, -1), 0, 100)


@pytest.mark.parametrize("shift", [-1800, 60, 7 * 3600])
def test_hours_beside_the_grid_of_the_sessions_do_not_fit(shift: int) -> None:
    month = hours_of(date(2024, 5, 1), date(2024, 5, 31))
    shifted = Bars(month.t + shift, month.o, month.h, month.l, month.c, month.v)
    with pytest.raises(NotInterchangeable):
        require_fit(shifted, 0, 100)


def test_hours_after_an_early_close_do_not_fit() -> None:
    month = hours_of(date(2024, 7, 1), date(2024, 7, 31))
    require_fit(month, 0, 100)
    third = (date(2024, 7, 3) - EPOCH).days * 86_400
    row = int(np.searchsorted(month.t, third + 86_400))
    late = np.insert(month.t, row, third + 17 * 3600 + 1800)
    o, h, low, c = (np.insert(column, row, column[row - 1]) for column in (month.o, month.h, month.l, month.c))
    with pytest.raises(NotInterchangeable):
        require_fit(Bars(late, o, h, low, c, np.insert(month.v.astype(np.int64), row, 1)), 0, 100)


def test_hours_that_had_to_be_put_right_do_not_fit() -> None:
    month = hours_of(date(2024, 5, 1), date(2024, 5, 31))
    with pytest.raises(NotInterchangeable):
        require_fit(month, 1, 100)
    with pytest.raises(NotInterchangeable):
        require_fit(month.take(slice(0, 0)), 0, 100)
