"""The outermost middleware: ids in and out, one log line and the metrics of each request. Plain ASGI, cheap."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bff_shared.http import context, ids
from bff_shared.http.context import RequestContext
from bff_shared.limits import nearest_client
from bff_shared.settings import Network
from bff_shared.telemetry import logs
from bff_shared.telemetry.metrics import Metrics

log = logging.getLogger("bff.access")
QUIET = frozenset(("/health", "/health/live", "/health/ready", "/metrics"))
NO_ANSWER = 499
_ID = b"x-request-id"


class Observe:
    """Wraps an app so that every request has ids, the address it counts for, and exactly one log line."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, draining: Callable[[], bool], trusted: tuple[Network, ...] = ()
    ) -> None:
        self._app, self._metrics, self._draining, self._trusted = app, metrics, draining, trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection scope; anything but HTTP passes with ids only."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        request = self._begin(scope)
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(send, request, self._draining)
        self._metrics.in_flight.inc()
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        begun = time.perf_counter()
        try:
            await self._app(scope, receive, exchange.send)
        except Exception:
            request.status = request.status or 500  # An error boundary inside has failed itself; the server answers.
            raise
        finally:
            self._metrics.in_flight.dec()
            self._end(scope, method, request, exchange, begun)

    def _begin(self, scope: Scope) -> RequestContext:
        given = trace = None
        chain: list[bytes] = []
        for name, value in scope["headers"]:
            if name == _ID:
                given = value.decode("latin-1")
            elif name == b"traceparent":
                trace = value.decode("latin-1")
            elif name == b"x-forwarded-for":
                chain.append(value)
        peer = scope["client"][0] if scope.get("client") else None
        address = nearest_client(chain, peer, self._trusted)
        request = RequestContext(ids.request_id(given), ids.trace(trace), client=address)
        context.enter(request)
        return request

    def _end(self, scope: Scope, method: str, request: RequestContext, exchange: "_Exchange", begun: float) -> None:
        seconds = time.perf_counter() - begun
        route = getattr(scope.get("route"), "path", request.route)
        status = request.status or NO_ANSWER
        self._metrics.answered(method, route, status, seconds)
        if self._metrics.outcomes.enabled:
            excused = request.excused or self._draining()
            self._metrics.outcomes.responded(scope, route, status, (exchange.head_at or begun) - begun, excused=excused)
        level = logging.DEBUG if scope["path"] in QUIET else logging.INFO
        if log.isEnabledFor(level):
            fields: dict[str, Any] = {"method": method, "route": route, "status": status, "bytes": exchange.size}
            fields |= {"duration_ms": round(seconds * 1000, 2), **request.log}
            logs.tell(log, level, "request", fields)


_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


class _Exchange:
    """A response on its way out: its size so far; adds the request id, once, and notes the status in the context."""

    __slots__ = ("_draining", "_request", "_send", "head_at", "size")

    def __init__(self, send: Send, request: RequestContext, draining: Callable[[], bool]) -> None:
        self._send, self._request, self._draining = send, request, draining
        self.size = 0
        self.head_at = 0.0

    def send(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            self._request.status = message["status"]
            self.head_at = time.perf_counter()
            headers = [pair for pair in message.get("headers", ()) if len(pair[0]) != 12 or pair[0].lower() != _ID]
            headers.append((_ID, self._request.request_id.encode()))
            if self._draining():
                headers.append((b"connection", b"close"))
            message["headers"] = headers
        elif body := message.get("body"):
            self.size += len(body)
        return self._send(message)
