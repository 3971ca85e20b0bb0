"""ISO 8601 times by the ten thousand, to microseconds since the Unix epoch and back. Pure, NumPy."""

import re
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bff_aggregator.backend.schema import instant

MICROSECONDS: Final = 1_000_000
NOWHEN: Final = np.iinfo(np.int64).min
WIDTH: Final = 20  # of 2025-01-02T14:31:00Z
ROW: Final = np.dtype([("date", "V10"), ("t", "u1"), ("clock", "<u8"), ("z", "u1")])
_DATE: Final = np.dtype([("month", "<u8"), ("day", "<u2")])
_DATE_TEXT = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAY_SECONDS: Final = 86_400

# HH:MM:SS as one little-endian number, a byte per character: which bits tell a digit or a colon, and what they are.
_KINDS, _KIND = np.uint64(0xF0F0FFF0F0FFF0F0), np.uint64(0x30303A30303A3030)
_VALUES, _CARRY, _CARRIED = (np.uint64(n) for n in (0x0F0F000F0F000F0F, 0x0606000606000606, 0x1010001010001010))
# Hours in the lowest byte, minutes in the fourth, seconds in the seventh; times this, hours * 60 + minutes from bit 24.
_PAIRS, _TO_MINUTES, _MINUTES = np.uint64(0x00FF0000FF0000FF), np.uint64((60 << 24) + 1), np.uint64(0xFFFF)
_TEN, _SIXTY, _EIGHT_BITS, _MINUTE_BITS, _SECOND_BITS = (np.uint64(n) for n in (10, 60, 8, 24, 48))


def parse_times(texts: list[Any]) -> NDArray[np.int64]:
    """Return times in any spelling of ISO 8601, UTC unless they say otherwise; `NOWHEN` for what is none."""
    try:
        rows = np.frombuffer("".join(texts).encode("ascii"), ROW) if all(len(text) == WIDTH for text in texts) else None
    except (TypeError, ValueError):
        rows = None
    found = None if rows is None else parse_rows(rows)
    if found is not None:
        return found
    seconds = [instant(text) for text in texts]
    return np.array([NOWHEN if s is None else round(s * MICROSECONDS) for s in seconds], dtype=np.int64)


def parse_rows(rows: NDArray[np.void]) -> NDArray[np.int64] | None:
    """Return the times of records of the type `ROW`, all spelled `2025-01-02T14:31:00Z`; None if any is not."""
    if not len(rows):
        return np.empty(0, np.int64)
    clock = _clock_seconds(np.ascontiguousarray(rows["clock"]))
    if clock is None or np.any(rows["t"] != ord("T")) or np.any(rows["z"] != ord("Z")):
        return None
    text = rows["date"].tobytes()
    dates = np.frombuffer(text, _DATE)
    month, day = np.ascontiguousarray(dates["month"]), np.ascontiguousarray(dates["day"])
    firsts = np.flatnonzero(np.append(True, (day[1:] != day[:-1]) | (month[1:] != month[:-1])))
    texts = [text[10 * row : 10 * row + 10] for row in firsts.tolist()]
    if not all(_DATE_TEXT.fullmatch(text) for text in texts):
        return None
    try:
        days = np.array([text.decode() for text in texts], "M8[D]").astype(np.int64)
    except ValueError:
        return None
    seconds = np.repeat(days, np.diff(np.append(firsts, len(rows)))) * _DAY_SECONDS + clock
    return np.asarray(seconds * MICROSECONDS)


def _clock_seconds(clock: NDArray[np.uint64]) -> NDArray[np.int64] | None:
    """Return the seconds of the day of times HH:MM:SS, eight characters at a stroke; None if any is none."""
    values = clock & _VALUES
    if np.any((clock & _KINDS) != _KIND) or np.any((values + _CARRY) & _CARRIED):
        return None
    pairs = (values * _TEN + (values >> _EIGHT_BITS)) & _PAIRS
    minutes, seconds = pairs >> _MINUTE_BITS & _MINUTES, pairs >> _SECOND_BITS
    if (pairs & np.uint64(0xFF)).max() > 23 or minutes.max() > 59 or seconds.max() > 59:
        return None
    since_midnight = (pairs * _TO_MINUTES >> _MINUTE_BITS & _MINUTES) * _SIXTY + seconds
    return since_midnight.astype(np.int64)


def iso_times(at: NDArray[np.int64]) -> list[str]:
    """Return times as `2025-01-02T14:31:00Z`, with a fraction where there is one."""
    if not np.any(at % MICROSECONDS):
        return [text + "Z" for text in np.datetime_as_string((at // MICROSECONDS).astype("M8[s]")).tolist()]
    return [datetime.fromtimestamp(t / MICROSECONDS, UTC).isoformat().replace("+00:00", "Z") for t in at.tolist()]


def unix_seconds(at: NDArray[np.int64]) -> NDArray[Any]:
    """Return times in seconds: whole numbers unless one of them has a fraction."""
    return at // MICROSECONDS if not np.any(at % MICROSECONDS) else at / MICROSECONDS
