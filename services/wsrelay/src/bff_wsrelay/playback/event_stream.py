"""A playback as Server-Sent Events: the connection below, the event format, and a sink that a stuck client ends. I/O.

ASGI hides three things that an endless response needs: whether the client is gone while another request is queued
behind this one, how much of what was sent is still here, and a way to drop a connection that takes nothing. uvicorn's
protocol knows them; `HttpProtocol` puts them into the scope as `scope["extensions"][EXTENSION]`.
"""

import asyncio
import contextlib
import socket
from typing import Any, cast

from starlette.types import Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bff_wsrelay.framelog.frame_log import FrameLog
from bff_wsrelay.playback.pacer import Emission
from bff_wsrelay.playback.sinks import frame_json
from bff_wsrelay.websocket.close_codes import NO_STATUS, TRY_AGAIN_LATER, Close

EXTENSION = "bff.connection"
HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)
CLOSE_GRACE_SECONDS = 2.0
"""How long the last events of a stream that ends may take to be written before the connection is dropped."""


class HttpConnection:
    """One client connection of the HTTP server.

    `lost` is set when it is gone, whichever request was told so; `drained` while the kernel has taken everything, once
    `unbuffered` was called.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.get_buffered = transport.get_write_buffer_size
        self.lost = asyncio.Event()
        self.drained = asyncio.Event()
        self.drained.set()

    def unbuffered(self, unsent: int) -> None:
        """Let a sender wait until the kernel has taken everything, which holds about `unsent` bytes that were not sent.

        What is buffered cannot be coalesced any more. The kernel can be told so on Linux and macOS only.
        """
        self._transport.set_write_buffer_limits(0)
        option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
        connection = self._transport.get_extra_info("socket")
        if option is not None and connection is not None:
            with contextlib.suppress(OSError):  # a Unix socket has no such option
                connection.setsockopt(socket.IPPROTO_TCP, option, unsent)

    def abort(self) -> None:
        """Drop the connection and what was not sent."""
        self._transport.abort()


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 server with an `HttpConnection` in each scope."""

    _connection: HttpConnection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Take a new connection."""
        self._connection = HttpConnection(transport)
        super().connection_made(transport)

    def on_message_begin(self) -> None:
        """Begin a request's scope."""
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)["extensions"] = {EXTENSION: self._connection}

    def pause_writing(self) -> None:
        """Note that the kernel has not taken everything."""
        self._connection.drained.clear()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that it has."""
        self._connection.drained.set()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request of the connection; uvicorn tells only the newest."""
        self._connection.lost.set()
        self._connection.drained.set()
        super().connection_lost(exc)


def connection_of(scope: Scope) -> HttpConnection:
    """Return the connection that a request came on."""
    connection: HttpConnection = scope["extensions"][EXTENSION]
    return connection


class EventSink:
    """Where the messages of an event stream go: queued here, sent by `deliver`.

    `buffered_now()` counts what was queued and what the connection has not taken, so a slow client's frames coalesce.
    """

    def __init__(self, connection: HttpConnection, stuck_seconds: float) -> None:
        self._connection, self._stuck_seconds = connection, stuck_seconds
        self._waiting: list[bytes] = []
        self._size = 0
        self._there = asyncio.Event()
        self._deadline: asyncio.Timeout | None = None
        self._close_by = float("inf")
        self.closed: Close | None = None

    def buffered_now(self) -> int:
        """Return the bytes that the client's connection has not taken."""
        return self._size + self._connection.get_buffered()

    def say(self, payload: bytes, event: str = "") -> None:
        """Queue a message."""
        self._put(event_text(payload, event))

    def show(self, log: FrameLog, emission: Emission) -> int:
        """Queue a frame; its id names epoch and index, as resuming wants it."""
        text = event_text(frame_json(log, emission), "frame", f"{log.epoch}:{emission.end - 1}")
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
        """Send what is queued until the stream is closed or the client gone.

        A client that takes nothing for so long that the stream is closed, or nothing of its end, is dropped.
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
