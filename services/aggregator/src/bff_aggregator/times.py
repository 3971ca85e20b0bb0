"""ISO 8601 times by the ten thousand, to microseconds since the Unix epoch and back. Pure, NumPy."""

from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bff_aggregator.vocabulary import instant

MICROSECONDS: Final = 1_000_000
NOWHEN: Final = np.iinfo(np.int64).min
WIDTH: Final = 20  # of 2025-01-02T14:31:00Z
_DIGITS: Final = np.array([0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18])
_OTHERS: Final = np.array([4, 7, 10, 13, 16, 19])
_MARKS: Final = np.frombuffer(b"--T::Z", np.uint8)
_DAY_SECONDS: Final = 86_400


def parse_times(texts: list[Any]) -> NDArray[np.int64]:
    """Return times in any spelling of ISO 8601, UTC unless they say otherwise; `NOWHEN` for what is none."""
    try:
        table = np.frombuffer("".join(texts).encode("ascii"), np.uint8).reshape(len(texts), WIDTH)
    except (TypeError, ValueError):
        table = None
    found = None if table is None else parse_table(table)
    if found is not None:
        return found
    seconds = [instant(text) for text in texts]
    return np.array([NOWHEN if s is None else round(s * MICROSECONDS) for s in seconds], dtype=np.int64)


def parse_table(table: NDArray[np.uint8]) -> NDArray[np.int64] | None:
    """Return the times of rows of 20 bytes, all spelled `2025-01-02T14:31:00Z`; None if any is not."""
    if not len(table):
        return np.empty(0, np.int64)
    digits = table[:, _DIGITS] - np.uint8(48)
    if np.any(digits > 9) or np.any(table[:, _OTHERS] != _MARKS):
        return None
    clock = digits[:, 8:].astype(np.int32) @ np.array([36_000, 3600, 600, 60, 10, 1], dtype=np.int32)
    if np.any(digits[:, 8:10] @ np.array([10, 1], np.uint8) > 23) or np.any(digits[:, [10, 12]] > 5):
        return None
    dates = np.ascontiguousarray(table[:, :10]).view("S10").ravel()
    firsts = np.flatnonzero(np.append(True, dates[1:] != dates[:-1]))
    try:
        days = dates[firsts].astype("U10").astype("M8[D]").astype(np.int64)
    except ValueError:
        return None
    day = np.repeat(days, np.diff(np.append(firsts, len(dates))))
    return np.asarray((day * _DAY_SECONDS + clock) * MICROSECONDS)


def iso_times(at: NDArray[np.int64]) -> list[str]:
    """Return times as `2025-01-02T14:31:00Z`, with a fraction where there is one."""
    if not np.any(at % MICROSECONDS):
        return [text + "Z" for text in np.datetime_as_string((at // MICROSECONDS).astype("M8[s]")).tolist()]
    return [datetime.fromtimestamp(t / MICROSECONDS, UTC).isoformat().replace("+00:00", "Z") for t in at.tolist()]


def unix_seconds(at: NDArray[np.int64]) -> NDArray[Any]:
    """Return times in seconds: whole numbers unless one of them has a fraction."""
    return at // MICROSECONDS if not np.any(at % MICROSECONDS) else at / MICROSECONDS
