"""WebSocket frames in plain bytes, for tests: sends what it is given, shows what arrives; none of the product."""

import asyncio
import base64
import hashlib
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
WAIT = 20
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bool = True, rsv: int = 0) -> bytes:
    """Return one frame (section 5.2), whether or not it makes sense."""
    size, masked = len(payload), 0x80 if mask else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if size < 126:
        head += bytes([masked | size])
    elif size < 1 << 16:
        head += bytes([masked | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([masked | 127]) + size.to_bytes(8, "big")
    if not mask:
        return head + payload
    key = os.urandom(4)
    pad = (key * (size // 4 + 1))[:size]
    return head + key + (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")


def close(code: int, reason: bytes = b"", *, mask: bool = True) -> bytes:
    """Return a close frame."""
    return frame(CLOSE, code.to_bytes(2, "big") + reason, mask=mask)


@dataclass(frozen=True)
class Seen:
    """A frame that arrived."""

    opcode: int
    payload: bytes
    fin: bool = True

    @property
    def code(self) -> int:
        """The code of a close frame, 1005 when it has none."""
        return int.from_bytes(self.payload[:2], "big") if self.payload else 1005


class Peer:
    """One end of a WebSocket, after its handshake."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, mask: bool) -> None:
        self.reader, self.writer, self.mask = reader, writer, mask

    @classmethod
    async def open(cls, url: str, sock: socket.socket | None = None) -> Self:
        """Connect to `ws://` as a client, over a connected socket if one is given, which then buffers little."""
        parts = urlsplit(url)
        if sock is None:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 26)
        else:
            sock.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=sock, limit=1 << 12)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        head = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        head += "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        writer.write(head.encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 ")
        return cls(reader, writer, mask=True)

    async def send(self, *frames: bytes, chop: int = 0) -> None:
        """Write frames, `chop` bytes at a time when given."""
        data = b"".join(frames)
        for start in range(0, len(data), chop or len(data) or 1):
            self.writer.write(data[start : start + (chop or len(data))])
            if chop:
                await asyncio.sleep(0)
        await self.writer.drain()

    async def frame(self) -> Seen | None:
        """Return the next frame, None at the end of the connection."""
        try:
            async with asyncio.timeout(WAIT):
                return await self._frame()
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def _frame(self) -> Seen:
        first, second = await self.reader.readexactly(2)
        size = second & 0x7F
        if size > 125:
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
        key = await self.reader.readexactly(4) if second & 0x80 else None
        payload = await self.reader.readexactly(size)
        if key is not None:
            pad = (key * (size // 4 + 1))[:size]
            payload = (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")
        return Seen(first & 0x0F, payload, bool(first & 0x80))

    async def rest(self) -> list[Seen]:
        """Return every frame up to the end of the connection."""
        frames: list[Seen] = []
        while (seen := await self.frame()) is not None:
            frames.append(seen)
        return frames

    def leave(self) -> None:
        """Drop the connection."""
        self.writer.transport.abort()


async def serve(script: Callable[[Peer], Awaitable[None]]) -> asyncio.Server:
    """Listen on a free port; `script` plays the server of each connection after its handshake."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = [line.partition(b":") for line in head.split(b"\r\n")]
            key = next(value.strip() for name, _, value in lines if name.lower() == b"sec-websocket-key")
            accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())  # noqa: S324  section 4.2.2 says SHA-1
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
            writer.write(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
            await script(Peer(reader, writer, mask=False))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(connected, "127.0.0.1", 0, limit=1 << 26)
