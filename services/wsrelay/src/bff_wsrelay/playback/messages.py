"""Messages of playback: controls that a client sends, frames and statuses that it gets. Pure.

Field spellings of older clients (`ts` for `pos`, `speed` and `fps` for `val`) are understood; orjson never writes a
newline inside a document, so one separates them well.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from bff_shared.trading_sessions import BAR_MINUTES, REGULAR_MINUTES, SESSION, BarSize
from bff_wsrelay.framelog.failures import Code
from bff_wsrelay.framelog.frame import format_time, parse_time

SPEEDS = (0.1, 3_600.0)
RATES = (1.0, 60.0)
DEFAULT_SPEED = 60.0
DEFAULT_FPS = 30.0
MAX_INDEX = 10**15
"""Above every frame's index. Positions are calculated in floating point, which counts whole numbers to 9 * 10^15."""
FIELDS = ("pos", "ts", "val", "speed", "fps", "bar")
"""Fields of a control that carry its value, in all spellings."""
MAX_VALUE_LENGTH = 64
"""Characters of a text that is echoed; times have half as many."""

HEARTBEAT = b'{"t":"hb"}'
END = b'{"t":"end"}'
READY = b'{"t":"ready_ack"}'


class ControlRefused(Exception):
    """A control cannot be carried out; `payload` is the `err` message that says why."""

    def __init__(self, code: Code, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.payload = error_message(code, message, details)


@dataclass(frozen=True, slots=True)
class Position:
    """Where to seek: a frame's index, or a time in µs (`coarse`: only a date was given)."""

    index: int | None = None
    micros: int | None = None
    coarse: bool = False


@dataclass(frozen=True, slots=True)
class Control:
    """An understood control; `echo` is what the client is sent once it is accepted."""

    cmd: Literal["play", "pause", "seek", "speed", "fps", "step", "bar"]
    echo: bytes
    value: float = 0.0
    position: Position | None = None
    bar: BarSize | None = None


ClientMessage = Control | Literal["ready", "hb"]


def parse_message(text: str | bytes) -> ClientMessage:
    """Parse a client's message.

    Raises:
        ControlRefused: VALIDATION for what is no known message, RANGE for a number out of its range.
    """
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ControlRefused("VALIDATION", "invalid JSON") from error
    if not isinstance(message, dict):
        raise ControlRefused("VALIDATION", "unsupported message")
    kind = message.get("t")
    if kind in ("ready", "hb"):
        return kind  # type: ignore[no-any-return]  # the line above leaves two strings
    if kind != "ctrl":
        raise ControlRefused("VALIDATION", "unsupported message")
    return _control(message)


def _control(message: dict[str, Any]) -> Control:
    cmd = message.get("cmd")
    if cmd == "play" or cmd == "pause":
        return Control(cmd, _echo(message))
    if cmd == "seek":
        return Control(cmd, _echo(message), position=parse_position(message.get("pos", message.get("ts"))))
    if cmd == "speed":
        return Control(cmd, _echo(message), checked_number("speed", message.get("val", message.get("speed")), *SPEEDS))
    if cmd == "fps":
        return Control(cmd, _echo(message), checked_number("fps", message.get("val", message.get("fps")), *RATES))
    if cmd == "step":
        value = checked_number("step", message.get("val", 1), -1, 1)
        if value not in {-1.0, 1.0}:
            raise ControlRefused("VALIDATION", "step must be 1 or -1")
        return Control(cmd, _echo(message), value)
    if cmd == "bar":
        return Control(cmd, _echo(message), bar=parse_bar(message.get("val", message.get("bar"))))
    raise ControlRefused("VALIDATION", "invalid ctrl.cmd")


def _echo(message: dict[str, Any]) -> bytes:
    """Return the echo of an accepted control: its known fields only, so that it is small whatever was sent."""
    known = {name: value for name in FIELDS if _is_short(value := message.get(name))}
    return orjson.dumps({"t": "ctrl", "cmd": message["cmd"], **known, "echo": True})


def _is_short(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and len(value) <= MAX_VALUE_LENGTH)


def parse_moment(text: str) -> int:
    """Return an ISO 8601 time as µs since the epoch. Raises ValueError for no time, or outside the years 1 to 9999."""
    micros = parse_time(text)
    try:
        format_time(micros)
    except (OverflowError, OSError) as error:
        raise ValueError("the time is out of range") from error
    return micros


def checked_number(name: str, value: Any, least: float, most: float) -> float:
    """Return a number between two bounds. Raises ControlRefused: VALIDATION for what is none, RANGE outside."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ControlRefused("VALIDATION", f"{name} must be a number")
    if not least <= value <= most:
        raise ControlRefused("RANGE", f"{name} must be between {least:g} and {most:g}", {"min": least, "max": most})
    return float(value)


def parse_position(value: Any) -> Position:
    """Return a frame index (a whole number, or its digits) or an ISO 8601 time. Raises ControlRefused (VALIDATION)."""
    if isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) < 16:
        return Position(index=int(value))
    if isinstance(value, str):
        try:
            return Position(micros=parse_moment(value), coarse=len(value) == len("2025-01-02"))
        except ValueError as error:
            raise ControlRefused("VALIDATION", "pos must be an ISO 8601 time or a frame index") from error
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MAX_INDEX or value % 1:
        raise ControlRefused("VALIDATION", "pos must be an ISO 8601 time or a frame index")
    return Position(index=int(value))


def parse_bar(value: Any) -> BarSize | None:
    """Return the size of bars that a client asks for: minutes, or "session"; None for "none", no bars.

    Raises:
        ControlRefused: VALIDATION for what is no size of a chart's bars.
    """
    if value in (None, "none", ""):
        return None
    if value in (SESSION, REGULAR_MINUTES, str(REGULAR_MINUTES)):
        return SESSION
    if isinstance(value, str) and value.isdecimal():
        value = int(value) if len(value) < 4 else 0
    if isinstance(value, bool) or value not in BAR_MINUTES:
        sizes = ", ".join(map(str, BAR_MINUTES))
        raise ControlRefused("VALIDATION", f"bar must be minutes ({sizes}), session or none")
    return int(value)


def error_message(code: Code, message: str, details: dict[str, Any] | None = None) -> bytes:
    """Return an error message."""
    body: dict[str, Any] = {"t": "err", "code": code, "msg": message}
    return orjson.dumps({**body, "details": details} if details else body)


def status_message(state: str, **fields: Any) -> bytes:
    """Return a message about the state of things: what a viewer waits for, or must know."""
    return orjson.dumps({"t": "status", "state": state, **fields})


def extent_message(known: dict[str, Any]) -> bytes:
    """Return the `extent` message: the size of the run, once all of it has been read."""
    return orjson.dumps({"t": "extent", **known})
