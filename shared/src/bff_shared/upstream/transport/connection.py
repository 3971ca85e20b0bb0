"""One HTTP/1.1 connection, on asyncio or uvloop: it moves bytes for one request cycle at a time."""

import asyncio
import math
import os
import select
from collections.abc import Callable
from typing import Protocol, cast


class ConnectionUser(Protocol):
    """What a connection tells the cycle that it carries."""

    def received(self, data: bytes | memoryview) -> None:
        """Take bytes; the memory is the connection's again when this returns."""

    def ended(self) -> None:
        """Take the peer's end of the stream."""

    def lost(self, cause: Exception | None) -> None:
        """Take the loss of the connection."""

    def timed_out(self) -> None:
        """Take the passing of the deadline that was set."""


class Connection(asyncio.BufferedProtocol):
    """A connection to one origin; `on_free` is told when it may carry the next cycle, `on_closed` when it is gone.

    All connections of a pool read into one buffer, which holds bytes only while one read is handled, so a connection at
    rest costs none.
    """

    def __init__(
        self,
        *,
        buffer: memoryview,
        high_water: int,
        on_free: "Callable[[Connection, float | None], None]",
        on_closed: "Callable[[Connection], None]",
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.cycle: ConnectionUser | None = None
        self.closed = False
        self.served = 0
        self.high_water = high_water
        self.connect_seconds = 0.0
        self._buffer = buffer
        self._on_free = on_free
        self._on_closed = on_closed
        self._transport: asyncio.Transport | None = None
        self._writable: asyncio.Future[None] | None = None
        self._deadline = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._reading_paused = False

    def __repr__(self) -> str:
        """Say what the connection is doing."""
        state = "closed" if self.closed else "idle" if self.cycle is None else "in use"
        return f"<Connection {state} served={self.served}>"

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; both event loops set TCP_NODELAY on it by themselves."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  asyncio's signature
        """Lend the pool's read buffer."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hand bytes to the cycle; bytes that nobody asked for end the connection."""
        if self.cycle is None:
            self.abort()
        else:
            self.cycle.received(self._buffer[:nbytes])

    def eof_received(self) -> None:
        """Take the peer's end of the stream; the transport then closes itself."""
        if self.cycle is None:
            self.abort()
        else:
            self.cycle.ended()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what was under way."""
        if self.cycle is not None:
            self.cycle.lost(exc)
        self.abort()

    def pause_writing(self) -> None:
        """Hold writers while the transport's own buffer is full."""
        self._writable = self.loop.create_future()

    def resume_writing(self) -> None:
        """Let writers go on."""
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    # What the cycle and the pool call.

    def carry(self, cycle: ConnectionUser) -> None:
        """Take up a request cycle; the connection has none."""
        self.cycle = cycle
        self.served += 1

    @property
    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self.closed or self._transport is None or self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Write now; what the socket does not take is buffered by the transport."""
        if self._transport is not None and not self.is_closing:
            self._transport.write(data)

    async def drain(self, seconds: float | None) -> None:
        """Wait until the transport takes more. Raises TimeoutError."""
        if self._writable is not None:
            done, _ = await asyncio.wait((self._writable,), timeout=seconds)
            if not done:
                raise TimeoutError

    def set_deadline(self, seconds: float | None) -> None:
        """Fail the current cycle after so many seconds, unless called again.

        The timer is left armed when the deadline moves on and looks again when it fires: one timer serves many waits.
        """
        if seconds is None:
            self._deadline = math.inf
            return
        self._deadline = deadline = self.loop.time() + seconds
        if self._timer is None:
            self._timer = self.loop.call_at(deadline, self._tick)
        elif self._timer.when() > deadline:
            self._timer.cancel()
            self._timer = self.loop.call_at(deadline, self._tick)

    def pause_reading(self) -> None:
        """Stop reading; the peer's window then fills up."""
        if not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self._reading_paused and self._transport is not None:
            self._reading_paused = False
            if not self.closed:
                self._transport.resume_reading()

    def finished(self, *, reusable: bool, keep_alive_seconds: float | None) -> None:
        """End the cycle: the connection becomes free, or is closed."""
        self.cycle = None
        self._deadline = math.inf
        if not reusable or self.is_closing:
            self.abort()
            return
        self.resume_reading()
        self._on_free(self, keep_alive_seconds)

    def is_silent(self) -> bool:
        """Tell whether the socket holds nothing that the loop has yet to see: no bytes, no end of stream."""
        number = self._file_number()
        if number is None:
            return False
        poll = select.poll()
        poll.register(number, select.POLLIN)
        return not poll.poll(0)

    def read_remainder(self, limit: int) -> bytes:
        """Read what is left in a plain socket that a failed write has closed, at most `limit` bytes."""
        number = self._file_number()
        if number is None or self._transport is None or self._transport.get_extra_info("sslcontext") is not None:
            return b""
        data = bytearray()
        try:
            while len(data) < limit and (piece := os.read(number, limit - len(data))):
                data += piece
        except OSError:
            pass
        return bytes(data)

    def abort(self) -> None:
        """Close at once, without waiting for anything."""
        if self.closed:
            return
        self.closed = True
        self.cycle = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.resume_writing()
        if self._transport is not None:
            self._transport.abort()
        self._on_closed(self)

    def _file_number(self) -> int | None:
        sock = None if self._transport is None else self._transport.get_extra_info("socket")
        number = -1 if sock is None else sock.fileno()
        return number if isinstance(number, int) and number >= 0 else None

    def _tick(self) -> None:
        self._timer = None
        if self.cycle is None or self._deadline == math.inf:
            return
        # uvloop's clock has a resolution of 1 ms.
        if self.loop.time() < self._deadline - 0.001:
            self._timer = self.loop.call_at(self._deadline, self._tick)
            return
        self.cycle.timed_out()
