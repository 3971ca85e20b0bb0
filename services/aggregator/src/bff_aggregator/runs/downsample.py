"""Downsampling of an equity curve: fewer points that keep its extremes. Pure, NumPy."""

import numpy as np
from numpy.typing import NDArray

from bff_aggregator.backend.equity_curve import Curve, Floats, Indexes, drawdowns


def landmarks(curve: Curve) -> Indexes:
    """Return the points that no decimation may lose, the most important first.

    First, last, maximum, minimum, the bottom of the deepest drawdown (by the values, and by the backend's own figures)
    and the peak that it fell from.
    """
    depth = np.nan_to_num(drawdowns(curve.value), nan=-1.0)
    bottom = int(np.argmax(depth))
    peak = int(np.argmax(curve.value[: bottom + 1]))
    marks = [0, len(curve) - 1, int(np.argmax(curve.value)), int(np.argmin(curve.value)), bottom]
    if curve.given:
        marks += [int(np.argmax(curve.drawdown)), int(np.argmin(curve.drawdown))]
    return np.array(list(dict.fromkeys([*marks, peak])), dtype=np.intp)


def downsample(curve: Curve, points: int, moments: NDArray[np.int64] | None = None) -> Curve:
    """Return at most `points` points of a curve, all of it when `points` is 0 or no limit.

    The landmarks stay; so does the point of each of `moments` (microseconds; those of the orders) when all of them fit;
    the rest are the lowest and the highest point of equal slices of the curve (MinMax).
    """
    if points <= 0 or len(curve) <= points:
        return curve
    kept = landmarks(curve)[:points]
    if moments is not None and len(moments):
        with_moments = np.union1d(kept, _points_at(curve, moments))
        kept = with_moments if len(with_moments) <= points else kept
    slices = (points - len(kept)) // 2
    if slices > 0:
        kept = np.union1d(kept, _extremes(curve.value, slices))
    return curve.take(np.sort(kept))


def _points_at(curve: Curve, moments: NDArray[np.int64]) -> Indexes:
    """Return the last point at or before each moment, without those before the curve begins."""
    rows = np.searchsorted(curve.at, np.unique(moments), side="right") - 1
    return np.unique(rows[rows >= 0])


def _extremes(value: Floats, slices: int) -> Indexes:
    """Return the lowest and highest point of each of at most `slices` runs of equal length."""
    width = -(-len(value) // slices)
    whole = len(value) // width
    table = value[: whole * width].reshape(whole, width)
    starts = np.arange(whole) * width
    found = [starts + table.argmin(axis=1), starts + table.argmax(axis=1)]
    if whole * width < len(value):
        rest = value[whole * width :]
        found.append(whole * width + np.array([rest.argmin(), rest.argmax()]))
    return np.unique(np.concatenate(found))
