import itertools
import json
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bff_aggregator.backend.equity_curve import Curve, make_curve
from bff_aggregator.runs import performance
from bff_aggregator.runs.performance import max_drawdown, sharpe_ratio, total_return, trade_profits, win_rate
from tests.aggregator.runs.curves import Known, known_curves, stamps, steps

RECORDED = json.loads((Path(__file__).parents[1] / "samples/empyrical.json").read_text())


def order(side: str, quantity: float, price: float, minute: int = 0, **fields: Any) -> dict[str, Any]:
    made = {"ts": f"2025-01-02T14:{minute:02}:00Z", "side": side, "quantity": quantity, "price": price}
    return {"symbol": "A", "status": "FILLED", "commission": None, **made, **fields}


def curve_of(*value: float) -> Curve:
    """A curve of days."""
    times = stamps(steps("2024-01-01", "2024-12-31", 1, "16:00", 1))
    return make_curve(times[: len(value)], np.array(value), None, None)


def test_total_return() -> None:
    assert total_return(np.array([100.0, 90.0, 125.0])) == 0.25
    assert total_return(np.array([])) is None
    assert total_return(np.array([0.0, 1.0])) is None
    assert total_return(np.array([1.0, 0.0])) == -1.0


def test_max_drawdown() -> None:
    assert max_drawdown(np.array([100.0, 80.0, 160.0, 40.0])) == 0.75
    assert max_drawdown(np.array([1.0, 2.0])) == 0.0
    assert max_drawdown(np.array([])) is None
    assert max_drawdown(np.array([-1.0])) is None


@pytest.mark.parametrize(("name", "curve"), [pytest.param(*known, id=known[0]) for known in known_curves()])
def test_figures_of_a_curve_are_those_of_empyrical(name: str, curve: Known) -> None:
    found = performance.complete({}, make_curve(curve.at, curve.value, None, None), None)
    assert found == pytest.approx(RECORDED[name], rel=1e-9)


def test_sharpe_is_that_of_the_returns_annualised_by_their_number_in_a_year() -> None:
    value = [100.0, 101.0, 99.0, 104.0, 103.5]
    returns = [b / a - 1 for a, b in itertools.pairwise(value)]
    expected = statistics.fmean(returns) / statistics.stdev(returns) * math.sqrt(252)
    assert sharpe_ratio(curve_of(*value)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "value", [[], [1.0], [1.0, 2.0], [5.0, 5.0, 5.0], [1.0, 1.1, 1.21, 1.331], [0.0, 1.0, 2.0], [1.0, 0.0, 2.0]]
)
def test_sharpe_is_undefined_where_returns_do_not_vary(value: list[float]) -> None:
    assert sharpe_ratio(curve_of(*value)) is None


def test_sharpe_is_undefined_where_points_are_unevenly_spaced() -> None:
    at = stamps(steps("2024-01-01", "2024-12-31", 1, "16:00", 1))[[0, 1, 4, 5, 9, 17, 20, 28]]
    curve = make_curve(at, np.array([5.0, 6.0, 5.5, 6.5, 6.0, 7.0, 6.5, 8.0]), None, None)
    assert set(performance.complete({}, curve, None)) == {"total_return", "max_drawdown"}


def test_trades_are_round_trips() -> None:
    orders = [order("BUY", 10, 5.0, 1), order("SELL", 4, 6.0, 2), order("SELL", 6, 4.0, 3), order("BUY", 1, 9.0, 4)]
    assert trade_profits(orders) == [pytest.approx(-50 + 24 + 24)]


def test_short_trades_and_reversals_count() -> None:
    orders = [order("SELL", 2, 10.0, 1), order("BUY", 5, 8.0, 2), order("SELL", 3, 9.0, 3)]
    assert trade_profits(orders) == [pytest.approx(4.0), pytest.approx(3.0)]


def test_a_trade_of_fractions_is_closed_by_all_of_them() -> None:
    orders = [order("BUY", 0.5, 10.0, 1), order("BUY", 0.25, 12.0, 2), order("SELL", 0.5, 14.0, 3)]
    assert trade_profits(orders) == []
    assert trade_profits([*orders, order("SELL", 0.25, 16.0, 4)]) == [pytest.approx(-5 - 3 + 7 + 4)]


def test_commissions_reduce_profits() -> None:
    orders = [order("BUY", 1, 10.0, 1, commission=0.3), order("SELL", 1, 10.5, 2, commission=0.3)]
    assert trade_profits(orders) == [pytest.approx(-0.1)]


