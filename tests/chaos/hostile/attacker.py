"""Who attacks: raw requests and WebSockets from an address of its own, with credentials of its own or none."""

import asyncio
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tests.chaos.hostile.target import TOKENS, WAIT_S, Target
from tests.support.http1 import Message, read_answer, read_body, read_head
from tests.support.rfc6455 import Peer

Headers = Sequence[tuple[bytes, bytes]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

HOSTILE = "127.0.0.2"
"""nginx sees it as the client's address; honest users come from 127.0.0.1."""

SWITCHING = 101


class Attacker:
    """Connections from an address of its own, all dropped at the end.

    `user` is whose token it sends; None sends none. `port` is where it connects, past nginx; 0 is nginx.
    """

    def __init__(self, target: Target, user: str | None = None, address: str = HOSTILE, port: int = 0) -> None:
        self.target, self.user, self.address = target, user, address
        self._port = port or target.stack.origin_port
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop every connection without a goodbye."""
        self.drop_all()

    def drop_all(self) -> None:
        """End every connection without a goodbye."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def head(self, method: str, path: str, headers: Headers = ()) -> bytes:
        """Return a request's head with this attacker's credentials."""
        lines = [f"{method} {path} HTTP/1.1".encode(), b"Host: origin.example"]
        if self.user:
            lines.append(f"Authorization: Bearer {TOKENS[self.user]}".encode())
        return b"\r\n".join([*lines, *(b"%b: %b" % pair for pair in headers), b"", b""])

    async def connect(
        self, words: bytes = b"", receive_bytes: int = 0
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection and say the first words; `receive_bytes` makes its receive buffer so small."""
        own = socket.socket()
        own.setblocking(False)
        own.bind((self.address, 0))
        if receive_bytes:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", self._port))
        reader, writer = await asyncio.open_connection(sock=own, limit=(receive_bytes or 1 << 24))
        self._writers.append(writer)
        writer.write(words)
        return reader, writer

    async def request(self, method: str, path: str, headers: Headers = (), body: bytes = b"") -> Message:
        """Send one request over a connection of its own and return the response."""
        reader, writer = await self.connect(self.head(method, path, headers) + body)
        async with asyncio.timeout(WAIT_S):
            answer = await read_answer(reader, method.encode())
        self.drop(writer)
        return answer

    async def websocket(self, path: str, headers: Headers = ()) -> Peer | Message:
        """Ask for a WebSocket; return its end in bytes, or the response that refused it."""
        upgrade = [
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
            (b"Sec-WebSocket-Version", b"13"),
        ]
        reader, writer = await self.connect(self.head("GET", path, [*upgrade, *headers]))
        async with asyncio.timeout(WAIT_S):
            answer = await read_head(reader)
            if answer.status == SWITCHING:
                return Peer(reader, writer, mask=True)
            await read_body(reader, answer, until_close=True)
        return answer

    def drop(self, writer: asyncio.StreamWriter) -> None:
        """End one connection without a goodbye."""
        writer.transport.abort()
        self._writers.remove(writer)


def playback(run_id: str) -> str:
    """Return where a run is played."""
    return f"/api/v1/runs/{run_id}/stream"


def passthrough(run_id: str) -> str:
    """Return where the backend's own stream of a run passes through the relay."""
    return f"/api/v1/backtests/{run_id}/ws"
