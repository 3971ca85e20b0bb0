"""The candles of successive frames as columns, and as few bytes as hold them exactly. Pure.

    packed: which candles are missing (64 bits), then prices and volumes, each a column
    column: type code, decimals, base (int64), numbers

Numbers of a few decimals, as prices are, become whole ones and count from the least of them: two bytes each for most.
Any others are kept as they are, in eight.
"""

import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

MAX_DECIMALS = 6
_MOST_SCALED = 10.0**9
"""Below this a number of MAX_DECIMALS decimals is told from its neighbours by a float."""
_COLUMN = struct.Struct("<cBqI")
_MISSING = struct.Struct("<Q")
_RAW = 255
_UNSIGNED = (("B", 1 << 8), ("H", 1 << 16), ("I", 1 << 32), ("Q", 1 << 64))
_LARGEST_INT = 2**63 - 1
_LARGEST_FLOAT = sys.float_info.max

Number = int | float
Candle = tuple[Number, Number, Number, Number, Number]
"""Open, high, low, close and volume."""


class Candles(NamedTuple):
    """Candles as five columns: open, high, low, close and volume; one that is missing is None in each."""

    columns: Sequence[list[Any]]
    has_gaps: bool

    def cut(self, start: int, end: int) -> "Candles":
        """Return those of a range."""
        return Candles([column[start:end] for column in self.columns], self.has_gaps)

    def merged(self, start: int, end: int) -> Candle | None:
        """Return the candle of a range, which is not empty; None where it has none."""
        o, h, low, c, v = self.columns
        if end - start == 1:
            return None if o[start] is None else (o[start], h[start], low[start], c[start], v[start])
        if not self.has_gaps:
            return o[start], max(h[start:end]), min(low[start:end]), c[end - 1], total_volume(v[start:end])
        rows = [row for row in range(start, end) if o[row] is not None]
        if not rows:
            return None
        high, lowest = max(h[row] for row in rows), min(low[row] for row in rows)
        return o[rows[0]], high, lowest, c[rows[-1]], total_volume(v[row] for row in rows)


def columns_of(candles: Iterable[dict[str, Any] | None]) -> Candles:
    """Return candles as columns."""
    rows = [[None if candle is None else candle[name] for name in "ohlcv"] for candle in candles]
    columns = [[row[column] for row in rows] for column in range(5)]
    return Candles(columns, has_gaps=None in columns[0])


def concatenated(parts: Sequence[Candles]) -> Candles:
    """Return columns one after the other."""
    if len(parts) == 1:
        return parts[0]
    columns = [[number for part in parts for number in part.columns[column]] for column in range(5)]
    return Candles(columns, has_gaps=any(part.has_gaps for part in parts))


def followed(earlier: Candle | None, later: Candle | None) -> Candle | None:
    """Return the candle of two successive ones."""
    if earlier is None or later is None:
        return later if earlier is None else earlier
    volume = total_volume((earlier[4], later[4]))
    return earlier[0], max(earlier[1], later[1]), min(earlier[2], later[2]), later[3], volume


def total_volume(volumes: Iterable[Number]) -> Number:
    """Return a sum that JSON can carry: an integer of 64 bits, or a finite float."""
    total = sum(volumes)
    if type(total) is int and abs(total) > _LARGEST_INT:
        return float(total)
    return min(_LARGEST_FLOAT, max(-_LARGEST_FLOAT, total)) if type(total) is float else total


def pack(candles: Candles) -> bytes:
    """Return at most 64 candles as bytes; none where all are missing."""
    missing = sum(1 << row for row, price in enumerate(candles.columns[0]) if price is None)
    known = [row for row, price in enumerate(candles.columns[0]) if price is not None]
    if not known:
        return b""
    columns = [[column[row] for row in known] for column in candles.columns]
    prices = [price for column in columns[:4] for price in column]
    return _MISSING.pack(missing) + _packed(prices) + _packed(columns[4])


def unpack(packed: bytes, count: int) -> Candles:
    """Return `count` candles. Raises ValueError for what is none of `pack`'s."""
    if not packed:
        return Candles([[None] * count for _ in range(5)], has_gaps=True)
    try:
        (missing,) = _MISSING.unpack_from(packed)
        prices, rest = _unpacked(packed, _MISSING.size)
        volumes, _ = _unpacked(packed, rest)
    except struct.error as error:
        raise ValueError("cut off") from error
    known = len(volumes)
    columns = [*(prices[column * known : (column + 1) * known] for column in range(4)), volumes]
    if missing:
        columns = [_spread(column, missing, count) for column in columns]
    if len(prices) != 4 * known or any(len(column) != count for column in columns):
        raise ValueError("columns of other lengths")
    return Candles(columns, has_gaps=bool(missing))


def _spread(column: list[Number], missing: int, count: int) -> list[Any]:
    numbers = iter(column)
    return [None if missing >> row & 1 else next(numbers, None) for row in range(count)]


def _packed(numbers: Sequence[Number]) -> bytes:
    whole, decimals = _scaled(numbers)
    if whole is None:
        data = array("d", numbers)
        return _COLUMN.pack(b"d", _RAW, 0, len(data)) + data.tobytes()
    base = min(whole)
    most = max(whole) - base
    code = next(code for code, limit in _UNSIGNED if most < limit)
    data = array(code, [number - base for number in whole])
    return _COLUMN.pack(code.encode(), decimals, base, len(data)) + data.tobytes()


def _scaled(numbers: Sequence[Number]) -> tuple[Sequence[int] | None, int]:
    """Return numbers as whole multiples of a power of ten and its decimals; None where that does not hold them."""
    if all(type(number) is int for number in numbers):
        return numbers, 0  # type: ignore[return-value]  # all are ints
    if max(map(abs, numbers)) >= _MOST_SCALED:
        return None, 0
    for decimals in range(MAX_DECIMALS + 1):
        scale = 10**decimals
        whole = [round(number * scale) for number in numbers]
        if all(one / scale == number for one, number in zip(whole, numbers, strict=True)):
            return whole, decimals
    return None, 0


def _unpacked(packed: bytes, start: int) -> tuple[list[Any], int]:
    """Return the numbers of the column that begins at a byte, and where it ends."""
    code, decimals, base, count = _COLUMN.unpack_from(packed, start)
    try:
        data = array(code.decode("ascii"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError("not a column") from error
    start += _COLUMN.size
    end = start + data.itemsize * count
    data.frombytes(packed[start:end])
    if len(data) != count:
        raise ValueError("cut off")
    if decimals == _RAW:
        return data.tolist(), end
    if not decimals:
        return [number + base for number in data], end
    scale = 10**decimals
    return [(number + base) / scale for number in data], end
