"""Runs in the cache that processes share, leases that keep them from reading one twice, and the cache away."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from bff_aggregator.cache import lease
from bff_aggregator.cache.redis_tier import RedisClient
from bff_aggregator.runs import service

StartAggregator = Callable[..., Awaitable[httpx.AsyncClient]]
StartApp = Callable[[Any], Awaitable[str]]
NAMES = ("metrics", "equity", "orders")


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine be no reason to do without Redis."""
    monkeypatch.setattr(RedisClient.run, "__defaults__", (10.0,))


class Slow:
    """A backend whose runs are done and whose parts wait for `open`; the status of parts is `status`."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.open = asyncio.Event()
        self.status = 200

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        path = scope["path"]
        self.calls[path] += 1
        part = path.rpartition("/")[2]
        status: int = 200
        body: Any = {"run_id": "r", "status": "DONE", "created_at": "2024-01-02T00:00:00Z"}
        if part in NAMES:
            await self.open.wait()
            points = [{"timestamp": "2025-01-02T14:30:00Z", "equity": 1.0, "price": 1.0}]
            status, body = self.status, {"total_return": 1.0} if part == "metrics" else {part: points}
        elif path == "/backtests":
            rows = [{"run_id": f"r{n}", "status": "DONE", "created_at": "2024-01-02T00:00:00Z"} for n in range(20)]
            body = {"items": rows, "total": 20}
        head = {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]}
        await send(head)
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})


async def until(fact: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not fact():
            await asyncio.sleep(0.005)


async def followers(clients: list[httpx.AsyncClient]) -> int:
    """Return how many parts some process waits for or waited for that another one reads."""
    texts = [(await client.get("/metrics")).text for client in clients]
    found = [re.findall(r'bff_cache_coalesced_total{cache="runs",where="elsewhere"} (\d+)', text) for text in texts]
    return sum(int(number) for numbers in found for number in numbers)


async def following(clients: list[httpx.AsyncClient]) -> None:
    async with asyncio.timeout(20):
        while await followers(clients) < len(NAMES):
            await asyncio.sleep(0.005)


def small(demo: Any) -> str:
    items = demo.get("/backtests", limit=100, symbol="AAPL").json()["items"]
    return str(next(item["run_id"] for item in items if item["run_from"] == "2024-11-01"))


async def test_what_one_process_has_read_another_need_not_read(
    demo: Any, redis: Any, start_aggregator: StartAggregator
) -> None:
    one, other = [await start_aggregator(backend_url=demo.url, redis_url=redis.url) for _ in range(2)]
    path = f"/api/v1/runs/{small(demo)}/complete"
    first = (await one.get(path)).json()
    with redis.client() as client:  # they are written after the answer
        await until(lambda: len(client.keys("bff:1:{runs:*}:*:*")) == 4 and not client.keys("*:lock"))
    demo.forget()
    second = (await other.get(path)).json()
    assert demo.seen("/backtests") == []
    assert second["metadata"]["cache_hit"] is True
    assert second["metadata"]["revision"] == first["metadata"]["revision"]
    assert {name: second[name] for name in ("run", *NAMES)} == {name: first[name] for name in ("run", *NAMES)}


async def test_cold_run_is_read_once_by_all_processes(
    redis: Any, start_app: StartApp, start_aggregator: StartAggregator
) -> None:
    backend = Slow()
    url = await start_app(backend)
    clients = [await start_aggregator(backend_url=url, redis_url=redis.url, run_timeout=20) for _ in range(2)]
    asking = [asyncio.create_task(client.get("/api/v1/runs/r/complete")) for client in clients * 3]
    await following(clients)
    backend.open.set()
    for answer in await asyncio.gather(*asking):
        metadata = answer.json()["metadata"]
        assert metadata["partial_data"] is False
        assert {part["state"] for part in metadata["parts"].values()} == {"ok"}
    assert [backend.calls[f"/backtests/r/{name}"] for name in NAMES] == [1, 1, 1]
    with redis.client() as client:
        await until(lambda: not client.keys("*:lock"))


async def test_claims_are_given_back_where_there_is_no_room_for_doing_so_later(
    demo: Any, redis: Any, start_aggregator: StartAggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LATE", 0)
    client = await start_aggregator(backend_url=demo.url, redis_url=redis.url)
    assert (await client.get(f"/api/v1/runs/{small(demo)}/complete")).status_code == 200
    with redis.client() as looking:
        assert looking.keys("*:lock") == []


async def test_part_that_another_process_fails_to_read_is_read_here(
    redis: Any, start_app: StartApp, start_aggregator: StartAggregator
) -> None:
    backend = Slow()
    url = await start_app(backend)
    one, other = [await start_aggregator(backend_url=url, redis_url=redis.url, run_timeout=20) for _ in range(2)]
    first = asyncio.create_task(one.get("/api/v1/runs/r/complete"))
    await until(lambda: all(backend.calls[f"/backtests/r/{name}"] for name in NAMES))
    second = asyncio.create_task(other.get("/api/v1/runs/r/complete"))
    await following([other])
    backend.status = 400
    backend.open.set()
    assert (await first).json()["metadata"]["failed_sources"] == list(NAMES)
    backend.status = 200
    assert (await second).json()["metadata"]["partial_data"] is False


async def test_claim_of_a_process_that_died_does_not_cost_the_part(
    redis: Any, start_app: StartApp, start_aggregator: StartAggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Slow()
    backend.open.set()
    url = await start_app(backend)
    one, other = [await start_aggregator(backend_url=url, redis_url=redis.url) for _ in range(2)]

    async def die(_self: Any, _scope: Any, _holder: Any) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(lease.Leases, "give_back", die)
        await one.get("/api/v1/runs/r/complete")
        with redis.client() as client:
            await until(lambda: len(client.keys("bff:1:{runs:*}:*:*")) == 7)
            client.delete(*[key for key in client.keys("bff:1:{runs:*}:*:*") if not key.endswith(b":lock")])
    answer = (await other.get("/api/v1/runs/r/complete", headers={"x-request-timeout": "0.5"})).json()
    assert answer["metadata"]["partial_data"] is False
    assert [backend.calls[f"/backtests/r/{name}"] for name in NAMES] == [2, 2, 2]


async def test_metrics_of_the_list_are_read_once_by_all_processes(
    redis: Any, start_app: StartApp, start_aggregator: StartAggregator
) -> None:
    backend = Slow()
    url = await start_app(backend)
    clients = [await start_aggregator(backend_url=url, redis_url=redis.url) for _ in range(2)]
    for client in clients:
        assert (await client.get("/api/v1/runs")).json()["metadata"]["metrics_pending"] == 20
    await until(lambda: sum(backend.calls.values()) > 2)
    backend.open.set()
    for client in clients:
        async with asyncio.timeout(20):
            while (await client.get("/api/v1/runs")).json()["metadata"]["metrics_pending"]:
                await asyncio.sleep(0.01)
    assert [backend.calls[f"/backtests/r{n}/metrics"] for n in range(20)] == [1] * 20


async def test_runs_are_answered_without_redis(demo: Any, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url, redis_url="redis://127.0.0.1:9")
    path = f"/api/v1/runs/{small(demo)}/complete"
    assert (await client.get(path)).json()["metadata"]["partial_data"] is False
    assert (await client.get(path)).json()["metadata"]["cache_hit"] is True
