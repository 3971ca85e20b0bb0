"""The aggregator's app: the common parts, the backend, and the routes for charts and runs."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware

from bff_aggregator.backend.metrics import CallMetrics
from bff_aggregator.backend.refusal import BackendRefusal, refusal_of
from bff_aggregator.backend.run_calls import RunSource
from bff_aggregator.cache.access import make_access
from bff_aggregator.cache.lease import Leases
from bff_aggregator.cache.loader import Loader
from bff_aggregator.cache.metrics import CacheMetrics
from bff_aggregator.cache.redis_tier import RedisClient, RedisTier
from bff_aggregator.cache.store import Memory, Store
from bff_aggregator.charts import routes as chart_routes
from bff_aggregator.charts.bars_access import BarsAccess
from bff_aggregator.charts.response_cache import ResponseCache
from bff_aggregator.charts.routes import ChartEndpoint
from bff_aggregator.charts.service import NAMESPACE, ChartService
from bff_aggregator.http.cpu_limiter import CpuLimiter
from bff_aggregator.http.response_budget import BoundedResponses, HttpProtocol, ResponseBudget
from bff_aggregator.runs import performance
from bff_aggregator.runs import routes as run_routes
from bff_aggregator.runs.list_service import RunListService
from bff_aggregator.runs.metrics import RunMetrics
from bff_aggregator.runs.response import RunResponses
from bff_aggregator.runs.run_cache import RunCache
from bff_aggregator.runs.service import RunService
from bff_aggregator.settings import AggregatorSettings
from bff_aggregator.view import routes as view_routes
from bff_aggregator.view.routes import Sources
from bff_shared.app import create_app as create_common_app
from bff_shared.errors import BffError
from bff_shared.settings import load
from bff_shared.telemetry.metrics import Metrics
from bff_shared.upstream.client import Upstream


def create_app(settings: AggregatorSettings | None = None, clock: Callable[[], float] = time.time) -> FastAPI:
    """Return the aggregator; settings come from the environment unless given.

    The clock, in seconds since the Unix epoch, is what entries age by, and verdicts on who may read them.
    """
    settings = settings or load(AggregatorSettings)
    metrics = Metrics()
    upstream = Upstream(settings, metrics)
    budget = ResponseBudget(settings.response_total_bytes, settings.response_client_bytes, metrics.registry)

    cpu = CpuLimiter(
        settings.cpu_threads, settings.cpu_queue, settings.client_share, settings.cpu_seconds, metrics.registry
    )

    run_metrics = RunMetrics.create(metrics.registry)
    figures = performance.trade_performance, performance.complete
    run_source = RunSource(upstream, settings, CallMetrics.create(metrics.registry), *figures, cpu, clock)
    cache_metrics = CacheMetrics.create(metrics.registry)
    memory = Memory(settings.cache_bytes, cache_metrics.evictions.inc)
    remote = RedisTier(RedisClient(settings.redis_url, cache_metrics, time.monotonic))
    store = Store(
        memory,
        remote,
        settings.digest_key.get_secret_value().encode(),
        cache_metrics,
        clock,
        budget=settings.cache_client_bytes,
    )
    expected = (BffError, BackendRefusal)
    loader = Loader(store, cache_metrics, expected=expected, clock=clock)
    access = make_access(settings, lambda: store.digest_key, refusal_of, expected, clock)
    responses = ResponseCache(settings.chart_answer_bytes, clock)
    store.on_purge(lambda namespace, subject: responses.purge(subject) if namespace == NAMESPACE else None)
    store.on_clear(responses.clear)
    by_hours = settings.chart_hours
    bars_access = BarsAccess(access.gate, upstream, cpu, settings.chart_timeout)
    charts = ChartService(
        upstream,
        store,
        loader,
        bars_access,
        max(settings.chart_timeout, settings.chart_late_timeout),
        chart_routes.utc_today,
        cpu,
        by_hours=by_hours,
        clock=clock,
    )
    endpoint = ChartEndpoint(
        charts, access.charts, responses, cache_metrics, settings.chart_timeout, chart_routes.utc_today, cpu
    )
    run_cache = RunCache(store, clock)
    run_loader, run_list = (
        RunService(run_source, run_cache, Leases(store, cache_metrics), run_metrics, access.gate, clock),
        RunListService(run_source, store, loader, access.gate, settings.list_fanout, clock),
    )
    run_responses = RunResponses(settings.run_answer_bytes, run_metrics, cpu, clock)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await store.start()
        yield
        await access.gate.aclose()
        await endpoint.aclose()
        await run_responses.aclose()
        await run_list.aclose()
        await run_loader.aclose()
        await run_source.aclose()
        await loader.aclose()
        await store.aclose()
        await upstream.aclose()
        await cpu.aclose()

    checks = {"backend": upstream.check, **({"redis": remote.check} if settings.redis_url else {})}
    app = create_common_app(
        "aggregator", settings, metrics=metrics, checks=checks, lifespan=lifespan, server={"http": HttpProtocol}
    )
    app.user_middleware.append(Middleware(BoundedResponses, budget, settings.response_stuck_seconds))  # the innermost
    direct = BoundedResponses(endpoint, budget, settings.response_stuck_seconds)
    app.serve_directly(direct, lambda path: path == chart_routes.PATH)
    app.include_router(chart_routes.make_router(endpoint, store))
    app.include_router(run_routes.make_router(run_loader, run_responses, run_list, store, access, cpu, settings))
    parts = Sources(
        run_loader,
        run_responses,
        endpoint,
        access.runs,
        settings.run_timeout,
        run_metrics.view_parts,
        metrics.outcomes,
        cpu,
    )
    app.include_router(view_routes.make_router(parts))
    # What a debugger begins with.
    app.state.upstream, app.state.store, app.state.loader, app.state.budget = upstream, store, loader, budget
    app.state.cpu, app.state.access = cpu, access
    app.state.charts, app.state.chart_responses = charts, responses
    app.state.runs, app.state.run_list, app.state.run_responses = run_loader, run_list, run_responses
    return app
