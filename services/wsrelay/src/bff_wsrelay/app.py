"""The relay's app: the common parts, the backend, and the two endpoints for viewers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from starlette.routing import Route, WebSocketRoute

from bff_shared.app import create_app as create_common_app
from bff_shared.errors import NotFound
from bff_shared.settings import load
from bff_shared.telemetry.metrics import Metrics
from bff_shared.upstream.client import Upstream
from bff_wsrelay import status_api
from bff_wsrelay.admission.limits import Admission
from bff_wsrelay.admission.refusal import Refusal, UpgradeRequired
from bff_wsrelay.framelog.registry import Registry
from bff_wsrelay.framelog.shared_store import SharedStore
from bff_wsrelay.metrics import StreamMetrics
from bff_wsrelay.passthrough.endpoint import PASSTHROUGH_PATH, PassthroughEndpoint
from bff_wsrelay.passthrough.metrics import PassthroughMetrics
from bff_wsrelay.playback.endpoint import PLAYBACK_PATH, PlaybackEndpoint
from bff_wsrelay.playback.http_connection import HttpProtocol
from bff_wsrelay.settings import RelaySettings
from bff_wsrelay.websocket.connector import ConnectionOptions, Connector
from bff_wsrelay.websocket.server import WebSocketProtocol, allow_long_lines
from bff_wsrelay.websocket.traffic import TrafficLimits, TrafficMeter
from bff_wsrelay.websocket.traffic_metrics import TrafficMetrics


def create_app(settings: RelaySettings | None = None) -> FastAPI:
    """Return the relay; settings come from the environment unless given."""
    settings = settings or load(RelaySettings)
    allow_long_lines()
    metrics = Metrics()
    upstream = Upstream(settings, metrics)
    admission = Admission(settings)
    stream_metrics = StreamMetrics(metrics.registry, metrics.outcomes)
    connector = Connector(settings.backend_url, ConnectionOptions(connect=settings.connect_timeout))
    store = SharedStore(settings) if settings.redis_url else None
    registry = Registry(settings, upstream, connector, stream_metrics, store)
    playback = PlaybackEndpoint(settings, admission, registry, stream_metrics)
    passthrough = PassthroughEndpoint.of(settings, admission, PassthroughMetrics(metrics.registry))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with playback.running():
            yield
        await registry.aclose()
        if store is not None:
            await store.aclose()
        await upstream.aclose()

    checks = {"backend": upstream.check}
    traffic = TrafficMeter(TrafficLimits.of(settings), TrafficMetrics(metrics.registry))
    websocket = partial(WebSocketProtocol, traffic=traffic, trusted=settings.trusted_proxies)
    server = {"ws": websocket, "ws_max_size": settings.door_max_message, "http": HttpProtocol}
    app = create_common_app("wsrelay", settings, metrics=metrics, checks=checks, lifespan=lifespan, server=server)
    app.state.service.on_drain.append(admission.drain.run)
    app.router.routes.append(WebSocketRoute(PASSTHROUGH_PATH, passthrough))
    app.router.routes.append(WebSocketRoute(PLAYBACK_PATH, playback))
    app.router.routes.append(Route(PLAYBACK_PATH, playback, methods=["GET", "HEAD"]))
    plain = Refusal(lambda: UpgradeRequired("this is a stream: use WebSocket"))
    app.router.routes.append(Route(PASSTHROUGH_PATH, plain, methods=["GET"]))
    app.include_router(status_api.make_router(playback, registry, passthrough, admission))
    app.router.routes.append(WebSocketRoute("/{path:path}", Refusal(lambda: NotFound("no stream is served here"))))
    # What a debugger begins with.
    app.state.upstream, app.state.connector, app.state.registry, app.state.store = upstream, connector, registry, store
    app.state.playback, app.state.passthrough = playback, passthrough
    app.state.admission, app.state.traffic = admission, traffic
    return app
