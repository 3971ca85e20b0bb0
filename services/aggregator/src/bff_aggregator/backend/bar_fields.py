"""The fields of bars in whatever spelling means one thing only. Pure.

Data vendors write `open` for `o`, numbers as texts and stamps as numbers. A stamp that is a number counts from the Unix
epoch; in seconds, milliseconds, microseconds or nanoseconds, which the size of the largest one tells: seconds have at
most ten digits until the year 2286, and each smaller unit has three more.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from bff_aggregator.backend import numeric_json
from bff_aggregator.backend.numeric_json import Floats, Ints
from bff_aggregator.backend.timestamps import MICROSECONDS, parse_times

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "t": ("t", "timestamp", "ts", "ts_utc", "time", "date", "datetime"),
    "o": ("o", "open"),
    "h": ("h", "high"),
    "l": ("l", "low"),
    "c": ("c", "close"),
    "v": ("v", "volume", "vol"),
    "n": ("n", "trades", "trade_count"),
}
"""What a field is called, the contract's name first."""
# A number of so many units and fewer is a stamp in that unit; what lies between two of them may be either.
_UNITS: Final = ((1e10, 1.0), (1e13, 1e3), (1e16, 1e6), (1e19, 1e9))


def values(bars: Sequence[Mapping[str, Any]], field: str) -> list[Any]:
    """Return a field of each bar, None where it has none; the contract's name wins over another."""
    own, *others = NAMES[field]
    found = [bar.get(own) for bar in bars]
    for name in others:
        if None not in found:
            break
        found = [bar.get(name) if value is None else value for value, bar in zip(found, bars, strict=True)]
    return found


def times(stamps: list[Any]) -> Ints:
    """Return stamps in microseconds since the Unix epoch, `NOWHEN` for what is none."""
    if not any(type(stamp) in {int, float} for stamp in stamps):
        return parse_times(stamps)
    numbers = numeric_json.floats(stamps, len(stamps))
    numbers[~np.isfinite(numbers)] = np.nan
    texts = parse_times([None if type(stamp) in {int, float} else stamp for stamp in stamps])
    unit = _unit(float(np.nanmax(np.abs(numbers), initial=0.0)))
    if unit is None:
        return texts
    at = np.where(np.isnan(numbers), 0.0, numbers * (MICROSECONDS / unit))
    return np.where(np.isnan(numbers), texts, np.rint(at).astype(np.int64))


def numbers(bars: Sequence[Mapping[str, Any]], field: str) -> Floats:
    """Return a field of each bar as a number, NaN where it is none."""
    column = numeric_json.floats_or_texts(values(bars, field))
    column[~np.isfinite(column)] = np.nan
    return column


def absent(good: Mapping[str, np.ndarray[Any, np.dtype[np.bool_]]]) -> str:
    """Return the names of the fields that no bar has, given for each field which bars have it."""
    return ", ".join(f"`{field}`" for field, rows in good.items() if not np.any(rows))


def _unit(largest: float) -> float | None:
    """Return how many of a stamp's units are a second, None where the largest stamp does not tell."""
    for most, unit in _UNITS:
        if largest < most:
            return unit if unit == 1.0 or largest >= most / 1e2 else None
    return None
