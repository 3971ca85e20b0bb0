"""Which bars a chart is made from, and which more of them it turns out to need. Pure.

A candle is the same in every window: a window is widened to whole buckets, whose size is known only when its bars are
there. So charts are assembled from what dates alone foretell, and anew where that was too little.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np

from bff_aggregator.backend.bars import Source
from bff_aggregator.cache.entry import Entry
from bff_aggregator.charts.chunk_plan import Chunk
from bff_aggregator.charts.query import FIRST_DATE, ChartQuery
from bff_aggregator.charts.resample import Buckets, Size, Span, span_dates
from bff_shared.trading_sessions import REGULAR_MINUTES

NEIGHBOURS = timedelta(days=2)
"""What a session out of regular hours may reach beyond its own date, and what tells where it begins and ends."""

_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Wants:
    """What a chart is made from: bars of a source in a window of UTC dates, and minutes for some dates of it."""

    source: Source
    window: Chunk
    minute_dates: tuple[date, ...] = ()

    def widened(self, window: Chunk) -> "Wants":
        """Return the same with a window that holds another one too."""
        return replace(self, window=_union(self.window, window))


class Wanting(Exception):
    """More is wanted than what a chart was to be assembled from."""

    def __init__(self, wants: Wants) -> None:
        super().__init__(wants)
        self.wants = wants


@dataclass(frozen=True, slots=True)
class Material:
    """Cached chunks of what is wanted, in order, each with the range that it covers."""

    wants: Wants
    chunks: Sequence[tuple[Chunk, Entry]]
    minutes: Sequence[tuple[Chunk, Entry]] = field(default=())

    @property
    def entries(self) -> list[Entry]:
        """All entries."""
        return [entry for _, entry in (*self.chunks, *self.minutes)]

    def made(self, since: int) -> float:
        """Return when, in Unix seconds, the oldest entry was made of those that reach beyond a moment."""
        late = [entry.made for chunk, entry in (*self.chunks, *self.minutes) if chunk.bounds[1] > since]
        return min(late or [entry.made for entry in self.entries])


def foreseen(query: ChartQuery, source: Source, today: date) -> Chunk:
    """Return the window that dates alone say is wanted, `today` being the UTC date; bars may say otherwise."""
    end = min(query.last, today)
    if end < query.first:
        return Chunk(query.first, query.last)
    days = (end - query.first).days + 1
    weekdays = int(np.busday_count(query.first, end + timedelta(days=1)))
    counts = {Span.SESSION: weekdays if query.rth_only or source is Source.DAILY else days, Span.WEEK: days // 7 + 1}
    counts |= {Span.MONTH: days // 30 + 1, Span.QUARTER: days // 91 + 1}
    span = next((span for span, count in counts.items() if count <= query.target), Span.YEAR)
    window = Chunk(query.first, query.last)
    if span is not Span.SESSION:
        first, last = ((day - _EPOCH).days for day in (query.first, end))
        window = _union(window, _chunk(*span_dates(first, last, span)))
    merged = weekdays * REGULAR_MINUTES > query.target * source.minutes
    extended = source is not Source.DAILY and not query.rth_only
    return around(window, query, today) if extended and merged else _bounded(window, query, today)


def needed(query: ChartQuery, buckets: Buckets, size: Size, today: date, *, regular: bool) -> Chunk:
    """Return the window that holds the buckets of a size wholly; sessions in regular hours lie within a UTC date."""
    window = _union(Chunk(query.first, query.last), _chunk(*buckets.dates(size)))
    return _bounded(window, query, today) if regular else around(window, query, today)


def around(window: Chunk, query: ChartQuery, today: date) -> Chunk:
    """Return a window with its neighbouring dates, as far as there may be bars."""
    return _bounded(Chunk(window.first - NEIGHBOURS, window.last + NEIGHBOURS), query, today)


def covers(window: Chunk, other: Chunk) -> bool:
    """Tell whether a window holds another one."""
    return window.first <= other.first and window.last >= other.last


def _bounded(window: Chunk, query: ChartQuery, today: date) -> Chunk:
    last = max(query.last, min(window.last, today))
    return Chunk(min(query.first, max(window.first, FIRST_DATE)), last)


def _union(one: Chunk, other: Chunk) -> Chunk:
    return Chunk(min(one.first, other.first), max(one.last, other.last))


def _chunk(first: int, last: int) -> Chunk:
    return Chunk(_EPOCH + timedelta(days=first), _EPOCH + timedelta(days=last))
