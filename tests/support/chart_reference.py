"""The obvious way to compute chart bars, one bar at a time, for tests to compare with."""

import functools
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from bff_aggregator.charts.resample import Size, Span

NEW_YORK = ZoneInfo("America/New_York")
Bar = dict[str, Any]


KEPT = 1 << 18
"""Answers about a minute that are remembered: the same two years are asked about again and again."""


@functools.lru_cache(KEPT)
def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@functools.lru_cache(KEPT)
def _new_york_date(text: str) -> date:
    return _moment(text).astimezone(NEW_YORK).date()


def moment(bar: Bar) -> datetime:
    """Return a bar's start."""
    return _moment(bar["t"])


def session_date(bar: Bar, *, daily: bool) -> date:
    """Return the date of the session that a bar belongs to."""
    return moment(bar).date() if daily else _new_york_date(bar["t"])


@functools.lru_cache(KEPT)
def at(day: date, hour: int, minute: int) -> datetime:
    """Return a New York wall clock time in UTC."""
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=NEW_YORK).astimezone(UTC)


def bucket_start(
    bar: Bar, size: Size, *, daily: bool, extended: bool, early: Callable[[date], bool], minutes: int = 1
) -> datetime:
    """Return the nominal start of the bucket that a bar of so many minutes belongs to."""
    day = session_date(bar, daily=daily)
    if isinstance(size, Span):
        day = first_day(day, size)
        if daily:
            return datetime(day.year, day.month, day.day, tzinfo=UTC)
        return at(day, 0, 0) if extended else at(day, 9, 30)
    anchor = at(day, 9, 30)
    # At an early close hours are halfway through one.
    closed = anchor + timedelta(minutes=240 if minutes == 60 else 210)
    if early(day) and moment(bar) >= closed:
        anchor = closed
    whole = (moment(bar) - anchor) // timedelta(minutes=size)
    return max(anchor + whole * timedelta(minutes=size), at(day, 0, 0))


def first_day(day: date, span: Span) -> date:
    """Return the first day of the session, week, month, quarter or year of a day."""
    match span:
        case Span.SESSION:
            return day
        case Span.WEEK:
            return day - timedelta(days=day.weekday())
        case Span.MONTH:
            return day.replace(day=1)
        case Span.QUARTER:
            return date(day.year, (day.month - 1) // 3 * 3 + 1, 1)
        case Span.YEAR:
            return date(day.year, 1, 1)


def merge(bars: Sequence[Bar]) -> Bar:
    """Return several bars as one, without its start."""
    merged = {
        "o": bars[0]["o"],
        "h": max(bar["h"] for bar in bars),
        "l": min(bar["l"] for bar in bars),
        "c": bars[-1]["c"],
        "v": sum(bar["v"] for bar in bars),
    }
    return merged | ({"n": sum(bar["n"] for bar in bars)} if "n" in bars[0] else {})


def buckets(bars: Iterable[Bar], size: Size, **how: Any) -> list[Bar]:
    """Return bars merged into buckets of one size; `how` as for `bucket_start`."""
    groups: dict[tuple[date, datetime], list[Bar]] = {}
    for bar in bars:
        start = bucket_start(bar, size, **how)
        day = session_date(bar, daily=how["daily"])
        key = (date.min if isinstance(size, Span) else day, start)
        groups.setdefault(key, []).append(bar)
    return [{"t": start.strftime("%Y-%m-%dT%H:%M:%SZ"), **merge(group)} for (_, start), group in groups.items()]
