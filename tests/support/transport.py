"""The transport under test, what it is asked to send, and servers that answer it in bytes."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx

from bff_shared.upstream.transport.http_transport import HttpTransport

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
StartRaw = Callable[[Handler], Awaitable[str]]

GUARD = 10.0  # seconds within which anything has happened, or never will
TIMEOUT = {"connect": GUARD, "read": GUARD, "write": GUARD, "pool": GUARD}
HIGH_WATER = 256 * 1024
ONE_READ = 64 * 1024
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Clock:
    """Monotonic seconds that move only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Pieces(httpx.AsyncByteStream):
    """A body that arrives piece by piece; a future among the pieces is waited for, an exception is raised."""

    def __init__(self, *pieces: Any) -> None:
        self.pieces = pieces
        self.given = 0
        self.stopped = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for piece in self.pieces:
                if isinstance(piece, BaseException):
                    raise piece
                if isinstance(piece, asyncio.Future):
                    await piece
                else:
                    self.given += 1
                    yield piece
        finally:
            self.stopped.set()


def new_transport(**changes: Any) -> HttpTransport:
    options: dict[str, Any] = {
        "max_connections": 20,
        "max_idle": 20,
        "idle_seconds": 5.0,
        "max_head_bytes": 16 * 1024,
        "high_water": HIGH_WATER,
        "ssl_context": None,
    }
    return HttpTransport(**{**options, **changes})


def new_request(
    origin: str,
    method: str = "GET",
    *,
    target: bytes = b"/",
    headers: list[tuple[bytes, bytes]] | None = None,
    body: httpx.AsyncByteStream | None = None,
    **extensions: Any,
) -> httpx.Request:
    timeout = {**TIMEOUT, **extensions.pop("timeout", {})}
    return httpx.Request(
        method,
        origin,
        headers=[(b"Host", b"backend"), *(headers or [])],
        stream=body or httpx.ByteStream(b""),
        extensions={"target": target, "timeout": timeout, **extensions},
    )


def pieces_of(response: httpx.Response) -> AsyncIterator[bytes]:
    assert isinstance(response.stream, httpx.AsyncByteStream)
    return aiter(response.stream)


async def read_all(response: httpx.Response) -> bytes:
    return b"".join([piece async for piece in pieces_of(response)])


async def ask(transport: HttpTransport, origin: str, method: str = "GET", **options: Any) -> bytes:
    async with asyncio.timeout(GUARD):
        return await read_all(await transport.handle_async_request(new_request(origin, method, **options)))


async def read_head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def answering(*answers: bytes) -> Handler:
    """Answer the requests of a connection in turn, then close it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await read_head(reader)
            writer.write(answer)
            await writer.drain()

    return handle


async def ok_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await read_head(reader)
        writer.write(OK)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(GUARD):
        while not condition():
            await asyncio.sleep(0.001)


def resets(writer: asyncio.StreamWriter) -> None:
    """Let closing a connection send RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"")
    await reader.read()
