"""An ASGI app on a real socket, served by uvicorn in the test's own loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from bff_shared.serve import uvicorn_options
from bff_shared.settings import Settings
from bff_wsrelay.wire import WireProtocol


@asynccontextmanager
async def listening(app: Any, *, force: bool, **options: Any) -> AsyncIterator[int]:
    """Serve an app until the context ends and yield the port; `force` then ends what is still under way."""
    config = uvicorn.Config(app, port=0, **{**uvicorn_options(Settings()), **options})
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())  # serve() would take over the test's signals
    try:
        async with asyncio.timeout(10):
            while not server.started:
                await asyncio.sleep(0.005)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit, server.force_exit = True, force
        await task


@asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[str]:
    """Serve an app behind the relay's own WebSocket server; yields the address of its root."""
    own = {"ws": WireProtocol, "lifespan": "off", **options}
    async with listening(app, force=False, **own) as port:
        yield f"ws://127.0.0.1:{port}/"
