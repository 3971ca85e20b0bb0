import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import holidays
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bff_aggregator.backend import bars_reader
from bff_aggregator.backend.bars import Bars
from bff_aggregator.charts import sessions
from bff_aggregator.charts.resample import Clock, Size, Span, _span_start, bucket, resample, sizes
from bff_demo.market import Bars as DemoBars
from bff_demo.market import build_market
from bff_shared.trading_sessions import BAR_MINUTES, REGULAR_MINUTES
from tests.support import chart_reference as reference

MINUTE = Clock(1)
EXTENDED = Clock(1, extended=True)
HOUR = Clock(60)
DAILY = Clock(390, daily=True)
EPOCH = date(1970, 1, 1)
EARLY = {
    day
    for day, name in holidays.financial_holidays("NYSE", years=range(2014, 2031), categories=("half_day",)).items()
    if name
}


def closes_early(day: date) -> bool:
    return day in EARLY


def from_demo(bars: DemoBars) -> Bars:
    o, h, low, c = (column / 10_000 for column in (bars.o, bars.h, bars.l, bars.c))
    return Bars(bars.minute.astype(np.int64) * 60, o, h, low, c, bars.v, bars.n)


def as_dicts(bars: Bars) -> list[dict[str, Any]]:
    stamps = [datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for t in bars.t.tolist()]
    names = ("t", "o", "h", "l", "c", "v", "n")
    values = [stamps, *(column.tolist() for column in bars.columns[1:])]
    return [dict(zip(names, row, strict=False)) for row in zip(*values, strict=True)]


def by_reference(bars: Bars, size: Size, clock: Clock) -> list[dict[str, Any]]:
    how: dict[str, Any] = {
        "daily": clock.daily,
        "extended": clock.extended,
        "early": closes_early,
        "minutes": clock.minutes,
    }
    return reference.buckets(as_dicts(bars), size, **how)


def finest(bars: Bars, target: int, clock: Clock) -> Size | None:
    """Try the ladder from its finest size on."""
    return next((size for size in sizes(clock) if len(by_reference(bars, size, clock)) <= target), None)


def check_window(whole: Bars, bars: Bars) -> None:
    """Check what decimation keeps to the last digit."""
    assert bars.o[0] == whole.o[0]
    assert bars.h.max() == whole.h.max()
    assert bars.l.min() == whole.l.min()
    assert bars.c[-1] == whole.c[-1]
    assert bars.v.sum() == whole.v.sum()
    assert bool(np.all(np.diff(bars.t) > 0))


@st.composite
def generated(draw: st.DrawFn, *, extended: bool = False, daily: bool = False) -> Bars:
    """Draw sessions with holes, over any dates, clock changes and early closes included."""
    first = draw(st.dates(date(2014, 1, 1), date(2030, 6, 1)) | st.sampled_from([date(2024, 3, 7), date(2024, 11, 27)]))
    days = [day for n in range(draw(st.integers(1, 12))) if (day := first + timedelta(days=n)).weekday() < 5]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    t: list[int] = []
    for day in days:
        if daily:
            t.append((day - EPOCH).days * 86_400)
            continue
        opened = int(reference.at(day, 9, 30).timestamp())
        begin, end = (-570, 870) if extended else (0, 210 if closes_early(day) else 390)
        minutes = np.flatnonzero(rng.random(end - begin) < rng.choice([0.02, 0.6, 1.0])) + begin
        t += (opened + minutes * 60).tolist()
    prices = np.round(100 + rng.normal(0, 3, (4, len(t))), 2)
    counts = rng.integers(0, 10**7, (2, len(t)))
    low, high = prices.min(axis=0), prices.max(axis=0)
    return Bars(np.array(t, np.int64), prices[0], high, low, prices[1], counts[0], counts[1] if daily else None)


@settings(max_examples=40)
@given(generated(), st.sampled_from([*BAR_MINUTES, *Span]))
def test_regular_buckets_are_those_of_the_reference(bars: Bars, size: Size) -> None:
    assert as_dicts(bucket(bars, size, MINUTE)) == by_reference(bars, size, MINUTE)


@settings(max_examples=40)
@given(generated(extended=True), st.sampled_from([*BAR_MINUTES, *Span]))
def test_extended_buckets_are_those_of_the_reference(bars: Bars, size: Size) -> None:
    assert as_dicts(bucket(bars, size, EXTENDED)) == by_reference(bars, size, EXTENDED)


