"""How many digits the prices of an instrument have, and its smallest step, worked out from prices. Pure.

The digits are the fewest that nine in ten prices need: a tenth of the prices on any grid end in zero, so one digit less
would hold one in ten of them, while a few odd prints of half a cent do not lengthen all others. Prices that fit no grid
(adjusted for splits, averaged) get five significant digits. Two are the least, so that a window of whole dollars looks
like its neighbours.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bff_aggregator.backend.bars import Bars

LEAST, MOST = 2, 8
_ENOUGH: Final = 0.9
_SIGNIFICANT: Final = 5
_SAMPLE: Final = 500
_TELLING: Final = 20
_STEPS: Final = (25, 5, 2)


@dataclass(frozen=True, slots=True)
class PriceFormat:
    """Digits behind the point, and the smallest difference of two prices."""

    digits: int = LEAST
    min_move: float = 10.0**-LEAST


def price_format(bars: Bars) -> PriceFormat:
    """Return the format of bars' prices, from 500 bars at most."""
    rows = slice(None, None, max(1, len(bars) // _SAMPLE))
    return format_of(np.concatenate([column[rows] for column in (bars.o, bars.h, bars.l, bars.c)]))


def format_of(prices: NDArray[np.float64]) -> PriceFormat:
    """Return the format of finite prices."""
    for digits in range(LEAST, MOST + 1):
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is on no grid
            ticks = np.rint(prices * 10.0**digits)
            on_grid = ticks / 10.0**digits == prices
        if np.count_nonzero(on_grid) >= _ENOUGH * len(prices):
            return PriceFormat(digits, _step(ticks[on_grid], digits))
    size = float(np.median(np.abs(prices)))
    magnitude = math.floor(math.log10(size)) if size > 0 else 0
    digits = min(MOST, max(LEAST, _SIGNIFICANT - 1 - magnitude))
    return PriceFormat(digits, float(f"1e-{digits}"))


def _step(ticks: NDArray[np.float64], digits: int) -> float:
    """Return the largest usual step that all prices are a multiple of; few prices tell nothing of it."""
    distinct = np.unique(ticks)
    steps = _STEPS if len(distinct) >= _TELLING and float(np.abs(distinct).max()) < 2.0**53 else ()
    step = next((step for step in steps if not np.any(distinct % step)), 1)
    return float(f"{step}e-{digits}")
