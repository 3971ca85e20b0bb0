"""Which chunks of time a window of dates is made of, how long each is good for, and which calls fetch them. Pure.

A chunk is a whole number of UTC dates, because that is how the backend is asked. Sizes are measured (docs/charts.md has
the figures): a day of minutes, a week of hours and a month of days are small enough that a window's edges hardly ask
for more than the window, and large enough that years of them are put together in milliseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from bff_aggregator.backend.bars import Source
from bff_aggregator.cache.entry import STALE_IF_ERROR, Lifetime

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
OPEN_SECONDS, RECENT_SECONDS, OLD_SECONDS, EMPTY_SECONDS = 5 * MINUTE, HOUR, DAY, MINUTE
OLD_DAYS = 7
_EPOCH, _FRIDAY = date(1970, 1, 1), 4
CALL_BYTES = 52 * 1024 * 1024
"""Bytes that a response may be expected to have: `Upstream` accepts 64 MiB."""

BYTES_IN_FLIGHT = 128 * 1024 * 1024
"""Bytes that all responses for one request may be expected to have at a time, and so in memory."""

CALLS = 8
_BAR_BYTES = 100
_DAY_BARS = {Source.MINUTE: 1440, Source.HOUR: 24, Source.DAILY: 1}
"""Bars of a day around the clock: whether a symbol trades like that is known only when its bars are there."""


@dataclass(frozen=True, slots=True, order=True)
class Chunk:
    """Bars of the UTC dates `first` to `last`, both included."""

    first: date
    last: date

    @property
    def key(self) -> str:
        """The chunk's part of a cache key."""
        return self.first.isoformat().replace("-", "")

    @property
    def dates(self) -> tuple[date, date]:
        """The first and the last date."""
        return self.first, self.last

    @property
    def bounds(self) -> tuple[int, int]:
        """The UTC seconds at which the chunk begins and ends."""
        first, last = ((day - _EPOCH).days * int(DAY) for day in (self.first, self.last))
        return first, last + int(DAY)


def chunk_of(source: Source, day: date) -> Chunk:
    """Return the chunk that holds a date."""
    if source is Source.MINUTE:
        return Chunk(day, day)
    if source is Source.HOUR:
        monday = day - timedelta(days=day.weekday())
        return Chunk(monday, monday + timedelta(days=6))
    first = day.replace(day=1)
    return Chunk(first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1))


def chunks(source: Source, first: date, last: date) -> list[Chunk]:
    """Return the chunks that the dates `first` to `last` touch, in order."""
    found = [chunk_of(source, first)]
    while found[-1].last < last:
        found.append(chunk_of(source, found[-1].last + timedelta(days=1)))
    return found


def runs(source: Source, wanted: Sequence[Chunk]) -> list[list[Chunk]]:
    """Return chunks in groups to be fetched with one call each: neighbours together, as far as a response may go."""
    most = CALL_BYTES // day_bytes(source)
    groups: list[list[Chunk]] = []
    for chunk in sorted(wanted):
        if groups and _follows(chunk, groups[-1]) and (chunk.last - groups[-1][0].first).days < most:
            groups[-1].append(chunk)
        else:
            groups.append([chunk])
    return groups


def day_bytes(source: Source) -> int:
    """Return how many bytes a day takes at most in the backend's response."""
    return _DAY_BARS[source] * _BAR_BYTES


def calls_at_once(source: Source, groups: Sequence[Sequence[Chunk]]) -> int:
    """Return how many of these groups may be fetched at a time."""
    longest = max((group[-1].last - group[0].first).days + 1 for group in groups)
    return max(1, min(CALLS, BYTES_IN_FLIGHT // (longest * day_bytes(source))))


def _follows(chunk: Chunk, group: Sequence[Chunk]) -> bool:
    return (chunk.first - group[-1].last).days == 1


def last_weekday(day: date) -> date:
    """Return a date, or the Friday before it on a weekend: on most of these there are bars."""
    return day - timedelta(days=max(0, day.weekday() - _FRIDAY))


def lifetime(chunk: Chunk, today: date, *, known_empty: bool) -> Lifetime:
    """Return how long a chunk's bars are good for; `known_empty` is an answer of the backend that it has none.

    What may still grow is asked for often, what was closed a week ago once a day.
    """
    if known_empty:
        return Lifetime(EMPTY_SECONDS)
    if chunk.last >= today:
        return Lifetime(OPEN_SECONDS, MINUTE, STALE_IF_ERROR)
    fresh = OLD_SECONDS if (today - chunk.last).days > OLD_DAYS else RECENT_SECONDS
    return Lifetime(fresh, OPEN_SECONDS, STALE_IF_ERROR)
