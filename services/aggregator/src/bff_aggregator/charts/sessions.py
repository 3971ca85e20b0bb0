"""Which session a moment belongs to, and where that session opens and closes. Pure.

A session is named by its date in New York, and its hours are those of the calendar of `bff_shared.trading_sessions`.
Which days are sessions is told by the data itself; the calendar only places a moment within its day.

Where a date has bars after 20:00, what follows its longest pause is the next date's session, which is anchored at the
half hour in which it begins and knows no early close. So futures open at 18:00 the evening before, shares of Tokyo at
nine there, currencies on Sundays; what never pauses has New York's dates. A session depends on the bars of its date and
of the date before alone.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from bff_aggregator.backend.bars import Ints
from bff_shared.trading_sessions import DAY, OPEN, REGULAR_MINUTES, early_closes, edges, offsets_of

HALF_HOUR = 1800
NOON, NIGHT = 12 * 3600, 20 * 3600
"""Seconds of New York's day."""


@dataclass(frozen=True, slots=True, eq=False)
class Sessions:
    """The sessions that a column of moments touches, in order.

    `first[i]` is the row where session i begins; `day` its date in days since the epoch; `begin` and `open` are UTC
    seconds: 00:00 and 09:30 New York on that date, or both when it began the evening before; `minutes` is the length of
    regular hours.
    """

    first: Ints
    day: Ints
    begin: Ints
    open: Ints
    minutes: Ints


def find(t: Ints, minutes: int = 1) -> Sessions:
    """Return the sessions of ascending UTC seconds `t`, at least one: the starts of bars of so many minutes."""
    local = _local(t)
    date = local // DAY
    time = local - date * DAY
    evenings = _evenings(date, time, minutes * 60)
    day = date if not evenings else date.copy()
    for evening in evenings:
        day[evening.first : evening.last] += 1
    first = np.flatnonzero(np.diff(day, prepend=day[0] - 1))
    named = day[first]
    begin, opened = starts(named)
    for evening in evenings:
        session = int(np.searchsorted(named, date[evening.first] + 1))
        begin[session] = opened[session] = t[evening.first] - time[evening.first] + evening.begin
    overnight = np.logical_or.reduceat(day != date, first)
    early = early_closes()
    closes = [early.get(number, REGULAR_MINUTES) for number in named.tolist()]
    return Sessions(first, named, begin, opened, np.where(overnight, REGULAR_MINUTES, np.array(closes, np.int64)))


def are_regular(t: Ints) -> bool:
    """Tell whether ascending moments `t` all lie in regular hours, 09:30 to 16:00 in New York."""
    if not len(t):
        return True
    time = _local(t) % DAY
    return bool(np.all((time >= OPEN) & (time < OPEN + REGULAR_MINUTES * 60)))


@dataclass(frozen=True, slots=True)
class _Evening:
    """Rows `first` to `last` (excluded) of a date that belong to the next date's session.

    They begin at so many seconds of New York's day.
    """

    first: int
    last: int
    begin: int


def _evenings(date: Ints, time: Ints, length: int) -> list[_Evening]:
    """Return what belongs to the next date of dates that trade after 20:00, where there is a pause before it.

    `length` is that of a bar in seconds. It is the last of the longest pauses that counts, if it takes half an hour and
    ends in the afternoon.
    """
    found = []
    for number in np.unique(date[time >= NIGHT]).tolist():
        first, last = np.searchsorted(date, (number, number + 1)).tolist()
        here = time[first:last]
        pauses = here - np.concatenate(([0], here[:-1] + length))
        row = len(pauses) - 1 - int(np.argmax(pauses[::-1]))
        if pauses[row] >= HALF_HOUR and here[row] >= NOON:
            found.append(_Evening(first + row, last, int(here[row]) // HALF_HOUR * HALF_HOUR))
    return found


def _local(t: Ints) -> Ints:
    """Return moments as seconds that New York's clocks show."""
    local = t.copy()
    changes = _changes(t)
    rows = np.searchsorted(t, [at for at, _ in changes]).tolist()
    for start, end, (_, offset) in zip(rows, [*rows[1:], len(t)], changes, strict=True):
        local[start:end] += offset
    return local


def of_dates(t: Ints) -> Sessions:
    """Return one session for each stamp of a daily bar: midnight UTC of the session's date."""
    day = t // DAY
    nothing = np.zeros(len(t), np.int64)
    return Sessions(np.arange(len(t)), day, nothing, nothing, nothing)


def starts(day: Ints) -> tuple[Ints, Ints]:
    """Return UTC seconds of 00:00 and 09:30 New York on days since the epoch."""
    both = np.array([edges(number) for number in day.tolist()], np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _changes(t: Ints) -> list[tuple[int, int]]:
    """Return (UTC seconds, offset from then on) for the years that `t` spans, the first before all of `t`."""
    years = range(_moment(int(t[0])).year, _moment(int(t[-1])).year + 1)
    return [change for year in years for change in offsets_of(year)]


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
