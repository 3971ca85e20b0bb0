"""A page of the list of runs: the backend's text, and each finished run's key metrics put into it. Pure.

A page that says the same as one before is not read again: what is asked for every second changes every few minutes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import orjson

from bff_aggregator.backend import schema
from bff_aggregator.backend.part import Part, State
from bff_aggregator.backend.schema import FINISHED, LISTED_METRICS, Json, instant
from bff_aggregator.runs import revision
from bff_aggregator.runs.part_codec import data_of
from bff_aggregator.runs.revision import HOUR
from bff_shared.backend_keys import is_run_id

PENDING: Final = "pending"
REMEMBERED: Final = 32
LARGEST_REMEMBERED: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Row:
    """A run of a page: its JSON object without the closing brace, and what tells which metrics are its own.

    `key` is the run's id and its revision, so what is kept under it never changes; empty for a run that is not over.
    `ended` is about when it was over, in seconds since the Unix epoch.
    """

    text: bytes
    run_id: str
    key: str
    ended: float


@dataclass(frozen=True, slots=True)
class Plain:
    """A page as the backend has it; `rest` are its other fields as JSON, each with a comma before it.

    `rejected` counts the items that are no runs.
    """

    rows: tuple[Row, ...]
    rest: bytes
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """A page with the metrics that are at hand: by key, each as `shown` returns it.

    `failed` are the states of metrics that could not be had, `error` is why it is not the newest page.
    """

    plain: Plain
    metrics: Mapping[str, bytes]
    failed: Mapping[str, State]
    calls: int = 0
    error: Json | None = None


def read_page(text: bytes) -> Plain:
    """Return the page of an answer of the backend. Raises UnexpectedShape."""
    return _remembered(text) if len(text) <= LARGEST_REMEMBERED else _read(text)


def shown(part: Part) -> bytes:
    """Return what a row shows of metrics that came, with the row's closing brace."""
    return _shown(_key_metrics(part), part.state)


def lifetime(row: Row, state: State, now: float) -> float:
    """Return for how many seconds a run's metrics are good before they are asked for again."""
    if state is State.MISSING:
        return 60.0
    return 300.0 if now - row.ended < HOUR else HOUR


def page_body(page: Page, load_time_ms: float) -> bytes:
    """Return a page as it is answered."""
    rows: list[bytes] = []
    states: list[str] = []
    for row in page.plain.rows:
        metrics = page.metrics.get(row.key) if row.key else _SKIPPED
        if metrics is None:
            state = page.failed.get(row.key, PENDING)
            states.append(state)
            metrics = _ABSENT[state]
        rows += (row.text, metrics)
    metadata = {
        "load_time_ms": round(load_time_ms, 2),
        "backend_calls": page.calls,
        "metrics_pending": states.count(PENDING),
        "stale": page.error is not None,
        "partial_data": any(state != PENDING for state in states),
        "rejected": page.plain.rejected,
    }
    items = b",".join(rows[at] + rows[at + 1] for at in range(0, len(rows), 2))
    return b"".join((b'{"items":[', items, b"]", page.plain.rest, b',"metadata":', orjson.dumps(metadata), b"}"))


def _read(text: bytes) -> Plain:
    items, rest, rejected = schema.items_of(schema.read_json(text))
    if "metadata" in rest:
        rest["extra"] = {"metadata": rest.pop("metadata")}
    return Plain(tuple(map(_row, items)), b"," + orjson.dumps(rest)[1:-1] if rest else b"", rejected)


_remembered = lru_cache(REMEMBERED)(_read)


def _row(item: Json) -> Row:
    run_id, key = item["run_id"], ""
    if isinstance(run_id, str) and is_run_id(run_id) and item["status"] in FINISHED:
        key = f"{run_id}:{revision.revision_of(item)}"
    created, duration = instant(item["created_at"]), item["duration_ms"]
    ended = (created or 0.0) + (duration / 1000 if schema.is_number(duration) else 0.0)
    return Row(orjson.dumps(item)[:-1], str(run_id), key, ended)


def _key_metrics(part: Part) -> Json | None:
    metrics = data_of(part)
    return (
        None if metrics is None else {name: metrics[name] for name in LISTED_METRICS if metrics.get(name) is not None}
    )


def _shown(metrics: Any, state: str) -> bytes:
    return b"," + orjson.dumps({"metrics": metrics, "metrics_state": state})[1:]


_SKIPPED: Final = _shown(None, State.SKIPPED)
_ABSENT: Final = {state: _shown(None, state) for state in (PENDING, State.FAILED, State.TIMEOUT)}


def batches(rows: Sequence[Row], size: int) -> list[Sequence[Row]]:
    """Return rows in groups of at most `size`."""
    return [rows[at : at + size] for at in range(0, len(rows), size)]