@settings(max_examples=40)
@given(generated(daily=True), st.sampled_from([Span.WEEK, Span.MONTH, Span.QUARTER, Span.YEAR]))
def test_daily_buckets_are_those_of_the_reference(bars: Bars, size: Size) -> None:
    assert as_dicts(bucket(bars, size, DAILY)) == by_reference(bars, size, DAILY)


@settings(max_examples=40)
@given(generated(), st.integers(100, 2000))
def test_finest_size_that_fits_is_taken_and_nothing_is_lost(bars: Bars, target: int) -> None:
    done = resample(bars, target, MINUTE)
    assert len(done.bars) <= target
    if len(bars) <= target:
        assert done.bars is bars
        assert not done.decimated
        return
    size = finest(bars, target, MINUTE)
    assert size is not None
    assert done.stride == (size.value if isinstance(size, Span) else size)
    assert as_dicts(done.bars) == by_reference(bars, size, MINUTE)
    check_window(bars, done.bars)


@settings(max_examples=40)
@given(generated(extended=True), st.sampled_from(BAR_MINUTES), st.data())
def test_part_cut_between_sessions_has_the_buckets_of_the_whole(bars: Bars, size: int, data: st.DataObject) -> None:
    if not len(bars):
        return
    first = sessions.find(bars.t).first
    row = int(first[data.draw(st.integers(0, len(first) - 1))])
    cut = int(bars.t[row])
    whole = bucket(bars, size, EXTENDED)
    part = bucket(bars.take(slice(row, None)), size, EXTENDED)
    assert part.equals(whole.take(slice(len(whole) - len(part), None)))
    assert len(part) == int(np.count_nonzero(whole.t >= sessions.find(bars.t[row:]).begin[0])), cut


@pytest.mark.parametrize("target", [100, 500, 1_000, 10_000, 50_000])
@pytest.mark.parametrize("clock", [MINUTE, EXTENDED])
def test_two_years_of_the_demo_fit_every_target(target: int, clock: Clock) -> None:
    minutes = build_market(42).minutes["AAPL"]
    bars = from_demo(minutes if clock.extended else minutes.take(np.flatnonzero(minutes.rth)))
    done = resample(bars, target, clock)
    size: Size = done.stride if done.stride in BAR_MINUTES else Span(done.stride)
    assert len(done.bars) <= target
    check_window(bars, done.bars)
    finer = sizes(clock)[: sizes(clock).index(size)]
    assert all(len(bucket(bars, other, clock)) > target for other in finer[-2:])
    if target in {500, 10_000}:
        quarter = bars.between(
            int(reference.at(date(2024, 10, 1), 0, 0).timestamp()),
            int(reference.at(date(2025, 1, 1), 0, 0).timestamp()),
        )
        assert as_dicts(bucket(quarter, size, clock)) == by_reference(quarter, size, clock)


def test_clock_changes_of_the_demo_move_the_open_and_nothing_else() -> None:
    minutes = build_market(42).minutes["SPY"]
    bars = from_demo(minutes.take(np.flatnonzero(minutes.rth)))
    half_hours = bucket(bars, 30, MINUTE)
    opens = {datetime.fromtimestamp(t, reference.NEW_YORK).strftime("%H:%M") for t in half_hours.t.tolist()}
    assert opens == {f"{h:02}:{m:02}" for h in range(9, 16) for m in (0, 30) if (h, m) != (9, 0)}
    counts = np.unique(sessions.find(half_hours.t).first, return_counts=False)
    assert set(np.diff(counts).tolist()) == {13, 7}


@pytest.mark.parametrize(
    ("name", "clock"),
    [
        ("bars_minute_AAPL_2024-10-31_to_11-04.json", MINUTE),
        ("bars_hour_AAPL_2024-10.json", HOUR),
        ("bars_daily_AAPL_2024-10.json", DAILY),
    ],
)
def test_recorded_bars_merge_as_the_reference_merges_them(name: str, clock: Clock) -> None:
    content = (Path(__file__).parents[1] / "samples" / name).read_bytes()
    bars = bars_reader.parse(content, trades=clock.daily).bars
    assert as_dicts(bars) == json.loads(content)["bars"]
    for size in sizes(clock):
        assert as_dicts(bucket(bars, size, clock)) == by_reference(bars, size, clock)


def test_recorded_minutes_merge_into_the_recorded_half_hours_of_the_backend() -> None:
    folder = Path(__file__).parents[1] / "samples"
    minutes = bars_reader.parse((folder / "bars_minute_AAPL_2024-10-31_to_11-04.json").read_bytes(), trades=False).bars
    theirs = orjson.loads((folder / "bars_minute_decimated_AAPL_2024-10.json").read_bytes())["bars"]
    last_day = [bar for bar in theirs if bar["t"].startswith("2024-10-31")]
    assert as_dicts(bucket(minutes, 30, MINUTE))[: len(last_day)] == last_day


