"""What becomes of an answer when parts of the backend go wrong, each alone and together."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

import httpx
import pytest

StartAggregator = Callable[..., Awaitable[httpx.AsyncClient]]
PARTS = ("metrics", "equity", "orders")
DEADLINE = 1.0
HANG = {"silent", "slow drip"}
"""Faults that only a deadline ends: it has to leave time for everything else."""

FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "404": ({"error_status": 404}, "missing"),
    "500": ({"error_status": 500}, "failed"),
    "503": ({"error_status": 503}, "failed"),
    "refused": ({"refuse": True}, "failed"),
    "cut body": ({"cut_after_bytes": 20}, "failed"),
    "other shape": ({"wrong_json": "shape"}, "failed"),
    "not JSON": ({"wrong_json": "syntax"}, "failed"),
    "silent": ({"latency_ms": 60_000}, "timeout"),
    "slow drip": ({"drip_bytes_per_s": 2}, "timeout"),
}
SUBSETS = [subset for size in (1, 2, 3) for subset in itertools.combinations(PARTS, size)]


def month(demo: Any) -> str:
    items = demo.get("/backtests", limit=100, symbol="AAPL").json()["items"]
    return str(next(item["run_id"] for item in items if item["run_from"] == "2024-11-01"))


def small_runs(demo: Any) -> list[str]:
    """Return as many finished runs as there are combinations of parts, those with the shortest windows."""
    items = [
        item
        for item in demo.get("/backtests", limit=100).json()["items"]
        if item["status"] in {"DONE", "COMPLETED"}
        and demo.get(f"/backtests/{item['run_id']}/metrics").status_code == 200
        and item["run_from"] != "2025-07-01"
    ]
    items.sort(key=lambda item: date.fromisoformat(item["run_to"]) - date.fromisoformat(item["run_from"]))
    return [str(item["run_id"]) for item in items[: len(SUBSETS)]]


def rule(run: str, part: str, fault: dict[str, Any]) -> dict[str, Any]:
    return {"path_pattern": f"^/backtests/{run}{'/' + part if part else ''}$", **fault}


async def ask(client: httpx.AsyncClient, run: str, **query: Any) -> httpx.Response:
    async with asyncio.timeout(60):
        return await client.get(f"/api/v1/runs/{run}/complete", params=query)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in HANG)) for name in FAULTS])
async def test_failing_parts_are_told_and_never_cost_the_others(
    demo: Any, start_aggregator: StartAggregator, name: str
) -> None:
    """Each combination of parts fails for a run of its own, all at the same time."""
    fault, state = FAULTS[name]
    cases = list(zip(small_runs(demo), SUBSETS, strict=True))
    client = await start_aggregator(backend_url=demo.url, run_timeout=6.0 if name in HANG else 30.0)
    demo.faults(*(rule(run, part, fault) for run, subset in cases for part in subset))
    answers = await asyncio.gather(*(ask(client, run) for run, _ in cases))
    for answer, (_, subset) in zip(answers, cases, strict=True):
        assert answer.status_code == 200
        body = answer.json()
        parts = body["metadata"]["parts"]
        assert {part: parts[part]["state"] for part in PARTS} == {
            part: state if part in subset else "ok" for part in PARTS
        }
        assert [part for part in PARTS if body[part] is None] == list(subset)
        failed = list(subset) if state != "missing" else []
        assert (body["metadata"]["failed_sources"], body["metadata"]["partial_data"]) == (failed, bool(subset))
        assert all(parts[part]["error"]["code"] and parts[part]["error"]["message"] for part in subset)
        assert ("etag" in answer.headers) == (not failed)


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("404", 404),
        ("500", 502),
        ("503", 502),
        ("refused", 502),
        ("cut body", 502),
        ("other shape", 502),
        ("not JSON", 502),
        ("silent", 504),
        ("slow drip", 504),
    ],
)
async def test_failing_detail_fails_the_whole(
    demo: Any, start_aggregator: StartAggregator, name: str, status: int
) -> None:
    run = month(demo)
    client = await start_aggregator(backend_url=demo.url, run_timeout=DEADLINE)
    demo.faults(rule(run, "", FAULTS[name][0]))
    for path in ("complete", "status"):
        answer = await client.get(f"/api/v1/runs/{run}/{path}")
        expected = {404: "RUN_NOT_FOUND", 502: "BACKEND_UNAVAILABLE", 504: "BACKEND_TIMEOUT"}[status]
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, expected)


async def test_part_that_is_too_late_is_there_for_the_next_request(
    demo: Any, start_aggregator: StartAggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bff_aggregator.runs.service.PART_JOINABLE", 60.0)  # nothing hangs, however busy the machine is
    run = month(demo)
    client = await start_aggregator(backend_url=demo.url, run_timeout=1.0)
    demo.faults(rule(run, "equity", {"latency_ms": 1400}))
    assert (await ask(client, run)).json()["metadata"]["parts"]["equity"]["state"] == "timeout"
    async with asyncio.timeout(20):
        while True:
            body = (await ask(client, run)).json()
            if body["metadata"]["parts"]["equity"]["state"] == "ok":
                break
    assert body["equity"]
    assert len(demo.seen(f"/backtests/{run}/equity")) == 1


async def test_client_may_shorten_the_deadline_and_not_lengthen_it(
    demo: Any, start_aggregator: StartAggregator
) -> None:
    run = month(demo)
    demo.faults(rule(run, "orders", {"latency_ms": 60_000}))
    for own, asked in ((30.0, "0.5"), (1.0, "60")):
        client = await start_aggregator(backend_url=demo.url, run_timeout=own)
        await ask(client, run, include_orders="false")  # the rest of it is there from now on
        answer = await client.get(f"/api/v1/runs/{run}/complete", headers={"x-request-timeout": asked})
        assert answer.json()["metadata"]["parts"]["orders"]["state"] == "timeout"
        assert 450 <= answer.json()["metadata"]["load_time_ms"] < 20_000
    answer = await client.get(f"/api/v1/runs/{run}/complete", headers={"x-request-timeout": "soon"})
    assert answer.status_code == 422


async def test_failure_in_passing_is_tried_once_more(demo: Any, start_aggregator: StartAggregator) -> None:
    run = month(demo)
    client = await start_aggregator(backend_url=demo.url)
    demo.faults(*(rule(run, part, {"error_status": 503, "times": 1}) for part in ("", "equity")))
    body = (await ask(client, run)).json()
    assert {part["state"] for part in body["metadata"]["parts"].values()} == {"ok"}


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [("404", 404, "ARTIFACT_MISSING"), ("500", 502, "BACKEND_UNAVAILABLE"), ("silent", 504, "BACKEND_TIMEOUT")],
)
async def test_required_part_that_does_not_come_fails_the_whole(
    demo: Any, start_aggregator: StartAggregator, fault: str, status: int, code: str
) -> None:
    run = month(demo)
    client = await start_aggregator(backend_url=demo.url, run_timeout=3 * DEADLINE if fault in HANG else 30.0)
    demo.faults(rule(run, "equity", FAULTS[fault][0]))
    assert (await ask(client, run, require="metrics,orders")).status_code == 200
    answer = await ask(client, run, require="metrics,equity", include_equity="false")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_stale_parts_stand_in_for_failing_ones(
    demo: Any, start_aggregator: StartAggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bff_aggregator.runs.revision.lifetime", lambda *_: 0.0)
    monkeypatch.setattr("bff_aggregator.runs.revision.snapshot_lifetime", lambda *_: 0.0)
    run = month(demo)
    client = await start_aggregator(backend_url=demo.url)
    before = (await ask(client, run)).json()
    demo.faults(rule(run, "equity", {"error_status": 500}))
    body = (await ask(client, run)).json()
    assert body["equity"] == before["equity"]
    assert body["metadata"]["parts"]["equity"]["state"] == "stale"
    assert body["metadata"]["parts"]["equity"]["error"]["status"] == 500
    assert body["metadata"]["partial_data"] is False
    demo.faults({"path_prefix": "/backtests", "refuse": True})
    answer = await ask(client, run)
    body = answer.json()
    assert {part["state"] for part in body["metadata"]["parts"].values()} == {"stale"}
    assert {name: body[name] for name in ("run", *PARTS)} == {name: before[name] for name in ("run", *PARTS)}
    assert "stale" in answer.headers["cache-status"]
    assert "etag" not in answer.headers


async def test_broken_part_does_not_open_the_circuit_of_the_others(
    demo: Any, start_aggregator: StartAggregator
) -> None:
    run = month(demo)
    client = await start_aggregator(backend_url=demo.url, breaker_min_calls=4)
    demo.faults(*(rule(run, part, {"error_status": 503}) for part in ("equity", "orders")))
    for number in range(6):  # for two clients: what one alone is answered opens nothing
        client.headers["x-forwarded-for"] = f"203.0.113.{number % 2}"
        body = (await ask(client, run)).json()
    assert [body["metadata"]["parts"][part]["state"] for part in PARTS] == ["ok", "failed", "failed"]
    assert body["metadata"]["parts"]["equity"]["error"]["code"] == "BACKEND_CIRCUIT_OPEN"
