"""What OpenAPI says of the answers about runs: their schemas, and an example of each."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, create_model

from bff_aggregator.backend.part import State
from bff_aggregator.backend.schema import LISTED_METRICS, METRICS
from bff_shared.http.responses import JSON

_RUN: dict[str, Any] = {
    "run_id": "05a0b0f6e429450f95d2598db225778b",
    "status": "DONE",
    "strategy_id": "sma_crossover",
    "symbol": "TSLA",
    "created_at": "2025-09-27T06:40:25.874238+00:00",
    "run_from": "2025-01-01",
    "run_to": "2025-09-17",
    "duration_ms": 1234,
}
_METRICS: dict[str, Any] = {
    "total_return": -0.0036,
    "max_drawdown": 0.0081,
    "sharpe_ratio": -1.2,
    "win_rate": 0.38,
    "total_trades": 1203,
}


class RunSummary(BaseModel):
    """A run as the list shows it; fields outside of the vocabulary stand under `extra`."""

    run_id: str | None
    status: str
    strategy_id: str | None
    symbol: str | None
    created_at: str | None
    run_from: str | None
    run_to: str | None
    duration_ms: float | None
    extra: dict[str, Any] = {}


class Run(RunSummary):
    """A run; `status` is QUEUED, RUNNING, DONE, ERROR or CANCELLED, or what the backend says in capitals."""

    dataset_id: str | None
    params: Any
    seed: Any
    speed: Any
    slippage_fees: Any
    code_hash: str | None
    artifacts: Any
    manifest: Any
    started_at: str | None = None
    completed_at: str | None = None
    error_message: str | None = None


_METRIC_FIELDS: dict[str, Any] = {
    name: (int | None if METRICS[name].whole else float | None, ...) for name in LISTED_METRICS
}


# Its fields are those of the table, which mypy cannot see.
class RunMetrics(create_model("RunMetrics", **_METRIC_FIELDS)):  # type: ignore[misc]
    """Figures as shares (0.1 is ten percent); null where unknown or undefined."""

    model_config = ConfigDict(extra="allow")


class Point(BaseModel):
    """Equity at a time (ISO 8601, UTC); drawdown is (peak - value) / peak."""

    ts: str
    value: float
    drawdown: float | None
    extra: dict[str, Any] = {}


class PointColumns(BaseModel):
    """Equity by columns; `t` in UTC seconds, ascending."""

    t: list[float]
    value: list[float]
    drawdown: list[float | None]
    extra: list[dict[str, Any]] | None = None


class Order(BaseModel):
    """An order; fields outside of the vocabulary stand under `extra`."""

    order_id: Any
    ts: str | None
    symbol: str | None
    side: str | None
    quantity: float | None
    price: float | None
    order_type: str | None
    status: str | None
    commission: float | None
    extra: dict[str, Any] = {}


class PartReport(BaseModel):
    """How a part fared: its age in milliseconds, where it came from, and the error if there is one.

    Its source is `frames` where the backend has no route for it and the run's event stream was read.
    """

    state: State
    age_ms: int | None
    source: Literal["backend", "cache", "frames"] | None
    error: dict[str, Any] | None = None
    extra: dict[str, Any] | None = None
    rejected: int | None = None


class Metadata(BaseModel):
    """What an answer is and is not. `revision` names the state of the run that all of its parts belong to.

    `partial_data` is true whenever a part that was asked for is not there; `failed_sources` names those of them that
    may be there the next time, not those that the backend says it does not have.
    """

    load_time_ms: float
    cache_hit: bool
    backend_calls: int
    data_sources: list[str]
    partial_data: bool
    failed_sources: list[str]
    stale: bool
    orders_count: int | None
    equity_points: int | None
    equity_source_points: int | None
    computed: list[str]
    revision: str
    parts: dict[str, PartReport]


class CompleteRun(BaseModel):
    """A run with its parts; null where `metadata.parts` says that one is not there."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "run": {**_RUN, "dataset_id": "TSLA-2025-1m", "params": {"fast": 20, "slow": 50}, "seed": 42},
                "metrics": _METRICS,
                "equity": [{"ts": "2025-01-02T14:30:00Z", "value": 100000.0, "drawdown": 0.0}],
                "orders": None,
                "metadata": {
                    "load_time_ms": 212.4,
                    "cache_hit": False,
                    "backend_calls": 4,
                    "data_sources": ["run", "metrics", "equity"],
                    "partial_data": True,
                    "failed_sources": ["orders"],
                    "stale": False,
                    "orders_count": None,
                    "equity_points": 1,
                    "equity_source_points": 69030,
                    "computed": ["sharpe_ratio", "equity.drawdown"],
                    "revision": "c5d94e5bbd56b9d5",
                    "parts": {
                        "run": {"state": "ok", "age_ms": 210, "source": "backend"},
                        "metrics": {"state": "ok", "age_ms": 190, "source": "backend"},
                        "equity": {"state": "ok", "age_ms": 12, "source": "backend"},
                        "orders": {
                            "state": "failed",
                            "age_ms": 180,
                            "source": "backend",
                            "error": {"code": "INTERNAL", "message": "internal error", "status": 500},
                        },
                    },
                },
            }
        }
    )

    run: Run
    metrics: RunMetrics | None
    equity: list[Point] | PointColumns | None
    orders: list[Order] | dict[str, list[Any]] | None
    metadata: Metadata


