"""Where a subscriber's messages go: a WebSocket that takes encoded frames, or Server-Sent Events. I/O."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from starlette.types import Send

from bff_wsrelay.framelog.frame_log import FrameCache, FrameLog
from bff_wsrelay.playback.bars import BarView, bar_fields
from bff_wsrelay.playback.http_connection import HttpConnection
from bff_wsrelay.playback.pacer import Emission
from bff_wsrelay.websocket.close_codes import NO_STATUS, TRY_AGAIN_LATER, Close
from bff_wsrelay.websocket.server import FrameWriter, encode_frame

EVENT_STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)
CLOSE_GRACE_SECONDS = 2.0
"""How long the last events of a stream that ends may take to be written before the connection is dropped."""


def frame_json(log: FrameLog, emission: Emission, view: BarView | None = None) -> bytes:
    """Return a frame's JSON: its head, how many source frames it covers, the last one's index, the frames spared, bars.

    Bars only if a view asks for them; the peak of the equity comes with them.
    """
    start, end, dropped = emission
    known = b'%b,"n":%d,"seq":%d,"dropped":%d' % (log.head(start, end), end - start, end - 1, dropped)
    return b"%b}" % known if view is None else b"%b,%b}" % (known, bar_fields(log, start, end, view))


class Sink(Protocol):
    """Where messages go. Nothing here waits; `unsent_bytes()` are not on their way yet."""

    @property
    def unsent_bytes(self) -> Callable[[], int]:
        """Return the bytes that the connection has not taken, when called."""

    def send(self, payload: bytes, event: str = "") -> None:
        """Send a message; `event` names it where the format has names."""

    def send_frame(self, log: FrameLog, emission: Emission, view: BarView | None = None) -> int:
        """Send a frame, with the bars that are asked for, and return its bytes."""

    def close(self, close: Close) -> None:
        """End the connection after what was sent."""


class WebSocketSink:
    """A WebSocket; each frame is encoded once for all subscribers, in the shared cache."""

    __slots__ = ("_cache", "_writer", "unsent_bytes")

    def __init__(self, writer: FrameWriter, cache: FrameCache) -> None:
        self._writer, self._cache = writer, cache
        self.unsent_bytes = writer.get_buffered

    def send(self, payload: bytes, event: str = "") -> None:
        """Send a text message."""
        del event
        self._writer.write(encode_frame(payload))

    def send_frame(self, log: FrameLog, emission: Emission, view: BarView | None = None) -> int:
        """Send a frame."""
        start, end, dropped = emission
        key = (log.serial, start, end, "encoded", view)
        encoded: bytes | None = None if dropped else self._cache.get(key)
        if encoded is None:
            encoded = encode_frame(frame_json(log, emission, view))
            if not dropped:
                self._cache.put(key, encoded, len(encoded) + 250)
        self._writer.write(encoded)
        return len(encoded)

    async def drain(self) -> None:
        """Wait until the connection has room again, or is closed. Cancellation is safe: nothing is sent here."""
        await self._writer.drain()

    def close(self, close: Close) -> None:
        """Close with a code."""
        self._writer.close(close.code, close.reason)


class EventStreamSink:
    """Server-Sent Events: messages are queued here and sent by `deliver`.

    `unsent_bytes()` counts what was queued and what the connection has not taken, so a slow client's frames coalesce.
    """

    def __init__(self, connection: HttpConnection, stuck_seconds: float) -> None:
        self._connection, self._stuck_seconds = connection, stuck_seconds
        self._waiting: list[bytes] = []
        self._size = 0
        self._there = asyncio.Event()
        self._deadline: asyncio.Timeout | None = None
        self._close_by = float("inf")
        self.closed: Close | None = None

    def __repr__(self) -> str:
        """Return the connection, the bytes queued here, and how the stream was closed."""
        return f"<EventStreamSink {self._connection!r} queued={self._size} closed={self.closed}>"

    def unsent_bytes(self) -> int:
        """Return the bytes that the client's connection has not taken."""
        return self._size + self._connection.get_buffered()

    def send(self, payload: bytes, event: str = "") -> None:
        """Queue a message."""
        self._put(event_text(payload, event))

    def send_frame(self, log: FrameLog, emission: Emission, view: BarView | None = None) -> int:
        """Queue a frame; its id names epoch and index, as resuming wants it."""
        text = event_text(frame_json(log, emission, view), "frame", f"{log.epoch}:{emission.end - 1}")
        self._put(text)
        return len(text)

    def close(self, close: Close) -> None:
        """End after what is queued, within CLOSE_GRACE_SECONDS."""
        if self.closed is not None:
            return
        self.closed = close
        self._close_by = asyncio.get_running_loop().time() + CLOSE_GRACE_SECONDS
        self._there.set()
        if self._deadline is not None and not self._deadline.expired():
            when = self._deadline.when()
            self._deadline.reschedule(self._close_by if when is None else min(when, self._close_by))

    async def deliver(self, send: Send) -> None:
        """Send what is queued until the stream is closed or the client gone; `closed` then says which.

        A client that takes nothing for `stuck_seconds`, or nothing of the stream's end for CLOSE_GRACE_SECONDS, is
        dropped. Cancellation leaves the response unfinished; the server drops its connection.
        """
        connection = self._connection
        watching = asyncio.create_task(self._close_when_lost(), name="watch an event stream's connection")
        try:
            while batch := await self._take():
                for message in batch:
                    await self._send(send, {"type": "http.response.body", "body": message, "more_body": True})
                    self._size -= len(message)
            await self._send(send, {"type": "http.response.body", "body": b""})
            async with asyncio.timeout_at(self._close_by):
                await connection.drained.wait()
        except TimeoutError:
            self.close(Close(TRY_AGAIN_LATER, "the connection takes nothing"))
            connection.abort()
            await connection.lost.wait()  # the loop's next turn; the server would miss the response's end otherwise
        finally:
            watching.cancel()

    async def _close_when_lost(self) -> None:
        await self._connection.lost.wait()
        self.close(Close(NO_STATUS))

    async def _take(self) -> list[bytes]:
        """Return all that is queued, waiting for something; nothing at the end."""
        if not self._waiting and self.closed is None:
            self._there.clear()
            await self._there.wait()
        batch, self._waiting = self._waiting, []
        return batch

    async def _send(self, send: Send, message: dict[str, Any]) -> None:
        """Send a message. Raises TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout_at(min(loop.time() + self._stuck_seconds, self._close_by)) as self._deadline:
            await send(message)
        self._deadline = None

    def _put(self, message: bytes) -> None:
        if self.closed is None:
            self._waiting.append(message)
            self._size += len(message)
            self._there.set()


def event_text(payload: bytes, event: str, name: str = "") -> bytes:
    """Return an event of an event stream (WHATWG HTML section 9.2.5); a heartbeat is a comment."""
    if event == "hb":
        return b": hb\n\n"
    head = f"event: {event}\n" if event else ""
    mark = f"id: {name}\n" if name else ""
    return (mark + head).encode() + b"data: " + payload + b"\n\n"
