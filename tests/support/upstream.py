"""A client of a scripted backend, and clocks for its breakers."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from bff_shared.errors import CircuitOpen
from bff_shared.settings import Settings
from bff_shared.telemetry.metrics import Metrics
from bff_shared.upstream.client import Call, Upstream

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
StartRaw = Callable[[Handler], Awaitable[str]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"
NOWHERE = "http://127.0.0.1:9"


@asynccontextmanager
async def client(origin: str, **settings: Any) -> AsyncIterator[Upstream]:
    # The backend is in this very process, which is late to accept when the machine is busy.
    usual: dict[str, Any] = {"backend_url": origin, "connect_timeout": 20}
    upstream = Upstream(Settings(**{**usual, **settings}), Metrics(), draw=lambda: 0.0)
    try:
        yield upstream
    finally:
        await upstream.aclose()


class Script:
    """A server that answers its n-th request with the n-th entry (b"" hangs up), and remembers the requests."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = itertools.chain(answers, itertools.repeat(OK))
        self.requests: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head)
            answer = next(self.answers)
            if answer is None:
                await reader.read()
            if not answer:
                return
            writer.write(answer)
            await writer.drain()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def timed(origin: str, clock: Clock, **settings: Any) -> Upstream:
    own = {"breaker_min_calls": 4, "breaker_open_seconds": 5, "retries": 0, "connect_timeout": 20}
    return Upstream(Settings(backend_url=origin, **own | settings), Metrics(), clock=clock)


async def opened(origin: str, clock: Clock, **settings: Any) -> Upstream:
    """Return a client whose breaker has just opened by four calls of two clients, answered 503 each."""
    upstream = timed(origin, clock, **settings)
    for number in range(4):
        assert (await upstream.fetch(Call("GET", b"/", client=f"client {number % 2}"))).status == 503
    with pytest.raises(CircuitOpen):
        await upstream.fetch(Call("GET", b"/"))
    return upstream


def body_of(parts: AsyncIterator[bytes]) -> httpx.AsyncByteStream:
    class Body(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for part in parts:
                yield part

    return Body()
