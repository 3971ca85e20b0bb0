"""The receiving side of a client's WebSocket: what arrives is parsed in small turns, and counted first.

uvicorn parses all that one read brought, up to 256 KiB, which are 40,000 frames of control and more than 100 ms of the
event loop. Here a turn ends after about `TURN_FRAMES` frames; the rest waits, unread where possible, until every other
connection got a turn. Nothing is parsed before the response to the handshake, little after our close was sent, nothing
after a refusal.

A pong is written when there is room for it. While there is none, only the most recent ping is remembered (RFC 6455
section 5.5.3), so that a viewer that does not read its pongs costs nothing.
"""

import asyncio
import contextlib
from math import inf, isfinite
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from bff_shared.limits import client_address
from bff_shared.settings import Network
from bff_wsrelay.websocket.close_codes import POLICY_VIOLATION, Close
from bff_wsrelay.websocket.rfc6455 import StrictServerProtocol
from bff_wsrelay.websocket.traffic import Account, TrafficMeter

SLICE, MOST_SLICE = 2048, 8192
"""Bytes parsed at a time: at most 341 frames, or four times as many where the last ones were part of a longer frame."""

TURN_FRAMES = 64
"""Frames after which a turn ends."""

EARLY_BYTES = 64 * 1024
"""Bytes that may come before the response to the handshake."""

LATE_BYTES = 64 * 1024
"""Bytes that are still parsed after our close, for the close frame in return."""

PARTING_SECONDS = 1.0
"""How long a refused connection may take to deliver our close before it is cut."""


class InboundProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol with bounded work for what a viewer sends.

    `traffic` has the limits, `trusted` are the proxies whose forwarded client address is believed.
    """

    conn: StrictServerProtocol

    def __init__(
        self, *args: Any, traffic: TrafficMeter | None = None, trusted: tuple[Network, ...] = (), **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._traffic, self._trusted = traffic, trusted
        self._account: Account | None = None
        self._unparsed = bytearray()
        self._turn: asyncio.Handle | None = None
        self._rest: asyncio.TimerHandle | None = None
        self._is_ignoring = False
        self._deadline: asyncio.TimerHandle | None = None
        self._message = 0
        """Which message the deadline is of."""
        self._late = 0
        self._pong: bytes | None = None

    def data_received(self, data: bytes) -> None:
        """Take bytes: parse them at once where they are few, in turns where they are many."""
        if self._is_ignoring:
            return
        if self.close_sent and self._is_late(len(data)):
            return
        if len(data) <= SLICE and not self._unparsed and not self._must_wait:
            self._parse(data)
            self._hold()
            return
        self._unparsed += data
        self._take_turn()

    @property
    def _must_wait(self) -> bool:
        """Return whether nothing may be parsed now: the app has not taken what it has, or a limit is reached."""
        is_early = self.handshake_initiated and not self.handshake_complete
        return self.read_paused or is_early or self._rest is not None

    def _take_turn(self) -> None:
        """Parse some of what has arrived, and go on after everybody else's turn."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        waiting, done, frames = self._unparsed, 0, 0
        # The head of a handshake is parsed whole.
        size = SLICE if self.handshake_initiated else len(waiting)
        while done < len(waiting) and frames < TURN_FRAMES and not self._must_wait and not self._is_ignoring:
            ended = self._parse(waiting[done : done + size])
            done, frames, size = done + size, frames + ended, SLICE if ended else min(2 * size, MOST_SLICE)
        del waiting[:done]
        self._hold()
        if self._is_ignoring:
            return
        if len(waiting) > EARLY_BYTES and not self.handshake_complete:
            self.transport.abort()
        elif waiting:
            self.transport.pause_reading()
            if not self._must_wait:
                self._turn = self.loop.call_soon(self._take_turn)
        else:
            self._read_on()

    def _read_on(self) -> None:
        """Read from the socket again if nothing speaks against it."""
        if not (self._unparsed or self._must_wait or self._is_ignoring):
            self.transport.resume_reading()

    def go_on(self) -> None:
        """Go on with what waits, after what it waited for."""
        if self._unparsed and self._turn is None:
            self._turn = self.loop.call_soon(self._take_turn)
        self._read_on()

    def _parse(self, data: bytes | bytearray) -> int:
        """Parse bytes, hand on what they mean and return how many frames they ended."""
        conn = self.conn
        conn.receive_data(data)
        frames, conn.frames = conn.frames, 0
        if conn.parser_exc is not None:
            self.handle_parser_exception()
            return frames
        self.handle_events()
        if self._account is not None and not self._is_ignoring:
            self._pay(self._account.spend(frames, len(data), self.loop.time()))
        return frames

    def _pay(self, seconds: float) -> None:
        """Leave the rest unread for so long; for ever: refuse it."""
        if not seconds:
            return
        if not isfinite(seconds):
            self.refuse(Close(POLICY_VIOLATION, "too many frames"))
            return
        self.transport.pause_reading()
        if self._rest is None:
            self._rest = self.loop.call_later(seconds, self._rested)

    def _hold(self) -> None:
        """Count what is kept until its message ends, and refuse it where that is too much."""
        if self._account is None or self._is_ignoring:
            return
        begun = len(self.conn.reader.buffer)
        if self.frames:
            begun += len(self.frames[0])
        if begun or self._deadline is not None or self.frames:
            self._bound_message(is_begun=bool(begun or self.frames))
        size = begun + len(self._unparsed)
        refusal = self._account.hold(size)
        if refusal is not None:
            self.refuse(refusal)

    def _bound_message(self, *, is_begun: bool) -> None:
        """Give a message that has begun a deadline, each its own, and take it away where none has."""
        if self._deadline is not None and (not is_begun or self._message != self.conn.messages):
            self._deadline.cancel()
            self._deadline = None
        limit = self._traffic.limits.message_seconds if self._traffic is not None else inf
        if is_begun and self._deadline is None and limit < inf:
            self._message = self.conn.messages
            self._deadline = self.loop.call_later(limit, self._message_is_late)

    def _message_is_late(self) -> None:
        self._deadline = None
        if self._traffic is None or self._is_ignoring or self.close_sent:
            return
        if self.is_unread:  # its rest may be here, and waits for us
            self._bound_message(is_begun=True)
            return
        self._traffic.metrics.message_seconds.inc()
        self.refuse(Close(POLICY_VIOLATION, "a message took too long"))

    def _rested(self) -> None:
        self._rest = None
        if self._account is None or self._is_ignoring:
            return
        if seconds := self._account.wait(self.loop.time()):
            self._rest = self.loop.call_later(seconds, self._rested)
        else:
            self.go_on()

    def _is_late(self, size: int) -> bool:
        """Count bytes that come after our close; return whether no more of them are parsed."""
        self._late += size
        if self._late > LATE_BYTES:
            self._stop_reading()
        return self._is_ignoring

    def _stop_reading(self) -> None:
        self._is_ignoring = True
        self._forget()
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def _forget(self) -> None:
        """Give back what has come and is of no use any more, without waiting for the garbage collector."""
        self._unparsed.clear()
        self._pong = None
        self.frames = []
        self.conn.reader.discard()
        if self._account is not None:
            self._account.hold(0)

    def handle_connect(self, event: Any) -> None:
        """Open the account of a connection whose handshake is well-formed."""
        super().handle_connect(event)
        if self._traffic is not None and not self.handshake_complete:
            address = client_address(
                list(self.scope["headers"]), self.client[0] if self.client else None, self._trusted
            )
            self._account = self._traffic.join(address, self.loop.time())

    def start_keepalive(self) -> None:
        """Note that the handshake is complete: what came before may be parsed."""
        super().start_keepalive()
        self.go_on()

    @property
    def is_unread(self) -> bool:
        """Whether the client may have sent more than was read, on purpose."""
        return self.read_paused or self._rest is not None or bool(self._unparsed)

    async def receive(self) -> Any:
        """Return the next event; read on once the app has taken all of them."""
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            self.go_on()
        return message

    def handle_ping(self) -> None:
        """Answer pings, the last one later where there is no room now."""
        pongs, self.conn.pongs = self.conn.pongs, []
        if not pongs or self.close_sent:
            return
        if self.writable.is_set():
            self.transport.write(b"".join(pongs))
        else:
            self._pong = pongs[-1]

    def resume_writing(self) -> None:
        """Write the pong that there was no room for."""
        super().resume_writing()
        if self._pong is not None and not self.close_sent and not self.transport.is_closing():
            pong, self._pong = self._pong, None
            self.transport.write(pong)

    def handle_parser_exception(self) -> None:
        """Close with what was wrong, after the answers to pings before it, and stop reading."""
        self.handle_ping()
        sent = self.conn.close_sent
        self.end_refused(Close(int(sent.code), sent.reason) if sent is not None else Close(POLICY_VIOLATION))

    def refuse(self, close: Close) -> None:
        """End the connection for what the client sends, and stop reading."""
        self.conn.fail(close.code, close.reason)
        self.end_refused(close)

    def end_refused(self, close: Close) -> None:
        """Send what the library has left to send, which ends with its close, and cut the connection soon after.

        The socket is not closed at once: what the viewer has sent and we have not read would reset the connection, and
        it would never learn why.
        """
        self._stop_reading()
        writes = b"".join(self.conn.data_to_send())
        if self.transport.is_closing():
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": close.code, "reason": close.reason})
        self.close_sent = True
        if writes:
            self.transport.write(writes)
        with contextlib.suppress(RuntimeError, OSError):  # the viewer may have left meanwhile
            if self.transport.can_write_eof():
                self.transport.write_eof()
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(PARTING_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give back what the connection held."""
        for handle in (self._turn, self._rest, self._deadline):
            if handle is not None:
                handle.cancel()
        self._is_ignoring = True
        self._forget()
        if self._account is not None:
            self._account.leave(self.loop.time())
            self._account = None
        super().connection_lost(exc)