class RunStatus(BaseModel):
    """Where a run is; `progress` is 0 to 1 as far as the backend says, 1 when done."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {**_RUN, "finished": True, "progress": 1.0, "revision": "c5d94e5bbd56b9d5", "stale": False}
        }
    )

    run_id: str | None
    status: str
    symbol: str | None
    strategy_id: str | None
    created_at: str | None
    run_from: str | None
    run_to: str | None
    duration_ms: float | None
    started_at: str | None = None
    completed_at: str | None = None
    error_message: str | None = None
    finished: bool
    progress: float | None
    revision: str
    stale: bool


class ListedRun(RunSummary):
    """A run of the list; `metrics_state` is that of a part, or `pending` while the metrics are on their way."""

    metrics: dict[str, float] | None
    metrics_state: Literal["ok", "missing", "failed", "timeout", "skipped", "pending"]


class ListMetadata(BaseModel):
    """What it took, how many metrics were still on their way, and how many of the backend's items were no runs."""

    load_time_ms: float
    backend_calls: int
    metrics_pending: int
    stale: bool
    partial_data: bool
    rejected: int = 0


class RunPage(BaseModel):
    """A page of the list of runs."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "items": [{**_RUN, "metrics": _METRICS, "metrics_state": "ok"}],
                "total": 16,
                "limit": 20,
                "offset": 0,
                "metadata": {
                    "load_time_ms": 4.2,
                    "backend_calls": 1,
                    "metrics_pending": 0,
                    "stale": False,
                    "partial_data": False,
                    "rejected": 0,
                },
            }
        },
    )

    items: list[ListedRun]
    total: int | None = None
    limit: int | None = None
    offset: int | None = None
    metadata: ListMetadata


class Purged(BaseModel):
    """What was forgotten, and whether every process has heard of it."""

    run_id: str
    purged: bool
    everywhere: bool


def _error(text: str, code: str, message: str) -> dict[str, Any]:
    example = {"error": {"code": code, "message": message, "details": {"correlation_id": "4bf92f3577b34da6"}}}
    return {"description": text, "content": {JSON: {"schema": {"type": "object"}, "example": example}}}


def answers(*, one_run: bool) -> dict[int | str, dict[str, Any]]:
    """Return the answers that a route may give besides the good one."""
    told: dict[int | str, dict[str, Any]] = {
        304: {"description": "The client has it (If-None-Match)"},
        401: _error("The backend's own answer, unchanged", "UNAUTHORIZED", "who are you?"),
        403: _error("The backend's own answer, unchanged", "FORBIDDEN", "not yours"),
        422: _error("A parameter is not acceptable", "VALIDATION", "invalid: equity_points"),
        502: _error("The backend failed", "BACKEND_UNAVAILABLE", "the backend cannot be reached"),
        503: _error("Too busy, or the backend failed too often; see Retry-After", "BUSY", "too many requests"),
        504: _error("The backend took too long", "BACKEND_TIMEOUT", "the backend did not answer within the deadline"),
    }
    if one_run:
        told[404] = _error("No such run, or not the part that was required", "RUN_NOT_FOUND", "there is no run x")
    return told
