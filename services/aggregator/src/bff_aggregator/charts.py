"""Chart answers: the bars of a window, decimated, with what is to be told about them."""

import time
from collections.abc import Sequence
from datetime import date

from bff_aggregator import bodies, sources
from bff_aggregator.bars import Bars
from bff_aggregator.bodies import Facts
from bff_aggregator.deadlines import Deadline
from bff_aggregator.decimate import Clock, decimate
from bff_aggregator.query import ChartQuery, Format, Timeframe
from bff_aggregator.sources import Range, Source
from bff_shared.errors import DatasetNotFound
from bff_shared.headers import Header
from bff_shared.upstream import Upstream

SOURCES = {
    Timeframe.DAY: Source.DAILY,
    Timeframe.HOUR: Source.HOUR,
    Timeframe.MINUTE: Source.MINUTE,
    Timeframe.DECIMATED: Source.MINUTE,
}


def clock_of(query: ChartQuery) -> Clock:
    """Return what the bars of a query's source mean."""
    minutes = {Source.DAILY: 390, Source.HOUR: 60, Source.MINUTE: 1}[SOURCES[query.timeframe]]
    return Clock(minutes, daily=query.timeframe is Timeframe.DAY, extended=not query.rth_only)


class Charts:
    """Answers chart queries from the backend."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def answer(self, query: ChartQuery, credentials: Sequence[Header], deadline: Deadline) -> bytes:
        """Return the body for a query."""
        begun = time.monotonic()
        source = SOURCES[query.timeframe]
        rth_only = None if source is Source.DAILY else query.rth_only
        wanted = Range(query.symbol, source, rth_only, query.first, query.last)
        parsed = await sources.fetch(self._upstream, wanted, credentials, deadline.at)
        if parsed is None:
            await self._require_known(query, credentials, deadline)
            parsed = sources.nothing(source)
        done = decimate(parsed.bars, query.target, clock_of(query))
        facts = Facts(
            total_bars=len(done.bars),
            source_bars=len(parsed.bars),
            decimated=done.decimated,
            stride=done.stride,
            rejected_bars=parsed.rejected,
            source="backend",
            hit=False,
            stale=False,
            backend_calls=1,
            load_ms=(time.monotonic() - begun) * 1000,
        )
        return encode(query, done.bars, facts)

    async def _require_known(self, query: ChartQuery, credentials: Sequence[Header], deadline: Deadline) -> None:
        """Raise DatasetNotFound unless the window lies within what the backend has of the symbol."""
        everything = Range(query.symbol, Source.DAILY, None)
        known = await sources.fetch(self._upstream, everything, credentials, deadline.at)
        extent = None if known is None or not len(known.bars) else day_range(known.bars)
        if extent is None:
            raise DatasetNotFound("the backend has no bars of this symbol", {"symbol": query.symbol, "known": None})
        if query.last < extent[0] or query.first > extent[1]:
            known_range = {"from_date": extent[0].isoformat(), "to_date": extent[1].isoformat()}
            details = {"symbol": query.symbol, "known": known_range}
            raise DatasetNotFound("the backend has no bars of this symbol in this range", details)


def day_range(daily: Bars) -> tuple[date, date]:
    """Return the first and last date of daily bars, at least one."""
    first, last = (int(t) // 86_400 for t in (daily.t[0], daily.t[-1]))
    epoch = date(1970, 1, 1).toordinal()
    return date.fromordinal(epoch + first), date.fromordinal(epoch + last)


def encode(query: ChartQuery, bars: Bars, facts: Facts) -> bytes:
    """Return the body in the query's format."""
    return bodies.columns(query, bars, facts) if query.format is Format.COLUMNS else bodies.rows(query, bars, facts)
