"""Who may open a stream: origin, rate and number by client address, and nobody while the process drains.

An endpoint does this first, and registers what a drain has to end for as long as it waits or is open:

    with contextlib.ExitStack() as held:
        try:
            address = held.enter_context(doors.admit(scope))
        except BffError as error:
            await refuse(scope, receive, send, error)
            return
        with doors.attended(viewer):
            ...
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol

import orjson
from starlette.types import Receive, Scope, Send

from bff_shared.context import correlation_id
from bff_shared.errors import BffError, Busy, ClientBusy, RequestError
from bff_shared.headers import Header, get, is_trusted
from bff_shared.limits import ConnectionLimiter, KeyedBuckets, client_address
from bff_shared.origins import is_allowed, is_anonymous
from bff_shared.outcomes import WEBSOCKET, Outcomes
from bff_shared.responses import send_error
from bff_wsrelay.settings import RelaySettings

RETRY_AFTER = 2.0
HANDSHAKE_BURST_SECONDS = 10.0
"""How many seconds' worth of handshakes one client address may make at once: all its pages come back after a drain."""
CONTROL_BURST_SECONDS = 2.0
MIN_AWAY, MAX_AWAY = 0.2, 1.2
"""Seconds after which a viewer that is sent away may come back, drawn for each."""


Reason = Literal["origin", "client", "rate", "pending", "capacity", "draining"]
"""Why somebody is refused: a foreign origin, the limits of one client address (streams, handshakes a second, handshakes
that wait), the process's limit, or a drain."""


class OriginRefused(RequestError):
    """A page of another origin may not open streams here (RFC 6455 section 10.2)."""

    code, status = "FORBIDDEN", 403


class Viewer(Protocol):
    """Something a drain can end."""

    def drain(self, retry_ms: int) -> None:
        """Tell the other side to come back in about `retry_ms`, and close with 1012. Must not wait."""


def _addresses(scope: Scope, settings: RelaySettings) -> tuple[str | None, str | None, str]:
    """Return the page's origin, and host and scheme of the address that it used."""
    headers: Sequence[Header] = scope["headers"]
    peer = (scope.get("client") or (None,))[0]
    scheme = "https" if scope["scheme"] in {"wss", "https"} else "http"
    host = get(headers, b"host")
    if is_trusted(peer, settings.trusted_proxies):
        scheme = (get(headers, b"x-forwarded-proto") or scheme.encode()).decode("latin-1")
        host = get(headers, b"x-forwarded-host") or host
    origin = get(headers, b"origin")
    return (
        origin.decode("latin-1") if origin is not None else None,
        host.decode("latin-1") if host is not None else None,
        scheme,
    )


def is_welcome(scope: Scope, settings: RelaySettings) -> bool:
    """Tell whether the page that opens this stream may: our own origin, or a configured one.

    A page that is welcome by `*` alone comes without its visitor's cookies, which are taken out of the scope: as with
    cross-origin reads, a cookie must not serve a page of another site.
    """
    origin, host, scheme = _addresses(scope, settings)
    if not is_allowed(origin, host, scheme, settings.allowed_origins):
        return False
    if is_anonymous(origin, host, scheme, settings.allowed_origins):
        scope["headers"] = [pair for pair in scope["headers"] if pair[0].lower() != b"cookie"]
    return True


