"""The proxy's app: the common parts, the flags, and the forwarder behind every other path."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from bff_proxy.flags import api
from bff_proxy.flags.service import FlagService
from bff_proxy.forwarding.forwarder import Forwarder
from bff_proxy.forwarding.http_server import TransparentHttpProtocol
from bff_proxy.forwarding.metrics import ForwardingMetrics
from bff_proxy.rollback.service import make_watcher
from bff_proxy.settings import ProxySettings
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
    watch = make_watcher(settings, flags)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await flags.start()
        if watch is not None:
            watch.start()
        yield
        flags.events.close()
        if watch is not None:
            await watch.aclose()
        await flags.aclose()
        await upstream.aclose()

    app = create_common_app(
        "proxy",
        settings,
        metrics=metrics,
        checks={"backend": upstream.check, "flags": flags.sync.check},
        lifespan=lifespan,
        # The backend's own Date is passed on; nginx adds one where a response has none.
        server={"http": TransparentHttpProtocol, "date_header": False},
    )
    flags.add_to(app)
    forward = Forwarder(upstream, settings, ForwardingMetrics(metrics.registry))
    own = {getattr(route, "path", "") for route in app.routes}
    app.serve_directly(forward, lambda path: path not in own and not api.is_path(path))
    # What a debugger begins with.
    app.state.upstream, app.state.forwarder, app.state.flags, app.state.rollback = upstream, forward, flags, watch
    return app
