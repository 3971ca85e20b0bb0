"""The playback endpoint on a real socket, and a client of the backend's protocol."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from bff_shared.serve import uvicorn_options
from bff_wsrelay.app import create_app
from bff_wsrelay.settings import RelaySettings
from tests.support.runs import Message, RunBackend
from tests.support.serving import running

WAIT = 30.0
FAST = "?speed=3600"
QUICK: dict[str, Any] = {"read_quiet_seconds": 0.3, "read_poll_seconds": 0.05, "stream_drain_spread": 0.05}


@dataclass
class Relay:
    """A running relay."""

    app: FastAPI
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stream(self, query: str = "", run: str = "run") -> str:
        """Return the address of a run's playback."""
        return f"ws://127.0.0.1:{self.port}/api/v1/runs/{run}/stream{query}"

    async def drain(self) -> None:
        """Do what SIGTERM does before the sockets close."""
        for hook in self.app.state.service.on_drain:
            await hook()

    def value(self, name: str) -> float:
        """Return a metric's value, with everything counted so far."""
        self.app.state.playback.flush()
        value = self.app.state.service.metrics.registry.get_sample_value(name)
        assert value is not None, name
        return float(value)


@asynccontextmanager
async def relaying(backend_url: str, port: int = 0, **options: Any) -> AsyncIterator[Relay]:
    """Run a relay in front of a backend until the context ends."""
    settings = RelaySettings(backend_url=backend_url, **{**QUICK, **options})
    app = create_app(settings)
    service = app.state.service
    config = uvicorn.Config(app, port=port, **{**uvicorn_options(settings), **service.server})
    async with running(config) as bound:
        yield Relay(app, bound)


@asynccontextmanager
async def playing(backend: RunBackend, **options: Any) -> AsyncIterator[Relay]:
    """Run a backend and a relay in front of it."""
    await backend.start()
    try:
        async with relaying(backend.url, **options) as relay:
            yield relay
    finally:
        await backend.stop()


@dataclass
class Client:
    """A client and all that it has received."""

    connection: ClientConnection
    messages: list[Message] = field(default_factory=list)

    @property
    def frames(self) -> list[Message]:
        return [message for message in self.messages if message["t"] == "frame"]

    async def control(self, **fields: Any) -> None:
        """Send a control."""
        await self.connection.send(json.dumps({"t": "ctrl", **fields}))

    async def next(self) -> Message:
        """Return the next message."""
        async with asyncio.timeout(WAIT):
            message: Message = json.loads(await self.connection.recv())
        self.messages.append(message)
        return message

    async def until(self, found: Callable[[Message], bool]) -> Message:
        """Return the first message to come that is found."""
        while True:
            message = await self.next()
            if found(message):
                return message

    async def until_type(self, kind: str) -> Message:
        """Return the next message of a type."""
        return await self.until(lambda message: message["t"] == kind)

    async def until_closed(self) -> int:
        """Return the close code, after whatever comes before it."""
        try:
            while True:
                await self.next()
        except ConnectionClosed:
            return self.connection.close_code or 0


@asynccontextmanager
async def watching(url: str, token: str | None = None, **options: Any) -> AsyncIterator[Client]:
    """Watch a stream until the context ends."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    options = {"compression": None, "proxy": None, "additional_headers": headers, **options}
    async with connect(url, **options) as connection:
        yield Client(connection)


async def play_through(client: Client) -> None:
    """Play from where the client is to the end."""
    await client.control(cmd="play")
    await client.until_type("end")
