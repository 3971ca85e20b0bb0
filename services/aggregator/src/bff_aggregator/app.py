"""The aggregator's app: the common parts, the backend, and the routes for charts and runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from bff_aggregator import chart_routes, runs
from bff_aggregator.charts import Charts
from bff_aggregator.complete import Runs
from bff_aggregator.parts import RunSource
from bff_aggregator.runcache import RunCache
from bff_aggregator.settings import AggregatorSettings
from bff_shared.app import create_app as create_common_app
from bff_shared.metrics import Metrics
from bff_shared.settings import load
from bff_shared.upstream import Upstream


def create_app(settings: AggregatorSettings | None = None) -> FastAPI:
    """Return the aggregator; settings come from the environment unless given."""
    settings = settings or load(AggregatorSettings)
    metrics = Metrics()
    upstream = Upstream(settings, metrics)

    run_source = RunSource(upstream, settings)
    run_loader = Runs(run_source, RunCache(settings.run_cache_bytes))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await run_loader.aclose()
        await upstream.aclose()

    checks = {"backend": upstream.check}
    app = create_common_app("aggregator", settings, metrics=metrics, checks=checks, lifespan=lifespan)
    app.include_router(chart_routes.make_router(Charts(upstream), settings.chart_timeout))
    app.include_router(runs.make_router(run_loader, run_source, settings.run_timeout))
    return app
