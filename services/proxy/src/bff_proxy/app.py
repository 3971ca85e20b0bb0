"""The proxy's app: the common parts, the flags, and the forwarder behind every other path."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from bff_proxy import flag_routes
from bff_proxy.counters import ProxyCounters
from bff_proxy.flag_service import FlagService
from bff_proxy.settings import ProxySettings
from bff_proxy.stream import Forward
from bff_proxy.wire import Wire
from bff_shared.app import create_app as create_common_app
from bff_shared.settings import load
from bff_shared.telemetry.metrics import Metrics
from bff_shared.upstream.client import Upstream


def create_app(settings: ProxySettings | None = None) -> FastAPI:
    """Return the proxy; settings come from the environment unless given."""
    settings = settings or load(ProxySettings)
    metrics = Metrics()
    upstream = Upstream(settings, metrics)
    flags = FlagService(settings, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await flags.start()
        yield
        await flags.aclose()
        await upstream.aclose()

    app = create_common_app(
        "proxy",
        settings,
        metrics=metrics,
        checks={"backend": upstream.check, "flags": flags.sync.check},
        lifespan=lifespan,
        # The backend's own Date is passed on; nginx adds one where an answer has none.
        server={"http": Wire, "date_header": False},
    )
    flags.add_to(app)
    forward = Forward(upstream, settings, ProxyCounters(metrics.registry))
    own = {getattr(route, "path", "") for route in app.routes}
    app.serve_directly(forward, lambda path: path not in own and not flag_routes.is_path(path))
    return app