class Doors:
    """The places for viewers of one process, and everybody who has one.

    `controls` limits the messages of all viewers of one client address together.
    """

    def __init__(
        self, settings: RelaySettings, draw: Callable[[], float] = random.random, outcomes: Outcomes | None = None
    ) -> None:
        self._settings, self._draw = settings, draw
        self._outcomes = outcomes or Outcomes()
        self._places = ConnectionLimiter(
            settings.stream_max_connections, settings.stream_max_per_client, what="stream", retry_after=RETRY_AFTER
        )
        self._pending = ConnectionLimiter(
            settings.stream_max_connections, settings.stream_max_pending, what="handshake", retry_after=RETRY_AFTER
        )
        rate = settings.stream_handshakes_per_client
        self._handshakes = KeyedBuckets(rate, rate * HANDSHAKE_BURST_SECONDS)
        rate = settings.stream_controls_per_client
        self.controls = KeyedBuckets(rate, rate * CONTROL_BURST_SECONDS)
        self._viewers: set[Viewer] = set()
        self.draining = False
        self.refused = 0
        self._refusals: Counter[Reason] = Counter()

    @property
    def count(self) -> int:
        """How many places are taken."""
        return self._places.active

    def require_welcome(self, scope: Scope) -> None:
        """Raise OriginRefused for a page of an origin that may not open streams."""
        if not is_welcome(scope, self._settings):
            self._count("origin")
            raise OriginRefused("pages of this origin may not open streams")

    @contextlib.contextmanager
    def admit(self, scope: Scope) -> Iterator[str]:
        """Hold a place from entering the context to leaving it; it yields the client's address.

        Entering raises OriginRefused or Busy, whose response carries Retry-After.
        """
        self.require_welcome(scope)
        peer = (scope.get("client") or (None,))[0]
        address = client_address(scope["headers"], peer, self._settings.trusted_proxies)
        with contextlib.ExitStack() as held:
            self._require_open(address)
            try:
                held.enter_context(self._places.slot(address))
            except ClientBusy:
                self._count("client")
                raise
            except Busy:
                # Want of capacity is the relay's; an origin, one client's limit and a drain say nothing about it.
                self._count("capacity")
                self._outcomes.add(WEBSOCKET, address, failed=True)
                raise
            yield address

    def _require_open(self, address: str) -> None:
        if self.draining:
            self._count("draining")
            raise Busy("the relay restarts", RETRY_AFTER)
        if not self._handshakes.take(address, now := time.monotonic()):
            self._count("rate")
            raise ClientBusy("too many handshakes of one client", max(RETRY_AFTER, self._handshakes.wait(address, now)))

    @contextlib.contextmanager
    def pending(self, address: str) -> Iterator[None]:
        """Let a handshake wait for a verdict as long as the context lasts; entering raises Busy if too many do."""
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self._pending.slot(address))
            except Busy:
                self._count("pending")
                raise
            yield

    def take_refusals(self) -> Counter[Reason]:
        """Return how many were refused since the last call, by reason."""
        taken, self._refusals = self._refusals, Counter()
        return taken

    def _count(self, reason: Reason) -> None:
        self.refused += 1
        self._refusals[reason] += 1

    @contextlib.contextmanager
    def attended(self, viewer: Viewer) -> Iterator[None]:
        """Have a viewer drained when the process is told to stop while the context lasts; at once if it was already."""
        self._viewers.add(viewer)
        try:
            if self.draining:
                viewer.drain(self._away_ms())
            yield
        finally:
            self._viewers.discard(viewer)

    async def drain(self) -> None:
        """Admit nobody any more and send every viewer away, spread over time so that they do not return all at once."""
        self.draining = True
        loop, viewers = asyncio.get_running_loop(), list(self._viewers)
        begun, share = loop.time(), self._settings.stream_drain_spread / max(1, len(viewers))
        for number, viewer in enumerate(viewers):
            await asyncio.sleep(begun + share * (number + self._draw()) - loop.time())
            if viewer in self._viewers:
                viewer.drain(self._away_ms())

    def _away_ms(self) -> int:
        return round(1000 * (MIN_AWAY + (MAX_AWAY - MIN_AWAY) * self._draw()))


async def refuse(scope: Scope, receive: Receive, send: Send, error: BffError) -> None:
    """Answer a handshake, or an HTTP request, with an error instead of a stream."""
    if scope["type"] == "http":
        await send_error(send, error, problem=False)
        return
    await receive()
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1013 if error.retryable else 1008, "reason": error.message})
        return
    headers = {"content-type": "application/json", "cache-control": "no-store", **error.headers()}
    start: dict[str, Any] = {"type": "websocket.http.response.start", "status": error.status}
    start["headers"] = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send(start)
    body = orjson.dumps(error.body(correlation_id()), default=str)
    await send({"type": "websocket.http.response.body", "body": body})
