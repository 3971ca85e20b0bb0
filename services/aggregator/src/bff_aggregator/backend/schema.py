"""One spelling for what deployed versions of the backend call by different names. Pure.

Nothing that the backend says is lost: what has no name here is kept, as it came, under `extra`.
"""

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from bff_shared import foreign_json
from bff_shared.backend_keys import dataset_symbol

Json = dict[str, Any]

STATUSES: Final = {
    "PENDING": "QUEUED",
    "COMPLETED": "DONE",
    "COMPLETE": "DONE",
    "SUCCEEDED": "DONE",
    "FAILED": "ERROR",
    "CANCELED": "CANCELLED",
}
FINISHED: Final = frozenset(("DONE", "ERROR", "CANCELLED"))

RUN_NAMES: Final = {
    "id": "run_id",
    "strategy": "strategy_id",
    "dataset": "dataset_id",
    "from": "run_from",
    "to": "run_to",
    "finished_at": "completed_at",
}
RUN_FIELDS: Final = (
    "run_id",
    "status",
    "strategy_id",
    "symbol",
    "dataset_id",
    "created_at",
    "run_from",
    "run_to",
    "params",
    "seed",
    "speed",
    "slippage_fees",
    "duration_ms",
    "code_hash",
    "artifacts",
    "manifest",
    "started_at",
    "completed_at",
    "error_message",
)

ITEM_FIELDS: Final = (
    "run_id",
    "status",
    "strategy_id",
    "symbol",
    "created_at",
    "run_from",
    "run_to",
    "duration_ms",
)


@dataclass(frozen=True, slots=True)
class Metric:
    """A performance metric: what else the backend calls it, whether the list of runs shows it, and if it is a count."""

    aliases: tuple[str, ...] = ()
    listed: bool = False
    whole: bool = False


METRICS: Final = {
    "total_return": Metric(listed=True),
    "cagr": Metric(("annual_return", "annualized_return"), listed=True),
    "max_drawdown": Metric(("max_dd",), listed=True),
    "sharpe_ratio": Metric(("sharpe",), listed=True),
    "sortino_ratio": Metric(("sortino",), listed=True),
    "win_rate": Metric(("hit_rate",), listed=True),
    "total_trades": Metric(("trades", "num_trades", "trade_count"), listed=True, whole=True),
    "avg_win": Metric(),
    "avg_loss": Metric(),
    "winning_trades": Metric(whole=True),
    "losing_trades": Metric(whole=True),
    "profit_factor": Metric(),
    "avg_trade_return": Metric(),
    "avg_winning_trade": Metric(),
    "avg_losing_trade": Metric(),
    "largest_winner": Metric(),
    "largest_loser": Metric(),
    "turnover": Metric(),
    "slippage_share": Metric(),
    "fees_paid": Metric(),
}
LISTED_METRICS: Final = tuple(name for name, metric in METRICS.items() if metric.listed)
_METRIC_NAMES: Final = {alias: name for name, metric in METRICS.items() for alias in metric.aliases}

ORDER_NAMES: Final = {
    "id": "order_id",
    "timestamp": "ts",
    "ts_utc": "ts",
    "time": "ts",
    "qty": "quantity",
    "type": "order_type",
    "fee": "commission",
    "fees": "commission",
}
ORDER_FIELDS: Final = (
    "order_id",
    "ts",
    "symbol",
    "side",
    "quantity",
    "price",
    "order_type",
    "status",
    "commission",
)

POINT_TIMES: Final = ("ts", "timestamp", "ts_utc", "time")
POINT_VALUES: Final = ("value", "equity")


_YEAR_1, _YEAR_10000 = -62_135_596_800, 253_402_300_800


class UnexpectedShape(ValueError):
    """An answer of the backend is JSON, but not what its contract says; the text names what is wrong."""


def read_json(text: bytes) -> Any:
    """Return the value of a JSON text as `foreign_json` normalises it. Raises UnexpectedShape."""
    try:
        return foreign_json.loads(text)
    except foreign_json.MalformedJson as error:
        raise UnexpectedShape(f"it cannot be read: {error}") from error


