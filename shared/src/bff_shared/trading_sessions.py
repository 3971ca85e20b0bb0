"""The US trading day and the buckets of bars in it, for whoever puts minutes into bars. Pure.

A session is named by its date in New York, counted in days since the epoch. Regular hours are 09:30 to 16:00 there, or
to an early close of the table. Buckets of minutes count from the open, backwards before it, and anew from an early
close; none crosses midnight in New York. Buckets are anchored at 09:30 also before October 1985, when trading began at
10:00: that is where the backend's hours begin. Times are UTC seconds.
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from bff_shared.early_closes import EARLY_CLOSES

DAY = 86_400
OPEN = (9 * 60 + 30) * 60
REGULAR_MINUTES = 390
BAR_MINUTES = (1, 2, 3, 5, 10, 13, 15, 26, 30, 39, 60, 120, 180)
"""Sizes of bars below a session, in minutes: one ladder, so that neighbouring zooms agree."""
SESSION: Final = "session"
BarSize = int | Literal["session"]
"""What a bar covers: so many minutes, or a session."""
_EPOCH = date(1970, 1, 1)
_FIRST, _LAST = (date(2, 1, 1) - _EPOCH).days, (date(9998, 12, 31) - _EPOCH).days
_BEHIND = 5 * 3600
"""About how many seconds New York is behind UTC, to guess a day with."""


class Stretch(NamedTuple):
    """A part of a session, from `begin` to before `end`, in which buckets count from one `anchor`."""

    begin: int
    end: int
    anchor: int
    opened: int
    """When the session opens, which is the start of the bar that covers all of it."""


def stretch_of(seconds: int) -> Stretch:
    """Return the stretch that a moment lies in."""
    number = (seconds - _BEHIND) // DAY
    if seconds >= edges(number + 1)[0]:
        number += 1
    elif seconds < edges(number)[0]:
        number -= 1
    before, after = _stretches(number)
    return before if seconds < before.end else after


def bar_start(stretch: Stretch, seconds: int, size: BarSize) -> int:
    """Return the start of the bar that a moment of a stretch lies in."""
    if size == SESSION:
        return stretch.opened
    width = 60 * size
    start = stretch.anchor + (seconds - stretch.anchor) // width * width
    # The first bucket of a day that trades around the clock begins with the day, not in the one before.
    return max(start, stretch.begin)


def bar_bounds(stretch: Stretch, seconds: int, size: BarSize) -> tuple[int, int]:
    """Return from when to before when moments lie in the same bar as one of a stretch does."""
    if size == SESSION:
        number = (stretch.opened - _BEHIND) // DAY
        return edges(number)[0], edges(number + 1)[0]
    width = 60 * size
    start = stretch.anchor + (seconds - stretch.anchor) // width * width
    return max(start, stretch.begin), min(start + width, stretch.end)


@lru_cache(maxsize=8192)
def edges(number: int) -> tuple[int, int]:
    """Return 00:00 and 09:30 in New York on a day; as in winter where the calendar of the language ends."""
    if not _FIRST <= number <= _LAST:
        return number * DAY + _BEHIND, number * DAY + _BEHIND + OPEN
    day = _EPOCH + timedelta(days=number)
    midnight = datetime(day.year, day.month, day.day, tzinfo=_new_york())
    return int(midnight.timestamp()), int(midnight.replace(hour=9, minute=30).timestamp())


@lru_cache(maxsize=1)
def early_closes() -> dict[int, int]:
    """Return the minutes of regular hours on the days that end early."""
    return {
        (date.fromisoformat(day) - _EPOCH).days: minutes
        for minutes, days in EARLY_CLOSES.items()
        for day in days.split()
    }


@lru_cache(maxsize=128)
def offsets_of(year: int) -> tuple[tuple[int, int], ...]:
    """Return (from when, seconds ahead of UTC) at a UTC year's start, and at each change within it to the second."""
    start = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    days = range(start, int(datetime(year + 1, 1, 1, tzinfo=UTC).timestamp()), DAY)
    found = [(start, _offset(start))]
    for day in days:
        if _offset(day) != _offset(day + DAY):
            low, high = day, day + DAY
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if _offset(middle) == _offset(day) else (low, middle)
            found.append((high, _offset(high)))
    return tuple(found)


@lru_cache(maxsize=8192)
def _stretches(number: int) -> tuple[Stretch, Stretch]:
    """Return the stretches of a session: up to an early close and after it; the second is empty where there is none."""
    midnight, opened = edges(number)
    end = edges(number + 1)[0]
    minutes = early_closes().get(number)
    close = end if minutes is None else opened + 60 * minutes
    return Stretch(midnight, close, opened, opened), Stretch(close, end, close, opened)


@lru_cache(maxsize=1)
def _new_york() -> ZoneInfo:
    return ZoneInfo("America/New_York")


def _offset(seconds: int) -> int:
    offset = datetime.fromtimestamp(seconds, _new_york()).utcoffset()
    return int(offset.total_seconds()) if offset else 0