def test_hours_are_merged_whole() -> None:
    assert sizes(HOUR) == [120, 180, *Span]


def test_sizes_from_an_hour_on_are_whole_hours() -> None:
    assert [size % 60 for size in BAR_MINUTES if size >= 60] == [0, 0, 0]
    assert max(size for size in BAR_MINUTES if size < 60) == 39


def test_fifty_years_of_days_fit_the_smallest_target() -> None:
    t = np.arange(0, 50 * 366) * 86_400
    ones = np.ones(len(t))
    done = resample(Bars(t, ones, ones, ones, ones, ones.astype(np.int64)), 100, DAILY)
    assert len(done.bars) <= 51
    assert done.stride == Span.YEAR.value


@pytest.mark.parametrize("year", range(2014, 2031))
def test_early_closes_are_those_of_the_exchange(year: int) -> None:
    days = [date(year, 1, 1) + timedelta(days=n) for n in range(365)]
    trading = [day for day in days if day.weekday() < 5]
    closed = set(holidays.financial_holidays("NYSE", years=year, categories=("public",)))
    t = np.array([int(reference.at(day, 12, 0).timestamp()) for day in trading if day not in closed], np.int64)
    found = sessions.find(t)
    early: Sequence[int] = found.day[found.minutes != REGULAR_MINUTES].tolist()
    assert {EPOCH + timedelta(days=number) for number in early} == {day for day in EARLY if day.year == year}


