"""The server side of a WebSocket: uvicorn's sans-I/O protocol, plus a way to write one encoded frame to many viewers.

Why not plain ASGI: at 1,000 viewers and 30 frames a second `send` costs 26 µs a message before the kernel sees it (a
coroutine, a dict, a frame object, masking checks), the write itself about 9 µs. A server's frames are not masked (RFC
6455 section 5.1), so their bytes are the same for every viewer: encoded once, they go straight to each transport.
uvloop writes them at the end of the loop's turn, after all that was decided in it. A system call made here instead
would save 5% of the CPU for each frame, at 300 viewers and at 1,000, and needs the transport's descriptor. Why not a
server of our own or picows: handshake, limits, pings and the close handshake are uvicorn's and the websockets
library's, tested against protocol suites, and HTTP, lifespan and draining stay in one server.

The app finds the `FrameWriter` of its connection in `scope["extensions"][WRITER_EXTENSION]`, and uses `send` for the
handshake.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Any, cast

from websockets import http11
from websockets.exceptions import InvalidState

from bff_wsrelay.websocket.close_codes import ABNORMAL, Close
from bff_wsrelay.websocket.inbound import InboundProtocol
from bff_wsrelay.websocket.rfc6455 import StrictServerProtocol

WRITER_EXTENSION = "bff.frame_writer"
LINGER = 5.0
"""Seconds that a closing connection may take to deliver what was written before it is cut."""

MAX_LINE = 64 * 1024
"""Bytes of a header line in a handshake."""

_log = logging.getLogger("bff.websocket")
_log.setLevel(logging.WARNING)  # the relay writes one line per connection itself, without the query string


def allow_long_lines() -> None:
    """Let handshakes carry header lines as long as nginx and the other services take, such as large cookies.

    The websockets library reads its limit, 8 KiB, from the environment when it is imported, which is too early for us.
    """
    http11.MAX_LINE_LENGTH = MAX_LINE


TEXT, BINARY = 0x81, 0x82
"""The first byte of a frame that is a whole message."""


def encode_frame(payload: bytes, first: int = TEXT) -> bytes:
    """Return the one unmasked frame that carries a message: UTF-8 text, or bytes (RFC 6455 section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 1 << 16:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


class FrameWriter:
    """Writes encoded frames straight to one accepted connection. Not for use from other threads.

    `get_buffered()` returns the bytes written that the operating system has not taken yet.
    """

    __slots__ = ("_is_closing", "_protocol", "_write", "get_buffered")

    def __init__(self, protocol: "WebSocketProtocol") -> None:
        transport = protocol.transport
        self._protocol = protocol
        self._write = transport.write
        self.get_buffered: Callable[[], int] = transport.get_write_buffer_size
        self._is_closing = transport.is_closing

    @property
    def is_open(self) -> bool:
        """Return whether frames may still be written."""
        protocol = self._protocol
        return protocol.handshake_complete and not protocol.close_sent and not self._is_closing()

    def write(self, frame: bytes) -> None:
        """Write one whole encoded frame; after a close it is dropped. Never waits: look at `get_buffered()` before."""
        protocol = self._protocol
        if protocol.handshake_complete and not protocol.close_sent and not self._is_closing():
            self._write(frame)

    @property
    def is_paused(self) -> bool:
        """Return whether the transport is above its high-water mark."""
        return not self._protocol.writable.is_set()

    def limit_message(self, size: int) -> None:
        """Refuse messages of more bytes (1009), as soon as a frame's head says so. To be called before accepting."""
        self._protocol.conn.max_message_size = size

    async def drain(self) -> None:
        """Wait until the transport is below its high-water mark, or the connection closes. Cancellation is safe."""
        await self._protocol.writable.wait()

    def limit_unsent(self, size: int) -> None:
        """Limit what the kernel holds unsent to about `size` bytes, where it has that option (TCP_NOTSENT_LOWAT)."""
        option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
        connection = self._protocol.transport.get_extra_info("socket")
        if option is not None and connection is not None:
            with contextlib.suppress(OSError):  # a Unix socket has no such option
                connection.setsockopt(socket.IPPROTO_TCP, option, size)

    def close(self, code: int, reason: str = "") -> None:
        """Begin to close without waiting for room, which `send` would do; the connection ends within LINGER seconds."""
        self._protocol.close_now(code, reason)


class WebSocketProtocol(InboundProtocol):
    """uvicorn's protocol with a `FrameWriter` in the scope, correct close codes and closes that take bounded time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _log
        self.conn = StrictServerProtocol(
            extensions=self.conn.available_extensions, max_size=self.config.ws_max_size, logger=_log
        )
        self._end_reported = False
        self._axe: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        """Return the client's address, the handshake's state, what it has not taken, and whether it is read."""
        state = "closing" if self.close_sent else "open" if self.handshake_complete else "handshake"
        buffered = self.transport.get_write_buffer_size()
        return f"<WebSocketProtocol {self.client} {state} buffered={buffered} unread={self.is_unread}>"

    async def run_asgi(self) -> None:
        """Run the app with the extension in its scope."""
        extensions = cast("dict[str, Any]", self.scope["extensions"])
        extensions[WRITER_EXTENSION] = FrameWriter(self)
        try:
            await super().run_asgi()
        finally:
            self._expect_end()

    async def send(self, message: Any) -> None:
        """Send, and take a handshake that is refused with a response for complete, which uvicorn logs as an error."""
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True

    def data_received(self, data: bytes) -> None:
        """Take bytes, and send the library's refusal of a handshake it cannot take, which uvicorn leaves unsent."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated and not self.transport.is_closing():
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def handle_cont(self, event: Any) -> None:
        """Put fragments together as they come: a list of tiny ones would far outgrow the limit of a message."""
        parts = cast("list[bytes | bytearray]", self.frames)
        if isinstance(parts[0], bytes):
            parts[0] = bytearray(parts[0])
        parts[0] += event.data
        if event.fin:
            self.send_receive_event_to_app()

    def handle_close(self, event: Any) -> None:
        """Note that the viewer closed by the book; its code is the one the app sees."""
        self._end_reported = True
        super().handle_close(event)
        self._expect_end()

    def end_refused(self, close: Close) -> None:
        """Note that the app learns why the connection failed."""
        self._end_reported = True
        super().end_refused(close)
        self._expect_end()

    def keepalive_timeout(self) -> None:
        """Drop a client that answers no ping.

        One with messages ahead of the ping has not received it yet; whether it takes any is for its endpoint to judge.
        One that is not read on purpose may have answered.
        """
        if self.ping_timeout is not None and (self.transport.get_write_buffer_size() or self.is_unread):
            self.pong_timer = self.loop.call_later(self.ping_timeout, self.keepalive_timeout)
            return
        super().keepalive_timeout()
        self._expect_end()

    def shutdown(self) -> None:
        """Close for the end of the process."""
        self._end_reported = self._end_reported or self.handshake_complete
        super().shutdown()
        self._expect_end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report a connection that vanished as 1006 (RFC 6455 section 7.1.5), not as one without a code."""
        if self._axe is not None:
            self._axe.cancel()
        if self.handshake_complete and not self._end_reported:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": ABNORMAL})
        super().connection_lost(exc)

    def close_now(self, code: int, reason: str) -> None:
        """Send a close frame past any backpressure; the connection ends with the client's close frame, or at LINGER."""
        if not self.close_sent and self.handshake_complete and not self.transport.is_closing():
            with contextlib.suppress(InvalidState):
                self.conn.send_close(code, reason)
                self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = self._end_reported = True
            self.writable.set()  # release whoever waits for room
            self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
            self.read_paused = False
            self.go_on()
            self.close_timer = self.loop.call_later(LINGER / 2, self.transport.close)
        self._expect_end()

    def _expect_end(self) -> None:
        if self._axe is None and not self.disconnected:
            self._axe = self.loop.call_later(self.close_timeout + LINGER, self.transport.abort)
