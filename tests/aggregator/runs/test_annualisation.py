from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from bff_aggregator.runs.annualisation import periods_per_year
from tests.aggregator.runs.curves import Known, known_curves, stamps, steps

MINUTES = 252 * 390
DAY = timedelta(1)


@pytest.mark.parametrize("curve", [pytest.param(curve, id=name) for name, curve in known_curves()])
def test_a_year_has_as_many_points_as_the_spacing_says(curve: Known) -> None:
    assert periods_per_year(curve.at) == curve.a_year


def test_an_overnight_session_counts_as_a_whole() -> None:
    sessions = steps("2024-01-07", "2024-02-15", 1, "18:00", 23 * 60, weekdays=7)
    futures = [time for time in sessions if (time - timedelta(hours=12)).weekday() != 5 and time.weekday() != 5]
    assert periods_per_year(stamps(futures)) == pytest.approx(252 * 23 * 60, rel=0.05)


def test_early_closes_partial_days_and_holidays_do_not_change_the_length_of_a_session() -> None:
    whole = steps("2024-11-25", "2024-12-31", 1, "09:30", 390)
    early = {date(2024, 11, 29), date(2024, 12, 24)}
    shut = {date(2024, 11, 28), date(2024, 12, 25)}
    kept = [t for t in whole if t.date() not in shut and (t.date() not in early or t.hour < 18)]
    assert periods_per_year(stamps(kept[200:-200])) == MINUTES


def test_a_few_minutes_may_be_lacking() -> None:
    times = steps("2024-03-01", "2024-03-28", 1, "09:30", 390)
    kept = [time for row, time in enumerate(times) if row % 30]
    assert periods_per_year(stamps(kept)) == pytest.approx(MINUTES, rel=0.04)


def test_one_session_is_enough_and_a_part_of_one_is_not() -> None:
    day = steps("2024-03-01", "2024-03-01", 1, "09:30", 390)
    assert periods_per_year(stamps(day)) == MINUTES
    assert periods_per_year(stamps(day[:60])) is None


def test_a_second_day_that_has_begun_does_not_shorten_the_first() -> None:
    assert periods_per_year(stamps(steps("2024-03-04", "2024-03-05", 1, "09:30", 390)[:450])) == MINUTES


def test_days_with_one_point_at_the_start_beside_them_are_days() -> None:
    times = steps("2024-03-01", "2024-03-28", 1, "16:00", 1)
    assert periods_per_year(stamps([times[0] - timedelta(hours=2), *times])) == 252


def test_a_short_curve_around_the_clock_that_has_seen_no_weekend_does_not_tell() -> None:
    times = steps("2024-03-04", "2024-03-07", 1, "00:00", 1440)
    assert periods_per_year(stamps(times)) is None
    with_weekend = steps("2024-03-04", "2024-03-10", 1, "00:00", 1440, weekdays=7)
    assert periods_per_year(stamps(with_weekend)) == 365 * 1440


def test_currencies_rest_on_saturdays() -> None:
    opens, shuts = datetime(2024, 3, 3, 22, tzinfo=UTC), datetime(2024, 3, 8, 22, tzinfo=UTC)
    week = [opens + timedelta(minutes=n) for n in range(int((shuts - opens).total_seconds()) // 60)]
    assert periods_per_year(stamps([*week, *(time + 7 * DAY for time in week)])) == 252 * 1440


def test_a_saturday_alone_is_a_day_around_the_clock() -> None:
    saturday = datetime(2024, 3, 9, tzinfo=UTC)
    assert periods_per_year(stamps([saturday + timedelta(minutes=n) for n in range(1440)])) == 365 * 1440


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_points_do_not_tell(count: int) -> None:
    assert periods_per_year(stamps(steps("2024-03-01", "2024-03-28", 1, "09:30", 390)[:count])) is None


def test_uneven_curves_have_no_number() -> None:
    start = datetime(2024, 3, 1, 14, 30, tzinfo=UTC)
    trades = [start + timedelta(minutes=n * n % 977 + 1440 * (n // 9)) for n in range(200)]
    assert periods_per_year(stamps(sorted(set(trades)))) is None
    months = [datetime(2024, n, 1, tzinfo=UTC) for n in range(1, 13)]
    assert periods_per_year(stamps(months)) is None
    some_days = np.cumsum([1, 3, 2, 5, 1, 4, 2, 6, 3] * 4)
    assert periods_per_year(stamps([start + int(n) * DAY for n in some_days])) is None
