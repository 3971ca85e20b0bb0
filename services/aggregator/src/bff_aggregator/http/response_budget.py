"""Large response bodies: sent in pieces, within a budget of bytes in flight per client address and in all. I/O.

A body is in flight from the moment when making it begins, by an estimate of its size, until the server has handed its
last piece to the connection, and all of it counts for so long: what would be refused is never made. Bodies up to
SMALL_BYTES count for nothing: a connection's own buffers hold as much.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import prometheus_client
from fastapi.responses import Response
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bff_shared.errors import Busy, ClientBusy, wants_problem
from bff_shared.http import server
from bff_shared.http.context import current
from bff_shared.http.headers import get
from bff_shared.http.responses import send_error
from bff_shared.limits import FairShare
from bff_shared.telemetry.metrics import gauge

log = logging.getLogger(__name__)
SMALL_BYTES: Final = 64 * 1024
WHOLE_BYTES: Final = 256 * 1024
"""What is sent in one piece to a connection that takes more: it is small enough to wait in the connection's buffer."""

PIECE_BYTES: Final = 128 * 1024
UNSENT_BYTES: Final = 128 * 1024
"""What the kernel may hold of a body that it has not sent, so that a client's progress shows soon."""

RETRY_AFTER_SECONDS: Final = 2.0
EXTENSION: Final = "bff.connection"


class HttpProtocol(server.HttpProtocol):
    """The HTTP/1.1 server with itself in each scope, for who has to know whether it is full, or to abort it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Take a new connection, of which the kernel holds at most UNSENT_BYTES that it has not sent."""
        super().connection_made(transport)
        option, connection = getattr(socket, "TCP_NOTSENT_LOWAT", None), transport.get_extra_info("socket")
        if option is not None and connection is not None:
            with contextlib.suppress(OSError):  # a Unix socket has no such option
                connection.setsockopt(socket.IPPROTO_TCP, option, UNSENT_BYTES)

    def on_message_begin(self) -> None:
        """Begin a request's scope."""
        super().on_message_begin()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]  # a TypedDict without extensions
        scope["extensions"] = {EXTENSION: self}


class ResponseBudget:
    """Bytes of response bodies in flight: at most `total`, and at most `per_client` of one client address.

    What one may add to what it has in flight already, beside others, is said by `FairShare`. A client with nothing in
    flight may have one body of any size, and so may one client of an idle process.
    """

    def __init__(self, total: int, per_client: int, registry: CollectorRegistry) -> None:
        self.total, self._share = total, FairShare(total, per_client)
        self._by_client: dict[str, int] = {}
        self.in_flight = 0
        in_flight = gauge(
            "bff_response_bytes_in_flight", "Bytes of large response bodies being sent", registry, "livesum"
        )
        in_flight.set_function(lambda: self.in_flight)
        self._refused = prometheus_client.Counter(
            "bff_responses_refused_total",
            "Responses refused because too many bytes were being sent, by whose limit it was",
            ("limit",),
            registry=registry,
        )
        self.cut = prometheus_client.Counter(
            "bff_responses_cut_total", "Responses cut off because the client took nothing", registry=registry
        )

    def acquire(self, client: str, size: int) -> None:
        """Count a body as in flight until `release`. Raises ClientBusy or Busy where it is too much."""
        mine = self._by_client.get(client, 0)
        if mine and not self._share.allows(mine, self.total - self.in_flight, size):
            self._refused.labels("client").inc()
            raise ClientBusy("too much of what this client asked for is still being sent", RETRY_AFTER_SECONDS)
        if self.in_flight and self.in_flight + size > self.total:
            self._refused.labels("process").inc()
            raise Busy("the service is sending as much as it may", RETRY_AFTER_SECONDS)
        self.adjust(client, size)

    def release(self, client: str, size: int) -> None:
        """Count a body no more."""
        self.adjust(client, -size)

    def adjust(self, client: str, change: int) -> None:
        """Correct what is counted by so many bytes, which is no reason to refuse what is made already."""
        self.in_flight += change
        held = self._by_client.pop(client, 0) + change
        if held:
            self._by_client[client] = held


class Held:
    """What one response to the current request has acquired of a budget; needs one `release`."""

    __slots__ = ("_budget", "_client", "_made", "_size")

    def __init__(self, budget: ResponseBudget) -> None:
        context = current()
        self._budget, self._client = budget, context.client if context else ""
        self._size = self._made = 0

    def reserve(self, size: int) -> "Reservation":
        """Count what is going to be made, about so many bytes. Raises ClientBusy or Busy; then it is not to be made."""
        if size > SMALL_BYTES:
            self._budget.acquire(self._client, size)
            self._size += size
            return Reservation(self, size)
        return Reservation(self, 0)

    def settle(self, reserved: int, size: int) -> None:
        """Count what was made in place of what was reserved for it."""
        size = size if size > SMALL_BYTES else 0
        self._budget.adjust(self._client, size - reserved)
        self._size += size - reserved
        self._made += size

    def acquire(self, size: int) -> None:
        """Count so many bytes that are sent, unless they are few or counted already. Raises ClientBusy or Busy."""
        known = min(self._made, size)
        self._made -= known
        if size - known > SMALL_BYTES:
            self._budget.acquire(self._client, size - known)
            self._size += size - known

    def release(self) -> None:
        """Give everything back."""
        if self._size:
            self._budget.release(self._client, self._size)
            self._size = 0


