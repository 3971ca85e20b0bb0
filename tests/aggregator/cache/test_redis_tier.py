"""Redis that hangs, fails or refuses costs little, and is left alone for a while."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry

from bff_aggregator.cache.metrics import CacheMetrics
from bff_aggregator.cache.redis_tier import (
    BYPASS,
    LONGEST_BYPASS,
    TIMEOUT,
    RedisClient,
    RedisTier,
    RedisUnavailable,
)
from bff_shared.health import CheckFailed
from bff_shared.redis import Client
from tests.support.redis_server import RedisServer


class Clock:
    """A clock that is set."""

    now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture(autouse=True)
def _patient_with_redis() -> None:
    """Leave the time that Redis gets as it is: these tests are about it."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def link(redis: RedisServer, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RedisClient]:
    monkeypatch.setattr("bff_aggregator.cache.redis_tier.WRITE_TIMEOUT", 10.0)  # a busy machine opens it too
    link = RedisClient(redis.url, CacheMetrics.create(CollectorRegistry()), clock)
    await link.client()
    yield link
    redis.thaw()
    await link.aclose()


async def ping(client: Client) -> object:
    return await client.ping()


async def test_hanging_redis_costs_one_short_wait_and_then_nothing(
    redis: RedisServer, link: RedisClient, clock: Clock
) -> None:
    assert TIMEOUT <= 0.05
    redis.freeze()
    begun = time.monotonic()
    with pytest.raises(RedisUnavailable):
        await link.run(ping)
    assert TIMEOUT * 0.9 <= time.monotonic() - begun < 5, "a guard against hanging, not a measurement"
    assert not link.is_usable
    for _ in range(100):
        waiting = asyncio.ensure_future(link.run(ping))
        await asyncio.sleep(0)
        assert waiting.done(), "nothing was awaited"
        assert isinstance(waiting.exception(), RedisUnavailable)
    clock.now += BYPASS + 0.1
    redis.thaw()
    assert await link.run(ping, 5.0)


async def test_redis_is_left_alone_longer_each_time_and_asked_anew_once_it_answers(
    redis: RedisServer, link: RedisClient, clock: Clock
) -> None:
    redis.freeze()
    pauses = []
    for _ in range(8):
        with pytest.raises(RedisUnavailable):
            await link.run(ping, 0.001)
        begun = clock.now
        while not link.is_usable:
            clock.now += 0.5
        pauses.append(clock.now - begun)
    assert pauses == [1, 2, 4, 8, 16, LONGEST_BYPASS, LONGEST_BYPASS, LONGEST_BYPASS]
    redis.thaw()
    assert await link.run(ping, 5.0)
    redis.freeze()
    with pytest.raises(RedisUnavailable):
        await link.run(ping, 0.001)
    clock.now += BYPASS
    assert link.is_usable


async def test_refused_command_leaves_redis_in_use(link: RedisClient) -> None:
    async def wrong(client: Client) -> object:
        return await client.execute_command("NONSENSE")

    with pytest.raises(RedisUnavailable):
        await link.run(wrong, 5.0)
    assert link.is_usable


@pytest.mark.parametrize(
    "state",
    [("maxmemory", "1", "maxmemory-policy", "noeviction"), ("min-replicas-to-write", "1")],
    ids=("full", "refuses"),
)
async def test_health_says_that_redis_keeps_nothing(redis: RedisServer, state: tuple[str, ...]) -> None:
    client = RedisClient(redis.url, CacheMetrics.create(CollectorRegistry()), time.monotonic)
    tier = RedisTier(client)
    try:
        await tier.check()
        with redis.client() as own:
            before = {name: own.config_get(name)[name] for name in state[::2]}
            for name, value in zip(state[::2], state[1::2], strict=True):
                own.config_set(name, value)
            try:
                with pytest.raises(CheckFailed, match="redis keeps nothing; answers come from"):
                    await tier.check()
            finally:
                for name, value in before.items():
                    own.config_set(name, value)
        await tier.check()
    finally:
        await client.aclose()
