"""The kinds of bars that the backend has, and bars as NumPy columns. Pure.

`t` is a bar's start in UTC seconds (int64, strictly ascending), `o h l c` are float64. `v` is int64 where all volumes
are whole, else float64 with NaN where there is none. `n`, the number of trades that daily bars have, is int64 or None.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Source(StrEnum):
    """A kind of bars that the backend has: the last part of its path, and the minutes of trading in a bar."""

    minutes: int

    def __new__(cls, name: str, minutes: int) -> Self:
        """Make a row of the table."""
        row = str.__new__(cls, name)
        row._value_, row.minutes = name, minutes
        return row

    DAILY = "daily", 390
    HOUR = "hour", 60
    MINUTE = "minute", 1


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Columns of equal length."""

    t: Ints
    o: Floats
    h: Floats
    l: Floats  # noqa: E741  the field's name in the contract
    c: Floats
    v: Ints | Floats
    n: Ints | None = None

    def __len__(self) -> int:
        """Return the number of bars."""
        return len(self.t)

    @property
    def columns(self) -> tuple[Ints | Floats, ...]:
        """All columns in their order, `n` only where there is one."""
        base = (self.t, self.o, self.h, self.l, self.c, self.v)
        return base if self.n is None else (*base, self.n)

    def take(self, rows: slice | Ints | NDArray[np.bool_]) -> "Bars":
        """Return some rows."""
        n = None if self.n is None else self.n[rows]
        return Bars(self.t[rows], self.o[rows], self.h[rows], self.l[rows], self.c[rows], self.v[rows], n)

    def between(self, start: int, end: int) -> "Bars":
        """Return the bars with `start <= t < end` (seconds)."""
        first, last = np.searchsorted(self.t, (start, end))
        return self.take(slice(int(first), int(last)))

    def equals(self, other: "Bars") -> bool:
        """Tell whether all columns are the same to the last bit."""
        return len(self.columns) == len(other.columns) and all(
            np.array_equal(a, b, equal_nan=True) for a, b in zip(self.columns, other.columns, strict=True)
        )


def empty(*, trades: bool = False) -> Bars:
    """Return no bars."""
    ints, floats = np.empty(0, np.int64), np.empty(0, np.float64)
    return Bars(ints, floats, floats, floats, floats, ints, ints if trades else None)


def concatenate(parts: Sequence[Bars]) -> Bars:
    """Return parts, already in order, as one; trades are kept if every part has them."""
    parts = [part for part in parts if len(part)] or list(parts[:1])
    if not parts:
        return empty()
    if len(parts) == 1:
        return parts[0]
    trades = [part.n for part in parts if part.n is not None]
    return Bars(
        np.concatenate([part.t for part in parts]),
        np.concatenate([part.o for part in parts]),
        np.concatenate([part.h for part in parts]),
        np.concatenate([part.l for part in parts]),
        np.concatenate([part.c for part in parts]),
        np.concatenate([part.v for part in parts]),
        np.concatenate(trades) if len(trades) == len(parts) else None,
    )
