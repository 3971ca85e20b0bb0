"""Columns of bars, and how they are cut and merged. Pure.

Prices are kept as whole ticks in int32 columns, so sums of closes are exact and a price divided by its ticks prints
with as few digits as it was made with.
"""

from dataclasses import dataclass, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray

from bff_demo.sessions import MINUTES_PER_DAY, date_to_minute

__all__ = ["FIRST_YEAR", "LAST_YEAR", "TICKS", "Bars"]

TICKS = 10_000
FIRST_YEAR, LAST_YEAR = 2024, 2025


@dataclass(frozen=True, slots=True)
class Bars:
    """Columns of equal length, ascending by `minute` (bar start, minutes since the epoch).

    Prices are in ticks, of which `ticks` make a dollar; `volume_units` counts of `v` make a share, 0 where no volume is
    known; `rth` is true within regular trading hours; `n` (number of trades) is filled for daily bars only.
    """

    minute: NDArray[np.int32]
    o: NDArray[np.int32]
    h: NDArray[np.int32]
    l: NDArray[np.int32]  # noqa: E741  the field's name in the contract
    c: NDArray[np.int32]
    v: NDArray[np.int64]
    rth: NDArray[np.bool_]
    n: NDArray[np.int64] | None = None
    ticks: int = TICKS
    volume_units: int = 1

    def __len__(self) -> int:
        """Return the number of bars."""
        return len(self.minute)

    def prices(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return open, high, low and close in dollars."""
        return self.o / self.ticks, self.h / self.ticks, self.l / self.ticks, self.c / self.ticks

    def volumes(self) -> list[float | None]:
        """Return the volumes in shares: whole numbers, fractions, or None for each where none is known."""
        if not self.volume_units:
            return [None] * len(self)
        volumes: list[float | None] = (self.v if self.volume_units == 1 else self.v / self.volume_units).tolist()
        return volumes

    def window(self, first: date, last: date, *, rth_only: bool) -> "Bars":
        """Return the bars that start on the UTC dates `first` to `last`, both included."""
        begin, end = np.searchsorted(self.minute, (date_to_minute(first), date_to_minute(last) + MINUTES_PER_DAY))
        part = self.take(slice(int(begin), int(end)))
        return part.take(np.flatnonzero(part.rth)) if rth_only else part

    def take(self, rows: slice | NDArray[np.intp]) -> "Bars":
        """Return the given rows."""
        trades = None if self.n is None else self.n[rows]
        columns = (self.o[rows], self.h[rows], self.l[rows], self.c[rows], self.v[rows], self.rth[rows])
        return Bars(self.minute[rows], *columns, trades, self.ticks, self.volume_units)

    def with_quiet_minutes(self, longest: int) -> tuple["Bars", NDArray[np.intp], NDArray[np.bool_]]:
        """Return the bars with one for each minute between two that are less than `longest` minutes apart.

        Returns:
            The bars, for each the row of the one that it repeats, and whether it is that one itself.
        """
        gaps = np.diff(self.minute, append=self.minute[-1:] + 1)
        counts = np.where(gaps < longest, gaps, 1)
        rows = np.repeat(np.arange(len(self)), counts)
        offset = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        filled = replace(self.take(rows), minute=(self.minute[rows] + offset).astype(np.int32))
        return filled, rows, offset == 0

    def bucket(self, keys: NDArray[np.int32]) -> "Bars":
        """Merge runs of bars with equal `keys` (the new bar starts): first open, max, min, last close, sum."""
        if not len(self):
            return self
        starts = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1))
        ends = np.append(starts[1:], len(self)) - 1
        return Bars(
            keys[starts],
            self.o[starts],
            np.maximum.reduceat(self.h, starts),
            np.minimum.reduceat(self.l, starts),
            self.c[ends],
            np.add.reduceat(self.v, starts, dtype=np.int64),
            self.rth[starts],
            None,
            self.ticks,
            self.volume_units,
        )

    def hourly(self) -> "Bars":
        """Merge into hours that start at half past the hour UTC, so that one starts at the open."""
        return self.bucket((self.minute - 30) // 60 * 60 + 30)

    def strided(self, stride: int) -> "Bars":
        """Merge into buckets of `stride` minutes counted from midnight UTC, wherever the session opens."""
        return self.bucket(self.minute // stride * stride)