def test_the_ladder_of_sizes() -> None:
    assert sizes(MINUTE) == [2, 3, 5, 10, 13, 15, 26, 30, 39, 60, 120, 180, *Span]
    assert sizes(HOUR) == [120, 180, *Span]
    assert sizes(DAILY) == [Span.WEEK, Span.MONTH, Span.QUARTER, Span.YEAR]
    assert [span.value // 390 for span in Span] == [1, 5, 21, 63, 252]
    assert all(span.value % 390 == 0 for span in Span)


def session_of_minutes(count: int) -> Bars:
    opened = int(reference.at(date(2024, 3, 6), 9, 30).timestamp())
    prices, ones = np.arange(count, dtype=np.float64) + 100, np.ones(count, np.int64)
    return Bars(opened + 60 * np.arange(count, dtype=np.int64), prices, prices, prices, prices, ones, None)


def test_as_many_bars_as_asked_for_are_left_alone() -> None:
    bars = session_of_minutes(120)
    assert resample(bars, 120, MINUTE).bars is bars
    assert resample(bars, 119, MINUTE).decimated


def test_a_size_that_fits_exactly_is_taken() -> None:
    done = resample(session_of_minutes(300), 150, MINUTE)
    assert (done.stride, len(done.bars)) == (2, 150)


def volumes(*values: float) -> Bars:
    bars = session_of_minutes(len(values))
    if all(isinstance(value, int) for value in values):
        return replace(bars, v=np.array(values, np.int64))
    return replace(bars, v=np.array(values, np.float64))


@pytest.mark.parametrize(
    ("values", "sums"),
    [
        ((0.5, 0.25, np.nan, 4.0), [0.75, 4.0]),
        ((np.nan, np.nan, 0.5, np.nan), [None, 0.5]),
        ((2**62 - 1, 2**62 - 1, 1, 1), [2.0**63, 2.0]),
        ((1e308, 1e308, -1e308, -1e308), [np.finfo(np.float64).max, -np.finfo(np.float64).max]),
        ((2**53 + 1, 1, 3, 4), [2**53 + 2, 7]),
    ],
)
def test_volumes_add_up_whatever_they_are_and_never_wrap(values: tuple[float, ...], sums: list[float | None]) -> None:
    merged = bucket(volumes(*values), 2, MINUTE)
    assert [None if v != v else v for v in merged.v.tolist()] == sums


def moments(day: date, hour: int, minute: int, *, every: int, count: int) -> Bars:
    """Return bars of so many minutes from a moment in New York on."""
    t = int(reference.at(day, hour, minute).timestamp()) + 60 * every * np.arange(count, dtype=np.int64)
    ones = np.ones(count)
    return Bars(t, ones, ones, ones, ones, np.ones(count, np.int64), None)


def test_a_whole_session_is_stamped_at_its_open_and_an_extended_one_at_midnight() -> None:
    day, bars = date(2024, 3, 6), session_of_minutes(390)
    assert bucket(bars, Span.SESSION, MINUTE).t.tolist() == [reference.at(day, 9, 30).timestamp()]
    assert bucket(bars, Span.SESSION, EXTENDED).t.tolist() == [reference.at(day, 0, 0).timestamp()]


def test_hours_that_fit_are_left_alone() -> None:
    bars = moments(date(2024, 3, 6), 9, 30, every=60, count=7)
    done = resample(bars, 7, HOUR)
    assert (done.bars, done.stride, done.decimated) == (bars, 60, False)


def test_no_more_than_the_finest_size_asked_for_is_no_decimation() -> None:
    done = resample(session_of_minutes(300), 100, Clock(1, finest=5))
    assert (len(done.bars), done.stride, done.decimated) == (60, 5, False)
    coarser = resample(session_of_minutes(300), 50, Clock(1, finest=5))
    assert (len(coarser.bars), coarser.stride, coarser.decimated) == (30, 10, True)


def test_hours_after_an_early_close_are_counted_anew_from_the_first_one_after_it() -> None:
    day = date(2024, 11, 29)  # closes at 13:00, within the hour of 12:30
    hours = moments(day, 9, 30, every=60, count=8)
    stamps = [datetime.fromtimestamp(t, reference.NEW_YORK).strftime("%H:%M") for t in bucket(hours, 180, HOUR).t]
    assert stamps == ["09:30", "12:30", "13:30", "16:30"]


def test_weeks_begin_on_monday_for_what_trades_on_sundays_too() -> None:
    first = (date(2024, 3, 4) - EPOCH).days
    t, ones = (first + np.arange(9, dtype=np.int64)) * 86_400, np.ones(9)
    weeks = bucket(Bars(t, ones, ones, ones, ones, np.ones(9, np.int64), None), Span.WEEK, DAILY)
    assert (weeks.t.tolist(), weeks.v.tolist()) == ([first * 86_400, (first + 7) * 86_400], [7, 2])


def bars_at(*moments: str) -> Bars:
    t = np.array([int(datetime.fromisoformat(moment).timestamp()) for moment in moments], np.int64)
    ones = np.ones(len(t))
    return Bars(t, ones, ones, ones, ones, np.ones(len(t), np.int64))


def test_a_clock_is_of_moments_in_regular_hours_unless_it_says_otherwise() -> None:
    assert (Clock(1).daily, Clock(1).extended) == (False, False)


def test_bars_that_are_few_enough_are_as_long_as_their_source_has_them() -> None:
    few = bars_at("2024-01-02T14:30Z", "2024-01-02T15:30Z")
    found = resample(few, 100, HOUR)
    assert (found.bars is few, found.stride, found.decimated) == (True, 60, False)


def test_bars_of_the_finest_size_that_was_asked_for_are_not_decimated() -> None:
    start = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
    day = bars_at(*((start + timedelta(minutes=number)).isoformat() for number in range(390)))
    found = resample(day, 100, Clock(1, finest=5))
    assert (len(found.bars), found.stride, found.decimated) == (78, 5, False)
    assert resample(day, 77, Clock(1, finest=5)).decimated


def test_weeks_begin_on_monday_and_quarters_with_their_months() -> None:
    days = np.arange(-400, 20_000, dtype=np.int64)
    dates = [EPOCH + timedelta(days=day) for day in days.tolist()]
    weeks = [(date - timedelta(days=date.weekday()) - EPOCH).days for date in dates]
    assert _span_start(days, Span.WEEK).tolist() == weeks
    for span, months in ((Span.MONTH, 1), (Span.QUARTER, 3), (Span.YEAR, 12)):
        firsts = [(date.replace(month=(date.month - 1) // months * months + 1, day=1) - EPOCH).days for date in dates]
        assert _span_start(days, span).tolist() == firsts


def test_hours_after_an_early_close_are_counted_anew_from_the_first_after_it() -> None:
    # 13:00 in New York is 17:00 UTC; no hour begins there.
    hours = bars_at(*(f"2024-07-03T{hour}:30:00+00:00" for hour in range(13, 20)))
    found = bucket(hours, 180, Clock(60, extended=True))
    at = [datetime.fromtimestamp(t, UTC).strftime("%H:%M") for t in found.t.tolist()]
    assert list(zip(at, found.v.tolist(), strict=True)) == [("13:30", 3), ("16:30", 1), ("17:30", 3)]
