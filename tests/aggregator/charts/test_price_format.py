import numpy as np
import pytest

from bff_aggregator.backend.bars import Bars
from bff_aggregator.charts.price_format import PriceFormat, format_of, price_format
from bff_demo.market import TICKS, build_market

RNG = np.random.default_rng(7)


def on_grid(step: float, digits: int, around: float, count: int = 400) -> list[float]:
    ticks = np.rint(around / step) + RNG.integers(-200, 200, count)
    return [round(float(tick) * step, digits) for tick in ticks]


@pytest.mark.parametrize(
    ("prices", "digits", "min_move"),
    [
        (on_grid(0.01, 2, 187.15), 2, 0.01),
        (on_grid(1e-8, 8, 0.00001234), 8, 1e-8),
        (on_grid(0.0001, 4, 0.4563), 4, 0.0001),
        (on_grid(0.00001, 5, 1.08345), 5, 0.00001),
        (on_grid(0.25, 2, 4500), 2, 0.25),
        (on_grid(0.005, 3, 12.5), 3, 0.005),
        (on_grid(0.01, 2, -37.63), 2, 0.01),
        (on_grid(1.0, 0, 2500), 2, 0.25),
        ([186.57, 187.0], 2, 0.01),
        ([0.0, 0.0], 2, 0.01),
        ([], 2, 0.01),
        ((RNG.random(400) * 100 + 100).tolist(), 2, 0.01),
        ((RNG.random(400) * 0.001 + 0.002).tolist(), 7, 1e-7),
        ([1e300, -1e300], 2, 0.01),
    ],
)
def test_prices_have_the_digits_and_the_step_they_have(prices: list[float], digits: int, min_move: float) -> None:
    assert format_of(np.array(prices, np.float64)) == PriceFormat(digits, min_move)


def test_a_few_odd_prints_do_not_lengthen_all_others() -> None:
    prices = np.array(on_grid(0.01, 2, 187.15))
    prices[:20] += 0.0017
    assert format_of(prices).digits == 2


def test_stocks_of_the_demo_have_cents() -> None:
    for minutes in build_market(1).minutes.values():
        o, h, low, c = (column[:2000] / TICKS for column in (minutes.o, minutes.h, minutes.l, minutes.c))
        bars = Bars(np.arange(2000), o, h, low, c, np.ones(2000, np.int64))
        assert price_format(bars) == PriceFormat(2, 0.01)
