"""The proxy beside another version of itself: what was changed through one counts for the other."""

import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from bff_proxy.app import create_app
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
    async with httpx.AsyncClient(base_url=await start_app(create_app(settings)), timeout=10) as client:
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
        if change:
            fields[key] = f"{revision} {json.dumps(json.loads(change) | {'until': 'tomorrow'})}"
    assert fields != recording.more["fields"]
    fill(redis, recording, fields)
    assert await values(start_app, redis) == told(recording.more["flags"])
