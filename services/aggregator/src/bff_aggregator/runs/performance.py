"""A run's performance, from its equity curve and its orders. Pure; None where a figure is undefined.

- total return = last / first - 1
- drawdown = (peak - value) / peak; the maximum of it
- Sharpe ratio = mean / standard deviation (of the population) of the minute returns x sqrt(252 x 390), without a
  risk-free rate
- a trade is a round trip: from a flat position back to a flat one; an order that goes past flat ends one and begins
  another, its commission shared by quantity. Its profit is what was received less what was paid and the commissions.
- win rate = trades with a profit above zero, the winners, / trades; losers have one below zero
- profit factor = profits of the winners / losses of the losers; None where nobody lost
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bff_aggregator.backend.equity_curve import drawdowns
from bff_aggregator.backend.schema import is_number

Floats = NDArray[np.float64]
MINUTES_PER_YEAR = 252 * 390
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


def sharpe_ratio(value: Floats) -> float | None:
    """Return the annualised ratio of the returns from each minute to the next; None if they do not vary."""
    if len(value) < 3:
        return None
    with np.errstate(all="ignore"):  # after a zero, or where nothing varies, it is not finite
        returns = np.diff(value) / value[:-1]
        return _finite(returns.mean() / returns.std() * np.sqrt(MINUTES_PER_YEAR))


def trade_profits(orders: Iterable[Mapping[str, Any]]) -> list[float]:
    """Return the profit of each closed trade of orders (in our vocabulary), in the order of their times.

    Orders that were not filled, or lack a side, a quantity or a price, do not count.
    """
    profits: list[float] = []
    books: dict[str, tuple[float, float]] = {}
    for order in sorted((order for order in orders if _is_fill(order)), key=lambda order: str(order["ts"])):
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


def complete(metrics: Mapping[str, Any], value: Floats | None, trades: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the figures that `metrics` lacks and that equity and `trade_performance` (None: not at hand) determine."""
    found: dict[str, Any] = {}
    if value is not None:
        with np.errstate(all="ignore"):  # what overflows is undefined
            found |= {name: rule(value) for name, rule in _FROM_EQUITY.items() if metrics.get(name) is None}
    found |= trades or {}
    return {name: figure for name, figure in found.items() if figure is not None and metrics.get(name) is None}


_FROM_EQUITY = {"total_return": total_return, "max_drawdown": max_drawdown, "sharpe_ratio": sharpe_ratio}
