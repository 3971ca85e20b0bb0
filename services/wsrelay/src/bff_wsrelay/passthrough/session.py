"""One client and its own upstream connection, which may break without the client's. I/O.

Two tasks. One receives from the client and forwards, or holds messages while the backend is away. The other opens the
upstream connection, accepts the client's handshake, forwards what the backend sends and reconnects when it breaks. The
first of them to end says how the session ended, and the other side is closed accordingly; a drain is a third way to
end.

`ResumeState` knows what the messages mean, `close_codes` what a close means.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bff_shared.errors import BackendUnavailable, BffError, Busy, Internal
from bff_shared.http import context
from bff_shared.http.responses import error_response
from bff_shared.limits import TokenBucket
from bff_wsrelay.admission.limits import RETRY_AFTER
from bff_wsrelay.passthrough import headers as handshake_headers
from bff_wsrelay.passthrough.client_socket import ClientGone, ClientSocket
from bff_wsrelay.passthrough.messages import busy_error, connection_status
from bff_wsrelay.passthrough.metrics import PassthroughMetrics
from bff_wsrelay.passthrough.resume_state import BufferFull, Dialect, ResumeState
from bff_wsrelay.websocket import Message
from bff_wsrelay.websocket.backoff import Backoff
from bff_wsrelay.websocket.client import UpstreamClosed, UpstreamConnection
from bff_wsrelay.websocket.close_codes import (
    ABNORMAL,
    COME_BACK,
    GOING_AWAY,
    INTERNAL_ERROR,
    RESTART,
    TRY_AGAIN_LATER,
    Close,
    close_for_backend,
    close_for_client,
    of_status,
)
from bff_wsrelay.websocket.connector import HandshakeRefused, Unreachable

log = logging.getLogger("bff.access")

Connect = Callable[[], Awaitable[UpstreamConnection]]

FRUITLESS = 4
"""Connections in a row that brought the viewer nothing, after which opening one is no success any more."""


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Bounds of one session.

    Its handshake waits `admit` seconds for the backend, or `negotiate` where a subprotocol has to be agreed with it; a
    backend that is away is tried for `reconnect` seconds, and `max_held` messages of `max_held_bytes` bytes
    together are kept for it. In the backend's protocol a client is read `max_controls` times a second.
    """

    admit: float = 2.0
    negotiate: float = 30.0
    reconnect: float = 3600.0
    max_held: int = 256
    max_held_bytes: int = 1024 * 1024
    max_controls: int = 50


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """How a session ended, and who ended it."""

    close: Close
    by: Literal["viewer", "backend", "relay"]


