"""The US trading day: which session a moment belongs to, and where that session opens and closes. Pure.

A session is named by its date in New York. Regular hours are 09:30 to 16:00 there, or to an early close of the table.
Which days are sessions is told by the data itself; the rules here only place a moment within its day. Buckets are
anchored at 09:30 also before October 1985, when trading began at 10:00: that is where the backend's hours begin.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from bff_aggregator.backend.bars import Ints
from bff_aggregator.charts.early_closes import EARLY_CLOSES

DAY = 86_400
OPEN = (9 * 60 + 30) * 60
REGULAR_MINUTES = 390
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Sessions:
    """The sessions that a column of moments touches, in order.

    `first[i]` is the row where session i begins; `day` its date in days since the epoch; `midnight` and `open` are UTC
    seconds of 00:00 and 09:30 New York on that date; `minutes` the length of regular hours.
    """

    first: Ints
    day: Ints
    midnight: Ints
    open: Ints
    minutes: Ints


def find(t: Ints) -> Sessions:
    """Return the sessions of ascending UTC seconds `t`, at least one of them."""
    local = t.copy()
    changes = _changes(t)
    rows = np.searchsorted(t, [at for at, _ in changes]).tolist()
    for start, end, (_, offset) in zip(rows, [*rows[1:], len(t)], changes, strict=True):
        local[start:end] += offset
    day = local // DAY
    first = np.flatnonzero(np.diff(day, prepend=day[0] - 1))
    day = day[first]
    midnight, opened = starts(day)
    early = _early_closes()
    minutes = [early.get(number, REGULAR_MINUTES) for number in day.tolist()]
    return Sessions(first, day, midnight, opened, np.array(minutes, np.int64))


def of_dates(t: Ints) -> Sessions:
    """Return one session for each stamp of a daily bar: midnight UTC of the session's date."""
    day = t // DAY
    nothing = np.zeros(len(t), np.int64)
    return Sessions(np.arange(len(t)), day, nothing, nothing, nothing)


def starts(day: Ints) -> tuple[Ints, Ints]:
    """Return UTC seconds of 00:00 and 09:30 New York on days since the epoch."""
    edges = [_edges(number) for number in day.tolist()]
    both = np.array(edges, np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


@lru_cache(maxsize=1)
def _new_york() -> ZoneInfo:
    return ZoneInfo("America/New_York")


@lru_cache(maxsize=8192)
def _edges(number: int) -> tuple[int, int]:
    day = _EPOCH + timedelta(days=number)
    midnight = datetime(day.year, day.month, day.day, tzinfo=_new_york())
    return int(midnight.timestamp()), int(midnight.replace(hour=9, minute=30).timestamp())


def _changes(t: Ints) -> list[tuple[int, int]]:
    """Return (UTC seconds, offset from then on) for the years that `t` spans, the first before all of `t`."""
    years = range(_moment(int(t[0])).year, _moment(int(t[-1])).year + 1)
    return [change for year in years for change in _changes_of(year)]


@lru_cache(maxsize=128)
def _changes_of(year: int) -> tuple[tuple[int, int], ...]:
    """Return the offset at a UTC year's start, and each change within it to the second."""
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


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _offset(seconds: int) -> int:
    offset = datetime.fromtimestamp(seconds, _new_york()).utcoffset()
    return int(offset.total_seconds()) if offset else 0


@lru_cache(maxsize=1)
def _early_closes() -> dict[int, int]:
    """Return the minutes of regular hours on the days, since the epoch, that end early."""
    return {
        (date.fromisoformat(day) - _EPOCH).days: minutes
        for minutes, days in EARLY_CLOSES.items()
        for day in days.split()
    }
