"""Bars as compact bytes: what a chunk of the cache is. Pure.

A head, then one column after the other, little-endian. Where all values allow it, times are minutes in int32, prices
whole ticks of 1/10000 in int32 and counts uint32, which halves a chunk; a price that ticks cannot express to the last
bit keeps its chunk wide: int64 seconds, float64, int64. A chunk of version 2 is wide too, and its volumes are float64,
NaN where there is none.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bff_aggregator.backend.bars import Bars, Floats, Ints, concatenate

# Format version, flags, number of bars, of rejected bars.
BAR_BYTES = 24
"""The least that a bar takes in a chunk."""

_HEAD = struct.Struct("<BBII")
_VERSION, _FRACTIONAL = 1, 2
_TRADES, _NARROW = 1, 2
_TICKS = 10_000.0
_MINUTE = 60
_INT32, _UINT32 = 2**31, 2**32


class Unreadable(ValueError):
    """The bytes are no chunk of this version."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A chunk's bars, and how many of its bars were put right or left out."""

    bars: Bars
    rejected: int


def version(bars: Bars) -> int:
    """Return the version of the chunks that bars are written as."""
    return _FRACTIONAL if bars.v.dtype.kind == "f" else _VERSION


def split(bars: Bars, bounds: Sequence[tuple[int, int]], rejected: int) -> list[bytes]:
    """Return one chunk for each range of moments `start <= t < end` (UTC seconds); the first one notes `rejected`."""
    narrow = _narrow(bars)
    columns = (
        narrow if narrow is not None else [column.astype(column.dtype.newbyteorder("<")) for column in bars.columns]
    )
    flags = (_TRADES if bars.n is not None else 0) | (_NARROW if narrow is not None else 0)
    rows = np.searchsorted(bars.t, np.array(bounds, np.int64).reshape(-1)).reshape(-1, 2).tolist()
    parts: list[bytes] = []
    for first, last in rows:
        head = _HEAD.pack(version(bars), flags, last - first, 0 if parts else min(rejected, _UINT32 - 1))
        parts.append(b"".join([head, *(column[first:last].tobytes() for column in columns)]))
    return parts


def join(values: Sequence[bytes]) -> Piece:
    """Return consecutive chunks as one, to the last bit; raise Unreadable."""
    heads = [_head(value) for value in values]
    rejected = sum(head.rejected for head in heads)
    if len({(head.version, head.flags) for head in heads}) == 1:
        return Piece(_read(values, heads), rejected)
    parts = [_read([value], [head]) for value, head in zip(values, heads, strict=True)]
    return Piece(concatenate(parts), rejected)


def last_second(value: bytes) -> int | None:
    """Return when a chunk's last bar begins (UTC seconds), None if it has no bars; raise Unreadable."""
    head = _head(value)
    if not head.count:
        return None
    narrow = bool(head.flags & _NARROW)
    kind, width = ("<i4", 4) if narrow else ("<i8", 8)
    last = int(np.frombuffer(value, kind, 1, _HEAD.size + (head.count - 1) * width)[0])
    return last * _MINUTE if narrow else last


@dataclass(frozen=True, slots=True)
class _Head:
    version: int
    flags: int
    count: int
    rejected: int


def _head(data: bytes) -> _Head:
    try:
        version, flags, count, rejected = _HEAD.unpack_from(data)
    except struct.error as error:
        raise Unreadable("too short") from error
    width = 4 if flags & _NARROW else 8
    known = version == _VERSION or (version == _FRACTIONAL and not flags & _NARROW)
    if not known or len(data) != _HEAD.size + count * width * (7 if flags & _TRADES else 6):
        raise Unreadable("another version or length")
    return _Head(version, flags, count, rejected)


def _read(values: Sequence[bytes], heads: Sequence[_Head]) -> Bars:
    """Return chunks of the same layout as one: their columns are joined as bytes, then read at once."""
    version, flags = heads[0].version, heads[0].flags
    width, trades = 4 if flags & _NARROW else 8, bool(flags & _TRADES)

    def column(index: int) -> bytes:
        starts = (_HEAD.size + index * head.count * width for head in heads)
        return b"".join([v[at : at + h.count * width] for v, h, at in zip(values, heads, starts, strict=True)])

    if flags & _NARROW:
        t: Ints = np.frombuffer(column(0), "<i4").astype(np.int64) * _MINUTE
        prices: list[Floats] = [np.frombuffer(column(index), "<i4") / _TICKS for index in range(1, 5)]
        v: Ints | Floats = np.frombuffer(column(5), "<u4").astype(np.int64)
        n: Ints | None = np.frombuffer(column(6), "<u4").astype(np.int64) if trades else None
    else:
        t = np.frombuffer(column(0), "<i8")
        prices = [np.frombuffer(column(index), "<f8") for index in range(1, 5)]
        v = np.frombuffer(column(5), "<f8" if version == _FRACTIONAL else "<i8")
        n = np.frombuffer(column(6), "<i8") if trades else None
    return Bars(t, prices[0], prices[1], prices[2], prices[3], v, n)


def _narrow(bars: Bars) -> list[NDArray[np.int32] | NDArray[np.uint32]] | None:
    """Return all columns in four bytes a value, or None if one cannot be without loss."""
    if bars.v.dtype.kind == "f":
        return None
    prices = np.stack((bars.o, bars.h, bars.l, bars.c))
    with np.errstate(over="ignore"):  # infinite ticks are no ticks
        ticks = np.rint(prices * _TICKS)
    counts = [bars.v] if bars.n is None else [bars.v, bars.n]
    fits = (
        bool(np.all(np.abs(ticks) < _INT32))
        and np.array_equal(ticks / _TICKS, prices)
        and not bool(np.any(bars.t % _MINUTE))
        and bool(np.all(np.abs(bars.t) < _INT32 * _MINUTE))
        and all(bool(np.all((count >= 0) & (count < _UINT32))) for count in counts)
        and not bool(np.any(np.signbit(prices) & (prices == 0)))
    )
    if not fits:
        return None
    whole = ticks.astype("<i4")
    return [(bars.t // _MINUTE).astype("<i4"), *whole, *(count.astype("<u4") for count in counts)]