class Session:
    """One client and the backend, from handshake to close."""

    def __init__(
        self,
        client: ClientSocket,
        connect: Connect,
        limits: SessionLimits,
        backoff: Backoff,
        metrics: PassthroughMetrics,
        *,
        negotiates: bool,
    ) -> None:
        self._client, self._connect, self._limits, self._backoff = client, connect, limits, backoff
        self._metrics, self._negotiates = metrics, negotiates
        self._state = ResumeState(limits.max_held, limits.max_held_bytes)
        self._connection: UpstreamConnection | None = None
        self._live_connection: UpstreamConnection | None = None
        self._idle_connections = 0
        self._begun = 0.0
        self._control_bucket = TokenBucket(limits.max_controls, limits.max_controls)
        self._drained: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        """Return whether the backend is connected, the protocol spoken, and what has been forwarded."""
        state = "live" if self._live_connection is not None else "reconnecting"
        return f"<Session {state} {self._state.dialect.name} {self._state.counts}>"

    async def run(self) -> None:
        """Serve the client until one side ends the session, then end the other and release everything.

        Cancellation closes both sides: the client with 1011, the backend with 1001.
        """
        self._begun = asyncio.get_running_loop().time()
        tasks = [asyncio.create_task(part) for part in (self._receive_from_client(), self._serve(), self._drain())]
        end: SessionEnd | None = None
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            end = next(task for task in tasks if task.done()).result()
        except ClientGone:
            end = SessionEnd(Close(ABNORMAL), "viewer")
        finally:
            await _cancel(tasks)
            await self._close_both(end)
        self._report(end)

    def describe(self) -> dict[str, Any]:
        """Return what `/api/v1/streams` shows of it: age in seconds, state, and counts of messages."""
        age = round(asyncio.get_running_loop().time() - self._begun, 1)
        state = "live" if self._live_connection is not None else "reconnecting"
        return {"age_s": age, "state": state, **asdict(self._state.counts)}

    def drain(self, retry_ms: int) -> None:
        """Ask the client to come back after this time, here or at another replica, and close."""
        if not self._drained.done():
            self._drained.set_result(retry_ms)

    async def _drain(self) -> SessionEnd:
        retry_ms = await self._drained
        if self._client.is_accepted:
            await self._announce_status(connection_status("draining", 0, retry_ms / 1000))
        return SessionEnd(Close(RESTART, "the relay restarts"), "relay")

    async def _receive_from_client(self) -> SessionEnd:
        """Forward what the client sends, in order; return how it left."""
        while True:
            message = await self._client.receive()
            if isinstance(message, Close):
                return SessionEnd(message, "viewer")
            connection = self._live_connection
            try:
                if connection is None:
                    self._state.hold(message)
                else:
                    await self._forward(connection, message)
            except BufferFull:
                if not self._state.is_resumable:
                    return SessionEnd(Close(TRY_AGAIN_LATER, "the backend is away"), "relay")
                await self._announce_status(busy_error())
            if self._state.dialect is Dialect.FRAMES:
                await self._pace()

    async def _pace(self) -> None:
        """Wait until the client's rate allows another message: none may be dropped."""
        while not self._control_bucket.take(asyncio.get_running_loop().time()):  # noqa: ASYNC110  time fills it, no event
            await asyncio.sleep(1 / self._limits.max_controls)

    async def _forward(self, connection: UpstreamConnection, message: Message) -> None:
        """Send a message to the backend, or keep it for the next connection."""
        is_repeated = self._state.note_sent(message)
        try:
            await connection.transmit(message)
            self._metrics.to_backend.inc()
        except (UpstreamClosed, asyncio.CancelledError) as error:
            if not is_repeated:
                self._state.hold(message, first=True)
            if isinstance(error, asyncio.CancelledError):  # the connection it was sent on is gone
                raise

    async def _serve(self) -> SessionEnd:
        """Connect to the backend, accept the client, relay until the session ends."""
        try:
            connection = await self._first_connection()
        except HandshakeRefused as refused:
            headers = handshake_headers.to_client(refused.headers, context.correlation_id().encode())
            await self._client.refuse(refused.status, headers, refused.body)
            return SessionEnd(Close(of_status(refused.status)), "backend")
        except BffError as error:
            await self._refuse(error)
            return SessionEnd(Close(of_status(error.status)), "relay")
        await self._accept(connection)
        return await self._relay_until_close(connection)

    async def _first_connection(self) -> UpstreamConnection | None:
        """Return the first connection to the backend, or None: it is away, and the viewer may wait for it inside.

        A viewer that offers subprotocols cannot be accepted before the backend chose one.
        """
        limit = self._limits.negotiate if self._negotiates else self._limits.admit
        try:
            async with asyncio.timeout(limit):
                while True:
                    try:
                        self._connection = await self._connect()
                    except Unreachable:
                        if not self._negotiates:
                            return None
                    except HandshakeRefused as refused:
                        if not refused.is_from_gateway:
                            raise
                        if not self._negotiates:
                            return None
                    else:
                        return self._connection
                    await asyncio.sleep(self._backoff.next())
        except TimeoutError:
            if self._negotiates:
                raise BackendUnavailable("the backend is not reachable") from None
            return None

    async def _accept(self, connection: UpstreamConnection | None) -> None:
        response = connection.response if connection is not None else None
        items = response.headers.raw_items() if response is not None else ()
        raw = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in items]
        headers = handshake_headers.to_client(raw, context.correlation_id().encode())
        await self._client.accept(connection.subprotocol if connection else None, headers)

    async def _relay_until_close(self, connection: UpstreamConnection | None) -> SessionEnd:
        """Relay over one upstream connection after the other, until one ends with a close that is final."""
        while True:
            if connection is None:
                outcome = await self._reconnect()
                if isinstance(outcome, Close):
                    return SessionEnd(outcome, "relay")
                connection = outcome
            close = await self._relay(connection)
            if close.code not in COME_BACK or not self._state.is_resumable:
                return SessionEnd(close_for_client(close), "backend")
            if lost := self._state.connection_lost():
                await self._announce_status(busy_error(lost))
            self._metrics.breaks.inc()
            self._idle_connections += 1
            connection.transport.close()
            connection = self._connection = None

    async def _reconnect(self) -> UpstreamConnection | Close:
        """Return a new connection as soon as there is one, or the close for a viewer that need not wait for one."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.reconnect
        while loop.time() < deadline:
            delay = self._backoff.next()
            await self._announce_status(connection_status("reconnecting", self._backoff.attempt, delay))
            await asyncio.sleep(delay)
            try:
                connection = self._connection = await self._connect()
            except Unreachable:
                continue
            except HandshakeRefused as refused:
                if refused.is_temporary:
                    continue
                return Close(of_status(refused.status), "the backend refused the connection")
            await self._announce_status(connection_status("live", self._backoff.attempt))
            if self._idle_connections < FRUITLESS:
                self._backoff.reset()
            return connection
        return Close(TRY_AGAIN_LATER, "the backend did not come back")

    async def _relay(self, connection: UpstreamConnection) -> Close:
        """Restore the state of a new upstream connection, forward what the backend sends, and return how it ended."""
        keeper: list[asyncio.Task[None]] = []
        try:
            for message in self._state.restore():
                await connection.transmit(message)
            if self._state.holds:
                keeper.append(asyncio.create_task(self._send_held(connection)))
            else:
                self._live_connection = connection
            while True:
                batch = [message for message in await connection.receive() if self._state.should_forward(message)]
                if batch:
                    self._idle_connections = 0
                    await self._client.send(batch)
                    self._metrics.to_viewer.inc(len(batch))
        except UpstreamClosed as closed:
            return closed.end
        finally:
            self._live_connection = None
            await _cancel(keeper)

    async def _send_held(self, connection: UpstreamConnection) -> None:
        """Send what was held; only then may the client's next messages follow."""
        while (message := self._state.next_held()) is not None:
            await self._forward(connection, message)
        self._live_connection = connection

    async def _announce_status(self, text: str) -> None:
        if self._state.is_resumable:
            await self._client.send([text])

    async def _close_both(self, end: SessionEnd | None) -> None:
        """Close both sides as `end` says; a client whose handshake still waits gets an HTTP error instead."""
        if end is None or end.by != "viewer":
            with contextlib.suppress(ClientGone):
                if not self._client.is_answered:
                    await self._refuse(
                        Busy("the relay restarts", RETRY_AFTER) if end else Internal("the service failed to answer")
                    )
            self._client.close(end.close if end else Close(INTERNAL_ERROR))
        if self._connection is not None:
            await self._connection.disconnect(
                close_for_backend(end.close) if end and end.by == "viewer" else Close(GOING_AWAY)
            )

    async def _refuse(self, error: BffError) -> None:
        """Respond to the handshake with an error."""
        response = error_response(error)
        await self._client.refuse(response.status_code, response.raw_headers, bytes(response.body))

    def _report(self, end: SessionEnd) -> None:
        counts, seconds = self._state.counts, asyncio.get_running_loop().time() - self._begun
        self._metrics.ended(end.close.code)
        self._metrics.skipped.inc(counts.skipped)
        self._metrics.refused.inc(counts.refused)
        fields: dict[str, Any] = {"endpoint": "passthrough", "code": end.close.code, "ended_by": end.by}
        log.info("stream", extra={**fields, "duration_ms": round(seconds * 1000, 2), **asdict(counts)})


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended; their results and exceptions are dropped."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