@dataclass(slots=True)
class Reservation:
    """Room for a body that is being made."""

    held: Held | None
    size: int

    def settle(self, size: int) -> None:
        """Count the body, which has so many bytes, in place of the estimate."""
        if self.held is not None:
            self.held.settle(self.size, size)
            self.size = 0


_held: ContextVar[Held | None] = ContextVar("bff_response_held", default=None)


def reserve(size: int) -> Reservation:
    """Count a body of about so many bytes for the current request before it is made; outside of any, count nothing.

    Raises ClientBusy or Busy.
    """
    held = _held.get()
    return Reservation(None, 0) if held is None else held.reserve(size)


def acquire(size: int) -> None:
    """Count so many bytes that are sent beside any announced length. Raises ClientBusy or Busy."""
    held = _held.get()
    if held is not None:
        held.acquire(size)


class BoundedResponses:
    """Wraps an ASGI app: bodies whose length its responses announce take from a budget, and large ones go in pieces.

    A response that is too much is replaced by 503 BUSY. A client that takes nothing of a large body for
    `stuck_seconds` is cut off.
    """

    def __init__(self, app: ASGIApp, budget: ResponseBudget, stuck_seconds: float) -> None:
        self._app, self._budget, self._stuck_seconds = app, budget, stuck_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope; anything but HTTP passes as it is, and so does the head of what has no body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sender = _Sender(scope, send, self._budget, self._stuck_seconds)
        token = _held.set(sender)
        try:
            await self._app(scope, receive, send if scope["method"] == "HEAD" else sender.send)
        finally:
            _held.reset(token)
            sender.release()


class _Sender(Held):
    """One response on its way to the server, with what it holds of the budget."""

    __slots__ = ("_over", "_scope", "_send", "_stuck_seconds")

    def __init__(self, scope: Scope, send: Send, budget: ResponseBudget, stuck_seconds: float) -> None:
        super().__init__(budget)
        self._scope, self._send, self._stuck_seconds = scope, send, stuck_seconds
        self._over = False

    def send(self, message: Message) -> Awaitable[None]:
        """Send a message of the app's, or what stands for it."""
        if self._over:
            return _nothing()
        if message["type"] != "http.response.start":
            size = len(message.get("body", b""))
            if size <= SMALL_BYTES or (size <= WHOLE_BYTES and self._takes_more()):
                return self._send(message)
            return self._in_pieces(message)
        length = get(message.get("headers", ()), b"content-length")
        try:
            self.acquire(int(length) if length else 0)
        except Busy as error:
            self._over = True
            accept = get(self._scope["headers"], b"accept") or b""
            return send_error(self._send, error, problem=wants_problem(accept.decode("latin-1")))
        return self._send(message)

    async def _in_pieces(self, message: Message) -> None:
        """Send a body by views of it, each when the connection has taken those before."""
        body, more = memoryview(message["body"]), message.get("more_body", False)
        for at in range(0, len(body), PIECE_BYTES):
            piece = body[at : at + PIECE_BYTES]
            last = at + PIECE_BYTES >= len(body)
            part = {"type": "http.response.body", "body": piece, "more_body": more or not last}
            if self._takes_more():
                await self._send(part)
                continue
            try:
                async with asyncio.timeout(self._stuck_seconds):
                    await self._send(part)
            except TimeoutError:
                self._cut()
                return

    def _takes_more(self) -> bool:
        """Tell whether the connection takes more at once, without waiting for the client to read."""
        connection = self._connection()
        return connection is not None and not connection.flow.write_paused

    def _cut(self) -> None:
        """Drop the connection with all that was not sent."""
        self._over = True
        self._budget.cut.inc()
        log.warning("a response was cut off", extra={"reason": f"nothing taken for {self._stuck_seconds:g} s"})
        if connection := self._connection():
            connection.transport.abort()

    def _connection(self) -> HttpProtocol | None:
        extensions: Mapping[str, HttpProtocol] = self._scope.get("extensions") or {}
        return extensions.get(EXTENSION)


async def _nothing() -> None:
    """Stand for a message that is not sent."""


class PartsResponse(Response):
    """A response whose body is several byte strings one after the other, which are not copied together."""

    def __init__(self, parts: Sequence[bytes], status: int, headers: Mapping[str, str], media_type: str) -> None:
        self._parts = parts
        length = {"content-length": str(sum(map(len, parts)))}
        super().__init__(None, status, {**headers, **length}, media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  ASGI's signature
        """Answer as an ASGI application."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        last = len(self._parts) - 1
        for number, part in enumerate(self._parts):
            await send({"type": "http.response.body", "body": part, "more_body": number < last})