def status_of(value: object) -> str:
    """Return a status in the one spelling; one that nobody has heard of stays as it is, in capitals."""
    text = str(value).strip().upper()
    return STATUSES.get(text, text)


def run_of(detail: object) -> Json:
    """Return a run's detail, or an item of the list, with every field of `RUN_FIELDS` (null where unknown).

    `symbol` comes from `dataset_id` (`AAPL-2024-1m`) where the backend does not say it.
    Raises UnexpectedShape unless it is an object with a `status`.
    """
    if not isinstance(detail, dict) or not isinstance(detail.get("status"), str):
        raise UnexpectedShape("a run is an object with a status")
    run = _renamed(detail, RUN_NAMES, RUN_FIELDS)
    run["status"] = status_of(run["status"])
    run["symbol"] = run["symbol"] or dataset_symbol(run["dataset_id"])
    return run


def metrics_of(answer: object) -> Json:
    """Return a run's metrics with every name of `METRICS`; numbers that are not finite become null.

    Raises UnexpectedShape unless it is an object, and holds a number if it holds anything.
    """
    if not isinstance(answer, dict):
        raise UnexpectedShape("metrics are an object")
    if answer and not any(value is None or is_number(value) for value in answer.values()):
        raise UnexpectedShape("metrics hold no number")
    metrics = _renamed(answer, _METRIC_NAMES, METRICS)
    for name in METRICS:
        if metrics[name] is not None and not is_number(metrics[name]):
            metrics.setdefault("extra", {})[name] = metrics[name]
            metrics[name] = None
    return metrics


def orders_of(answer: object) -> list[Json]:
    """Return a run's orders in the backend's order, each with every field of `ORDER_FIELDS`.

    Raises UnexpectedShape unless it is `{"orders": [objects]}` or the list alone.
    """
    rows = answer.get("orders") if isinstance(answer, dict) else answer
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UnexpectedShape("orders are a list of objects")
    return [_renamed(row, ORDER_NAMES, ORDER_FIELDS) for row in rows]


def items_of(answer: object) -> tuple[list[Json], Json, int]:
    """Return the runs of a page of the list, the page's other fields, and how many of its items are no runs.

    Raises UnexpectedShape unless it is an object with items, one of which is a run if there are any.
    """
    if not isinstance(answer, dict) or not isinstance(answer.get("items"), list):
        raise UnexpectedShape("the list of runs is an object with items")
    page = {name: value for name, value in answer.items() if name != "items"}
    items = []
    for item in answer["items"]:
        with suppress(UnexpectedShape):  # counted below
            items.append(_item_of(item))
    if answer["items"] and not items:
        raise UnexpectedShape("no item of the list is a run")
    return items, page, len(answer["items"]) - len(items)


def _item_of(item: object) -> Json:
    run = run_of(item)
    shown = {name: run[name] for name in ITEM_FIELDS}
    extra = {name: value for name, value in run.items() if name not in shown and name != "extra" and value is not None}
    extra |= run.get("extra", {})
    return {**shown, "extra": extra} if extra else shown


def is_number(value: object) -> bool:
    """Tell whether a JSON value is a finite number; `true` is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def instant(value: object) -> float | None:
    """Return seconds since the Unix epoch of an ISO 8601 time (UTC unless it says otherwise), None if it is none.

    None as well for a time that its offset moves out of the years 1 to 9999.
    """
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return None
    seconds = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    return seconds if _YEAR_1 <= seconds < _YEAR_10000 else None


def _renamed(source: Mapping[str, Any], names: Mapping[str, str], fields: Iterable[str]) -> Json:
    """Return `source` under our names; a field's own name wins over another name for it, the loser is `extra`."""
    known: Json = dict.fromkeys(fields)
    extra: Json = {}
    for name, value in source.items():
        ours = names.get(name, name)
        if ours not in known:
            extra[name] = value
        elif known[ours] is None and (ours == name or source.get(ours) is None):
            known[ours] = value
        elif value is not None:
            extra[name] = value
    return {**known, "extra": extra} if extra else known
