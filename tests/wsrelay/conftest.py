"""Fixtures for the relay's tests: its pass-through endpoint, and backends behind it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from bff_wsrelay.passthrough.session import SessionLimits
from bff_wsrelay.websocket.connector import ConnectionOptions
from tests.support.passthrough import MAX_MESSAGE, WAIT, Backend, Relay, Script, StartBackend, StartRelay, relaying


@pytest.fixture
async def start_relay() -> AsyncIterator[StartRelay]:
    """Return a function that runs a relay in front of a backend's URL until the test ends."""
    async with AsyncExitStack() as stack:

        async def start(backend_url: str, **options: Any) -> Relay:
            return await stack.enter_async_context(relaying(backend_url, **options))

        yield start


@pytest.fixture
async def start_backend() -> AsyncIterator[StartBackend]:
    """Return a function that runs a scripted WebSocket backend until the test ends."""
    async with AsyncExitStack() as stack:

        async def start(script: Script, **options: Any) -> Backend:
            backend = Backend(script, options)
            await backend.start()
            stack.push_async_callback(backend.end)
            return backend

        yield start


@pytest.fixture
async def echo_relay(start_relay: StartRelay, start_backend: StartBackend) -> Relay:
    """A relay in front of an echo server."""

    async def echo(backend: ServerConnection) -> None:
        async for message in backend:
            await backend.send(message)

    backend = await start_backend(echo)
    unhurried = {
        "limits": SessionLimits(admit=WAIT),
        "options": ConnectionOptions(connect=WAIT, max_message=MAX_MESSAGE),
    }
    return await start_relay(backend.url, **unhurried)
