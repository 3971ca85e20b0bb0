"""What one client adds to the cache stays within its share, and no lost key brings back what was purged."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from prometheus_client import CollectorRegistry

from bff_aggregator.cache.entry import Entry, Scope
from bff_aggregator.cache.metrics import CacheMetrics
from bff_aggregator.cache.redis_tier import RedisClient, RedisTier
from bff_aggregator.cache.store import Memory, Store
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
        async with asyncio.timeout(30):
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
    async with asyncio.timeout(30):
        while b"bff_cache_over_budget_total{" not in (await client.get("/metrics")).content:
            await asyncio.sleep(0.01)
    assert (await (await start_aggregator(**own)).get(CHART)).json()["metadata"]["cache_hit"] is False


MEBI = 1024 * 1024
SYMBOL_BYTES = MEBI // 4
"""What a symbol's charts leave in Redis, a quarter of the real size, as the Redis of these tests is one of 64 MiB."""


class Office:
    """A store in front of a Redis of 64 MiB, with clients that look at symbols; each has a budget of 8 MiB an hour."""

    def __init__(self, redis: RedisServer) -> None:
        self.raw, self._registry = redis.client(), CollectorRegistry()
        self.raw.config_set("maxmemory", "64mb")
        self.raw.config_set("maxmemory-policy", "volatile-lru")
        metrics = CacheMetrics.create(self._registry)
        remote = RedisTier(RedisClient(redis.url, metrics, time.monotonic))
        self.store = Store(Memory(MEBI, lambda _: None), remote, b"secret", metrics, budget=8 * MEBI)

    async def look_at(self, client: str, symbols: int) -> int:
        """Have a client cache the charts of so many symbols of its own; return how many Redis has of them."""
        for number in range(symbols):
            scope = Scope("chart", f"{client}{number}", client)
            _, epoch = await self.store.get_shared(scope, ["day"], self.store.epoch())
            await self.store.put_shared(scope, {"day": entry(SYMBOL_BYTES)}, epoch)
        return sum(
            self.raw.exists(Scope("chart", f"{client}{number}", client).redis_key("day")) for number in range(symbols)
        )

    def info(self, section: str, name: str) -> int:
        """Return a figure of Redis's."""
        return int(self.raw.info(section)[name])

    async def aclose(self) -> None:
        """Close all connections."""
        await self.store.aclose()
        self.raw.close()


async def test_an_office_that_looks_at_a_hundred_symbols_has_all_of_them_cached(redis: RedisServer) -> None:
    office = Office(redis)
    assert await office.look_at("office", 100) == 100
    assert office.info("memory", "used_memory") < 32 * MEBI
    await office.aclose()


async def test_an_address_that_fills_the_cache_has_half_of_it_and_leaves_room_for_others(redis: RedisServer) -> None:
    office = Office(redis)
    assert await office.look_at("victim", 20) == 20
    kept = await office.look_at("stranger", 400)
    assert kept < 110
    assert office.info("memory", "used_memory") < 33 * MEBI
    assert 24 < await office.look_at("newcomer", 100) <= 32, "as much as its budget, now that Redis is half full"
    assert await office.look_at("victim", 20) == 20
    assert office.info("stats", "evicted_keys") == 0
    await office.aclose()


async def test_without_a_bound_on_redis_the_budget_holds_always(redis: RedisServer) -> None:
    office = Office(redis)
    office.raw.config_set("maxmemory", "0")
    assert 24 < await office.look_at("stranger", 100) <= 32
    await office.aclose()
