"""One open WebSocket to the backend: whole messages in, whole messages out, and how it ended. I/O.

The frames, masks and pings are the library's; ours is what lies between frames and messages: any number of fragments,
several messages handed over at once, and reading that pauses by bytes, so that a viewer who is slow slows the backend
and holds no more than about two messages here.
"""

import asyncio
import struct
from typing import cast

from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import CONNECTING, OPEN, Event

from bff_wsrelay.websocket.close_codes import ABNORMAL, Close

Message = str | bytes

HIGH_WATER = 256 * 1024  # bytes received and not yet taken, above which reading pauses
WRITE_LIMIT = 64 * 1024
CLOSE_SECONDS = 5.0
_DATA = frozenset((Opcode.TEXT, Opcode.BINARY, Opcode.CONT))


class LinkClosed(Exception):
    """The connection to the backend is over; `Link.end` says how."""


class Link(ClientConnection):
    """A connection to the backend after its handshake.

    The backend's event loop may stand still for seconds, so it counts as gone only when nothing at all has arrived for
    `ping_interval + ping_timeout` seconds while we were willing to read; after `ping_interval` it is asked by a ping.
    """

    def __init__(self, protocol: ClientProtocol, ping_interval: float, ping_timeout: float) -> None:
        super().__init__(
            protocol,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            close_timeout=CLOSE_SECONDS,
            write_limit=WRITE_LIMIT,
        )
        self._patience = ping_interval + ping_timeout
        self._messages: list[Message] = []
        self._size = 0
        self._parts: bytearray | None = None
        self._kind = Opcode.TEXT
        self._held = False
        self._over = False
        self._leaving = False
        self._waiter: asyncio.Future[None] | None = None
        self._heard = self.loop.time()

    @property
    def end(self) -> Close:
        """How it ended: the backend's close, our refusal of what it sent (1002, 1007, 1009), or 1006."""
        protocol = self.protocol
        if protocol.close_rcvd is not None:
            return Close(int(protocol.close_rcvd.code), protocol.close_rcvd.reason)
        if protocol.close_sent is not None and not self._leaving:
            return Close(int(protocol.close_sent.code), protocol.close_sent.reason)
        return Close(ABNORMAL)

    async def receive(self) -> list[Message]:
        """Return what has arrived since the last call, at least one message, in order; raise LinkClosed at the end."""
        if not self._messages:
            self._resume()
            await self._arrival()
        if not self._messages:
            raise LinkClosed
        batch, self._messages, self._size = self._messages, [], 0
        return batch

    async def transmit(self, message: Message) -> None:
        """Send a message, waiting while the backend takes nothing; raise LinkClosed where it cannot be sent."""
        if self._over or self.protocol.state is not OPEN:
            raise LinkClosed
        if isinstance(message, str):
            self.protocol.send_text(message.encode())
        else:
            self.protocol.send_binary(message)
        try:
            self.send_data()
            await self.drain()
        except OSError as error:
            raise LinkClosed from error
        if self._over:
            raise LinkClosed

    async def hang_up(self, close: Close) -> None:
        """Close with this code; wait at most `CLOSE_SECONDS` for the backend's part of it, then drop the socket."""
        self._leaving = True
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
        self._heard = self.loop.time()
        super().data_received(data)
        if self.protocol.state is not OPEN and self.protocol.state is not CONNECTING:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the socket is gone."""
        super().connection_lost(exc)
        self._finish()

    def process_event(self, event: Event) -> None:
        """Take a frame, or the answer to the handshake."""
        if self.response is None:
            super().process_event(event)
        elif isinstance(event, Frame) and event.opcode in _DATA and not self._leaving:
            self._collect(event)

    async def keepalive(self) -> None:
        """Ask a silent backend whether it is there, and drop the connection when it stays silent."""
        interval = cast("float", self.ping_interval)
        while True:
            await asyncio.sleep(interval / 2)
            if self._held:  # nothing is read on purpose, so silence means nothing
                self._heard = self.loop.time()
            silence = self.loop.time() - self._heard
            if silence > self._patience:
                self.transport.abort()
                return
            if silence >= interval and self.protocol.state is OPEN and not self.paused:
                self.protocol.send_ping(struct.pack("!d", self._heard))
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
                self._keep(data.decode(), len(data))
            except UnicodeDecodeError:
                self._refuse(CloseCode.INVALID_DATA, "invalid UTF-8")
        else:
            self._keep(data, len(data))

    def _keep(self, message: Message, size: int) -> None:
        self._messages.append(message)
        self._size += size
        if self._size > HIGH_WATER and not self._held:
            self._held = True
            self.transport.pause_reading()
        self._wake()

    def _resume(self) -> None:
        if self._held:
            self._held = False
            if not self._over:
                self.transport.resume_reading()

    def _refuse(self, code: CloseCode, reason: str) -> None:
        """Fail the connection for what the backend sent (RFC 6455 section 7.1.7)."""
        if self.protocol.state is OPEN:
            self.protocol.fail(code, reason)
            self.send_data()
        self._finish()

    def _finish(self) -> None:
        self._over = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _arrival(self) -> None:
        if self._over:
            return
        self._waiter = self.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
