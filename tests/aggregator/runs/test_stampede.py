"""Parts of a cold run are shared from the moment they have come: one call for each, however many ask meanwhile."""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from bff_aggregator.cache.store import Store
from bff_aggregator.charts.routes import utc_today
from bff_aggregator.runs.run_cache import RunCache
from tests.support.foreign import RUN, ForeignBackend

StartAggregator = Callable[..., Awaitable[httpx.AsyncClient]]
StartApp = Callable[[Any], Awaitable[str]]
PARTS = ("metrics", "equity", "orders")
VIEW = "/api/v1/runs/r/view?from_date=2024-01-01&to_date=2024-01-05"
COMPLETE = "/api/v1/runs/r/complete"
CHART = "/api/v1/chart-data?symbol=AAPL&timeframe=1D&from_date=2024-01-01&to_date=2024-01-05"
WAIT_S = 30.0


@pytest.fixture(autouse=True)
def _nothing_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that takes long on a busy machine is joined all the same."""
    monkeypatch.setattr("bff_aggregator.runs.service.PART_JOINABLE", 2 * WAIT_S)


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not fact():
            await asyncio.sleep(0.005)


async def in_flight(client: httpx.AsyncClient) -> float:
    """Return how many requests the aggregator is answering, this one included."""
    found = re.search(r"^bff_http_requests_in_flight\S* (\S+)$", (await client.get("/metrics")).text, re.MULTILINE)
    assert found
    return float(found[1])


async def asked_meanwhile(
    client: httpx.AsyncClient, backend: ForeignBackend, slowest: str, routes: list[str]
) -> list[httpx.Response]:
    """Ask for the first route, for the others once all but the slowest part have come, which comes when all wait."""
    quick = [f"/backtests/r/{part}" for part in PARTS if part != slowest]
    backend.gates[f"/backtests/r/{slowest}"] = gate = asyncio.Event()
    tasks = [asyncio.create_task(client.get(routes[0]))]
    await until(lambda: all(backend.answered[path] for path in quick))
    tasks += [asyncio.create_task(client.get(route)) for route in routes[1:]]
    async with asyncio.timeout(WAIT_S):
        while await in_flight(client) <= len(routes):
            await asyncio.sleep(0.005)
    gate.set()
    return await asyncio.gather(*tasks)


def states(answer: httpx.Response) -> list[str]:
    documents = [json.loads(line) for line in answer.text.splitlines()]
    body = next((line["body"] for line in documents if line.get("name") == "run"), documents[0])
    return [body["metadata"]["parts"][part]["state"] for part in PARTS]


@pytest.mark.parametrize("status", ["DONE", "RUNNING"])
@pytest.mark.parametrize("slowest", ["equity", *PARTS[::2]])
@pytest.mark.parametrize("routes", [[COMPLETE] * 20, [COMPLETE, VIEW] * 10], ids=["complete", "complete and view"])
async def test_twenty_requests_over_the_slowest_part_make_one_call_for_each_part(
    start_app: StartApp,
    start_aggregator: StartAggregator,
    monkeypatch: pytest.MonkeyPatch,
    slowest: str,
    routes: list[str],
    status: str,
) -> None:
    # What is asked for before a running run has been seen may belong to an earlier state of it, and is asked for again.
    monkeypatch.setattr("bff_aggregator.runs.service.LEAD", WAIT_S)
    backend = ForeignBackend()
    backend.bodies["/backtests/r"] = RUN.replace(b"DONE", status.encode())
    client = await start_aggregator(backend_url=await start_app(backend), run_timeout=20)
    answers = await asked_meanwhile(client, backend, slowest, routes)
    assert [states(answer) for answer in answers] == [["ok"] * 3] * len(routes)
    assert {part: backend.calls[f"/backtests/r/{part}"] for part in PARTS} == dict.fromkeys(PARTS, 1)


async def test_a_part_that_failed_is_not_shared_with_those_who_come_later(
    start_app: StartApp, start_aggregator: StartAggregator
) -> None:
    gate = asyncio.Event()
    backend = ForeignBackend(gates={"/backtests/r/equity": gate})
    backend.statuses["/backtests/r/orders"] = 422
    client = await start_aggregator(backend_url=await start_app(backend), run_timeout=20)
    first = asyncio.create_task(client.get(COMPLETE))
    await until(lambda: bool(backend.answered["/backtests/r/orders"]))
    del backend.statuses["/backtests/r/orders"]
    second = asyncio.create_task(client.get(COMPLETE))
    await until(lambda: backend.calls["/backtests/r/orders"] == 2)
    gate.set()
    assert states(await second) == ["ok"] * 3
    assert states(await first) == ["ok", "ok", "failed"]
    assert backend.calls["/backtests/r/equity"] == 1


def breaks(*_: Any, **__: Any) -> Any:
    raise ValueError("a defect")


async def test_a_defect_of_ours_is_500_and_logged_and_no_time_out_of_the_backend(
    start_app: StartApp, start_aggregator: StartAggregator, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    client = await start_aggregator(backend_url=await start_app(ForeignBackend()))
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(Store, "put_local", breaks)
        answer = await client.get(CHART, headers={"x-request-id": "mine"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "INTERNAL")
        assert answer.json()["error"]["details"]["correlation_id"] == "mine"
    assert "making cache entries failed" in caplog.text
    assert "never retrieved" not in caplog.text
    assert (await client.get(CHART)).status_code == 200


async def test_stale_bars_stand_in_for_a_defect_of_ours_and_say_so(
    start_app: StartApp, start_aggregator: StartAggregator, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    from bff_aggregator.charts import chunk_plan

    today = CHART.replace("2024-01-05", utc_today().isoformat())
    monkeypatch.setattr(chunk_plan, "OPEN_SECONDS", 0.0)
    client = await start_aggregator(backend_url=await start_app(ForeignBackend()), chart_answer_bytes=0)
    assert (await client.get(today)).status_code == 200
    await asyncio.sleep(0.01)
    monkeypatch.setattr("bff_aggregator.charts.chunk_fetcher.chunk_codec.split", breaks)
    with caplog.at_level(logging.ERROR):
        answer = await client.get(today)
    assert answer.status_code == 200
    assert "making cache entries failed" in caplog.text or answer.json()["metadata"]["cache_hit"]


async def test_a_run_that_cannot_be_kept_is_answered_all_the_same(
    start_app: StartApp, start_aggregator: StartAggregator, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    client = await start_aggregator(backend_url=await start_app(ForeignBackend()))
    monkeypatch.setattr(RunCache, "keep_part", breaks)
    with caplog.at_level(logging.ERROR):
        answer = await client.get(COMPLETE)
    assert states(answer) == ["ok"] * 3
    assert "could not be kept" in caplog.text
    assert "never retrieved" not in caplog.text


async def test_a_run_whose_look_breaks_is_500_and_stale_where_it_is_known(
    start_app: StartApp, start_aggregator: StartAggregator, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    backend = ForeignBackend()
    backend.bodies["/backtests/r"] = RUN.replace(b"DONE", b"RUNNING")
    client = await start_aggregator(backend_url=await start_app(backend))
    assert (await client.get(COMPLETE)).status_code == 200
    monkeypatch.setattr("bff_aggregator.backend.run_calls.schema.run_of", breaks)
    monkeypatch.setattr("bff_aggregator.runs.revision.snapshot_lifetime", lambda _: 0.0)
    with caplog.at_level(logging.ERROR):
        known = await client.get(COMPLETE)
        assert known.json()["metadata"]["parts"]["run"]["state"] == "stale"
        other = await client.get(COMPLETE, headers={"authorization": "Bearer other"})
    assert (other.status_code, other.json()["error"]["code"]) == (500, "INTERNAL")
    assert "never retrieved" not in caplog.text
