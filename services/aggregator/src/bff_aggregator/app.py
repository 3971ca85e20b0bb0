"""The aggregator's app: the common parts, the backend, and the routes for charts and runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

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

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await upstream.aclose()

    checks = {"backend": upstream.check}
    return create_common_app("aggregator", settings, metrics=metrics, checks=checks, lifespan=lifespan)
