"""A run's performance, from its equity curve and its orders. Pure; None where a figure is undefined.

- total return = last / first - 1
- drawdown = (peak - value) / peak; the maximum of it
- Sharpe ratio = mean / standard deviation (of the sample) of the returns from point to point x the root of how many of
  these make a year (`annualisation`), without a risk-free rate
- a trade is a round trip: from a flat position back to a flat one; an order that goes past flat ends one and begins
  another, its commission shared by quantity. Its profit is what was received less what was paid and the commissions.
- win rate = trades with a profit above zero, the winners, / trades; losers have one below zero
- profit factor = profits of the winners / losses of the losers; None where nobody lost
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bff_aggregator.backend import bar_fields
from bff_aggregator.backend.equity_curve import Curve, drawdowns
from bff_aggregator.backend.schema import is_number
from bff_aggregator.backend.timestamps import NOWHEN
from bff_aggregator.runs.annualisation import periods_per_year

Floats = NDArray[np.float64]
STEADY: Final = 1e-9
"""Returns that differ by less than this share of them differ by what floating point leaves, and by nothing else."""
_BOUGHT = frozenset(("BUY", "B", "LONG", "COVER", "BUY_TO_COVER"))
_SOLD = frozenset(("SELL", "S", "SHORT", "SELL_SHORT"))
_UNFILLED = frozenset(("NEW", "PENDING", "OPEN", "REJECTED", "CANCELLED", "CANCELED", "EXPIRED"))
_FLAT = 1e-9


def total_return(value: Floats) -> float | None:
    """Return last / first - 1; None without points or when the first is zero."""
    return None if not len(value) or value[0] == 0 else _finite(value[-1] / value[0] - 1)


def max_drawdown(value: Floats) -> float | None:
    """Return the deepest drawdown, None where there is none to speak of (no points, or no positive peak)."""
    depth = drawdowns(value)
    return None if np.isnan(depth).all() else _finite(np.nanmax(depth))


def sharpe_ratio(curve: Curve) -> float | None:
    """Return the annualised ratio of the returns from each point to the next; None if they do not vary.

    None as well where the curve's points are too unevenly spaced to say how many of them make a year.
    """
    periods = periods_per_year(curve.at)
    if periods is None:
        return None
    with np.errstate(all="ignore"):  # after a zero it is not finite
        returns = np.diff(curve.value) / curve.value[:-1]
        mean, deviation = returns.mean(), returns.std(ddof=1)
        return _finite(mean / deviation * np.sqrt(periods)) if deviation > STEADY * abs(mean) else None


def trade_profits(orders: Iterable[Mapping[str, Any]]) -> list[float]:
    """Return the profit of each closed trade of orders (in our vocabulary), in the order of their times.

    Orders that were not filled, or lack a side, a quantity or a price, do not count.
    """
    profits: list[float] = []
    books: dict[str, tuple[float, float]] = {}
    for order in _in_time([order for order in orders if _is_fill(order)]):
        filled = float(order["quantity"])
        quantity = filled if str(order["side"]).upper() in _BOUGHT else -filled
        fee = float(order["commission"]) if is_number(order["commission"]) else 0.0
        symbol = str(order["symbol"])
        held, cash = books.get(symbol, (0.0, 0.0))
        closing = min(1.0, max(0.0, -held / quantity))
        if closing:
            cash -= closing * (quantity * order["price"] + fee)
            held += closing * quantity
            if abs(held) < _FLAT:
                profits.append(cash)
                held = cash = 0.0
        rest = 1.0 - closing
        books[symbol] = (held + rest * quantity, cash - rest * (quantity * order["price"] + fee))
    return profits


def _in_time(orders: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return orders by their times, however these are spelled; one without a time stays behind the one before it."""
    at = bar_fields.times([order["ts"] for order in orders])
    known = np.maximum.accumulate(np.where(at == NOWHEN, -1, np.arange(len(at))))
    at = np.where(known < 0, NOWHEN, at[known])
    return [orders[row] for row in np.argsort(at, kind="stable").tolist()]


def _finite(figure: Any) -> float | None:
    number = float(figure)
    return number if math.isfinite(number) else None


def win_rate(profits: list[float]) -> float | None:
    """Return the share of trades with a profit; None without trades."""
    return sum(profit > 0 for profit in profits) / len(profits) if profits else None


def _is_fill(order: Mapping[str, Any]) -> bool:
    side, status = str(order["side"]).upper(), str(order["status"] or "FILLED").upper()
    if status in _UNFILLED or (side not in _BOUGHT and side not in _SOLD):
        return False
    return is_number(order["quantity"]) and order["quantity"] > 0 and is_number(order["price"])


def trade_performance(orders: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the orders determine: how many trades there were, how many of them won, and what they brought."""
    profits = trade_profits(orders)
    winners, losers = [p for p in profits if p > 0], [p for p in profits if p < 0]
    return {
        "total_trades": len(profits),
        "win_rate": win_rate(profits),
        "winning_trades": len(winners),
        "losing_trades": len(losers),
        "profit_factor": _finite(math.fsum(winners) / -math.fsum(losers)) if losers else None,
        "avg_winning_trade": math.fsum(winners) / len(winners) if winners else None,
        "avg_losing_trade": math.fsum(losers) / len(losers) if losers else None,
        "largest_winner": max(winners, default=None),
        "largest_loser": min(losers, default=None),
    }


def complete(metrics: Mapping[str, Any], curve: Curve | None, trades: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the figures that `metrics` lacks and that equity and `trade_performance` (None: not at hand) determine."""
    found: dict[str, Any] = {}
    if curve is not None:
        with np.errstate(all="ignore"):  # what overflows is undefined
            found |= {name: rule(curve) for name, rule in _FROM_EQUITY.items() if metrics.get(name) is None}
    found |= trades or {}
    return {name: figure for name, figure in found.items() if figure is not None and metrics.get(name) is None}


_FROM_EQUITY: Final[Mapping[str, Callable[[Curve], float | None]]] = {
    "total_return": lambda curve: total_return(curve.value),
    "max_drawdown": lambda curve: max_drawdown(curve.value),
    "sharpe_ratio": sharpe_ratio,
}
