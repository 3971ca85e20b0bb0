"""The only app factory: what is the same in all services is put together here, one line each."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from bff_shared.admin import AdminGate
from bff_shared.errors import BadRequest, BffError, InvalidRequest, MethodNotAllowed, NotFound, wants_problem
from bff_shared.health import Check, Health
from bff_shared.heap import system_heap, trimming
from bff_shared.http.cors import cors
from bff_shared.http.responses import ErrorBoundary, JsonResponse, error_response
from bff_shared.http.server import MALFORMED
from bff_shared.settings import Settings
from bff_shared.telemetry.metrics import CONTENT_TYPE, Metrics
from bff_shared.telemetry.observe import Observe
from bff_shared.telemetry.tracing import Traced, Tracing, is_wanted, traced

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(frozen=True)
class Service:
    """What the shared parts of a service hold; `app.state.service` of every app.

    `on_drain` are called once, in order, when the process is told to stop, before its sockets close. `server` holds
    the uvicorn options in which the service differs from the others, `tracing` its spans where they are exported.
    """

    name: str
    settings: Settings
    metrics: Metrics
    health: Health
    on_drain: list[Callable[[], Any]]
    server: Mapping[str, Any]
    tracing: Tracing | None
    admin: AdminGate


class App(FastAPI):
    """A service's app, with a way past FastAPI's own layers for paths that plain ASGI serves as it comes."""

    direct: ASGIApp | None = None
    is_direct: Callable[[str], bool]
    refusal: ASGIApp

    def serve_directly(self, endpoint: ASGIApp, is_direct: Callable[[str], bool]) -> None:
        """Have a plain ASGI endpoint serve the paths that `is_direct` names, in the layers that all paths have."""
        self.direct = self.layered(endpoint)
        self.is_direct = is_direct

    def layered(self, endpoint: ASGIApp) -> ASGIApp:
        """Return a plain ASGI endpoint in the layers that all paths have."""
        service: Service = self.state.service
        settings = service.settings
        inner = traced(cors(ErrorBoundary(endpoint), settings), service.tracing)
        return Observe(inner, service.metrics, lambda: service.health.draining, settings.trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if MALFORMED in scope:
            await self.refusal(scope, receive, send)
        elif self.direct is not None and scope["type"] == "http" and self.is_direct(scope["path"]):
            scope["app"] = self
            await self.direct(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  an ASGI app takes all three
    """Answer what the server could not parse."""
    raise scope[MALFORMED]


# FastAPI's own would ask for its providers at each request, and report what `metrics` and `tracing` do.
_NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(
    name: str,
    settings: Settings,
    *,
    metrics: Metrics,
    checks: Mapping[str, Check],
    lifespan: Lifespan,
    description: str = "",
    server: Mapping[str, Any] | None = None,
) -> App:
    """Return a service's app with ids, request logs, metrics, health and error answers in place; it adds its routes.

    `name` is the service's folder; its version is that of the distribution `bff-{name}`. `server` holds uvicorn options
    in which it differs from the other services.
    """
    release = version(f"bff-{name}")
    metrics.build.labels(release).set(1)
    health = Health(name, release, checks, time.monotonic)
    tracing = Tracing(name, release) if is_wanted() else None
    gate = AdminGate(settings.admin_token.get_secret_value(), time.monotonic)
    service = Service(name, settings, metrics, health, [], server or {}, tracing, gate)
    lifespan = _reporting(lifespan, settings, metrics) if settings.rollback_enabled else lifespan
    app = App(
        title=f"bff-{name}",
        version=release,
        description=description,
        default_response_class=JsonResponse,
        docs_url=None,
        redoc_url=None,
        openapi_url=f"/api/v1/openapi/{name}.json",
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
        lifespan=_trimming(_exporting(lifespan, tracing) if tracing else lifespan),
    )
    app.state.service = service
    app.refusal = app.layered(_refuse)
    _add_errors(app)
    _add_health(app, service)
    # The last that is added is the outermost.
    app.add_middleware(ErrorBoundary)
    app.add_middleware(cors, settings=settings)
    if tracing:
        app.add_middleware(Traced, tracing=tracing)
    trusted = settings.trusted_proxies
    app.add_middleware(Observe, metrics=metrics, draining=lambda: health.draining, trusted=trusted)
    return app


def _reporting(lifespan: Lifespan, settings: Settings, metrics: Metrics) -> Lifespan:
    """Return a lifespan in which the service's outcomes are counted and reported as well, where Redis is configured."""
    if not settings.redis_url:
        return lifespan
    metrics.outcomes.enable(settings.rollback_slow_seconds, settings.trusted_proxies)
    from bff_shared.outcome_log import OutcomeLog, reporting

    @asynccontextmanager
    async def both(app: FastAPI) -> AsyncIterator[None]:
        outcomes = OutcomeLog(settings.redis_url, digest_key=settings.digest_key.get_secret_value().encode())
        async with lifespan(app), reporting(outcomes, metrics.outcomes):
            yield

    return both


def _exporting(lifespan: Lifespan, tracing: Tracing) -> Lifespan:
    """Return the lifespan with spans exported as long as it lasts."""

    @asynccontextmanager
    async def exporting(app: FastAPI) -> AsyncIterator[None]:
        async with tracing.running(), lifespan(app):
            yield

    return exporting


def _trimming(lifespan: Lifespan) -> Lifespan:
    """Return the lifespan with the memory that large bodies leave free given back as long as it lasts."""

    @asynccontextmanager
    async def trimmed(app: FastAPI) -> AsyncIterator[None]:
        async with trimming(system_heap()), lifespan(app):
            yield

    return trimmed


def _add_errors(app: FastAPI) -> None:
    """Answer every error in the canonical shape (or RFC 9457's when the client prefers it)."""

    def respond(request: Request, error: BffError) -> Response:
        return error_response(error, problem=wants_problem(request.headers.get("accept", "")))

    @app.exception_handler(BffError)
    async def own(request: Request, error: BffError) -> Response:
        return respond(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        fields = {_field(e["loc"]): str(e["msg"]) for e in error.errors()}
        return respond(request, InvalidRequest(f"invalid: {', '.join(fields)}", fields))

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            return respond(request, NotFound("no such resource"))
        if error.status_code == 405:
            message = "the resource does not support this method"
            return respond(request, MethodNotAllowed(message, _allowed(request)))
        return respond(request, BadRequest("the request cannot be understood"))


def _allowed(request: Request) -> str:
    """Return the methods of a resource, of all its routes; the framework's own `Allow` names those of the first."""
    routes = request.app.routes
    scopes = {method: {**request.scope, "method": method} for method in METHODS}
    return ", ".join(m for m, scope in scopes.items() if any(r.matches(scope)[0] is Match.FULL for r in routes))


def _field(location: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in location[1:]) or str(location[0])


def _add_health(app: FastAPI, service: Service) -> None:
    """Add the probes and the metrics, which nginx routes only in part."""

    @app.get("/health", include_in_schema=False)
    async def health() -> Response:
        return JsonResponse(await service.health.report())

    @app.get("/health/live", include_in_schema=False)
    async def live() -> Response:
        return JsonResponse({"status": "ok"})

    @app.get("/health/ready", include_in_schema=False)
    async def ready() -> Response:
        draining = service.health.draining
        return JsonResponse({"status": "draining" if draining else "ok"}, 503 if draining else 200)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(service.metrics.render(), media_type=CONTENT_TYPE)
