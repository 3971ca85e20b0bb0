"""A run's metrics, equity and orders out of its frames, as the backend's event stream sends them. Pure.

    event: frame
    data: {"t":"frame","ts":"2025-01-02T14:30:00Z","ohlc":…,"orders":[…],"equity":{"ts":…,"value":…},"dropped":0}

The stream says how it ends: `event: end`, or `event: error` with a reason. What breaks off before is no whole run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import orjson

from bff_aggregator.backend import schema
from bff_aggregator.backend.equity_curve import Curve, make_curve
from bff_aggregator.backend.numeric_json import floats
from bff_aggregator.backend.schema import Json, UnexpectedShape
from bff_aggregator.backend.timestamps import NOWHEN, parse_times

PIECE: Final = 512 * 1024
_BETWEEN = b"\n\n"


@dataclass(slots=True)
class Frames:
    """What some successive frames say: points of the equity, orders, the last metrics among them.

    `ended` is whether the end of the run is among them, `error` the message of an error event. `rejected` counts the
    events that are no frames.
    """

    times: list[Any] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    orders: list[Json] = field(default_factory=list)
    metrics: Json | None = None
    ended: bool = False
    error: str | None = None
    rejected: int = 0

    def take(self, event: bytes, message: Any) -> None:
        """Take an event of a type and its data."""
        said = message if isinstance(message, dict) else {}
        kind = said.get("t")
        if event == b"end" or kind == "end":
            self.ended = True
        elif event == b"error" or kind == "err":
            self.error = str(said.get("msg") or said.get("code") or "")
        elif kind == "frame" or event == b"frame":
            self._take_frame(said)
        elif kind != "hb":
            self.rejected += 1

    def _take_frame(self, frame: Json) -> None:
        equity, orders, metrics = frame.get("equity"), frame.get("orders"), frame.get("metrics")
        if isinstance(equity, dict):
            self.times.append(equity.get("ts") or frame.get("ts"))
            self.values.append(equity.get("value"))
        if isinstance(orders, list):
            self.orders += [order for order in orders if isinstance(order, dict)]
        if isinstance(metrics, dict) and metrics:
            self.metrics = metrics


class EventScanner:
    """Takes the text of an event stream as it comes, and gives pieces of whole events, about `PIECE` bytes each."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, data: bytes) -> bytes | None:
        """Take more text; return whole events once there are enough of them."""
        self._waiting += data.replace(b"\r", b"")
        return self._cut() if len(self._waiting) >= PIECE else None

    def end(self) -> bytes:
        """Return what is left."""
        rest, self._waiting = bytes(self._waiting), bytearray()
        return rest

    def _cut(self) -> bytes | None:
        seam = self._waiting.rfind(_BETWEEN)
        if seam < 0:
            return None
        piece = bytes(self._waiting[: seam + len(_BETWEEN)])
        del self._waiting[: len(piece)]
        return piece


def read_events(piece: bytes) -> Frames:
    """Return what whole events say."""
    found = Frames()
    events = [(kind, data) for kind, data in map(_event_of, piece.split(_BETWEEN)) if kind or data]
    try:
        messages = orjson.loads(b"[" + b",".join(data or b"null" for _, data in events) + b"]")
    except orjson.JSONDecodeError:
        messages = [_read(data) for _, data in events]
    for (kind, _), message in zip(events, messages, strict=True):
        found.take(kind, message)
    return found


def parts_of(pieces: Sequence[Frames]) -> tuple[Curve, list[Json], Json]:
    """Return the curve, the orders and the metrics of a run's frames, in our vocabulary."""
    times = [time for piece in pieces for time in piece.times]
    values = [value for piece in pieces for value in piece.values]
    at = parse_times(times) if times else np.empty(0, np.int64)
    curve = make_curve(at, np.where(at == NOWHEN, np.nan, floats(values, len(values))), None, None)
    orders = schema.orders_of([order for piece in pieces for order in piece.orders])
    told = next((piece.metrics for piece in reversed(pieces) if piece.metrics), {})
    try:
        metrics = schema.metrics_of(told)
    except UnexpectedShape:
        metrics = schema.metrics_of({})
    return curve, orders, metrics


def _event_of(text: bytes) -> tuple[bytes, bytes]:
    """Return an event's type and its data, whose lines are joined (HTML standard, 9.2.6)."""
    event, data = b"", []
    for line in text.split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            event = value
        elif name == b"data":
            data.append(value)
    return event, b"\n".join(data)


def _read(text: bytes) -> Any:
    try:
        return schema.read_json(text)
    except UnexpectedShape:
        return None
