"""The runs that a demo backend knows from its start. Pure: what was run, when, and how its answers are worded."""

from dataclasses import dataclass, field
from datetime import date, datetime
from hashlib import blake2b
from typing import Any, Literal

import orjson

__all__ = ["CATALOG", "Entry", "Inputs", "Wording", "run_id"]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run is computed from, and so what makes two runs the same one."""

    symbol: str
    first: date
    last: date
    strategy_id: str = "sma_crossover"
    params: dict[str, Any] = field(default_factory=lambda: {"fast": 20, "slow": 50})
    seed: int = 42
    speed: float = 60
    slippage_fees: dict[str, Any] = field(default_factory=dict)

    @property
    def dataset_id(self) -> str:
        """The data set's name, `AAPL-2024-1m`."""
        return f"{self.symbol}-{self.first.year}-1m"

    @property
    def fast(self) -> int:
        """Bars in the fast average."""
        return int(self.params.get("fast", 20))

    @property
    def slow(self) -> int:
        """Bars in the slow average."""
        return int(self.params.get("slow", 50))

    @property
    def quantity(self) -> float:
        """Shares per order; whole unless an instrument is traded in fractions."""
        quantity: float = self.params.get("qty", 1)
        return quantity


@dataclass(frozen=True, slots=True)
class Wording:
    """How the deployed version that made a run words its answers.

    `equity` names a pair of `documents.EQUITY_KEYS`, `metrics` a vocabulary of `runs`; `order_symbol` fills the
    symbol of orders, which is empty otherwise; `done` and `failed` are the names of those states.
    """

    equity: Literal["plain", "ts", "ts_utc"] = "plain"
    drawdown: bool = False
    metrics: Literal["brief", "full", "renamed"] = "brief"
    order_symbol: bool = False
    done: str = "DONE"
    failed: str = "ERROR"


@dataclass(frozen=True, slots=True)
class Entry:
    """A run of the catalog. `fate` is its state from the start on; a `running` one is done a while after the start."""

    inputs: Inputs
    created_at: datetime
    wording: Wording = Wording()
    fate: Literal["done", "running", "failed", "cancelled", "no-equity"] = "done"


def run_id(seed: int, inputs: Inputs, owner: str) -> str:
    """Return 32 hexadecimal digits that depend on nothing but the arguments."""
    fields = [seed, owner, inputs.symbol, inputs.first, inputs.last, inputs.strategy_id, inputs.params]
    fields += [inputs.seed, inputs.speed, inputs.slippage_fees]
    return blake2b(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()


_FULL = Wording(metrics="full", drawdown=True)
_TS = Wording(equity="ts", metrics="full", order_symbol=True)
_TS_UTC = Wording(equity="ts_utc", metrics="renamed", order_symbol=True, done="COMPLETED", failed="FAILED")


def _params(fast: int, slow: int, quantity: float) -> dict[str, Any]:
    return {"fast": fast, "slow": slow, "qty": quantity}


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text + "+00:00")


def _entry(
    symbol: str,
    window: str,
    created_at: str,
    params: dict[str, Any] | None = None,
    wording: Wording = Wording(),
    fate: Literal["done", "running", "failed", "cancelled", "no-equity"] = "done",
) -> Entry:
    first, last = (date.fromisoformat(part) for part in window.split("/"))
    inputs = Inputs(symbol, first, last) if params is None else Inputs(symbol, first, last, params=params)
    return Entry(inputs, _at(created_at), wording, fate)


CATALOG: tuple[Entry, ...] = (
    _entry("TSLA", "2025-01-01/2025-09-17", "2025-09-27T06:40:25.874238"),
    _entry("TSLA", "2024-10-01/2024-12-31", "2025-09-27T06:34:48.744182"),
    _entry("MSFT", "2024-09-20/2024-12-31", "2025-09-26T13:22:59.941458"),
    _entry("AAPL", "2024-01-01/2024-12-31", "2025-01-03T08:15:00.120377", _params(20, 50, 100), _FULL),
    _entry("AAPL", "2024-01-01/2025-12-31", "2026-01-05T09:02:41.508822", _params(50, 200, 100), _FULL),
    _entry("NVDA", "2025-01-01/2025-12-31", "2026-01-02T17:45:12.330154", _params(10, 30, 200), _TS),
    _entry("NVDA", "2024-01-01/2024-12-31", "2025-01-07T11:27:55.019663", _params(30, 120, 500), _TS),
    _entry("SPY", "2024-06-01/2024-06-30", "2024-07-01T07:00:03.655110", _params(5, 20, 50), _TS_UTC),
    _entry("SPY", "2025-01-01/2025-06-30", "2025-07-02T14:12:37.981204", _params(15, 60, 50), _TS_UTC),
    _entry("MSFT", "2025-03-01/2025-03-31", "2025-04-01T10:30:44.207715", _params(8, 21, 100), _FULL),
    _entry("AAPL", "2024-11-01/2024-11-30", "2024-12-02T16:55:09.413390", _params(12, 26, 100)),
    _entry("MSFT", "2024-01-01/2025-06-30", "2025-07-15T05:48:31.774092", _params(60, 240, 100), _TS),
    _entry("TSLA", "2025-10-01/2025-12-31", "2026-01-06T12:00:00.250000", fate="running"),
    _entry("MSFT", "2025-06-01/2025-06-30", "2025-07-10T19:20:18.660541", fate="failed"),
    _entry("NVDA", "2025-07-01/2025-07-31", "2025-08-04T13:37:00.912345", wording=_FULL, fate="no-equity"),
    _entry("SPY", "2025-12-01/2025-12-31", "2026-01-03T20:10:59.101010", wording=_TS_UTC, fate="cancelled"),
    _entry("AAPL", "2025-02-01/2025-02-28", "2025-03-03T09:09:09.090909", wording=_TS_UTC, fate="failed"),
    # One run of each instrument of `instruments`, older than those of the stocks. Some end on days without a session:
    # Good Friday, a Saturday, a Sunday.
    _entry("X:BTCUSD", "2024-03-04/2024-03-17", "2024-04-08T21:12:40.118302", _params(30, 90, 0.05), _FULL),
    _entry("PNNY", "2024-03-01/2024-03-29", "2024-04-09T06:31:07.902114", _params(10, 40, 2_000_000), _FULL),
    _entry("C:EURUSD", "2024-03-04/2024-03-16", "2024-04-10T14:55:21.440087", _params(60, 240, 20_000)),
    _entry("CL=F", "2024-02-01/2024-03-31", "2024-04-11T09:20:33.271905", _params(15, 45, 500), _TS),
    _entry("ES=F", "2024-03-04/2024-03-15", "2024-04-12T17:03:58.636210", _params(45, 180, 5), _FULL),
    _entry("BRK.b", "2024-03-01/2024-03-31", "2024-04-15T11:44:16.054871", _params(20, 60, 50), _TS_UTC),
)
