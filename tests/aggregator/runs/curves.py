"""Equity curves of every spacing, and what empyrical-reloaded says of them. Pure.

That library draws pandas and SciPy in after it, 250 MB, so its figures are recorded in `samples/empyrical.json`. To
record them anew, in an environment of its own:

    pip install empyrical-reloaded holidays orjson && PYTHONPATH=.:demo/src:shared/src:services/aggregator/src \
        python -m tests.aggregator.runs.curves >tests/aggregator/samples/empyrical.json
"""

import importlib
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from bff_demo.catalog import CATALOG
from bff_demo.market import Market, build_market
from bff_demo.options import Options
from bff_demo.runs import Registry

NEW_YORK = ZoneInfo("America/New_York")
MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Known:
    """A curve, and how many of its returns make a year."""

    at: NDArray[np.int64]
    value: NDArray[np.float64]
    a_year: float


def steps(first: str, last: str, minutes: int, opens: str, length: int, weekdays: int = 5) -> list[datetime]:
    """Return times of sessions: each `minutes` from `opens` in New York, for `length` minutes on the first weekdays."""
    found = list[datetime]()
    day, hour = date.fromisoformat(first), datetime.strptime(opens, "%H:%M").time()  # noqa: DTZ007  New York's, below
    while day <= date.fromisoformat(last):
        if day.weekday() < weekdays:
            start = datetime.combine(day, hour, NEW_YORK).astimezone(UTC)
            found += [start + timedelta(minutes=n) for n in range(0, length, minutes)]
        day += timedelta(1)
    return found


def stamps(times: list[datetime]) -> NDArray[np.int64]:
    """Return microseconds since the Unix epoch."""
    return np.array([int(time.timestamp()) * MICROSECONDS for time in times], dtype=np.int64)


def walk(length: int) -> NDArray[np.float64]:
    """Return a curve whose returns look random and are the same everywhere."""
    returns = [0.0004 + 0.008 * math.sin(12.9898 * n) * math.cos(78.233 * n) for n in range(length - 1)]
    return 100_000 * np.cumprod(np.array([1.0, *(1 + r for r in returns)]))


@cache
def market() -> Market:
    """Return the demo's market."""
    return build_market(42)


def demo_curve(symbol: str, first: str, last: str) -> Known:
    """Return the curve of minutes of a run of the demo backend."""
    registry = Registry(Options(seed=42), market())
    inputs = next(
        entry.inputs
        for entry in CATALOG
        if (entry.inputs.symbol, str(entry.inputs.first), str(entry.inputs.last)) == (symbol, first, last)
    )
    run = next(run for run in registry.all() if run.inputs == inputs)
    computed = registry.compute(run)
    return Known(computed.bars.minute.astype(np.int64) * 60 * MICROSECONDS, computed.result.equity, 252 * 390)


def closes(minutes: Known) -> Known:
    """Return the last point of each date, a curve of days."""
    dates = minutes.at // (86_400 * MICROSECONDS)
    rows = np.append(np.flatnonzero(np.diff(dates)), len(dates) - 1)
    return Known(minutes.at[rows], minutes.value[rows], 252)


def known_curves() -> Iterator[tuple[str, Known]]:
    """Yield curves by their names."""
    for symbol, first, last in (
        ("SPY", "2024-06-01", "2024-06-30"),
        ("AAPL", "2024-01-01", "2024-12-31"),
        ("MSFT", "2025-03-01", "2025-03-31"),
    ):
        minutes = demo_curve(symbol, first, last)
        yield f"demo {symbol} {first} by minutes", minutes
        yield f"demo {symbol} {first} by days", closes(minutes)
    year = "2024-01-01", "2024-12-31"
    spacings = {
        "days at midnight in New York": (steps(*year, 1, "00:00", 1), 252),
        "days of whole weeks": (steps(*year, 1440, "00:00", 1440, weekdays=7), 365),
        "hours": (steps(*year, 60, "09:30", 390), 252 * 7),
        "half hours": (steps("2024-03-01", "2024-03-28", 30, "09:30", 390), 252 * 13),
        "minutes around the clock": (steps("2024-05-01", "2024-05-15", 1, "00:00", 1440, weekdays=7), 365 * 1440),
        "weeks": ([time for time in steps(*year, 1, "16:00", 1) if time.weekday() == 4], 52),
    }
    for name, (times, a_year) in spacings.items():
        yield name, Known(stamps(times), walk(len(times)), a_year)


def main() -> None:
    """Print what empyrical-reloaded says."""
    empyrical = importlib.import_module("empyrical")
    figures = {"version": empyrical.__version__}
    for name, curve in known_curves():
        returns = np.diff(curve.value) / curve.value[:-1]
        figures[name] = {
            "total_return": float(empyrical.cum_returns_final(returns)),
            "max_drawdown": -float(empyrical.max_drawdown(returns)),
            "sharpe_ratio": float(empyrical.sharpe_ratio(returns, annualization=curve.a_year)),
        }
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
