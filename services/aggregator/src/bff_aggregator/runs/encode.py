"""A run with its parts as JSON: rows or columns, decimated, with metadata that says what it is. Pure.

The sections come first and the metadata last, so that the sections, which stay the same for a finished run, are encoded
once and each answer only adds what is its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from bff_aggregator.backend.equity_curve import Curve
from bff_aggregator.backend.part import PARTS
from bff_aggregator.backend.schema import ORDER_FIELDS, Json
from bff_aggregator.backend.timestamps import MICROSECONDS, NOWHEN, iso_times, parse_times, unix_seconds
from bff_aggregator.http import json_rows
from bff_aggregator.http.steps import Steps
from bff_aggregator.runs import downsample, performance, revision
from bff_aggregator.runs.part_codec import data_of
from bff_aggregator.runs.revision import RunBundle

SLICE: Final = 4096
HEAD_BYTES, POINT_BYTES, COLUMN_BYTES, ORDER_BYTES = 4096, 110, 56, 320
"""Bytes of a run with its metrics, of a point of equity as a row and in columns, of an order."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How an answer is wanted: the points of equity (0 for all), which orders, rows or columns."""

    equity_points: int = 2000
    orders_limit: int | None = None
    orders_offset: int = 0
    columns: bool = False


@dataclass(frozen=True, slots=True)
class Body:
    """The encoded sections of an answer, without the closing brace, and what its metadata says of them.

    `digest` is the same for answers that differ in their metadata only.
    """

    text: bytes
    digest: str
    orders_count: int | None
    equity_points: int | None
    computed: tuple[str, ...]


def estimated_size(bundle: RunBundle, shape: Shape) -> int:
    """Return about how many bytes the sections will have: rather more than less, so that there is room for them."""
    points, orders = bundle.parts["equity"].count or 0, bundle.parts["orders"].count or 0
    points = min(points, shape.equity_points or points)
    orders = max(0, orders - shape.orders_offset)
    orders = orders if shape.orders_limit is None else min(orders, shape.orders_limit)
    return HEAD_BYTES + points * (COLUMN_BYTES if shape.columns else POINT_BYTES) + orders * ORDER_BYTES


def encode_sections(bundle: RunBundle, shape: Shape) -> Steps[Body]:
    """Return, in steps, the sections run, metrics, equity and orders of a run."""
    run, computed = bundle.snapshot.run, list[str]()
    curve, orders = data_of(bundle.parts["equity"]), data_of(bundle.parts["orders"])
    metrics = data_of(bundle.parts["metrics"])
    if metrics is not None:
        found = performance.complete(metrics, curve, bundle.parts["orders"].facts)
        metrics = {**metrics, **found}
        computed += sorted(found)
    line = None
    if curve is not None:
        line = downsample.downsample(curve, shape.equity_points, _moments(orders))
        computed += [] if curve.given or not len(curve) else ["equity.drawdown"]
    parts = [b'{"run":', orjson.dumps(run), b',"metrics":', orjson.dumps(metrics), b',"equity":']
    yield
    parts += yield from _equity(line, columns=shape.columns)
    if orders is not None:
        orders = _named(orders, run.get("symbol"))
    parts.append(b',"orders":')
    parts += yield from _orders(orders, shape)
    text = b"".join(parts)
    states = [(name, part.state) for name, part in bundle.parts.items()]
    digest = blake2b(text, digest_size=8)
    digest.update(orjson.dumps([bundle.snapshot.revision, states, computed]))
    return Body(text, digest.hexdigest(), _count(orders), _count(line), tuple(computed))


def metadata_text(body: Body, bundle: RunBundle, now: float, load_time_ms: float) -> bytes:
    """Return the rest of an answer, the metadata that is this very answer's own."""
    metadata: Json = {
        "load_time_ms": round(load_time_ms, 2),
        "cache_hit": bundle.cache_hit,
        "backend_calls": bundle.calls,
        "data_sources": [name for name in ("run", *PARTS) if name == "run" or bundle.parts[name].usable],
        "partial_data": bundle.partial,
        "failed_sources": bundle.failed_sources,
        "stale": bundle.stale,
        "orders_count": body.orders_count,
        "equity_points": body.equity_points,
        "equity_source_points": bundle.parts["equity"].count,
        "computed": body.computed,
        "revision": bundle.snapshot.revision,
        "parts": revision.report(bundle, now),
    }
    return b',"metadata":' + orjson.dumps(metadata) + b"}"


