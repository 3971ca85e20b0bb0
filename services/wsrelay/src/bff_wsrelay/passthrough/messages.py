"""Messages of the passthrough: those it adds of its own, and as much of the others as it has to understand. Pure."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from bff_wsrelay.websocket import Message

_TS = re.compile(r'\{\s*"t"\s*:\s*"frame"\s*,\s*"ts"\s*:\s*"([^"\\]*)"')
MAX_PARSED = 64 * 1024
"""Characters; no message of the protocol that matters here is longer."""
ConnectionState = Literal["reconnecting", "live", "draining"]


def connection_status(state: ConnectionState, attempt: int = 0, retry_seconds: float = 0.0) -> str:
    """Return the `status` message about the upstream connection."""
    body: dict[str, Any] = {"t": "status", "state": state, "attempt": attempt, "retry_ms": round(retry_seconds * 1000)}
    return orjson.dumps(body).decode()


BUSY = "the backend is away and no more messages are kept for it"


def busy_error(count: int = 1) -> str:
    """Return the error for `count` messages that were not held for an absent backend."""
    body: dict[str, Any] = {"t": "err", "code": "BUSY", "msg": BUSY}
    body |= {"count": count} if count > 1 else {}
    return orjson.dumps(body).decode()


def parse_object(message: Message) -> dict[str, Any]:
    """Return the JSON object that a message is, or an empty one for anything else, longer ones included."""
    if not isinstance(message, str) or len(message) > MAX_PARSED or not message.lstrip().startswith("{"):
        return {}
    try:
        parsed = orjson.loads(message)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def word(parsed: Mapping[str, Any], name: str) -> str:
    """Return a field that says what kind of thing an object is; where it is no text, it says no kind."""
    value = parsed.get(name)
    return value if isinstance(value, str) else ""


def frame_time(message: str) -> datetime | None:
    """Return a frame's time, None when it has none that can be compared."""
    match = _TS.match(message)
    text = match[1] if match else parse_object(message).get("ts")
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
