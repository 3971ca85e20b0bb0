"""An equity curve as columns, with its drawdown. Pure, NumPy.

Drawdown is (peak - value) / peak with the highest value so far as the peak: 0 at a high, 0.1 ten percent below it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indexes = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Curve:
    """Columns of equal length, strictly ascending by `at` (microseconds since the Unix epoch, UTC).

    `value` is in the account's currency; `drawdown` is the backend's own where `given`, else computed, and NaN where
    undefined. `extra` has what else the backend said of each point, None if nothing. `rejected` counts the points that
    the backend sent without a time or a finite value, twice, or of which a later one says otherwise.
    """

    at: NDArray[np.int64]
    value: Floats
    drawdown: Floats
    given: bool = False
    extra: tuple[dict[str, Any], ...] | None = None
    rejected: int = 0

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.at)

    def take(self, rows: Indexes) -> "Curve":
        """Return the given points."""
        extra = None if self.extra is None else tuple(self.extra[row] for row in rows.tolist())
        return Curve(self.at[rows], self.value[rows], self.drawdown[rows], self.given, extra, self.rejected)


def drawdowns(value: Floats) -> Floats:
    """Return the drawdown at each point, NaN where the peak so far is not positive."""
    peak = np.maximum.accumulate(value)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(peak > 0, (peak - value) / peak, np.nan)


def make_curve(
    at: NDArray[np.int64], value: Floats, drawdown: Floats | None, extra: list[dict[str, Any]] | None
) -> Curve:
    """Return the curve of points in any order, some of them perhaps unusable: NaN values are left out.

    Of several points at one time the last sent counts. `drawdown` is taken when every point that stays has one.
    """
    sent = len(at)
    rows = np.flatnonzero(np.isfinite(value))
    ordered = len(rows) == len(at) and bool(np.all(at[1:] > at[:-1]))
    if not ordered:
        rows = rows[np.argsort(at[rows], kind="stable")]
        last = np.append(at[rows][1:] != at[rows][:-1], True)[: len(rows)]
        rows = rows[last]
        at, value = at[rows], value[rows]
        drawdown = None if drawdown is None else drawdown[rows]
        extra = None if extra is None else [extra[row] for row in rows.tolist()]
    given = drawdown is not None and bool(np.all(np.isfinite(drawdown)))
    losses = drawdown if given and drawdown is not None else drawdowns(value)
    kept = tuple(extra) if extra is not None and any(extra) else None
    return Curve(at, value, losses, given and len(value) > 0, kept, sent - len(at))
