"""An ASGI app on a real socket, served by uvicorn in the test's own loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

import uvicorn.server

from bff_shared.http import server as http_server
from bff_shared.serve import uvicorn_options
from bff_shared.settings import Settings
from bff_wsrelay.websocket.server import WebSocketProtocol

START_S = 30.0
PAUSE_S = 0.005


class _BriskAsyncio:
    """`asyncio` as `uvicorn.server` sees it in tests: its pauses are short.

    uvicorn looks every 0.1 s whether it should exit, and pauses another 0.1 s in `shutdown`. Hundreds of tests start a
    server of their own, so those two pauses were half of what the tests of a service took. Nothing else is changed.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, delay: float) -> None:
        await asyncio.sleep(min(delay, PAUSE_S))


mock.patch.object(uvicorn.server, "asyncio", _BriskAsyncio()).start()
mock.patch.object(http_server, "LULL_SECONDS", PAUSE_S).start()


@asynccontextmanager
async def running(config: uvicorn.Config, *, force: bool = False) -> AsyncIterator[int]:
    """Run a uvicorn server until the context ends and yield its port; `force` then drops requests in flight."""
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())  # serve() would take over the test's signals
    try:
        async with asyncio.timeout(START_S):
            while not server.started:
                if task.done():
                    task.result()
                await asyncio.sleep(PAUSE_S)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit, server.force_exit = True, force
        await task
        if force:  # uvicorn then leaves requests running and the app's resources open
            requests = list(server.server_state.tasks)
            for request in requests:
                request.cancel()
            await asyncio.gather(*requests, return_exceptions=True)
            for connection in list(server.server_state.connections):
                connection.transport.close()
            await server.lifespan.shutdown()


@asynccontextmanager
async def listening(app: Any, *, force: bool, **options: Any) -> AsyncIterator[int]:
    """Serve an app with the services' own options until the context ends and yield the port."""
    async with running(uvicorn.Config(app, port=0, **{**uvicorn_options(Settings()), **options}), force=force) as port:
        yield port


@asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[str]:
    """Serve an app behind the relay's own WebSocket server; yields the address of its root.

    The server sends no pings of its own, which on a busy machine would come among the frames that a test counts.
    """
    own = {"ws": WebSocketProtocol, "lifespan": "off", "ws_ping_interval": 3600.0, **options}
    async with listening(app, force=False, **own) as port:
        yield f"ws://127.0.0.1:{port}/"
