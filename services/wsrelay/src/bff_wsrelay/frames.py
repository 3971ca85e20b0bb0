"""Frames of a run: what the backend sends, how it is kept, how several become one. Pure.

A frame is kept as the JSON that a viewer gets, without what depends on the viewer and without the closing brace:
`{"t":"frame","ts":…,"ohlc":…,"orders":[…],"equity":…,…` (further fields of the backend as they came).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import orjson

OWN = frozenset(("t", "ts", "ohlc", "orders", "equity", "dropped", "n", "seq"))
"""Fields that the relay writes itself; all others are handed on from the last frame covered."""

Ohlc = dict[str, Any]


class Malformed(ValueError):
    """A message is not a frame of the backend's contract."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One source frame: its start in µs since the epoch (UTC), its JSON head, a digest of what it says about the run.

    The digest leaves out further fields (`metrics`, `total_frames`): they may differ between readings of one run.
    """

    micros: int
    head: bytes
    digest: int
    ohlc: Ohlc | None
    orders: Sequence[Any]
    equity: Any
    total: int | None


def read(text: str | bytes) -> Any:
    """Return a message of the backend as JSON values; NaN and infinities, which JSON has not, become null.

    Raises Malformed.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except ValueError as error:
        raise Malformed("not JSON") from error


def instant(text: str) -> int:
    """Return an ISO 8601 time as µs since the epoch; without an offset it is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def stamp(micros: int) -> str:
    """Return µs since the epoch as ISO 8601 with `Z`, as the backend writes it."""
    seconds, rest = divmod(micros, 1_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:06d}Z" if rest else f"{text}Z"


def take(message: dict[str, Any]) -> Frame:
    """Return the frame that a message of type `frame` carries. Raises Malformed."""
    ts, ohlc, orders = message.get("ts"), message.get("ohlc"), message.get("orders") or []
    if not isinstance(ts, str) or not (ohlc is None or isinstance(ohlc, dict)) or not isinstance(orders, list):
        raise Malformed("not a frame")
    try:
        micros = instant(ts)
    except ValueError as error:
        raise Malformed("a frame's ts is not a time") from error
    equity = message.get("equity")
    core = orjson.dumps({"t": "frame", "ts": ts, "ohlc": ohlc, "orders": orders, "equity": equity})[:-1]
    rest = {key: value for key, value in message.items() if key not in OWN}
    head = core + b"," + orjson.dumps(rest)[1:-1] if rest else core
    total = message.get("total_frames")
    known = total if isinstance(total, int) and not isinstance(total, bool) and total > 0 else None
    return Frame(micros, head, digest(core), ohlc, orders, equity, known)


def digest(core: bytes) -> int:
    """Return 64 bits that tell two frames apart."""
    return int.from_bytes(blake2b(core, digest_size=8).digest(), "big")


def parse(heads: Iterable[bytes]) -> list[dict[str, Any]]:
    """Return the objects of frames as they are kept."""
    joined = b"},".join(heads)
    return orjson.loads(b"[" + joined + b"}]") if joined else []


def merge_ohlc(earlier: Ohlc | None, later: Ohlc | None) -> Ohlc | None:
    """Return the candle of two successive ones: first open, highest high, lowest low, last close, total volume."""
    if earlier is None or later is None:
        return later if earlier is None else earlier
    merged = {**earlier, **later}
    merged["o"] = earlier.get("o") if earlier.get("o") is not None else later.get("o")
    merged["c"] = later.get("c") if later.get("c") is not None else earlier.get("c")
    for key, choose in (("h", max), ("l", min), ("v", _add)):
        values = [value for value in (earlier.get(key), later.get(key)) if value is not None]
        merged[key] = choose(values) if values else None
    return merged


def _add(values: Sequence[Any]) -> Any:
    return sum(values)


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


def merged_head(last: dict[str, Any], summary: Summary, orders: Sequence[Any]) -> bytes:
    """Return the JSON head of one frame that covers several: the last one's with merged candle, all orders, equity."""
    whole = {**last, "ohlc": summary.ohlc, "orders": orders, "equity": summary.equity}
    return orjson.dumps(whole)[:-1]
