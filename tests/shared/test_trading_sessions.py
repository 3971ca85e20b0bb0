"""The calendar by moments makes the bars that the chart's columns make."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from bff_aggregator.backend.bars import Bars
from bff_aggregator.charts.resample import Clock, Size, Span, bucket
from bff_shared.trading_sessions import BAR_MINUTES, SESSION, BarSize, bar_bounds, bar_start, stretch_of

DAYS = {
    "spring": datetime(2024, 3, 9, tzinfo=UTC),
    "autumn": datetime(2024, 11, 2, tzinfo=UTC),
    "early-closes": datetime(2024, 7, 2, tzinfo=UTC),
    "christmas": datetime(2024, 12, 23, tzinfo=UTC),
    "crash": datetime(1987, 10, 22, tzinfo=UTC),
}


def minutes_from(day: datetime, count: int) -> list[int]:
    """Return each minute from 04:00 to 20:00 in New York on some days."""
    moments = [int((day + timedelta(minutes=minute)).timestamp()) for minute in range(1440 * count)]
    return [moment for moment in moments if -330 <= (moment - stretch_of(moment).opened) // 60 < 630]


@pytest.mark.parametrize("day", DAYS.values(), ids=DAYS)
@pytest.mark.parametrize("size", [*BAR_MINUTES, SESSION])
def test_bars_by_moments_are_the_charts_buckets(size: BarSize, day: datetime) -> None:
    moments = minutes_from(day, 3)
    t = np.array(moments, np.int64)
    price = t.astype(np.float64)
    buckets: Size = Span.SESSION if size == SESSION else size
    chart = bucket(Bars(t, price, price, price, price, np.ones(len(t), np.int64)), buckets, Clock(1))
    starts = [bar_start(stretch_of(moment), moment, size) for moment in moments]
    first = [row for row, moment in enumerate(moments) if not row or starts[row] != starts[row - 1]]
    assert [starts[row] for row in first] == chart.t.tolist()
    assert [moments[row] for row in first] == chart.o.tolist()


@pytest.mark.parametrize("day", DAYS.values(), ids=DAYS)
@pytest.mark.parametrize("size", [*BAR_MINUTES, SESSION])
def test_bounds_are_where_the_bar_changes(size: BarSize, day: datetime) -> None:
    for moment in minutes_from(day, 3)[::61]:
        stretch = stretch_of(moment)
        begin, end = bar_bounds(stretch, moment, size)
        assert begin <= moment < end
        start = bar_start(stretch, moment, size)
        assert bar_start(stretch_of(begin), begin, size) == start
        assert bar_start(stretch_of(end - 1), end - 1, size) == start
        for outside in (begin - 1, end):
            assert bar_bounds(stretch_of(outside), outside, size) != (begin, end)


@pytest.mark.parametrize("day", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)])
def test_moments_at_the_end_of_the_calendar_have_bars_too(day: datetime) -> None:
    moment = int(day.timestamp())
    for size in (*BAR_MINUTES, SESSION):
        begin, end = bar_bounds(stretch_of(moment), moment, size)
        assert begin <= moment < end
