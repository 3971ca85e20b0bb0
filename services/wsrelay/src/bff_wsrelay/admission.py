"""Who may open a stream: origin, places in all and per client address, and nobody while the process drains.

A door does this first, and hands itself to the drain for as long as it is open:

    try:
        place = doors.admit(scope)
    except BffError as error:
        await refuse(scope, receive, send, error)
        return
    with place, doors.attended(viewer):
        ...
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import orjson
from starlette.types import Receive, Scope, Send

from bff_shared.context import correlation_id
from bff_shared.errors import BffError, Busy, RequestError
from bff_shared.headers import Header, get, is_trusted
from bff_shared.limits import client_address
from bff_shared.origins import is_allowed
from bff_shared.outcomes import WEBSOCKET, Outcomes
from bff_shared.responses import send_error
from bff_wsrelay.settings import RelaySettings

RETRY_AFTER = 2.0


class OriginRefused(RequestError):
    """A page of another origin may not open streams here (RFC 6455 section 10.2)."""

    code, status = "FORBIDDEN", 403


class Viewer(Protocol):
    """Something a drain can end."""

    def drain(self, retry_ms: int) -> None:
        """Tell the other side to come back in about `retry_ms`, and close with 1012. Must not wait."""


def is_welcome(scope: Scope, settings: RelaySettings) -> bool:
    """Tell whether the page that opens this stream may: our own origin, or a configured one."""
    headers: Sequence[Header] = scope["headers"]
    peer = (scope.get("client") or (None,))[0]
    scheme = "https" if scope["scheme"] in {"wss", "https"} else "http"
    host = get(headers, b"host")
    if is_trusted(peer, settings.trusted_proxies):
        scheme = (get(headers, b"x-forwarded-proto") or scheme.encode()).decode("latin-1")
        host = get(headers, b"x-forwarded-host") or host
    origin = get(headers, b"origin")
    return is_allowed(
        origin.decode("latin-1") if origin is not None else None,
        host.decode("latin-1") if host is not None else None,
        scheme,
        settings.allowed_origins,
    )


class Doors:
    """The places for viewers of one process, and everybody who has one."""

    def __init__(
        self, settings: RelaySettings, draw: Callable[[], float] = random.random, outcomes: Outcomes | None = None
    ) -> None:
        self._settings, self._draw = settings, draw
        self._outcomes = outcomes or Outcomes()
        self._open: Counter[str] = Counter()
        self._viewers: set[Viewer] = set()
        self.draining = False
        self.refused = 0

    @property
    def count(self) -> int:
        """How many places are taken."""
        return self._open.total()

    def admit(self, scope: Scope) -> contextlib.AbstractContextManager[str]:
        """Take a place until the returned context ends; it yields the client's address.

        Raises OriginRefused or Busy, whose answer carries Retry-After.
        """
        settings = self._settings
        if not is_welcome(scope, settings):
            self.refused += 1
            raise OriginRefused("pages of this origin may not open streams")
        peer = (scope.get("client") or (None,))[0]
        address = client_address(scope["headers"], peer, settings.trusted_proxies)
        full = self.count >= settings.stream_max_connections
        limited = self._open[address] >= settings.stream_max_per_client
        if self.draining or full or limited:
            self.refused += 1
            if full and not limited and not self.draining:
                # Want of capacity is the relay's; an origin, one client's limit and a drain say nothing about it.
                self._outcomes.add(WEBSOCKET, address, failed=True)
            raise Busy("no place for another stream", RETRY_AFTER)
        self._open[address] += 1
        return self._place(address)

    @contextlib.contextmanager
    def _place(self, address: str) -> Iterator[str]:
        try:
            yield address
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]

    @contextlib.contextmanager
    def attended(self, viewer: Viewer) -> Iterator[None]:
        """Have a viewer drained when the process is told to stop while the context lasts."""
        self._viewers.add(viewer)
        try:
            yield
        finally:
            self._viewers.discard(viewer)

    async def drain(self) -> None:
        """Admit nobody any more and send every viewer away, spread over time so that they do not return all at once."""
        self.draining = True
        viewers = list(self._viewers)
        pause = self._settings.stream_drain_spread / max(1, len(viewers))
        for viewer in viewers:
            if viewer in self._viewers:
                viewer.drain(round(1000 * (0.2 + self._draw())))
            await asyncio.sleep(pause * 2 * self._draw())


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


class Allowance:
    """How many messages a viewer may still send: `rate` a second, saved up for at most a second. Pure."""

    __slots__ = ("_left", "_rate", "_then")

    def __init__(self, rate: float, now: float) -> None:
        self._rate, self._left, self._then = rate, rate, now

    def take(self, now: float) -> bool:
        """Spend one; False when there is none left."""
        self._left = min(self._rate, self._left + (now - self._then) * self._rate)
        self._then = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
