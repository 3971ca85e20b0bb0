"""Fixtures of the aggregator's tests: a demo backend, and the aggregator in front of it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from bff_aggregator.app import create_app
from bff_aggregator.settings import AggregatorSettings
from bff_demo.options import Options
from bff_demo.server import DemoServer
from tests.support import redis_server
from tests.support.redis_server import RedisServer

StartAggregator = Callable[..., Awaitable[httpx.AsyncClient]]


class Demo:
    """A demo backend with what tests ask of it."""

    def __init__(self, server: DemoServer) -> None:
        self.url = server.url
        self._client = httpx.Client(base_url=server.url, timeout=30)

    def get(self, path: str, **query: Any) -> httpx.Response:
        """Ask it directly."""
        return self._client.get(path, params=query)

    def faults(self, *rules: dict[str, Any]) -> None:
        """Let requests go wrong from now on."""
        self._client.put("/__faults", json={"rules": list(rules)}).raise_for_status()

    def forget(self) -> None:
        """Forget the requests seen so far."""
        self._client.delete("/__requests").raise_for_status()

    def seen(self, path: str = "/bars") -> list[dict[str, Any]]:
        """Return the requests it got since `forget`, of paths that begin with `path`."""
        items = self._client.get("/__requests").json()["requests"]
        return [item for item in items if item["path"].startswith(path)]

    def close(self) -> None:
        """Close the connection to it."""
        self._client.close()


@pytest.fixture(scope="session")
def demo_server() -> Iterator[DemoServer]:
    """Serve two years of bars, with fault switches, to all tests of this process."""
    with DemoServer(Options(faults=True)) as server:
        yield server


@pytest.fixture
def demo(demo_server: DemoServer) -> Iterator[Demo]:
    """Return the demo backend, free of faults and without a memory of requests."""
    demo = Demo(demo_server)
    demo.faults()
    demo.forget()
    yield demo
    demo.faults()
    demo.close()


@pytest.fixture(autouse=True)
def _patient_with_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine be no reason to do without Redis; what freezes Redis sets a shorter time itself."""
    monkeypatch.setattr("bff_aggregator.cache.redis_tier.TIMEOUT", 5.0)
    monkeypatch.setattr("bff_aggregator.cache.redis_tier.WRITE_TIMEOUT", 10.0)


@pytest.fixture
async def start_aggregator(start_app: Callable[[Any], Awaitable[str]]) -> AsyncIterator[StartAggregator]:
    """Return a function that serves an aggregator with the given settings and returns a client of it.

    Its deadlines are long, so that a busy machine does not meet them; a test of a deadline sets its own.
    """
    patient = {"run_timeout": 30, "chart_timeout": 30}
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> httpx.AsyncClient:
            url = await start_app(create_app(AggregatorSettings(**patient | settings)))
            return await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=60))

        yield start


@pytest.fixture(scope="session")
def redis_process() -> Iterator[RedisServer]:
    """Run one Redis-protocol server for all tests of this process."""
    with redis_server.running() as server:
        yield server


@pytest.fixture
def redis(redis_process: RedisServer) -> Iterator[RedisServer]:
    """Return the Redis server, empty."""
    with redis_process.client() as client:
        client.flushall()
    yield redis_process
    redis_process.thaw()


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisServer]:
    """Run a Redis Cluster of three nodes for all tests of this process."""
    with redis_server.cluster(nodes=3) as server:
        yield server