def _count(items: Any) -> int | None:
    return None if items is None else len(items)


def _moments(orders: list[Json] | None) -> NDArray[np.int64] | None:
    if not orders:
        return None
    at = parse_times([order["ts"] for order in orders])
    return np.asarray(at[at != NOWHEN])


def _named(orders: list[Json], symbol: str | None) -> list[Json]:
    """Return orders with the run's symbol where theirs is empty."""
    if symbol is None or all(order["symbol"] for order in orders):
        return orders
    return [order if order["symbol"] else {**order, "symbol": symbol} for order in orders]


def _equity(curve: Curve | None, *, columns: bool) -> Steps[list[bytes]]:
    if curve is None:
        return [b"null"]
    if columns:
        return _equity_columns(curve)
    pieces = yield from _equity_rows(curve)
    return pieces


def _equity_rows(curve: Curve) -> Steps[list[bytes]]:
    """Encode in slices: a year of minutes at once would take a long time, and as objects tens of megabytes."""
    pieces: list[bytes] = []
    whole_seconds = not np.any(curve.at % MICROSECONDS)
    for start in range(0, len(curve), SLICE):
        part = curve.take(np.arange(start, min(start + SLICE, len(curve))))
        if whole_seconds and part.extra is None:
            at = (part.at // MICROSECONDS).astype("M8[s]")
            text = json_rows.objects({"ts": at, "value": part.value, "drawdown": part.drawdown})
        else:
            text = orjson.dumps(_equity_objects(part))[1:-1]
        pieces += [b"," if start else b"[", text]
        yield
    return [*pieces, b"]"] if pieces else [b"[]"]


def _equity_objects(curve: Curve) -> list[Json]:
    rows: list[Json] = [
        {"ts": ts, "value": value, "drawdown": loss}
        for ts, value, loss in zip(iso_times(curve.at), curve.value.tolist(), curve.drawdown.tolist(), strict=True)
    ]
    for row, extra in zip(rows, curve.extra or (), strict=False):
        row |= {"extra": extra} if extra else {}
    return rows


def _equity_columns(curve: Curve) -> list[bytes]:
    columns = {"t": unix_seconds(curve.at), "value": curve.value, "drawdown": curve.drawdown}
    pieces = [b"{"]
    for name, column in columns.items():
        pieces += [b'"', name.encode(), b'":', orjson.dumps(column, option=orjson.OPT_SERIALIZE_NUMPY), b","]
    if curve.extra is not None:
        pieces += [b'"extra":', orjson.dumps(curve.extra), b","]
    return [*pieces[:-1], b"}"]


def _orders(orders: list[Json] | None, shape: Shape) -> Steps[list[bytes]]:
    if orders is None:
        return [b"null"]
    end = None if shape.orders_limit is None else shape.orders_offset + shape.orders_limit
    shown = orders[shape.orders_offset : end]
    if shape.columns:
        return [orjson.dumps(_columns(shown))]
    pieces: list[bytes] = []
    for start in range(0, len(shown), SLICE):
        pieces += [b"," if start else b"[", orjson.dumps(shown[start : start + SLICE])[1:-1]]
        yield
    return [*pieces, b"]"] if pieces else [b"[]"]


def _columns(orders: list[Json]) -> Mapping[str, Any]:
    columns: Json = {name: [order[name] for order in orders] for name in ORDER_FIELDS if name != "ts"}
    at = parse_times([order["ts"] for order in orders])
    columns = {"t": [_seconds(t) for t in at.tolist()], **columns}
    if any("extra" in order for order in orders):
        columns["extra"] = [order.get("extra") for order in orders]
    return columns


def _seconds(at: int) -> float | None:
    if at == NOWHEN:
        return None
    return at // MICROSECONDS if at % MICROSECONDS == 0 else at / MICROSECONDS
