"""Parts and snapshots as bytes, and back. Pure.

A line of JSON says what it is, padded so that what follows, the columns of a curve above all, stands where processors
like numbers to stand. What follows is read only when it is needed.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
import orjson

from bff_aggregator.backend.equity_curve import Curve
from bff_aggregator.backend.part import Part, State
from bff_aggregator.runs.revision import RunSnapshot

VERSION: Final = 2
_ALIGNMENT: Final = 16
_PART_FIELDS: Final = ("name", "state", "began", "at", "error", "extra", "count", "rejected", "facts", "revision")


@dataclass(frozen=True, slots=True)
class Packed:
    """A part's data, still as bytes: JSON, or the columns of a curve that `head` describes."""

    head: dict[str, Any]
    payload: memoryview


def pack_part(part: Part) -> bytes:
    """Return a part's bytes."""
    head = {name: getattr(part, name) for name in _PART_FIELDS} | {"v": VERSION}
    if part.from_frames:
        head["frames"] = True
    if isinstance(part.data, Packed):
        head |= part.data.head
        payload = bytes(part.data.payload)
    elif isinstance(part.data, Curve):
        curve = part.data
        head |= {"points": len(curve), "given": curve.given}
        extra = b"" if curve.extra is None else orjson.dumps(curve.extra)
        payload = b"".join((curve.at.tobytes(), curve.value.tobytes(), curve.drawdown.tobytes(), extra))
    else:
        payload = orjson.dumps(part.data)
    return _line(head) + payload


def unpack_part(data: bytes) -> Part | None:
    """Return the part, its data still packed; None if the bytes are of another version or damaged."""
    try:
        head, payload = _split(data)
        part = Part(**{name: head.pop(name) for name in _PART_FIELDS}, from_frames=head.pop("frames", False))
        return replace(part, state=State(part.state), data=Packed(head, payload) if part.usable else None)
    except (ValueError, KeyError, TypeError):
        return None


def data_of(part: Part) -> Any:
    """Return what a part holds: a Curve, a list of orders, an object of metrics; None unless it is usable."""
    if not part.usable:
        return None
    if not isinstance(part.data, Packed):
        return part.data
    head, payload = part.data.head, part.data.payload
    if "points" not in head:
        return orjson.loads(payload)
    points = head["points"]
    at = np.frombuffer(payload, np.int64, points)
    value = np.frombuffer(payload, np.float64, points, 8 * points)
    drawdown = np.frombuffer(payload, np.float64, points, 16 * points)
    rest = payload[24 * points :]
    extra = tuple(orjson.loads(rest)) if rest else None
    return Curve(at, value, drawdown, head["given"], extra, part.rejected)


def pack_snapshot(snapshot: RunSnapshot) -> bytes:
    """Return a snapshot's bytes."""
    return _line({field.name: getattr(snapshot, field.name) for field in fields(RunSnapshot)} | {"v": VERSION})


def unpack_snapshot(data: bytes) -> RunSnapshot | None:
    """Return the snapshot; None if the bytes are of another version or damaged."""
    try:
        return RunSnapshot(**_split(data)[0])
    except (ValueError, KeyError, TypeError):
        return None


def _line(head: dict[str, Any]) -> bytes:
    text = orjson.dumps(head)
    return text + b" " * (-(len(text) + 1) % _ALIGNMENT) + b"\n"


def _split(data: bytes) -> tuple[dict[str, Any], memoryview]:
    end = data.index(b"\n")
    head = orjson.loads(data[:end])
    if head.pop("v") != VERSION:
        raise ValueError("of another version")
    return head, memoryview(data)[end + 1 :]
