"""One open WebSocket to the backend: whole messages in, whole messages out, and how it ended. I/O.

The frames, masks and pings are the library's; ours is what lies between frames and messages: any number of fragments,
several messages handed over at once, and reading that pauses by bytes, so that a slow client slows
the backend down and holds no more than about two messages here.
"""

import asyncio
import struct
from typing import cast

from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import CONNECTING, OPEN, Event

from bff_wsrelay.websocket import Message
from bff_wsrelay.websocket.close_codes import ABNORMAL, Close

HIGH_WATER = 256 * 1024  # bytes received and not yet taken, above which reading pauses
WRITE_LIMIT = 64 * 1024
CLOSE_SECONDS = 5.0
_DATA = frozenset((Opcode.TEXT, Opcode.BINARY, Opcode.CONT))


class UpstreamClosed(Exception):
    """The connection to the backend has ended; `end` says how."""

    def __init__(self, end: Close) -> None:
        super().__init__(f"closed with {end.code}")
        self.end = end


class UpstreamConnection(ClientConnection):
    """A connection to the backend after its handshake.

    The backend's event loop may stand still for seconds, so it counts as gone only when nothing at all has arrived for
    `ping_interval + ping_timeout` seconds while we were willing to read; after `ping_interval` it is pinged.
    """

    def __init__(self, protocol: ClientProtocol, ping_interval: float, ping_timeout: float) -> None:
        super().__init__(
            protocol,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            close_timeout=CLOSE_SECONDS,
            write_limit=WRITE_LIMIT,
        )
        self._silence_limit = ping_interval + ping_timeout
        self._messages: list[Message] = []
        self._size = 0
        self._parts: bytearray | None = None
        self._kind = Opcode.TEXT
        self._is_paused = False
        self._is_over = False
        self._is_leaving = False
        self._waiter: asyncio.Future[None] | None = None
        self._last_received = self.loop.time()

    def __repr__(self) -> str:
        """Return the protocol's state, the bytes received and not taken, and whether reading is paused."""
        return f"<UpstreamConnection {self.protocol.state.name} unread={self._size} paused={self._is_paused}>"

    @property
    def end(self) -> Close:
        """How it ended: the backend's close, our refusal of what it sent (1002, 1007, 1009), or 1006."""
        protocol = self.protocol
        if protocol.close_rcvd is not None:
            return Close(int(protocol.close_rcvd.code), protocol.close_rcvd.reason)
        if protocol.close_sent is not None and not self._is_leaving:
            return Close(int(protocol.close_sent.code), protocol.close_sent.reason)
        return Close(ABNORMAL)

    async def receive(self) -> list[Message]:
        """Return what has arrived since the last call, at least one message, in order.

        Cancellation loses nothing: what arrives meanwhile is returned by the next call.

        Raises:
            UpstreamClosed: when the connection has ended and every message was returned.
        """
        if not self._messages:
            if self._is_paused:
                self._resume()
            if not self._is_over:
                self._waiter = self.loop.create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
        if not self._messages:
            raise UpstreamClosed(self.end)
        batch, self._messages, self._size = self._messages, [], 0
        return batch

    def hold(self) -> None:
        """Receive nothing more before the next `receive` that finds no message, so that the backend is held back."""
        if not self._is_paused and not self._is_over:
            self._is_paused = True
            self.transport.pause_reading()

    async def transmit(self, message: Message) -> None:
        """Send a message, waiting while the backend takes nothing.

        Cancellation while waiting does not take the message back: it is sent whole, or the connection ends.

        Raises:
            UpstreamClosed: where it cannot be sent.
        """
        if self._is_over or self.protocol.state is not OPEN:
            raise UpstreamClosed(self.end)
        if isinstance(message, str):
            self.protocol.send_text(message.encode())
        else:
            self.protocol.send_binary(message)
        try:
            self.send_data()
            await self.drain()
        except OSError as error:
            raise UpstreamClosed(self.end) from error
        if self._is_over:
            raise UpstreamClosed(self.end)

    async def disconnect(self, close: Close) -> None:
        """Close with this code, waiting at most `CLOSE_SECONDS` for the backend's close.

        However it ends, cancellation included, the socket is gone.
        """
        self._is_leaving = True
        self._messages.clear()
        self._resume()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.close(close.code, close.reason)
                await self.wait_closed()
        except TimeoutError:
            pass
        finally:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the socket."""
        self._last_received = self.loop.time()
        super().data_received(data)
        if self.protocol.state is not OPEN and self.protocol.state is not CONNECTING:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the socket is gone."""
        super().connection_lost(exc)
        self._finish()

    def process_event(self, event: Event) -> None:
        """Take a frame, or the response to the handshake."""
        if self.response is None:
            super().process_event(event)
        elif isinstance(event, Frame) and event.opcode in _DATA and not self._is_leaving:
            self._collect(event)

    async def keepalive(self) -> None:
        """Ping a silent backend, and drop the connection when it stays silent."""
        interval = cast("float", self.ping_interval)
        while True:
            await asyncio.sleep(interval / 2)
            if self._is_paused:  # nothing is read on purpose, so silence means nothing
                self._last_received = self.loop.time()
            silence = self.loop.time() - self._last_received
            if silence > self._silence_limit:
                self.transport.abort()
                return
            if silence >= interval and self.protocol.state is OPEN and not self.paused:
                self.protocol.send_ping(struct.pack("!d", self._last_received))
                self.send_data()

    def _collect(self, frame: Frame) -> None:
        """Put a message together (RFC 6455 section 5.4) and keep it until it is taken."""
        if frame.opcode is not Opcode.CONT:
            self._kind = frame.opcode
        if self._parts is None and frame.fin:
            data = bytes(frame.data)
        else:
            self._parts = self._parts or bytearray()
            self._parts += frame.data
            if not frame.fin:
                return
            data, self._parts = bytes(self._parts), None
        if self._kind is Opcode.TEXT:
            try:
                self._queue(data.decode(), len(data))
            except UnicodeDecodeError:
                self._refuse(CloseCode.INVALID_DATA, "invalid UTF-8")
        else:
            self._queue(data, len(data))

    def _queue(self, message: Message, size: int) -> None:
        self._messages.append(message)
        self._size += size
        if self._size > HIGH_WATER and not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()
        self._wake()

    def _resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            if not self._is_over:
                self.transport.resume_reading()

    def _refuse(self, code: CloseCode, reason: str) -> None:
        """Fail the connection for what the backend sent (RFC 6455 section 7.1.7)."""
        if self.protocol.state is OPEN:
            self.protocol.fail(code, reason)
            self.send_data()
        self._finish()

    def _finish(self) -> None:
        self._is_over = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
