"""The obvious way to compute chart bars, one bar at a time, for tests to compare with."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from bff_aggregator.charts.resample import Clock, Size, Span, sizes

NEW_YORK = ZoneInfo("America/New_York")
Bar = dict[str, Any]


KEPT = 1 << 18
"""Answers about a minute that are remembered: the same two years are asked about again and again."""


@functools.lru_cache(KEPT)
def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@functools.lru_cache(KEPT)
def _new_york(text: str) -> datetime:
    """Return a moment as New York's clocks show it, without a zone."""
    return _moment(text).astimezone(NEW_YORK).replace(tzinfo=None)


def moment(bar: Bar) -> datetime:
    """Return a bar's start."""
    return _moment(bar["t"])


@dataclass(frozen=True)
class Session:
    """The session of a bar: its date, when it begins, where its buckets are anchored, and its early close if any."""

    day: date
    begin: datetime
    anchor: datetime
    close: datetime | None


@functools.lru_cache(KEPT)
def at(day: date, hour: int, minute: int) -> datetime:
    """Return a New York wall clock time in UTC."""
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=NEW_YORK).astimezone(UTC)


def evening_of(bars: Sequence[Bar], minutes: int) -> int | None:
    """Return the index in the bars of a New York date from which on they belong to the next date's session."""
    clocks = [_new_york(bar["t"]) for bar in bars]
    if not any(clock.hour >= 20 for clock in clocks):
        return None
    ended = [clocks[0].replace(hour=0, minute=0), *(clock + timedelta(minutes=minutes) for clock in clocks[:-1])]
    pauses = [clock - end for clock, end in zip(clocks, ended, strict=True)]
    longest = max(index for index, pause in enumerate(pauses) if pause == max(pauses))
    return longest if pauses[longest] >= timedelta(minutes=30) and clocks[longest].hour >= 12 else None


def sessions(bars: Sequence[Bar], *, daily: bool, early: Callable[[date], bool], minutes: int = 1) -> list[Session]:
    """Return the session of each bar."""
    if daily:
        midnights = [datetime(*moment(bar).timetuple()[:3], tzinfo=UTC) for bar in bars]
        return [Session(midnight.date(), midnight, midnight, None) for midnight in midnights]
    by_date: dict[date, list[Bar]] = {}
    for bar in bars:
        by_date.setdefault(_new_york(bar["t"]).date(), []).append(bar)
    named: list[date] = []
    begins: dict[date, datetime] = {}
    for day, there in by_date.items():
        evening = evening_of(there, minutes)
        named += [day] * (len(there) if evening is None else evening)
        if evening is not None:
            named += [day + timedelta(days=1)] * (len(there) - evening)
            clock = _new_york(there[evening]["t"])
            late = timedelta(minutes=clock.minute % 30, seconds=clock.second)
            begins[day + timedelta(days=1)] = moment(there[evening]) - late
    # At an early close hours are halfway through one.
    closes = timedelta(minutes=240 if minutes == 60 else 210)
    found = {
        day: Session(
            day,
            begins.get(day, at(day, 0, 0)),
            begins.get(day, at(day, 9, 30)),
            at(day, 9, 30) + closes if early(day) and day not in begins else None,
        )
        for day in set(named)
    }
    return [found[day] for day in named]


def bucket_start(bar: Bar, session: Session, size: Size, *, daily: bool, extended: bool) -> datetime:
    """Return the nominal start of the bucket that a bar belongs to."""
    if isinstance(size, Span):
        day = first_day(session.day, size)
        if daily:
            return datetime(day.year, day.month, day.day, tzinfo=UTC)
        if size is Span.SESSION and extended:
            return session.begin
        return at(day, 0, 0) if extended else at(day, 9, 30)
    anchor = session.close if session.close is not None and moment(bar) >= session.close else session.anchor
    whole = (moment(bar) - anchor) // timedelta(minutes=size)
    return max(anchor + whole * timedelta(minutes=size), session.begin)


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
        "v": None if all(bar["v"] is None for bar in bars) else sum(bar["v"] or 0 for bar in bars),
    }
    return merged | ({"n": sum(bar["n"] for bar in bars)} if "n" in bars[0] else {})


def buckets(
    bars: Sequence[Bar],
    size: Size,
    *,
    daily: bool,
    extended: bool,
    early: Callable[[date], bool],
    minutes: int = 1,
    touching: Callable[[Bar], bool] = lambda _: True,
) -> list[Bar]:
    """Return bars of so many minutes merged into buckets of one size: those with a bar that `touching` accepts."""
    groups: dict[tuple[date, datetime], list[Bar]] = {}
    for bar, session in zip(bars, sessions(bars, daily=daily, early=early, minutes=minutes), strict=True):
        start = bucket_start(bar, session, size, daily=daily, extended=extended)
        groups.setdefault((date.min if isinstance(size, Span) else session.day, start), []).append(bar)
    return [
        {"t": start.strftime("%Y-%m-%dT%H:%M:%SZ"), **merge(group)}
        for (_, start), group in groups.items()
        if any(map(touching, group))
    ]


@dataclass(frozen=True)
class Asked:
    """A chart: of which UTC dates, of at most so many bars, none shorter than `finest` minutes."""

    first: date
    last: date
    target: int
    finest: int
    rth_only: bool = True

    def holds(self, bar: Bar) -> bool:
        """Tell whether a bar lies in the window."""
        return self.first <= moment(bar).date() <= self.last


def is_regular(bar: Bar) -> bool:
    """Tell whether a bar lies in regular hours."""
    clock = _new_york(bar["t"])
    return (9, 30) <= (clock.hour, clock.minute) < (16, 0)


def chart(
    bars: Sequence[Bar], asked: Asked, *, minutes: int, daily: bool, early: Callable[[date], bool]
) -> tuple[list[Bar], int]:
    """Return the bars of a chart and their minutes of trading, made from all bars that there are."""
    own = [bar for bar in bars if asked.holds(bar)]
    shortest = max(asked.finest, minutes)
    if not own or (shortest == minutes and len(own) <= asked.target):
        return own, shortest
    extended = not asked.rth_only or (not daily and not all(map(is_regular, own)))
    clock = Clock(minutes, asked.finest, daily=daily, extended=extended)
    how: dict[str, Any] = {
        "daily": daily,
        "extended": extended,
        "early": early,
        "minutes": minutes,
        "touching": asked.holds,
    }
    for size in sizes(clock):
        made = buckets(bars, size, **how)
        if len(made) <= asked.target:
            return made, size.value if isinstance(size, Span) else size
    raise ValueError(f"{len(own)} bars do not fit {asked.target} points")
