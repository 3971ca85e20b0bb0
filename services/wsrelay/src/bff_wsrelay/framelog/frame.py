"""Frames of a run: what the backend sends, how it is kept, how several become one. Pure.

A frame is kept as the JSON that a viewer gets, without what depends on the viewer and without the closing brace:
`{"t":"frame","ts":…,"ohlc":…,"orders":[…],"equity":…,…` (further fields of the backend as they came).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

import orjson

from bff_shared import foreign_json
from bff_wsrelay.framelog.candles import total_volume

RELAY_FIELDS = frozenset(("t", "ts", "ohlc", "orders", "equity", "dropped", "n", "seq"))
"""Fields that the relay writes itself; all others are handed on from the last frame covered."""

Ohlc = dict[str, Any]


class Malformed(foreign_json.MalformedJson):
    """A message is JSON, and not a frame of the backend's contract."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One source frame: its start in µs since the epoch (UTC), its JSON head, a digest of what it says about the run.

    The digest leaves out further fields (`metrics`, `total_frames`): they may differ between passes over one run.
    """

    micros: int
    head: bytes
    digest: int
    ohlc: Ohlc | None
    orders: Sequence[Any]
    equity: Any
    total: int | None


def parse_time(text: str) -> int:
    """Return an ISO 8601 time as µs since the epoch; without an offset it is UTC. Raises ValueError.

    So does a time that an offset moves out of the years 1 to 9999, which `stamp` could not write.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - _EPOCH
    micros = (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
    if not _FIRST <= micros <= _LAST:
        raise ValueError("not within the years 1 to 9999, UTC")
    return micros


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_LAST = (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


def format_time(micros: int) -> str:
    """Return µs since the epoch as ISO 8601 with `Z`, as the backend writes it."""
    seconds, rest = divmod(micros, 1_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:06d}Z" if rest else f"{text}Z"


def parse_frame(message: dict[str, Any]) -> Frame:
    """Return the frame that a message of type `frame` carries. Raises Malformed.

    A candle without one of its prices, as where the backend has NaN, is no candle; a missing volume is 0; an equity
    without a value is none.
    """
    ts, orders = message.get("ts"), message.get("orders")
    if not isinstance(ts, str):
        raise Malformed("a frame's ts is not text")
    try:
        micros = parse_time(ts)
    except ValueError as error:
        raise Malformed("a frame's ts is not a time") from error
    orders = [] if orders is None else orders
    if not isinstance(orders, list) or not all(isinstance(order, dict) for order in orders):
        raise Malformed("a frame's orders are not a list of objects")
    ohlc, equity = _candle(message.get("ohlc")), _equity(message.get("equity"))
    rest = {key: value for key, value in message.items() if key not in RELAY_FIELDS}
    core = orjson.dumps({"t": "frame", "ts": ts, "ohlc": ohlc, "orders": orders, "equity": equity})[:-1]
    head = core + b"," + orjson.dumps(rest)[1:-1] if rest else core
    total = message.get("total_frames")
    known = total if isinstance(total, int) and not isinstance(total, bool) and total > 0 else None
    return Frame(micros, head, frame_digest(core), ohlc, orders, equity, known)


def _candle(value: Any) -> Ohlc | None:
    """Return a candle of finite numbers, None where there is none or a price is missing. Raises Malformed."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise Malformed("a frame's ohlc is not an object")
    numbers = [_number(value.get(name)) for name in ("o", "h", "l", "c", "v")]
    if any(number is None for number in numbers[:4]):
        return None
    return value if numbers[4] is not None else {**value, "v": 0}


def _equity(value: Any) -> Any:
    """Return a point of the equity, None where there is none or it has no value. Raises Malformed."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise Malformed("a frame's equity is not an object")
    return value if _number(value.get("value")) is not None else None


def _number(value: Any) -> float | None:
    """Return a number, None for what is missing or not finite. Raises Malformed for what is no number."""
    if type(value) is float:
        return value if math.isfinite(value) else None
    if value is not None and (type(value) is not int or abs(value) > _LARGEST_INT):
        raise Malformed("a frame holds something else where a number should be")
    return value


_LARGEST_INT = 2**63 - 1


def frame_digest(core: bytes) -> int:
    """Return 64 bits that tell two frames apart."""
    return int.from_bytes(blake2b(core, digest_size=8).digest(), "big")


def parse_heads(heads: Iterable[bytes]) -> list[dict[str, Any]]:
    """Return the objects of frames as they are kept."""
    joined = b"},".join(heads)
    return orjson.loads(b"[" + joined + b"}]") if joined else []


def merge_ohlc(earlier: Ohlc | None, later: Ohlc | None) -> Ohlc | None:
    """Return the candle of two successive ones: first open, highest high, lowest low, last close, total volume."""
    if earlier is None or later is None:
        return later if earlier is None else earlier
    return {
        **earlier,
        **later,
        "o": earlier["o"],
        "h": max(earlier["h"], later["h"]),
        "l": min(earlier["l"], later["l"]),
        "v": total_volume((earlier["v"], later["v"])),
    }


@dataclass(slots=True)
class Summary:
    """What successive frames amount to, put together from left to right."""

    ohlc: Ohlc | None = None
    equity: Any = None

    def add(self, ohlc: Ohlc | None, equity: Any) -> None:
        """Extend by what comes next."""
        self.ohlc = merge_ohlc(self.ohlc, ohlc)
        if equity is not None:
            self.equity = equity


@dataclass(frozen=True, slots=True)
class Standing:
    """How a run stands after its first frames: its orders so far, and the peak of its equity.

    `peak` is the time when the highest value was first had, and that value; None while there is no equity.
    """

    orders: int = 0
    peak: tuple[str, float] | None = None

    def after(self, *frames: dict[str, Any]) -> "Standing":
        """Return how it stands after some more frames."""
        orders, peak = self.orders, self.peak
        for frame in frames:
            orders += len(frame["orders"])
            equity = frame["equity"]
            if equity is not None and (peak is None or equity["value"] > peak[1]):
                ts = equity.get("ts")
                peak = (ts if isinstance(ts, str) else frame["ts"]), equity["value"]
        return self if orders == self.orders and peak is self.peak else Standing(orders, peak)


def merged_head(last: dict[str, Any], summary: Summary, orders: Sequence[Any]) -> bytes:
    """Return the JSON head of one frame that covers several: the last one's with merged candle, all orders, equity."""
    whole = {**last, "ohlc": summary.ohlc, "orders": orders, "equity": summary.equity}
    return orjson.dumps(whole)[:-1]
