"""Purges reach what is kept above the store, and so does the doubt whether one was missed."""

import asyncio
import time

import pytest
from prometheus_client import CollectorRegistry

from bff_aggregator.cache.entry import FillResult, Lifetime, Scope, make_entry
from bff_aggregator.cache.metrics import CacheMetrics
from bff_aggregator.cache.redis_tier import RedisClient, RedisTier
from bff_aggregator.cache.store import Memory, Store
from tests.support.redis_server import RedisServer

SCOPE = Scope("chart", "AAPL", "somebody")


def new_store(url: str = "") -> Store:
    metrics = CacheMetrics.create(CollectorRegistry())
    return Store(
        Memory(100_000, lambda _: None), RedisTier(RedisClient(url, metrics, time.monotonic)), b"secret", metrics
    )


async def until(fact: object, wanted: int) -> None:
    async with asyncio.timeout(30):
        while len(fact) < wanted:  # type: ignore[arg-type]  # a list that grows
            await asyncio.sleep(0.002)


async def test_everything_kept_goes_when_purges_may_have_been_missed(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bff_aggregator.cache.store.RELISTEN", 0.01)
    store, cleared = new_store(redis.url), list[int]()
    store.on_clear(lambda: cleared.append(1))
    await store.start()
    await until(cleared, 1)
    store.put_local(SCOPE, {"a": make_entry(FillResult(b"x", Lifetime(100.0)), time.time(), 0.1, 0.0)}, store.epoch())
    assert store.get_local(SCOPE, ["a"])
    with redis.client() as look:
        look.client_kill_filter(_type="pubsub")
    await until(cleared, 2)
    assert not store.get_local(SCOPE, ["a"])
    await store.aclose()


async def test_purge_is_told_even_where_redis_is_not() -> None:
    store, told = new_store(), list[tuple[str, str]]()
    store.on_purge(lambda namespace, subject: told.append((namespace, subject)))
    before = store.epoch()
    assert not await store.purge("chart", "AAPL")
    assert told == [("chart", "AAPL")]
    store.put_local(SCOPE, {"a": make_entry(FillResult(b"x", Lifetime(100.0)), time.time(), 0.1, 0.0)}, before)
    assert not store.get_local(SCOPE, ["a"]), "made before the purge"
