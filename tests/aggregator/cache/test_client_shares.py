"""What one client adds to the cache stays within its share, and no lost key brings back what was purged."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from bff_aggregator.cache.entry import Entry
from tests.support.foreign import ForeignBackend
from tests.support.redis_server import RedisServer

StartAggregator = Callable[..., Awaitable[httpx.AsyncClient]]
StartApp = Callable[[Any], Awaitable[str]]
CHART = "/api/v1/chart-data?symbol=AAPL&timeframe=1D&from_date=2024-01-01&to_date=2024-01-05"
ADMIN = {"authorization": "Bearer token"}


def entry(size: int) -> Entry:
    return Entry(b"x" * size, 0.0, 1e12, 1e12, 1e12, 0.0)


async def keys_of(redis: RedisServer, count: int) -> list[str]:
    """Return the names of all keys, once there are so many."""
    with redis.client() as client:
        async with asyncio.timeout(10):
            while True:
                names = sorted(name.decode() if isinstance(name, bytes) else str(name) for name in client.keys("*"))
                if sum(":{chart:AAPL}:" in name and not name.endswith("generation") for name in names) >= count:
                    return names
                await asyncio.sleep(0.01)


async def test_a_generation_that_redis_lost_brings_back_nothing_from_before_a_purge(
    start_app: StartApp, start_aggregator: StartAggregator, redis: RedisServer
) -> None:
    backend = ForeignBackend()
    own = {"backend_url": await start_app(backend), "redis_url": redis.url, "admin_token": "token"}
    client = await start_aggregator(**own)
    assert (await client.get(CHART)).status_code == 200
    await keys_of(redis, 1)
    with redis.client() as raw:
        before = {name: raw.get(name) for name in raw.keys("bff:1:{chart:AAPL}:*") if b"generation" not in bytes(name)}
    assert (await client.delete("/api/v1/cache/chart-data?symbol=AAPL", headers=ADMIN)).json()["everywhere"] is True
    with redis.client() as raw:
        raw.delete("bff:1:{chart:AAPL}:generation")
        for name, value in before.items():
            raw.set(name, value, ex=1000)
    calls = backend.calls["/bars/daily"]
    other = await start_aggregator(**own)
    assert (await other.get(CHART)).status_code == 200
    assert backend.calls["/bars/daily"] > calls


async def test_every_key_but_that_of_the_digests_expires(
    start_app: StartApp, start_aggregator: StartAggregator, redis: RedisServer
) -> None:
    client = await start_aggregator(backend_url=await start_app(ForeignBackend()), redis_url=redis.url)
    for route in (CHART, "/api/v1/runs/r/complete", "/api/v1/runs"):
        assert (await client.get(route)).status_code == 200
    names = await keys_of(redis, 1)
    with redis.client() as raw:
        lasting = [name for name in names if raw.ttl(name) == -1]
    assert lasting == ["bff:1:owner-key"]


async def test_a_client_above_its_budget_is_served_from_memory_and_shares_nothing_more(
    start_app: StartApp, start_aggregator: StartAggregator, redis: RedisServer
) -> None:
    backend = ForeignBackend()
    own = {"backend_url": await start_app(backend), "redis_url": redis.url}
    client = await start_aggregator(**own, cache_client_bytes=1, chart_answer_bytes=0)
    assert (await client.get(CHART)).status_code == 200
    calls = backend.calls["/bars/daily"]
    assert (await client.get(CHART)).json()["metadata"]["cache_hit"] is True
    assert backend.calls["/bars/daily"] == calls
    async with asyncio.timeout(10):
        while b"bff_cache_over_budget_total{" not in (await client.get("/metrics")).content:
            await asyncio.sleep(0.01)
    assert (await (await start_aggregator(**own)).get(CHART)).json()["metadata"]["cache_hit"] is False
