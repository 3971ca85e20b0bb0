import numpy as np
import pytest

from bff_demo.market import TICKS
from bff_demo.strategy import backtest, drawdowns, summarize

RNG = np.random.default_rng(5)
CLOSE = (np.rint(1000 + np.cumsum(RNG.standard_normal(700))) * 1000).astype(np.int32)


def obvious(close: list[int], fast: int, slow: int, quantity: int) -> tuple[list[int], list[float]]:
    cash, held, sides, equity = 100_000.0, 0, [], []
    for index, ticks in enumerate(close):
        if index == 0:
            wanted = 1
        elif index < 2 or index < slow - 1:
            wanted = 0
        else:
            fast_window, slow_window = close[index - fast + 1 : index + 1], close[index - slow + 1 : index + 1]
            wanted = int(sum(fast_window) * slow > sum(slow_window) * fast)
        side = wanted - held
        cash -= side * quantity * (ticks / TICKS)
        held = wanted
        sides.append(side)
        equity.append(cash + held * quantity * (ticks / TICKS))
    return sides, equity


@pytest.mark.parametrize(
    ("fast", "slow", "quantity"), [(20, 50, 1), (1, 2, 7), (5, 200, 100), (50, 699, 3), (10, 701, 1)]
)
def test_backtest_agrees_with_a_slow_obvious_one(fast: int, slow: int, quantity: int) -> None:
    result = backtest(CLOSE, fast=fast, slow=slow, quantity=quantity)
    sides, equity = obvious(CLOSE.tolist(), fast, slow, quantity)
    assert result.side.tolist() == sides
    assert result.equity.tolist() == equity


def test_first_bar_buys_second_sells_then_nothing_until_the_slow_average_is_full() -> None:
    side = backtest(CLOSE, fast=20, slow=50, quantity=1).side
    assert side[:2].tolist() == [1, -1]
    assert not side[2:49].any()
    assert side[49:].any()


def test_one_bar_is_bought_and_kept() -> None:
    result = backtest(CLOSE[:1], fast=20, slow=50, quantity=2)
    assert (result.side.tolist(), result.equity.tolist()) == ([1], [100_000.0])


def test_drawdown_is_the_loss_from_the_peak() -> None:
    assert drawdowns(np.array([100.0, 80.0, 120.0, 90.0])).tolist() == [0.0, 0.2, 0.0, 0.25]


def test_metrics_sum_up_a_known_run() -> None:
    # 100 shares: bought at 10, sold at 9; bought at 9 (fast mean above slow mean), sold at 8.
    close = np.array([10, 9, 8, 9, 10, 9, 8], dtype=np.int32) * TICKS
    result = backtest(close, fast=1, slow=2, quantity=100)
    assert result.side.tolist() == [1, -1, 0, 1, 0, -1, 0]
    day = np.array([0, 0, 0, 1, 1, 2, 2], dtype=np.int32)
    metrics = summarize(result, close, day, 100)
    assert metrics["total_return"] == pytest.approx(-0.001)
    assert metrics["max_drawdown"] == pytest.approx(100 / 100_000)
    assert (metrics["hit_rate"], metrics["avg_win"], metrics["avg_loss"]) == (0.0, 0.0, -100.0)
    assert metrics["turnover"] == pytest.approx((10 + 9 + 9 + 9) * 100 / 100_000)
    returns = np.diff([100_000, 99_900, 100_000, 99_900]) / [100_000, 99_900, 100_000]
    assert metrics["sharpe"] == pytest.approx(returns.mean() / returns.std() * 252**0.5)
    downside = (np.minimum(returns, 0) ** 2).mean() ** 0.5
    assert metrics["sortino"] == pytest.approx(returns.mean() / downside * 252**0.5)
    assert metrics["cagr"] == pytest.approx(0.999 ** (252 / 3) - 1)


def test_quantity_may_be_larger_than_a_byte_holds() -> None:
    close = np.array([10_000, 20_000, 30_000], dtype=np.int32)
    result = backtest(close, fast=1, slow=2, quantity=500)
    assert result.equity.tolist() == [100_000.0, 100_500.0, 100_500.0]