def test_orders_are_taken_by_their_times_and_per_symbol() -> None:
    by_time = [order("BUY", 1, 10.0, 1), order("SELL", 1, 12.0, 2), order("SELL", 1, 9.0, 3), order("BUY", 1, 8.0, 4)]
    other = order("BUY", 1, 1.0, 2, symbol="B")
    # As they come here, they would be one trade with a profit of 3.
    orders = [by_time[3], by_time[0], other, by_time[2], by_time[1]]
    assert trade_profits(orders) == [pytest.approx(2.0), pytest.approx(1.0)]


@pytest.mark.parametrize(
    ("bought", "sold", "again"),
    [
        ("2024-01-02T14:31:00Z", "2024-01-02T14:31:01Z", "2024-01-02T14:31:01.500Z"),
        ("2024-11-03T01:59:00-04:00", "2024-11-03T01:00:00-05:00", "2024-11-03T01:30:00-05:00"),
        ("2024-01-02T23:59:00+09:00", "2024-01-02T15:00:00", "2024-01-02 16:01:00+01:00"),
        ("2024-01-02T14:31:00.000001Z", "2024-01-02T14:31:00.1Z", "2024-01-02T14:31:00.10001Z"),
        ("2024-01-02", "2024-01-02T00:00:01Z", "20240102T000002Z"),
        (1704205860, "2024-01-02T14:31:01Z", 1704205862.5),
    ],
)
def test_orders_are_taken_by_their_times_however_these_are_spelled(bought: Any, sold: Any, again: Any) -> None:
    trades = [
        order("BUY", 1, 20.0, ts=bought),
        order("SELL", 1, 10.0, ts=sold),
        order("BUY", 1, 10.0, ts=again),
        order("SELL", 1, 30.0, ts="2025-06-01T00:00:00Z"),
    ]
    for sent in itertools.permutations(trades):
        assert trade_profits(sent) == [-10.0, 20.0]


def test_an_order_without_a_time_stays_behind_the_one_before_it() -> None:
    trades = [
        order("SELL", 1, 12.0, 9),
        order("BUY", 1, 11.0, ts=None),
        order("BUY", 1, 10.0, 1),
        order("BUY", 1, 13.0, ts="?"),
        order("SELL", 2, 20.0, 2),
    ]
    assert trade_profits(trades) == [17.0, 1.0]
    assert trade_profits([order("BUY", 1, 10.0, ts=None), order("SELL", 1, 12.0, ts="?")]) == [2.0]


@pytest.mark.parametrize(
    "fields", [{"status": "REJECTED"}, {"price": None}, {"quantity": 0}, {"side": "HOLD"}, {"quantity": True}]
)
def test_orders_that_were_not_filled_do_not_count(fields: dict[str, Any]) -> None:
    assert trade_profits([order("BUY", 1, 10.0, 1), {**order("SELL", 1, 12.0, 2), **fields}]) == []


def test_win_rate() -> None:
    assert win_rate([1.0, -1.0, 0.0, 2.0]) == 0.5
    assert win_rate([]) is None


def test_only_what_is_lacking_is_computed() -> None:
    metrics = {"total_return": 0.1, "max_drawdown": None, "win_rate": None, "total_trades": None}
    trades = performance.trade_performance([order("BUY", 1, 5.0, 1), order("SELL", 1, 6.0, 2)])
    found = performance.complete(metrics, curve_of(100.0, 50.0, 80.0), trades)
    assert found.keys() >= {"max_drawdown", "sharpe_ratio", "total_trades", "win_rate", "winning_trades"}
    assert "total_return" not in found
    assert (found["max_drawdown"], found["total_trades"], found["win_rate"]) == (0.5, 1, 1.0)


def test_nothing_is_computed_without_its_part() -> None:
    assert performance.complete({}, None, None) == {}
    assert set(performance.complete({}, None, performance.trade_performance([]))) == {
        "total_trades",
        "winning_trades",
        "losing_trades",
    }


def test_winners_and_losers_are_told_apart() -> None:
    prices = [10.0, 13.0, 10.0, 8.0, 10.0, 11.0, 10.0, 10.0, 10.0, 6.0]
    orders = [order("BUY" if n % 2 == 0 else "SELL", 1, price, n) for n, price in enumerate(prices)]
    assert performance.trade_performance(orders) == {
        "total_trades": 5,
        "win_rate": 0.4,
        "winning_trades": 2,
        "losing_trades": 2,
        "profit_factor": pytest.approx(4 / 6),
        "avg_winning_trade": 2.0,
        "avg_losing_trade": -3.0,
        "largest_winner": 3.0,
        "largest_loser": -4.0,
    }


def test_profit_factor_is_undefined_where_nobody_lost() -> None:
    found = performance.trade_performance([order("BUY", 1, 10.0, 1), order("SELL", 1, 13.0, 2)])
    assert (found["profit_factor"], found["avg_losing_trade"], found["largest_loser"]) == (None, None, None)
