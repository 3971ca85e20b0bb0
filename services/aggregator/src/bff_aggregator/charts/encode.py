"""The bodies of chart answers: what stands in them and how each format spells it. Pure."""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import orjson

from bff_aggregator.backend.bars import Bars
from bff_aggregator.charts import arrow
from bff_aggregator.charts.price_format import PriceFormat
from bff_aggregator.charts.query import ChartQuery, Format
from bff_aggregator.http import json_rows

MEDIA_TYPES = {
    Format.ROWS: "application/json",
    Format.COLUMNS: "application/json",
    Format.POINTS: "application/json",
    Format.ARROW: "application/vnd.apache.arrow.stream",
}

BAR_BYTES = {Format.ROWS: 150, Format.COLUMNS: 70, Format.POINTS: 130, Format.ARROW: 56}
"""About how many bytes a bar takes, rather more than less."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What an answer tells about itself; `load_ms` is the time from the request to the bars.

    `source`, `hit`, `backend_calls` and `load_ms` tell how this response came about, the others what it holds. `window`
    are the dates that its bars cover wholly, `forming` is the start, in UTC seconds, of one that was not over. After a
    `preview` finer bars are on their way.
    """

    total_bars: int
    source_bars: int
    source_timeframe: str
    decimated: bool
    stride: int
    rejected_bars: int
    source: str
    hit: bool
    stale: bool
    backend_calls: int
    load_ms: float
    price_format: PriceFormat = field(default_factory=PriceFormat)
    window: tuple[date, date] = (date.min, date.min)
    forming: int | None = None
    preview: bool = False

    def out_of_the_cache(self) -> "Facts":
        """Return the facts of the same chart for who is given what was kept of it."""
        return replace(self, source="cache", hit=True, backend_calls=0, load_ms=0.0)

    def metadata(self) -> dict[str, Any]:
        """Return the `metadata` of an answer; its names are the frontend's."""
        return {
            "total_bars": self.total_bars,
            "source_bars": self.source_bars,
            "source_timeframe": self.source_timeframe,
            "decimated": self.decimated,
            "decimation_stride": self.stride,
            "rejected_bars": self.rejected_bars,
            "cache_hit": self.hit,
            "stale": self.stale,
            "load_time_ms": round(self.load_ms, 2),
            "backend_calls": self.backend_calls,
            "data_source": self.source,
            "window": {"from_date": self.window[0].isoformat(), "to_date": self.window[1].isoformat()},
            "forming": None if self.forming is None else _iso(self.forming),
            "price_format": {"digits": self.price_format.digits, "min_move": self.price_format.min_move},
            **({"preview": True} if self.preview else {}),
        }


@dataclass(frozen=True, slots=True)
class Encoded:
    """A chart in the query's format without what differs between responses, which `body` adds; `content` digests it.

    `text` is everything before the value of `metadata`, which comes last; in Arrow's format it comes first, and `text`
    is empty.
    """

    query: ChartQuery
    bars: Bars
    text: bytes
    content: str

    def body(self, facts: Facts) -> tuple[bytes, ...]:
        """Return the pieces of a response's body; the large one is the same in all of them, save for Arrow."""
        metadata = facts.metadata()
        if self.query.format is Format.ARROW:
            told = orjson.dumps({**_head(self.query), "metadata": metadata}, option=json_rows.OPTIONS)
            return (arrow.stream(self.bars, told),)
        return (self.text, orjson.dumps(metadata) + b"}")


def encode(query: ChartQuery, bars: Bars, facts: Facts) -> Encoded:
    """Return a chart in its format, of which the `facts` about its bars count."""
    writers = {Format.ROWS: rows, Format.COLUMNS: columns, Format.POINTS: points}
    writer = writers.get(query.format)
    text = b"" if writer is None else writer(query, bars) + b',"metadata":'
    return Encoded(query, bars, text, content_digest(query, bars, facts))


def edition_of(facts: Facts) -> str:
    """Return 12 hex digits of how a response came about, which its metadata tell."""
    return hashlib.blake2b(repr(facts.metadata()).encode(), digest_size=6).hexdigest()


def content_digest(query: ChartQuery, bars: Bars, facts: Facts) -> str:
    """Return 16 hex digits that are the same for answers with the same bars to the same question."""
    lasting = (facts.decimated, facts.stride, facts.rejected_bars, facts.stale, facts.window, facts.forming)
    origin = (facts.source_bars, facts.source_timeframe)
    digest = hashlib.blake2b(repr((query, origin, lasting)).encode(), digest_size=8)
    for column in bars.columns:
        digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()


def rows(query: ChartQuery, bars: Bars) -> bytes:
    """Return the default format: one JSON object per bar, times in ISO 8601 with `Z`."""
    names = ("timestamp", "open", "high", "low", "close", "volume", "trades")
    stamped = (bars.t.astype("M8[s]"), *bars.columns[1:])
    objects = json_rows.objects(dict(zip(names, stamped, strict=False)))
    return b"".join((_opening(query), b',"bars":[', objects, b"]"))


def points(query: ChartQuery, bars: Bars) -> bytes:
    """Return what TradingView Lightweight Charts' `setData` takes: `candles`, and `volume` for a histogram.

    Times are UTC seconds, ascending and unique, as its `UTCTimestamp` asks.
    """
    candles = json_rows.objects({"time": bars.t, "open": bars.o, "high": bars.h, "low": bars.l, "close": bars.c})
    present = np.flatnonzero(~np.isnan(bars.v))  # the library takes no null
    volume = json_rows.objects({"time": bars.t[present], "value": bars.v[present]})
    return b"".join((_opening(query), b',"candles":[', candles, b'],"volume":[', volume, b"]"))


def columns(query: ChartQuery, bars: Bars) -> bytes:
    """Return the arrays that chart libraries take, times in UTC seconds, as a UDF history answer (`s`) has them."""
    names = ("t", "o", "h", "l", "c", "v", "n")
    arrays = dict(zip(names, map(np.ascontiguousarray, bars.columns), strict=False))
    status = "ok" if len(bars) else "no_data"
    return orjson.dumps({"s": status, **_head(query), **arrays}, option=json_rows.OPTIONS)[:-1]


def _opening(query: ChartQuery) -> bytes:
    """Return the first fields of a JSON object, which is left open."""
    return orjson.dumps(_head(query), option=json_rows.OPTIONS)[:-1]


def _head(query: ChartQuery) -> dict[str, Any]:
    return {
        "symbol": query.symbol,
        "timeframe": query.timeframe,
        "from_date": query.first,
        "to_date": query.last,
    }


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
