"""Which connection carries the next request: a bounded pool of connections to one origin, last in, first out.

A *slot* is the right to one connection, made or being made. Whoever closes a connection passes its slot to the first
waiter, whoever frees one passes the connection itself, so nobody overtakes those who wait.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import httpx

from bff_shared.upstream.transport.connection import Connection
from bff_shared.upstream.transport.failures import FailureStage, mark
from bff_shared.upstream.transport.request_cycle import Timeouts

READ_BUFFER_BYTES = 64 * 1024
"""The most that one read takes off a socket."""

KEEP_ALIVE_MARGIN_SECONDS = 1.0
"""How much sooner than the peer announced (`Keep-Alive: timeout`) a connection is given up."""

UNREPEATABLE_IDLE_SECONDS = 1.0
"""How long a connection may have been idle to carry a request that cannot be repeated.

A peer that closes an idle connection does so seconds after its last response (gunicorn 2, uvicorn and Node 5, nginx
75); within the first second the request and the close do not cross on the way.
"""


class Origin(NamedTuple):
    """Where a connection leads (RFC 6454)."""

    scheme: bytes
    host: bytes
    port: int


@dataclass(frozen=True, slots=True)
class Stats:
    """Connections now, `open` = `in_use` + `idle`; requests `waiting` for one; `created`, `reused` since the start."""

    open: int
    in_use: int
    idle: int
    waiting: int
    created: int
    reused: int


class _Resting(NamedTuple):
    since: float
    until: float


class _Waiter(NamedTuple):
    """Gets a connection, or (None) the slot to make one, which is all that one who wants it `fresh` can use."""

    future: "asyncio.Future[Connection | None]"
    fresh: bool


class Pool:
    """Owns all connections of a transport. Times are seconds of `clock`."""

    def __init__(
        self,
        *,
        max_connections: int,
        max_idle: int,
        idle_seconds: float,
        high_water: int,
        ssl_context: ssl.SSLContext | None,
        clock: Callable[[], float],
    ) -> None:
        self._max_connections = max_connections
        self._max_idle = max_idle
        self._idle_seconds = idle_seconds
        self._high_water = high_water
        self._ssl_context = ssl_context
        self._clock = clock
        self._buffer = memoryview(bytearray(READ_BUFFER_BYTES))
        self._slots = 0
        self._open: set[Connection] = set()
        # The one used last at the end.
        self._idle: dict[Connection, _Resting] = {}
        self._waiters: deque[_Waiter] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._created = 0
        self._reused = 0
        self._closed = False

    def __repr__(self) -> str:
        """Say how many connections there are, and who waits."""
        now = self.stats
        return f"<Pool open={now.open}/{self._max_connections} in_use={now.in_use} waiting={now.waiting}>"

    @property
    def stats(self) -> Stats:
        """Count what is there now."""
        opened, idle = len(self._open), len(self._idle)
        return Stats(opened, opened - idle, idle, len(self._waiters), self._created, self._reused)

    async def acquire(
        self, origin: Origin, timeouts: Timeouts, request: httpx.Request, *, fresh: bool, repeatable: bool
    ) -> Connection:
        """Return a connection for one cycle: an idle one if it will do, a new one, or the next to become free.

        `fresh` asks for a new one; a request that is not `repeatable` gets an idle one only right after its last use.
        Cancelled, it gives back what it was about to get.

        Raises PoolTimeout, ConnectTimeout, ConnectError and UnsupportedProtocol, all with FailureStage.CONNECT.
        """
        if self._closed:
            raise mark(
                httpx.ConnectError("the transport is closed", request=request), FailureStage.CONNECT, reused=False
            )
        connection = None if fresh else self._take_idle(repeatable=repeatable)
        if connection is None:
            if self._slots < self._max_connections or self._evict():
                self._slots += 1
            else:
                connection = await self._wait(timeouts.pool, request, fresh=fresh)
            if connection is None:
                return await self._dial(origin, timeouts.connect, request)
        self._reused += 1
        return connection

    def close(self) -> None:
        """Close every connection, in use or not; those who wait fail."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for waiter in self._waiters:
            if not waiter.future.done():
                waiter.future.set_exception(
                    mark(httpx.ConnectError("the transport was closed"), FailureStage.CONNECT, reused=False)
                )
        self._waiters.clear()
        for connection in list(self._open):
            if connection.cycle is not None:
                connection.cycle.lost(None)
            connection.abort()

    # Idle connections.

    def _take_idle(self, *, repeatable: bool) -> Connection | None:
        now = self._clock()
        while self._idle:
            connection, (since, until) = next(reversed(self._idle.items()))
            if now >= until:
                connection.abort()
                continue
            if not repeatable:
                if now - since > UNREPEATABLE_IDLE_SECONDS:
                    return None
                if not connection.is_silent():
                    connection.abort()
                    continue
            del self._idle[connection]
            return connection
        return None

    def _evict(self) -> bool:
        """Close the connection that has been idle longest, if there is any: a request cannot use it, but its slot."""
        for connection in self._idle:
            connection.abort()
            return True
        return False

    def _expire(self) -> None:
        self._sweep = None
        now = self._clock()
        for connection, rest in list(self._idle.items()):
            if now >= rest.until:
                connection.abort()
        if self._idle:
            self._arm_sweep()

    def _arm_sweep(self) -> None:
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._idle_seconds, self._expire)

    # What connections report.

    def _on_free(self, connection: Connection, keep_alive_seconds: float | None) -> None:
        seconds = self._idle_seconds
        if keep_alive_seconds is not None:
            seconds = min(seconds, keep_alive_seconds - KEEP_ALIVE_MARGIN_SECONDS)
        if self._waiters and seconds > 0 and self._hand_over(connection):
            return
        if seconds <= 0 or self._waiters or len(self._idle) >= self._max_idle or self._closed:
            connection.abort()
            return
        now = self._clock()
        self._idle[connection] = _Resting(now, now + seconds)
        self._arm_sweep()

    def _hand_over(self, connection: Connection) -> bool:
        """Give a free connection to the first waiter; False if that one needs a fresh one."""
        while self._waiters:
            waiter = self._waiters[0]
            if not waiter.future.done():
                if waiter.fresh:
                    return False
                waiter.future.set_result(connection)
                self._waiters.popleft()
                return True
            self._waiters.popleft()
        return False

    def _on_closed(self, connection: Connection) -> None:
        if connection in self._open:
            self._idle.pop(connection, None)
            self._open.remove(connection)
            self._release_slot()

    def _release_slot(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.future.done():
                waiter.future.set_result(None)
                return
        self._slots -= 1

    # New connections.

    async def _wait(self, seconds: float | None, request: httpx.Request, *, fresh: bool) -> Connection | None:
        """Wait for a connection, or (None) for the slot to make one."""
        waiter = _Waiter(asyncio.get_running_loop().create_future(), fresh)
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                return await waiter.future
        except BaseException as exc:
            self._give_back(waiter)
            if isinstance(exc, TimeoutError):
                error = httpx.PoolTimeout("no connection became free in time", request=request)
                raise mark(error, FailureStage.CONNECT, reused=False) from exc
            raise

    def _give_back(self, waiter: _Waiter) -> None:
        future = waiter.future
        if future.cancelled() or not future.done():
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            return
        if future.exception() is not None:
            return
        connection = future.result()
        if connection is None:
            self._release_slot()
        elif not connection.closed:
            self._on_free(connection, None)

    async def _dial(self, origin: Origin, seconds: float | None, request: httpx.Request) -> Connection:
        """Make a connection on a slot that the caller has; on any failure the slot is given back."""
        started = self._clock()
        try:
            async with asyncio.timeout(seconds):
                connection = await self._connect(origin)
        except BaseException as exc:
            self._release_slot()
            error = _connect_error(exc, request)
            if error is None:
                raise
            raise mark(error, FailureStage.CONNECT, reused=False) from exc
        connection.connect_seconds = self._clock() - started
        self._open.add(connection)
        self._created += 1
        return connection

    async def _connect(self, origin: Origin) -> Connection:
        context = None
        if origin.scheme == b"https":
            context = self._ssl_context
            if context is None:
                raise httpx.UnsupportedProtocol("the transport was given no TLS context")
        host = origin.host.decode("ascii")
        _, connection = await asyncio.get_running_loop().create_connection(
            self._make, host, origin.port, ssl=context, server_hostname=host if context is not None else None
        )
        if connection.closed or self._closed:
            connection.abort()
            raise ConnectionResetError("the peer closed the connection at once")
        return connection

    def _make(self) -> Connection:
        return Connection(
            buffer=self._buffer, high_water=self._high_water, on_free=self._on_free, on_closed=self._on_closed
        )


def _connect_error(exc: BaseException, request: httpx.Request) -> httpx.TransportError | None:
    """Translate a failure to connect; None for what is not one."""
    if isinstance(exc, httpx.TransportError):
        return type(exc)(str(exc), request=request)
    if isinstance(exc, TimeoutError):
        return httpx.ConnectTimeout("the connection was not made in time", request=request)
    if isinstance(exc, UnicodeError):
        return httpx.ConnectError("the host is no valid name", request=request)
    if isinstance(exc, OSError):
        return httpx.ConnectError(f"the connection was not made: {exc.strerror or exc}", request=request)
    return None
