"""The registry of runs: what exists, in which state it is now, and what its parts are.

States follow from the clock alone, so nothing runs in the background: a posted run is queued, running and done at
fixed times after it was posted, and its parts are computed when they are asked for.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from hashlib import sha1
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bff_demo import documents, strategy
from bff_demo.bars import Bars
from bff_demo.catalog import CATALOG, Entry, Inputs, Wording, run_id
from bff_demo.instruments import INSTRUMENTS
from bff_demo.market import Market
from bff_demo.options import Options
from bff_demo.sessions import MINUTES_PER_DAY

__all__ = [
    "BodyPart",
    "Computed",
    "Part",
    "PartMissing",
    "Registry",
    "Run",
    "RunNotFound",
    "detail",
    "item",
    "metrics",
    "part_body",
]

Part = Literal["metrics", "equity", "orders"]
BodyPart = Literal["equity", "orders"]
_BRIEF = ("total_return", "max_drawdown")
_RENAMED = {"total_return": "total_return", "max_drawdown": "max_drawdown", "sharpe": "sharpe_ratio"}
_RENAMED |= {"hit_rate": "win_rate", "cagr": "annual_return"}
_LONGEST_PAUSE = 390  # minutes; nothing of a session, and less than a night
_DURATION_MS = 1234  # the deployed backend reports this for every run


class RunNotFound(Exception):
    """There is no run of that id."""

    def __init__(self, run: str) -> None:
        super().__init__(f"Run {run} not found")


class PartMissing(Exception):
    """The run exists, this part of it does not."""

    def __init__(self, run: str, part: str) -> None:
        super().__init__(f"Artifact {part} of run {run} not found")


@dataclass(frozen=True, slots=True)
class Run:
    """A run and its fate: before `running_at` it is queued, before `done_at` (seconds of the clock) it runs."""

    run_id: str
    inputs: Inputs
    owner: str
    created_at: datetime
    wording: Wording
    final: str
    missing: frozenset[Part]
    running_at: float = 0.0
    done_at: float = 0.0

    def status(self, now: float) -> str:
        """Return the state at `now`, in seconds of the clock."""
        if now < self.running_at:
            return "QUEUED"
        return "RUNNING" if now < self.done_at else self.final


@dataclass(frozen=True, slots=True)
class Computed:
    """The bars of a run and what the strategy made of them; `traded` tells which minutes have a candle (None: all)."""

    bars: Bars
    result: strategy.Result
    traded: NDArray[np.bool_] | None = None


class Registry:
    """All runs of one backend; safe to call from several threads. Posted runs beyond the limit push out the oldest."""

    def __init__(self, options: Options, market: Market) -> None:
        self._options = options
        self._market = market
        self._lock = threading.Lock()
        self._created: list[str] = []
        self._keys: dict[tuple[str, str], str] = {}
        started = options.clock()
        self._runs = {run.run_id: run for run in self._seeded(started)}

    def now(self) -> float:
        """Return the time by the clock, in seconds since the Unix epoch."""
        return self._options.clock()

    def find(self, run: str) -> Run:
        """Return the run. Raises RunNotFound."""
        with self._lock:
            found = self._runs.get(run)
        if found is None:
            raise RunNotFound(run)
        return found

    def all(self) -> list[Run]:
        """Return every run, in no particular order."""
        with self._lock:
            return list(self._runs.values())

    def create(self, inputs: Inputs, owner: str, key: str | None) -> tuple[Run, bool]:
        """Return the run of these inputs or of this idempotency key, and whether it is new."""
        identifier = run_id(self._options.seed, inputs, owner)
        with self._lock:
            known = self._runs.get(self._keys.get((owner, key), "") if key else "") or self._runs.get(identifier)
            run = known or self._add(identifier, inputs, owner)
            if key:
                self._keys[owner, key] = run.run_id
                self._forget_keys()
        return run, known is None

    def compute(self, run: Run) -> Computed:
        """Compute a run from its bars; the same answer every time."""
        inputs = run.inputs
        minutes = self._market.minutes_of(inputs.symbol)
        if minutes is None:
            raise KeyError(inputs.symbol)
        bars = minutes.window(inputs.first, inputs.last, rth_only=True)
        result = strategy.backtest(
            bars.c, fast=inputs.fast, slow=inputs.slow, quantity=inputs.quantity, ticks=bars.ticks
        )
        if inputs.symbol not in INSTRUMENTS or not INSTRUMENTS[inputs.symbol].quiet_frames or not len(bars):
            return Computed(bars, result)
        filled, rows, traded = bars.with_quiet_minutes(_LONGEST_PAUSE)
        return Computed(filled, strategy.spread(result, rows, traded), traded)

    def require(self, run: Run, part: Part) -> None:
        """Raise PartMissing unless the run is over and has this part."""
        if self.now() < run.done_at or part in run.missing:
            raise PartMissing(run.run_id, part)

    def has_data(self, symbol: str, first: date, last: date) -> bool:
        """Tell whether there are bars to run on."""
        bars = self._market.minutes_of(symbol)
        return bars is not None and len(bars.window(first, last, rth_only=True)) > 0

    def _add(self, identifier: str, inputs: Inputs, owner: str) -> Run:
        now = self.now()
        running_at = now + self._options.queue_seconds
        run = Run(
            identifier,
            inputs,
            owner,
            datetime.fromtimestamp(now, UTC),
            Wording(),
            "DONE",
            frozenset(),
            running_at,
            running_at + self._options.work_seconds,
        )
        if len(self._created) >= self._options.created_limit:
            del self._runs[self._created.pop(0)]
        self._created.append(identifier)
        self._runs[identifier] = run
        return run

    def _forget_keys(self) -> None:
        while len(self._keys) > 4 * self._options.created_limit:
            del self._keys[next(iter(self._keys))]

    def _seeded(self, started: float) -> Iterator[Run]:
        owners = list(self._options.tokens) or [""]
        for index, entry in enumerate(CATALOG):
            owner = owners[index % len(owners)]
            run = _from_entry(entry, run_id(self._options.seed, entry.inputs, owner), owner)
            yield replace(run, done_at=started + self._options.running_seconds) if entry.fate == "running" else run


def _from_entry(entry: Entry, identifier: str, owner: str) -> Run:
    states = {"failed": entry.wording.failed, "cancelled": "CANCELLED"}
    missing: frozenset[Part] = frozenset()
    if entry.fate == "no-equity":
        missing = frozenset({"equity"})
    elif entry.fate in states:
        missing = frozenset({"metrics", "equity", "orders"})
    final = states.get(entry.fate, entry.wording.done)
    return Run(identifier, entry.inputs, owner, entry.created_at, entry.wording, final, missing)


def item(run: Run, now: float) -> dict[str, Any]:
    """Return a run as the list shows it; `duration_ms` is there once it is over."""
    status = run.status(now)
    shown: dict[str, Any] = {
        "run_id": run.run_id,
        "created_at": run.created_at.isoformat(timespec="microseconds"),
        "strategy_id": run.inputs.strategy_id,
        "status": status,
        "symbol": run.inputs.symbol,
        "run_from": run.inputs.first.isoformat(),
        "run_to": run.inputs.last.isoformat(),
    }
    return shown if now < run.done_at else shown | {"duration_ms": _DURATION_MS}


def detail(run: Run, now: float) -> dict[str, Any]:
    """Return a run as its own page shows it; a run that is not over has no artifacts yet."""
    over = now >= run.done_at
    folder = f"data/backtests/{run.run_id}/"
    files = {
        "metrics": "metrics.json",
        "equity": "equity.parquet",
        "orders": "orders.parquet",
        "fills": "fills.parquet",
    }
    files["run_manifest"] = "run-manifest.json"
    kept = over and len(run.missing) < 3
    return {
        "run_id": run.run_id,
        "dataset_id": run.inputs.dataset_id,
        "strategy_id": run.inputs.strategy_id,
        "params": run.inputs.params,
        "seed": run.inputs.seed,
        "slippage_fees": run.inputs.slippage_fees,
        "speed": run.inputs.speed,
        "code_hash": sha1(run.inputs.strategy_id.encode(), usedforsecurity=False).hexdigest(),
        "created_at": run.created_at.isoformat(timespec="microseconds"),
        "status": run.status(now),
        "duration_ms": _DURATION_MS if over else None,
        "artifacts": {f"{name}_path": folder + file if kept else None for name, file in files.items()},
        "manifest": {"path": f"{folder}run-manifest.json"} if kept else None,
        "run_from": run.inputs.first.isoformat(),
        "run_to": run.inputs.last.isoformat(),
    }


def metrics(run: Run, computed: Computed) -> dict[str, float]:
    """Return the metrics in the run's vocabulary: two of them, all, or some under other names."""
    bars = computed.bars
    day = (bars.minute // MINUTES_PER_DAY).astype(np.int32)
    full = strategy.summarize(computed.result, bars.c, day, run.inputs.quantity, bars.ticks)
    if run.wording.metrics == "full":
        return full
    if run.wording.metrics == "renamed":
        return {new: full[old] for old, new in _RENAMED.items()}
    return {name: full[name] for name in _BRIEF}


def part_body(run: Run, computed: Computed, part: BodyPart) -> bytes:
    """Return the JSON of the equity or of the orders."""
    if part == "equity":
        keys = documents.EQUITY_KEYS[run.wording.equity]
        return documents.equity_body(computed.bars, computed.result, keys, drawdown=run.wording.drawdown)
    symbol = run.inputs.symbol if run.wording.order_symbol else ""
    return documents.orders_body(computed.bars, computed.result, symbol, run.inputs.quantity)
