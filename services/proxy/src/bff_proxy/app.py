"""The proxy's app: the common parts, and the forwarder behind every path."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from bff_proxy.counters import ProxyCounters
from bff_proxy.settings import ProxySettings
from bff_proxy.stream import Forward
from bff_proxy.wire import Wire
from bff_shared.app import create_app as create_common_app
from bff_shared.cors import Cors
from bff_shared.metrics import Metrics
from bff_shared.observe import Observe
from bff_shared.settings import load
from bff_shared.upstream import Upstream


def create_app(settings: ProxySettings | None = None) -> FastAPI:
    """Return the proxy; settings come from the environment unless given."""
    settings = settings or load(ProxySettings)
    metrics = Metrics()
    upstream = Upstream(settings, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await upstream.aclose()

    app = create_common_app(
        "proxy",
        settings,
        metrics=metrics,
        checks={"backend": upstream.check},
        lifespan=lifespan,
        # The backend's own Date is passed on; nginx adds one where an answer has none.
        server={"http": Wire, "date_header": False},
    )
    forward = Forward(upstream, settings, ProxyCounters(metrics.registry))
    health, own = app.state.service.health, {getattr(route, "path", "") for route in app.routes}
    app.direct = Observe(Cors(forward, settings), metrics, lambda: health.draining)
    app.is_direct = lambda path: path not in own
    return app
