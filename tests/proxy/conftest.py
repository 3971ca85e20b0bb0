"""A proxy on a real socket in front of a backend in bytes, asked directly and through nginx."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from bff_proxy.app import create_app
from bff_proxy.settings import ProxySettings
from bff_tools.stack import Stack, StackOptions
from tests.support import redis_server
from tests.support.flags import TOKEN, document
from tests.support.http1 import Peer
from tests.support.redis_server import RedisServer

Start = Callable[[Any], Awaitable[str]]
StartProxy = Callable[..., Awaitable[str]]


@pytest.fixture
def start_bare_proxy(start_app: Start, start_raw: Start) -> StartProxy:
    """Return a function that starts a proxy before a peer (or an origin), with settings, and returns its origin."""

    async def start(backend: Peer | str, **settings: Any) -> str:
        origin = backend if isinstance(backend, str) else await start_raw(backend)
        # The backend is in this very process, which is late to accept when the machine is busy.
        usual: dict[str, Any] = {"proxy_prefixes": ("/",), "backend_url": origin, "connect_timeout": 20}
        return await start_app(create_app(ProxySettings(**{**usual, **settings})))

    return start


@pytest.fixture
async def start_nginx() -> AsyncIterator[Start]:
    """Return a function that starts nginx, with the project's route map, before a proxy, and returns its origin."""
    async with AsyncExitStack() as stack:

        async def start(proxy: str) -> str:
            address = (proxy.removeprefix("http://"),)
            upstreams = dict.fromkeys(("proxy", "aggregator", "wsrelay"), address)
            nginx = Stack(StackOptions(backend_url=proxy, upstreams=upstreams, redis=False))
            await asyncio.to_thread(nginx.start)
            stack.push_async_callback(asyncio.to_thread, nginx.stop)
            return nginx.origin

        yield start


@pytest.fixture(params=["proxy", "nginx"])
def start_proxy(request: pytest.FixtureRequest, start_bare_proxy: StartProxy, start_nginx: Start) -> StartProxy:
    """Return the same for a proxy alone, and once more for one behind nginx."""

    async def start(backend: Peer | str, **settings: Any) -> str:
        proxy = await start_bare_proxy(backend, **settings)
        return await start_nginx(proxy) if request.param == "nginx" else proxy

    return start


@pytest.fixture
def server(request: pytest.FixtureRequest) -> str:
    """Return which server a client of `start_proxy` meets first: `proxy` or `nginx`."""
    return str(request.node.callspec.params["start_proxy"])


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


@pytest.fixture
def flags_file(tmp_path: Path) -> Path:
    """Return a file of the four flags, all on."""
    path = tmp_path / "flags.json"
    path.write_bytes(document())
    return path


@pytest.fixture
def start_flags(start_bare_proxy: StartProxy, flags_file: Path) -> StartProxy:
    """Return a function that starts a proxy with that file, with settings; it has no backend and looks often."""

    async def start(**settings: Any) -> str:
        own = {"flags_file": str(flags_file), "admin_token": TOKEN, "flag_poll_seconds": 0.05}
        return await start_bare_proxy("http://127.0.0.1:9", **own | settings)

    return start
