"""Viewers of a playback that speak just enough WebSocket to count frames, so that they cost less than the relay."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

PING, PONG = 0x89, 0x8A
PAYLOAD = json.dumps({"t": "frame", "ts": "2025-01-02T14:30:00Z", "ohlc": None, "orders": [], "pad": "x" * 110})
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Viewer(asyncio.Protocol):
    """A viewer that counts the frames it gets, or keeps all messages with their times."""

    def __init__(self, path: str, *, keep: bool = False) -> None:
        self._path, self._keep = path, keep
        self._buffer = bytearray()
        self._open = False
        self.frames = 0
        self.times: list[float] = []
        self.messages: list[dict[str, Any]] = []
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Shake hands."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(HANDSHAKE.format(path=self._path, host="127.0.0.1").encode())

    def data_received(self, data: bytes) -> None:
        """Take messages."""
        buffer = self._buffer
        buffer += data
        if not self._open and not self._welcomed():
            return
        now, start, size = time.perf_counter(), 0, len(buffer)
        while size - start >= 2:
            length, begin = buffer[start + 1], start + 2
            if length >= 126:
                wide = 2 if length == 126 else 8
                if size - begin < wide:
                    break
                length, begin = int.from_bytes(buffer[begin : begin + wide], "big"), begin + wide
            if size - begin < length:
                break
            if buffer[start] == PING:
                if self.transport is not None:
                    self.transport.write(bytes((PONG, 0x80 | length, 0, 0, 0, 0)) + buffer[begin : begin + length])
                start = begin + length
                continue
            if buffer[begin : begin + 12] == b'{"t":"frame"' or length == len(PAYLOAD):
                self.frames += 1
                self.times.append(now)
            if self._keep:
                self.messages.append(json.loads(buffer[begin : begin + length]))
            start = begin + length
        del buffer[:start]

    def _welcomed(self) -> bool:
        """Take the answer to the handshake; tell whether it is there."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        if not self._buffer.startswith(b"HTTP/1.1 101"):
            raise RuntimeError(bytes(self._buffer[:100]).decode())
        del self._buffer[: end + 4]
        self._open = True
        return True

    def say(self, **message: Any) -> None:
        """Send a control, masked with zeros, which changes nothing."""
        assert self.transport is not None  # noqa: S101  connected before anybody speaks
        body = json.dumps({"t": "ctrl", **message}).encode()
        self.transport.write(bytes((0x81, 0x80 | len(body), 0, 0, 0, 0)) + body)


async def connect(port: int, path: str, *, keep: bool = False) -> Viewer:
    """Open a viewer's connection."""
    loop = asyncio.get_running_loop()
    _, viewer = await loop.create_connection(lambda: Viewer(path, keep=keep), "127.0.0.1", port)
    return viewer


async def until(found: Callable[[], Any], seconds: float = 120.0) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not found():  # noqa: ASYNC110  viewers have no event for each question
            await asyncio.sleep(0.002)


def close(viewers: Sequence[Viewer]) -> None:
    """Cut connections."""
    for viewer in viewers:
        if viewer.transport is not None:
            viewer.transport.abort()
