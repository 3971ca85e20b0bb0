"""The pass-through endpoint on a real socket, in front of backends that a test scripts message by message."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed

from bff_shared.serve import uvicorn_options
from bff_shared.telemetry.metrics import Metrics
from bff_shared.telemetry.observe import Observe
from bff_wsrelay.admission.limits import Admission
from bff_wsrelay.passthrough.endpoint import PassthroughEndpoint
from bff_wsrelay.passthrough.metrics import PassthroughMetrics
from bff_wsrelay.passthrough.session import SessionLimits
from bff_wsrelay.settings import RelaySettings
from bff_wsrelay.websocket.backoff import Backoff
from bff_wsrelay.websocket.connector import ConnectionOptions, Connector
from bff_wsrelay.websocket.server import WebSocketProtocol, allow_long_lines

PATH = "/api/v1/backtests/run-1/ws"
MAX_MESSAGE = 1024 * 1024
QUICK = (0.005, 0.01)
WAIT = 10

Script = Callable[[ServerConnection], Awaitable[None]]


class PassthroughClient:
    """A scripted client of the passthrough; every wait ends after ten seconds."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    @property
    def headers(self) -> Headers:
        """The headers of the answer to the handshake."""
        return Headers() if self.connection.response is None else self.connection.response.headers

    async def sends(self, *messages: Any) -> None:
        """Send messages; whatever is neither text nor bytes as JSON."""
        for message in messages:
            await self.connection.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def receives(self, count: int = 1) -> list[Any]:
        """Return the next messages, decoded where they are JSON objects."""
        async with asyncio.timeout(WAIT):
            return [_decoded(await self.connection.recv()) for _ in range(count)]

    async def receives_until(self, found: Callable[[Any], bool]) -> list[Any]:
        """Return the messages up to the first that is found."""
        heard: list[Any] = []
        while not heard or not found(heard[-1]):
            heard += await self.receives()
        return heard

    async def ends(self) -> tuple[int, str]:
        """Return code and reason of the close, after whatever comes before it."""
        async with asyncio.timeout(WAIT):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await self.connection.recv()
        return self.connection.close_code or 0, self.connection.close_reason or ""


def _decoded(message: str | bytes) -> Any:
    return json.loads(message) if isinstance(message, str) and message.startswith("{") else message


@dataclass
class Relay:
    """A running pass-through endpoint; `url` leads to the backend's `/backtests/run-1/ws`."""

    url: str
    admission: Admission
    metrics: Metrics

    @asynccontextmanager
    async def watch(self, path: str = "", **options: Any) -> AsyncIterator[PassthroughClient]:
        """Open a viewer's connection and close it at the end."""
        options = {"compression": None, "proxy": None, "max_size": None, **options}
        async with connect(f"{self.url}{path}", **options) as connection:
            yield PassthroughClient(connection)


class Backend:
    """A scripted WebSocket backend that can be stopped and started again on its port."""

    def __init__(self, script: Script, options: dict[str, Any]) -> None:
        self._script, self._options = script, {"compression": None, "max_size": None, **options}
        self._server: Server | None = None
        self._place: socket.socket | None = None
        self.port = 0
        self.served = 0
        self.connections: list[ServerConnection] = []

    @property
    def url(self) -> str:
        """The backend's origin."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen, on the port it had before if it had one."""
        if self._place is None:
            self._server = await serve(self._run, "127.0.0.1", 0, **self._options)
        else:
            self._server = await serve(self._run, sock=self._place, **self._options)
            self._place = None
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        """Drop every connection without a close frame and listen no more; nobody else gets the port."""
        await self.end()
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._place.bind(("127.0.0.1", self.port))

    async def end(self) -> None:
        """Stop, and give the port back."""
        if self._server is not None:
            self._server.close(close_connections=False)
            self.kill()
            self._server.close()
            await self._server.wait_closed()
            self._server = None
        if self._place is not None:
            self._place.close()
            self._place = None

    def kill(self) -> None:
        """Drop every connection without a close frame."""
        for connection in self.connections:
            connection.transport.abort()

    async def _run(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        self.served += 1
        try:
            await self._script(connection)
        except ConnectionClosed:
            pass
        finally:
            self.connections.remove(connection)


def open_sockets() -> int:
    """Return how many sockets this process has open."""
    return sum(
        path.readlink().name.startswith("socket:") for path in Path("/proc/self/fd").iterdir() if path.is_symlink()
    )


StartRelay = Callable[..., Awaitable[Relay]]
StartBackend = Callable[..., Awaitable[Backend]]


@asynccontextmanager
async def relaying(
    backend_url: str,
    *,
    schedule: Sequence[float] = QUICK,
    options: ConnectionOptions | None = None,
    limits: SessionLimits | None = None,
    **settings: Any,
) -> AsyncIterator[Relay]:
    allow_long_lines()
    chosen = RelaySettings(backend_url=backend_url, **settings)
    admission = Admission(chosen)
    connector = Connector(backend_url, options or ConnectionOptions(max_message=MAX_MESSAGE))
    metrics = Metrics()
    bounds, counts = limits or SessionLimits(), PassthroughMetrics(metrics.registry)
    endpoint = PassthroughEndpoint(
        admission, connector, bounds, chosen.trusted_proxies, counts, lambda: Backoff(schedule, lambda: 1.0)
    )
    app = Starlette(routes=[WebSocketRoute("/api/v1/backtests/{run_id}/ws", endpoint)])
    observed = Observe(app, metrics, lambda: False)
    serving = {**uvicorn_options(chosen), "lifespan": "off", "ws": WebSocketProtocol, "ws_max_size": MAX_MESSAGE}
    config = uvicorn.Config(observed, port=0, **serving)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()  # without the main loop, whose ticks would cost every test a fifth of a second
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Relay(f"ws://127.0.0.1:{port}{PATH}", admission, metrics)
    finally:
        for listening in server.servers:
            listening.close()
        for connection in list(server.server_state.connections):
            connection.shutdown()
