"""Runs in the cache that processes share, and the cache away."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

StartAggregator = Callable[..., Awaitable[httpx.AsyncClient]]


def small(demo: Any) -> str:
    items = demo.get("/backtests", limit=100, symbol="AAPL").json()["items"]
    return str(next(item["run_id"] for item in items if item["run_from"] == "2024-11-01"))


async def test_what_one_process_has_read_another_need_not_read(
    demo: Any, redis: Any, start_aggregator: StartAggregator
) -> None:
    one, other = [await start_aggregator(backend_url=demo.url, redis_url=redis.url) for _ in range(2)]
    path = f"/api/v1/runs/{small(demo)}/complete"
    first = (await one.get(path)).json()
    async with asyncio.timeout(10):
        with redis.client() as client:
            while len(client.keys("bff:1:{runs:*}:*:*")) < 4:  # they are written after the answer
                await asyncio.sleep(0.01)
    demo.forget()
    second = (await other.get(path)).json()
    assert demo.seen("/backtests") == []
    assert second["metadata"]["cache_hit"] is True
    assert second["metadata"]["revision"] == first["metadata"]["revision"]
    assert {name: second[name] for name in ("run", "metrics", "equity", "orders")} == {
        name: first[name] for name in ("run", "metrics", "equity", "orders")
    }


async def test_runs_are_answered_without_redis(demo: Any, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url, redis_url="redis://127.0.0.1:9")
    path = f"/api/v1/runs/{small(demo)}/complete"
    assert (await client.get(path)).json()["metadata"]["partial_data"] is False
    assert (await client.get(path)).json()["metadata"]["cache_hit"] is True
