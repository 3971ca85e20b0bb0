"""Columns of numbers out of JSON, the one way for bars and for equity curves. Pure, NumPy.

Two ways lead to the same column. Where every row of a text has the same fields in the same order, the numbers between
them are cut out by their places and read as one JSON list (`floats_at`, `ints_at`), without an object for each row.
Any other text is read as JSON first, and its values are brought into a column (`floats`, `ints`): four times slower.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

Text = NDArray[np.uint8]
Places = NDArray[np.intp]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WIDEST: Final = 32
"""Bytes that a text needs behind its last row, and more than a number may have to be cut out."""
UNKNOWN: Final = np.iinfo(np.int64).min
"""What stands in a column of whole numbers for a value that is none."""

_LARGEST_INT = 2**62
_EXACT: Final = 2.0**53
_NUMBER: Final = re.compile(r"\s*-?[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?\s*", re.ASCII)
_OF_FLOATS, _OF_INTS = b"0123456789+-.eE, ", b"0123456789, "
# For a number of so many bytes: which bytes of its row are its own, and what stands in their place in the others.
_OWN: Final = np.where(np.arange(WIDEST) < np.arange(WIDEST)[:, None], 0xFF, 0).astype(np.uint8)
_FILLING: Final = (np.tri(WIDEST, dtype=np.uint8).T * ord(" ") + np.eye(WIDEST, dtype=np.uint8) * 12).astype(np.uint8)


def rows_at(text: Text, starts: Places, width: int) -> NDArray[np.void]:
    """Return the `width` bytes from each of `starts` on as records."""
    windows = np.ndarray((len(text) - width + 1,), f"V{width}", text, strides=(1,))
    return windows[starts]


def all_are(rows: NDArray[np.void], wanted: bytes) -> bool:
    """Tell whether every record is `wanted`."""
    return rows.tobytes() == wanted * len(rows)


def floats_at(text: Text, starts: Places, stops: Places) -> Floats | None:
    """Return the JSON numbers between `starts` and `stops`, None if there is anything else.

    `text` has `WIDEST` bytes more behind the last of them.
    """
    found = _values_at(text, starts, stops, _OF_FLOATS)
    return None if found is None else np.fromiter(found, np.float64, len(found))


def ints_at(text: Text, starts: Places, stops: Places) -> Ints | None:
    """Return what `floats_at` does, for whole numbers from 0 to 2^62 that are written as such."""
    found = _values_at(text, starts, stops, _OF_INTS)
    return None if found is None or max(found) >= _LARGEST_INT else np.fromiter(found, np.int64, len(found))


def floats(values: Iterable[Any], count: int) -> Floats:
    """Return `count` values of JSON as a column; NaN for what is no finite number."""
    return np.fromiter((value if type(value) in {float, int} else np.nan for value in values), np.float64, count)


def floats_or_texts(values: Sequence[Any]) -> Floats:
    """Return what `floats` does, and numbers that stand in a text (`"1.5"`) as well."""
    column = floats(values, len(values))
    for row in np.flatnonzero(np.isnan(column)).tolist():
        value = values[row]
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            column[row] = float(value)
    return column


def quantities(values: Sequence[Any]) -> Ints | Floats:
    """Return values of JSON as whole numbers where all of them are, else as `floats_or_texts` does."""
    if all(type(value) is int and abs(value) < _LARGEST_INT for value in values):
        return np.fromiter(values, np.int64, len(values))
    return whole(floats_or_texts(values))


def whole(column: Floats) -> Ints | Floats:
    """Return a column of floats as whole numbers if all of them are, and small enough to be exact; infinity is none."""
    finite = np.isfinite(column)
    if bool(np.all(finite & (np.abs(column) <= _EXACT))) and bool(np.all(column == np.rint(column))):
        return column.astype(np.int64)
    return np.where(finite, column, np.nan)


def ints(values: Iterable[Any], count: int) -> Ints:
    """Return `count` values of JSON as a column of whole numbers, fractions rounded; `UNKNOWN` for what is none."""
    return np.fromiter(map(_whole, values), np.int64, count)


def _whole(value: Any) -> int:
    usable = type(value) in {float, int} and abs(value) < _LARGEST_INT
    return round(value) if usable else UNKNOWN


def _values_at(text: Text, starts: Places, stops: Places, allowed: bytes) -> list[Any] | None:
    """Return numbers of JSON that have no other bytes than `allowed`.

    They are brought together as one list for the JSON reader, so that each is read to the last digit.
    """
    lengths = stops - starts
    width = int(lengths.max()) + 1
    if lengths.min() < 1 or width > WIDEST:
        return None
    table = rows_at(text, starts, width).view(np.uint8).reshape(len(starts), width)
    own, filling = (_records(rows[:, :width])[lengths] for rows in (_OWN, _FILLING))
    joined = ((table & own.view(np.uint8).reshape(table.shape)) | filling.view(np.uint8).reshape(table.shape)).tobytes()
    if joined.translate(None, allowed):
        return None
    try:
        found: list[Any] = orjson.loads(b"[" + joined.rstrip(b" ")[:-1] + b"]")
    except orjson.JSONDecodeError:
        return None
    return found if len(found) == len(starts) else None


def _records(rows: NDArray[np.uint8]) -> NDArray[np.void]:
    """Return each row as one record, which NumPy picks faster than rows of a table."""
    return np.ascontiguousarray(rows).view(f"V{rows.shape[1]}")[:, 0]
