"""A proxy on a real socket in front of a backend in bytes, asked directly and through nginx."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from bff_local.stack import Stack, StackOptions
from bff_proxy.app import create_app
from bff_proxy.settings import ProxySettings
from tests.support.http1 import Peer

Start = Callable[[Any], Awaitable[str]]
StartProxy = Callable[..., Awaitable[str]]


@pytest.fixture
def start_bare_proxy(start_app: Start, start_raw: Start) -> StartProxy:
    """Return a function that starts a proxy before a peer (or an origin), with settings, and returns its origin."""

    async def start(backend: Peer | str, **settings: Any) -> str:
        origin = backend if isinstance(backend, str) else await start_raw(backend)
        return await start_app(
            create_app(ProxySettings(**{"proxy_prefixes": ("/",), "backend_url": origin} | settings))
        )

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
