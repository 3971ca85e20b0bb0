"""Leases whose acquisition fails are everybody's: nobody waits for a process that knows nothing of them."""

import logging
import time
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from bff_aggregator.cache.entry import NO_GENERATION, Scope
from bff_aggregator.cache.lease import Leases
from bff_aggregator.cache.metrics import CacheMetrics
from bff_aggregator.cache.redis_tier import RedisClient, RedisTier, RedisUnavailable
from bff_aggregator.cache.store import Lease, Memory, Store
from bff_shared.health import CheckFailed

SCOPE = Scope("run", "r", "somebody")
NOWHERE = "redis://127.0.0.1:9"


def make_store() -> tuple[Store, CacheMetrics]:
    metrics = CacheMetrics.create(CollectorRegistry())
    tier = RedisTier(RedisClient(NOWHERE, metrics, time.monotonic))
    return Store(Memory(100_000, lambda _: None), tier, b"secret", metrics), metrics


async def test_a_defect_in_acquiring_makes_them_ours_and_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store, metrics = make_store()

    async def breaks(*_: Any) -> Lease:
        raise ValueError("a defect")

    monkeypatch.setattr(store, "acquire", breaks)
    with caplog.at_level(logging.ERROR):
        assert await Leases(store, metrics).take(SCOPE, ["metrics", "equity"], object()) == set()
    assert "leases could not be acquired" in caplog.text


async def test_redis_that_fails_between_two_commands_costs_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = make_store()

    async def fails(*_: Any) -> Any:
        raise RedisUnavailable

    for command in ("read", "lock", "locked"):
        monkeypatch.setattr(RedisTier, command, fails)
    epoch = store.epoch()
    assert await store.get_shared(SCOPE, ["a"], epoch) == ({}, epoch)
    assert await store.acquire(SCOPE, ["a"], b"token", 1.0, epoch) == Lease(frozenset("a"), {}, epoch)
    assert await store.leased(SCOPE, ["a"]) == set()


async def test_a_generation_that_redis_has_lost_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = make_store()

    async def read(*_: Any) -> tuple[bytes, list[bytes | None]]:
        return NO_GENERATION, [None]

    async def generation(*_: Any) -> bytes:
        return b"new"

    monkeypatch.setattr(RedisTier, "read", read)
    monkeypatch.setattr(RedisTier, "generation", generation)
    found, epoch = await store.get_shared(SCOPE, ["a"], store.epoch())
    assert (found, epoch.generation) == ({}, b"new")


async def test_health_says_what_stands_in_for_redis_and_no_address() -> None:
    metrics = CacheMetrics.create(CollectorRegistry())
    client = RedisClient("redis://:secret@127.0.0.1:9", metrics, time.monotonic)
    assert repr(client) == "<RedisClient, in use>"
    with pytest.raises(CheckFailed, match="redis does not answer") as caught:
        await RedisTier(client).check()
    assert "127.0.0.1" not in str(caught.value)
    assert repr(client).startswith("<RedisClient, left alone for ")
    assert repr(RedisClient("", metrics, time.monotonic)) == "<RedisClient, not configured>"
