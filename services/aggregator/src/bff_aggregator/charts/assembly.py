"""A chart assembled from cached chunks: which bars, merged into which buckets, and the facts about them. Pure."""

from dataclasses import replace
from datetime import date

import numpy as np

from bff_aggregator.backend.bars import Bars, Source
from bff_aggregator.charts import chunk_codec, hourly_source, material, sessions
from bff_aggregator.charts.chunk_plan import Chunk
from bff_aggregator.charts.encode import Encoded, Facts, encode
from bff_aggregator.charts.hourly_source import Hours
from bff_aggregator.charts.material import Material, Wanting
from bff_aggregator.charts.price_format import price_format
from bff_aggregator.charts.query import ChartQuery
from bff_aggregator.charts.resample import Buckets, Clock, Size, minutes_of
from bff_aggregator.charts.timeframes import unmerged
from bff_aggregator.http.steps import Steps

Assembled = tuple[Encoded, Facts]
"""A chart, and the facts about it as for a response out of the cache."""


def assemble(
    query: ChartQuery, given: Material, today: date, *, stale: bool, preview_of: ChartQuery | None = None
) -> Steps[Assembled]:
    """Return, in steps, a chart and the facts about its bars; a preview is told as an answer to what it is one of.

    Raises Wanting where it takes more, and hourly_source.NotInterchangeable where hours do not stand in for minutes.
    """
    wants, source = given.wants, given.wants.source
    piece = chunk_codec.join([entry.value for _, entry in given.chunks])
    yield
    bars, stands_in = piece.bars.between(*wants.window.bounds), source is not query.timeframe.source
    rejected = piece.rejected
    if stands_in:
        hours = _hours(bars, rejected, given)
        bars, rejected = hours.bars, hours.rejected
    rows = slice(*np.searchsorted(bars.t, Chunk(query.first, query.last).bounds).tolist())
    asked = bars.take(rows)
    regular = source is Source.DAILY or sessions.are_regular(asked.t)
    clock = _clock(query, source, regular=regular, cut_at_close=stands_in)
    if stands_in:
        hours.require_fit(asked.t, query.target)
    if clock.are_few(len(asked), query.target):
        buckets, size = Buckets(bars, rows, clock) if len(asked) else None, None
        made, stride, window, sources = asked, clock.shortest, Chunk(query.first, query.last), len(asked)
    else:
        if not regular:
            _require(given, material.around(Chunk(query.first, query.last), query, today))
        buckets = Buckets(bars, rows, clock)
        size = buckets.finest(query.target)
        window = material.needed(query, buckets, size, today, regular=regular)
        _require(given, window)
        made, stride = buckets.merged(size), minutes_of(size)
        taken = buckets.source_rows(size)
        sources = taken.stop - taken.start
    yield
    facts = Facts(
        total_bars=len(made),
        source_bars=sources,
        source_timeframe=unmerged(source),
        decimated=stride > clock.shortest or stands_in or preview_of is not None,
        stride=stride,
        rejected_bars=rejected,
        source="cache",
        hit=True,
        stale=stale,
        backend_calls=0,
        load_ms=0.0,
        price_format=price_format(made),
        window=(window.first, window.last),
        forming=None if buckets is None else _forming(made, buckets, size, given),
        preview=preview_of is not None,
    )
    return encode(preview_of or query, made, facts), facts


def _clock(query: ChartQuery, source: Source, *, regular: bool, cut_at_close: bool) -> Clock:
    """Return what the bars that a query is answered from mean."""
    finest, daily = query.timeframe.minutes, source is Source.DAILY
    extended = not (query.rth_only and regular)
    return Clock(source.minutes, finest, daily=daily, extended=extended, cut_at_close=cut_at_close)


def _hours(bars: Bars, rejected: int, given: Material) -> Hours:
    """Return hours that stand in for minutes, with the minutes of dates that need them."""
    odd = hourly_source.odd_dates(bars, rejected)
    if not set(odd) <= set(given.wants.minute_dates):
        raise Wanting(replace(given.wants, minute_dates=tuple(sorted({*odd, *given.wants.minute_dates}))))
    parts = [(chunk, entry) for chunk, entry in given.minutes if chunk.first in odd]
    return hourly_source.with_minutes(bars, odd, chunk_codec.join([entry.value for _, entry in parts]))


def _require(given: Material, window: Chunk) -> None:
    if not material.covers(given.wants.window, window):
        raise Wanting(given.wants.widened(window))


def _forming(made: Bars, buckets: Buckets, size: Size | None, given: Material) -> int | None:
    """Return the start of the last bar if its data were had before it was over."""
    stamp = int(made.t[-1])
    return stamp if buckets.end(size) > given.made(stamp) else None
