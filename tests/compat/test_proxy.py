"""The proxy beside another version of itself: what was changed through one counts for the other."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from bff_proxy.app import create_app
from bff_proxy.flags.redis_store import CHANNEL, HASH
from bff_proxy.settings import ProxySettings
from tests.compat.golden import Recording, recordings
from tests.support.flags import SHIPPED, TOKEN, Api
from tests.support.redis_server import RedisServer, running

StartApp = Callable[[Any], Awaitable[str]]
every_version = pytest.mark.parametrize(
    "recording", recordings("proxy"), ids=lambda recording: f"N-1={recording.version}"
)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running() as server:
        yield server


async def values(start_app: StartApp, redis: RedisServer) -> dict[str, tuple[Any, Any]]:
    """Return each flag's value and percentage, as the current proxy has them."""
    settings = ProxySettings(redis_url=redis.url, flags_file=str(SHIPPED), admin_token=SecretStr(TOKEN))
    async with httpx.AsyncClient(base_url=await start_app(create_app(settings)), timeout=30) as client:
        return told(await Api(client).flags())


def told(flags: dict[str, dict[str, Any]]) -> dict[str, tuple[Any, Any]]:
    return {key: (flag["value"], flag.get("rollout")) for key, flag in flags.items()}


def fill(redis: RedisServer, recording: Recording, fields: dict[str, str]) -> None:
    with redis.client() as client:
        client.flushall()
        client.hset(recording.more["hash"], mapping=fields)


@every_version
async def test_changes_made_through_another_version_count(
    start_app: StartApp, redis: RedisServer, recording: Recording
) -> None:
    fill(redis, recording, recording.more["fields"])
    assert await values(start_app, redis) == told(recording.more["flags"])


@every_version
async def test_changes_count_that_say_more_than_this_version_knows(
    start_app: StartApp, redis: RedisServer, recording: Recording
) -> None:
    fields = dict(recording.more["fields"])
    for key, field in fields.items():
        revision, _, change = field.partition(" ")
        if change.startswith("{"):
            fields[key] = f"{revision} {json.dumps(json.loads(change) | {'until': 'tomorrow'})}"
    assert fields != recording.more["fields"]
    fill(redis, recording, fields)
    assert await values(start_app, redis) == told(recording.more["flags"])


REMOVES_AS_0_1_0 = """
redis.call('hincrby', KEYS[1], 'revision', 1)
redis.call('hdel', KEYS[1], ARGV[1])
redis.call('publish', ARGV[2], redis.call('hget', KEYS[1], 'revision'))
"""
"""What a DELETE through version 0.1.0 does: it leaves nothing of the flag, as a Redis does that has lost it."""


def test_version_0_1_0_takes_a_removal_by_this_version_for_no_change() -> None:
    (recording,) = (each for each in recordings("proxy") if each.version == "0.2.0")
    (removal,) = (field for field in recording.more["fields"].values() if " -" in field)
    with pytest.raises(json.JSONDecodeError):  # which it expects, and leaves the field out
        json.loads(removal.partition(" ")[2])


async def test_a_removal_through_0_1_0_is_taken_for_a_loss_and_undone_until_this_version_removes_the_flag(
    start_app: StartApp, redis: RedisServer
) -> None:
    settings = ProxySettings(redis_url=redis.url, flags_file=str(SHIPPED), admin_token=SecretStr(TOKEN))
    with redis.client() as store:
        store.flushall()
        async with httpx.AsyncClient(base_url=await start_app(create_app(settings)), timeout=30) as client:
            api = Api(client)
            await api.turn("chart_data", value=False)
            store.eval(REMOVES_AS_0_1_0, 1, HASH, "chart_data", CHANNEL)
            async with asyncio.timeout(20):
                while not store.hexists(HASH, "chart_data"):
                    await asyncio.sleep(0.01)
            assert (await api.flags())["chart_data"]["source"] == "runtime"
            (await api.give_back("chart_data")).raise_for_status()
            assert (await api.flags())["chart_data"]["source"] == "file"
