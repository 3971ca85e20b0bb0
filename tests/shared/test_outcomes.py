"""How the pieces are doing: read from the metrics, added up over processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import Counter

from bff_shared import outcomes
from bff_shared.app import create_app
from bff_shared.errors import BackendTimeout, NotFound
from bff_shared.metrics import Metrics
from bff_shared.outcome_log import OutcomeLog
from bff_shared.outcomes import Counts, look, news, piece_of
from bff_shared.settings import Settings
from tests.support import redis_server


@pytest.mark.parametrize(
    ("route", "piece"),
    [
        ("/api/v1/chart-data", "chart_data"),
        ("/api/v1/runs", "run_data"),
        ("/api/v1/runs/{run_id}/complete", "run_data"),
        ("/api/v1/runs/{run_id}/stream", None),
        ("/api/v1/backtests/{path}", None),
        ("/health", None),
    ],
)
def test_route_belongs_to_a_piece(route: str, piece: str | None) -> None:
    assert piece_of(route) == piece


def test_failures_and_slow_answers_are_read_from_the_metrics() -> None:
    metrics = Metrics()
    for status, seconds in ((200, 0.1), (304, 6), (404, 0.1), (500, 0.1), (504, 31)):
        metrics.answered("GET", "/api/v1/chart-data", status, seconds)
    metrics.answered("GET", "/api/v1/runs", 200, 0.1)
    metrics.answered("POST", "/api/v1/runs", 502, 4.9)
    metrics.answered("GET", "/health", 500, 9)
    assert look(metrics.registry, 5) == {"chart_data": Counts(5, 2, 2), "run_data": Counts(2, 1, 0)}
    assert look(metrics.registry, 3)["run_data"] == Counts(2, 1, 0)
    assert look(metrics.registry, 0.05)["run_data"] == Counts(2, 1, 2)


def test_streams_are_counted_by_how_they_end() -> None:
    metrics = Metrics()
    closes = Counter("bff_stream_closes_total", "-", ("code",), registry=metrics.registry)
    refused = Counter("bff_stream_refused_total", "-", registry=metrics.registry)
    for code in ("1000", "1001", "1011", "1014", "1013", "4404"):
        closes.labels(code).inc()
    refused.inc(2)
    assert look(metrics.registry, 5) == {"websocket": Counts(8, 4, 0)}


def test_parts_of_views_count_for_their_own_pieces() -> None:
    metrics = Metrics()
    parts = Counter("bff_view_parts_total", "-", ("part", "status"), registry=metrics.registry)
    for part, status in (("chart", 200), ("chart", 404), ("chart", 504), ("run", 200), ("run", 502)):
        parts.labels(part, status).inc()
    for status in (200, 200, 200, 502):
        metrics.answered("GET", "/api/v1/runs/{run_id}/view", status, 0.1)
    assert look(metrics.registry, 5) == {"chart_data": Counts(3, 1, 0), "run_data": Counts(4, 2, 0)}


def test_only_what_happened_since_is_news() -> None:
    before = {"chart_data": Counts(5, 1, 0), "run_data": Counts(2, 0, 0)}
    now = {"chart_data": Counts(9, 1, 2), "run_data": Counts(2, 0, 0), "websocket": Counts(1, 1, 0)}
    assert news(now, before) == {"chart_data": Counts(4, 0, 2), "websocket": Counts(1, 1, 0)}


async def test_counts_of_all_processes_add_up_by_span_in_a_cluster_too() -> None:
    now = 1_700_000_001.0
    with redis_server.cluster() as redis:
        one, other = (OutcomeLog(redis.url, lambda: now) for _ in range(2))
        await one.add({"chart_data": Counts(10, 1, 0)})
        await other.add({"chart_data": Counts(5, 2, 3), "websocket": Counts(1, 0, 0)})
        now += outcomes.BUCKET_SECONDS
        await one.add({"run_data": Counts(1, 1, 1)})
        spans = await other.spans(30)
        with redis.client() as client:
            ttl = client.ttl(f"bff:1:{{outcomes}}:{outcomes.bucket(now)}")
        await one.aclose()
        await other.aclose()
    assert [spans[number] for number in sorted(spans)][-2:] == [
        {"chart_data": Counts(15, 3, 3), "websocket": Counts(1, 0, 0)},
        {"run_data": Counts(1, 1, 1)},
    ]
    assert len(spans) == 7
    assert 0 < ttl <= 900


async def test_what_else_is_written_among_the_counts_counts_for_nothing() -> None:
    now = 1_700_000_001.0
    with redis_server.running() as redis:
        log = OutcomeLog(redis.url, lambda: now)
        await log.add({"chart_data": Counts(10, 1, 0)})
        with redis.client() as client:
            name = f"bff:1:{{outcomes}}:{outcomes.bucket(now)}"
            client.hset(name, mapping={"chart_data:slow": "many", "other:requests": b"\xff", "x": "1"})
        spans = await log.spans(30)
        await log.aclose()
    assert spans[max(spans)] == {"chart_data": Counts(10, 1, 0)}


@asynccontextmanager
async def nothing(_: FastAPI) -> AsyncIterator[None]:
    yield


def app_of(**settings: Any) -> FastAPI:
    app = create_app("aggregator", Settings(**settings), metrics=Metrics(), checks={}, lifespan=nothing)

    @app.get("/api/v1/chart-data")
    async def chart(fails: bool = False) -> dict[str, str]:
        if fails:
            raise BackendTimeout("too slow")
        raise NotFound("no such symbol")

    return app


async def test_service_reports_its_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bff_shared.outcome_log.EVERY", 0.01)
    with redis_server.running() as redis:
        app = app_of(rollback_enabled=True, redis_url=redis.url)
        log = OutcomeLog(redis.url)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bff") as client,
        ):
            await asyncio.sleep(0)
            for fails in (True, False, True):
                await client.get("/api/v1/chart-data", params={"fails": fails})
            async with asyncio.timeout(10):
                total = Counts()
                while total != Counts(3, 2, 0):
                    spans = await log.spans(60)
                    total = sum((found.get("chart_data", Counts()) for found in spans.values()), Counts())
            redis.stop()
            assert (await client.get("/health/live")).status_code == 200
        await log.aclose()


async def test_nothing_is_reported_unless_asked_for() -> None:
    cases: list[dict[str, Any]] = [{}, {"rollback_enabled": True}, {"redis_url": "redis://127.0.0.1:9/0"}]
    for settings in cases:
        app = app_of(**settings)
        before = len(asyncio.all_tasks())
        async with app.router.lifespan_context(app):
            assert len(asyncio.all_tasks()) == before
