"""Spans of requests and of the calls made for them, exported where `OTEL_EXPORTER_OTLP_ENDPOINT` is set.

Where it is not, nothing of OpenTelemetry's SDK is imported and requests take no step more. Names and attributes are
those of the semantic conventions for HTTP; queries are left out, since they may hold what is nobody's business.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bff_shared.errors import BffError
from bff_shared.http import ids
from bff_shared.http.context import RequestContext, Span, current
from bff_shared.http.headers import Header, get

if TYPE_CHECKING:
    from bff_shared.telemetry.otel import Exporter

LAST_SECONDS = 5.0
QUIET = ("/health", "/metrics")


def is_wanted() -> bool:
    """Tell whether spans are to be exported, by OpenTelemetry's own variables."""
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    return not off and any(os.environ.get(name) for name in names)


class Tracing:
    """The spans of one service's requests; exported while `running`."""

    def __init__(self, service: str, version: str) -> None:
        self._service, self._version = service, version
        self._exporter: Exporter | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Export as long as the context lasts, and for at most `LAST_SECONDS` what is left then."""
        from bff_shared.telemetry.otel import Exporter

        self._exporter = Exporter(self._service, self._version)
        try:
            yield
        finally:
            exporter, self._exporter = self._exporter, None
            await asyncio.to_thread(exporter.close, LAST_SECONDS)

    def begin(self, scope: Scope, request: RequestContext) -> Span | None:
        """Begin a request's span and have the request go by its ids; None for what nobody asks about."""
        if self._exporter is None or scope["path"].startswith(QUIET):
            return None
        given = get(scope["headers"], b"traceparent")
        parent = ids.parent(given.decode("latin-1")) if given else None
        method = scope.get("method", "GET")
        attributes = {"http.request.method": method, "url.path": scope["path"], "url.scheme": scope["scheme"]}
        attributes |= {"network.protocol.version": scope["http_version"], "bff.request_id": request.request_id}
        for header, attribute in ((b"host", "server.address"), (b"user-agent", "user_agent.original")):
            if value := get(scope["headers"], header):
                attributes[attribute] = value.decode("latin-1")
        span = self._exporter.begin(method, parent, attributes)
        request.trace, request.span = span.trace, span
        return span


class Traced:
    """Wraps an app inside of `Observe`: each request and each WebSocket is one span, from its head to its end."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app, self._tracing = app, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection scope."""
        request = current()
        span = None
        if request is not None and scope["type"] in {"http", "websocket"}:
            span = self._tracing.begin(scope, request)
        if span is None or request is None:
            await self._app(scope, receive, send)
            return
        status, error = 0, ""

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"].endswith("response.start"):
                status = message["status"]
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except BaseException as failure:
            status = status or (failure.status if isinstance(failure, BffError) else 500)
            error = failure.code if isinstance(failure, BffError) else type(failure).__name__
            raise
        finally:
            route = getattr(scope.get("route"), "path", request.route)
            method = scope.get("method", "GET")
            outcome: dict[str, str | int] = {"http.route": route}
            if status:
                outcome["http.response.status_code"] = status
            if error or status >= 500:
                outcome["error.type"] = error or request.error or str(status)
            span.end(outcome, name=f"{method} {route}", failed=bool(error) or status >= 500)


def traced(app: ASGIApp, tracing: Tracing | None) -> ASGIApp:
    """Return the app with spans, or as it is where none are exported."""
    return app if tracing is None else Traced(app, tracing)


class CallSpan:
    """The span of one call to the backend; does nothing outside of a traced request."""

    def __init__(self, span: Span | None) -> None:
        self._span = span
        self.status = 0

    def carry(self, headers: Sequence[Header]) -> list[Header]:
        """Return headers of which `traceparent` names this span."""
        if self._span is None:
            return list(headers)
        own = (b"traceparent", self._span.trace.header.encode())
        return [own if name.lower() == b"traceparent" else (name, value) for name, value in headers]

    def end(self, error: str) -> None:
        """End it."""
        if self._span is None:
            return
        outcome: dict[str, str | int] = {"http.response.status_code": self.status} if self.status else {}
        if error or self.status >= 400:
            outcome["error.type"] = error or str(self.status)
        self._span.end(outcome, failed=bool(error) or self.status >= 400)


@contextmanager
def calling(method: str, origin: str, target: str) -> Iterator[CallSpan]:
    """Make a call to the backend in the context; whoever makes it sets `status`.

    `origin` is the backend's URL, `target` the raw path and query.
    """
    request = current()
    span = None
    if request is not None and request.span is not None:
        parts, path = urlsplit(origin), target.partition("?")[0]
        attributes: dict[str, str | int] = {"http.request.method": method, "url.full": f"{origin}{path}"}
        attributes |= {"server.address": parts.hostname or "", "server.port": parts.port or _PORTS[parts.scheme]}
        span = request.span.call(method, attributes)
    call = CallSpan(span)
    error = ""
    try:
        yield call
    except BaseException as failure:
        error = failure.code if isinstance(failure, BffError) else type(failure).__name__
        raise
    finally:
        call.end(error)


_PORTS = {"http": 80, "https": 443}
