"""The US trading day and the buckets of bars in it, for whoever puts minutes into bars. Pure.

A session is named by its date in New York, counted in days since the epoch. Regular hours are 09:30 to 16:00 there, or
to an early close of the table. Buckets of minutes count from the open, backwards before it, and anew from an early
close; none crosses midnight in New York. Buckets are anchored at 09:30 also before October 1985, when trading began at
10:00: that is where the backend's hours begin. Times are UTC seconds.
"""

import operator
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from bff_shared.early_closes import EARLY_CLOSES

DAY = 86_400
OPEN = (9 * 60 + 30) * 60
REGULAR_MINUTES = 390
HALF_HOUR = 1800
NOON, NIGHT_BEGINS = 12 * 3600, 20 * 3600
"""Seconds of New York's day."""
MAX_KNOWN = 4096
"""Sessions of one instrument that are remembered."""
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
    """09:30 on the session's date, which is the start of the bar that covers all of it."""
    whole: tuple[int, int]
    """From when to before when the session lasts, with all that trades outside of regular hours."""


class Evening(NamedTuple):
    """What of a date is of the next date's session: from `first` on; buckets of that session count from `begin`."""

    first: int
    begin: int


Moments = Callable[[int, int], Sequence[int]]
"""Returns the starts of the bars that begin in a span, in ascending order."""


def date_of(seconds: int) -> int:
    """Return the date in New York of a moment."""
    number = (seconds - _BEHIND) // DAY
    if seconds >= edges(number + 1)[0]:
        return number + 1
    return number - 1 if seconds < edges(number)[0] else number


def stretch_of(seconds: int, sessions: "TradedSessions | None" = None) -> Stretch:
    """Return the stretch that a moment lies in; among sessions as they were traded, or by the calendar alone."""
    number = date_of(seconds)
    if sessions is None:
        before, after = _stretches(number)
    else:
        before, after = sessions.stretches(number)
        if seconds >= before.whole[1]:
            before, after = sessions.stretches(number + 1)
    return before if seconds < before.end else after


class TradedSessions:
    """The sessions of what trades at some `moments`, which may be in the night.

    Where a date has bars after 20:00 in New York, what follows its longest pause is the next date's session, which is
    anchored at the half hour in which it begins, and to which early closes mean nothing: the rules of charts. A session
    depends on the bars of its date and of the date before alone. `is_final` tells whether nothing more will come before
    a moment; what is not final is looked at again whenever `age` is another.
    """

    def __init__(self, moments: Moments, is_final: Callable[[int], bool], age: Callable[[], int]) -> None:
        self._moments, self._is_final, self._age = moments, is_final, age
        self._known: dict[int, tuple[Stretch, Stretch]] = {}
        self._growing: dict[int, tuple[Stretch, Stretch]] = {}
        self._grown = -1

    def stretches(self, number: int) -> tuple[Stretch, Stretch]:
        """Return the stretches of the session of a date."""
        known = self._known.get(number)
        if known is not None:
            return known
        if self._grown != self._age():
            self._growing, self._grown = {}, self._age()
        found = self._growing.get(number) or self._find(number)
        remembered = self._known if self._is_final(edges(number + 1)[0]) else self._growing
        if len(remembered) >= MAX_KNOWN:
            remembered.clear()
        remembered[number] = found
        return found

    def _find(self, number: int) -> tuple[Stretch, Stretch]:
        (midnight, opened), end = edges(number), edges(number + 1)[0]
        before, own = self._evening(number - 1), self._evening(number)
        end = end if own is None else own.first
        if before is None:
            return _split(midnight, end, opened, early_closes().get(number))
        begin = before.begin
        return Stretch(begin, end, begin, opened, (begin, end)), Stretch(end, end, begin, opened, (begin, end))

    def _evening(self, number: int) -> Evening | None:
        """Return what of a date belongs to the next one: what follows the last of its longest pauses, after noon."""
        (midnight, opened), end = edges(number), edges(number + 1)[0]
        if not len(self._moments(opened - OPEN + NIGHT_BEGINS, end)):
            return None
        here = self._moments(midnight, end)
        gaps = list(map(operator.sub, here[1:], here))
        length = min(filter(None, gaps), default=60)
        # The first pause counts from midnight, as New York's clocks show it.
        pauses = [_shown(here[0], number), *(gap - length for gap in gaps)]
        longest = max(pauses)
        row = len(pauses) - 1 - pauses[::-1].index(longest)
        shown = _shown(here[row], number)
        if longest < HALF_HOUR or shown < NOON:
            return None
        return Evening(here[row], here[row] - shown % HALF_HOUR)


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
        return stretch.whole
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
    return _split(midnight, end, opened, early_closes().get(number))


def _split(begin: int, end: int, opened: int, minutes: int | None) -> tuple[Stretch, Stretch]:
    """Return a session in two at its early close, after so many minutes; whole where it has none."""
    close = end if minutes is None else min(end, opened + 60 * minutes)
    return Stretch(begin, close, opened, opened, (begin, end)), Stretch(close, end, close, opened, (begin, end))


def _shown(seconds: int, number: int) -> int:
    """Return the seconds since midnight that New York's clocks show at a moment of a date."""
    midnight, opened = edges(number)
    if opened - midnight == OPEN:
        return seconds - midnight
    return seconds + _offset(seconds) - number * DAY


@lru_cache(maxsize=1)
def _new_york() -> ZoneInfo:
    return ZoneInfo("America/New_York")


def _offset(seconds: int) -> int:
    offset = datetime.fromtimestamp(seconds, _new_york()).utcoffset()
    return int(offset.total_seconds()) if offset else 0
