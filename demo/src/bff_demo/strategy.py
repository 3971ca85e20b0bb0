"""A long-only moving-average crossover over minute closes, and the figures that sum it up. Pure.

The position wanted at bar i is long when the mean of the last `fast` closes is above the mean of the last `slow` ones,
from bar `slow - 1` on; it is filled at that bar's close. The first bar buys and the second sells, whatever the prices,
as the backend does while both averages have nothing to compare.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bff_demo.bars import TICKS

__all__ = ["START_CASH", "Result", "backtest", "drawdowns", "spread", "summarize"]

START_CASH = 100_000.0
_SESSIONS_PER_YEAR = 252


@dataclass(frozen=True, slots=True)
class Result:
    """One value per bar: `side` +1 buys, -1 sells, 0 neither; `equity` in dollars, marked at the bar's close."""

    side: NDArray[np.int8]
    equity: NDArray[np.float64]


def backtest(close: NDArray[np.int32], *, fast: int, slow: int, quantity: float, ticks: int = TICKS) -> Result:
    """Trade `quantity` shares on closes in `ticks` a dollar.

    Averages are compared as whole-number sums, so ties are exact.
    """
    held = np.zeros(len(close), dtype=np.int8)
    if len(close) >= slow:
        total = np.concatenate(([0], np.cumsum(close, dtype=np.int64)))
        ends = np.arange(slow, len(close) + 1)
        fast_sum, slow_sum = total[ends] - total[ends - fast], total[ends] - total[ends - slow]
        held[slow - 1 :] = fast_sum * slow > slow_sum * fast
    held[:1] = 1
    held[1:2] = 0
    side = np.diff(held, prepend=np.int8(0))
    price = close / ticks
    traded, position = side.astype(np.int64) * quantity, held.astype(np.int64) * quantity
    cash = np.cumsum(np.concatenate(([START_CASH], -traded * price)))[1:]
    return Result(side, cash + position * price)


def spread(result: Result, rows: NDArray[np.intp], traded: NDArray[np.bool_]) -> Result:
    """Return the result at more minutes: at each that of the bar in `rows`, with an order only where it is `traded`."""
    return Result(np.where(traded, result.side[rows], 0).astype(np.int8), result.equity[rows])


def drawdowns(equity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the loss from the highest equity so far, as a share of it: 0 at a high, 0.1 ten percent below."""
    peak = np.maximum.accumulate(equity)
    return np.asarray((peak - equity) / peak)


def summarize(
    result: Result, close: NDArray[np.int32], day: NDArray[np.int32], quantity: float, ticks: int = TICKS
) -> dict[str, float]:
    """Return all metrics of a run; `day` numbers the session of each bar, `close` is in `ticks` a dollar.

    Ratios are of daily returns, annualised by 252; `hit_rate` counts closed trades with a gain; `avg_win` and
    `avg_loss` are dollars a trade; `turnover` is the value traded as a multiple of the starting cash. There are no fees
    and no slippage in these runs.
    """
    total = float(result.equity[-1] / START_CASH - 1)
    last = np.append(np.flatnonzero(np.diff(day)), len(day) - 1)
    daily = np.concatenate(([START_CASH], result.equity[last]))
    returns = np.diff(daily) / daily[:-1]
    years = len(last) / _SESSIONS_PER_YEAR
    trades = _trade_profits(result.side, close, quantity, ticks)
    traded = np.abs(result.side).astype(np.float64) @ np.abs(close / ticks) * quantity
    return {
        "total_return": total,
        "max_drawdown": float(drawdowns(result.equity).max()),
        "cagr": float((1 + total) ** (1 / years) - 1),
        "sharpe": _ratio(returns, returns),
        "sortino": _ratio(returns, np.minimum(returns, 0.0)),
        "hit_rate": float((trades > 0).mean()) if len(trades) else 0.0,
        "avg_win": _mean(trades[trades > 0]),
        "avg_loss": _mean(trades[trades < 0]),
        "turnover": float(traded / START_CASH),
        "slippage_share": 0.0,
        "fees_paid": 0.0,
    }


def _trade_profits(
    side: NDArray[np.int8], close: NDArray[np.int32], quantity: float, ticks: int
) -> NDArray[np.float64]:
    bought, sold = close[side > 0], close[side < 0]
    return np.asarray((sold - bought[: len(sold)]) * quantity / ticks)


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else 0.0


def _ratio(returns: NDArray[np.float64], risk: NDArray[np.float64]) -> float:
    deviation = float(np.sqrt(np.mean((risk - (risk.mean() if risk is returns else 0.0)) ** 2)))
    return float(returns.mean() / deviation * np.sqrt(_SESSIONS_PER_YEAR)) if deviation else 0.0
