"""The sessions that a column of moments touches, by the calendar of `bff_shared.trading_sessions`. Pure.

Which days are sessions is told by the data itself; the calendar only places a moment within its day.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from bff_aggregator.backend.bars import Ints
from bff_shared.trading_sessions import DAY, REGULAR_MINUTES, early_closes, edges, offsets_of


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
    early = early_closes()
    minutes = [early.get(number, REGULAR_MINUTES) for number in day.tolist()]
    return Sessions(first, day, midnight, opened, np.array(minutes, np.int64))


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
