"""How the pieces are doing: read from the metrics, added up over processes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from bff_shared import outcomes
from bff_shared.app import create_app
from bff_shared.errors import BackendTimeout, Busy, ClientBusy, NotFound
from bff_shared.outcome_log import OutcomeLog
from bff_shared.outcomes import Counts, Outcomes, piece_of
from bff_shared.settings import Network, Settings
from bff_shared.telemetry.metrics import Metrics
from tests.support import redis_server


@pytest.fixture(autouse=True)
def _patient_with_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no Redis that is away."""
    monkeypatch.setattr("bff_shared.outcome_log.DEADLINE", 30.0)


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


def outcomes_of(slow_seconds: float = 5, trusted: tuple[Network, ...] = ()) -> Outcomes:
    found = Outcomes()
    found.enable(slow_seconds, trusted)
    return found


def scope_of(client: str = "203.0.113.1", **headers: str) -> dict[str, Any]:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "headers": pairs, "client": (client, 4711)}


def respond(found: Outcomes, status: int, seconds: float = 0.1, route: str = "/api/v1/chart-data", **more: Any) -> None:
    found.responded(more.get("scope", scope_of()), route, status, seconds, excused=more.get("excused", False))


def test_failures_and_slow_responses_are_counted_for_their_clients() -> None:
    found = outcomes_of()
    for status, seconds in ((200, 0.1), (304, 6), (404, 0.1), (500, 0.1), (504, 31)):
        respond(found, status, seconds)
    respond(found, 503, scope=scope_of("203.0.113.2"))
    respond(found, 502, 4.9, "/api/v1/runs")
    respond(found, 500, 9, "/health")
    assert found.take() == {
        "chart_data": Counts(6, 3, 2, {"203.0.113.1": 2, "203.0.113.2": 1}, {"203.0.113.1": 2}),
        "run_data": Counts(1, 1, 0, {"203.0.113.1": 1}, {}),
    }
    assert found.take() == {}


@pytest.mark.parametrize("status", [502, 503, 504])
def test_the_deadline_that_a_client_sets_itself_is_no_failure(status: int) -> None:
    found = outcomes_of()
    hasty = scope_of(x_request_timeout="0.001")
    respond(found, status, scope=hasty)
    found.part(hasty, "chart_data", status, 0.1, requests=1)
    assert found.take() == {"chart_data": Counts(2, 0, 0)}
    respond(found, 500, scope=hasty)
    assert found.take()["chart_data"].errors == 1


def test_what_takes_exactly_as_long_as_it_may_is_not_slow() -> None:
    found = outcomes_of(slow_seconds=5)
    respond(found, 200, 5.0)
    found.part(scope_of(), "chart_data", 200, 5.0, requests=1)
    assert found.take() == {"chart_data": Counts(2, 0, 0)}


def test_what_is_excused_is_no_failure() -> None:
    found = outcomes_of()
    respond(found, 503, excused=True)
    assert found.take() == {"chart_data": Counts(1, 0, 0)}


def test_a_client_is_the_one_behind_our_own_proxies_and_an_ipv6_network_is_one() -> None:
    found = outcomes_of(trusted=(ip_network("10.0.0.0/8"),))
    respond(found, 500, scope=scope_of("10.0.0.7", x_forwarded_for="198.51.100.1, 203.0.113.9"))
    for host in (1, 2):
        respond(found, 500, scope=scope_of("10.0.0.7", x_forwarded_for=f"2001:db8::{host}"))
    respond(found, 500, scope=scope_of("192.0.2.1", x_forwarded_for="203.0.113.9"))
    assert found.take()["chart_data"].errors_by == {"203.0.113.9": 1, "2001:db8::/64": 2, "192.0.2.1": 1}


def test_the_clients_that_are_told_apart_are_bounded() -> None:
    found = outcomes_of()
    for n in range(1000):
        respond(found, 500, 9, scope=scope_of(f"203.0.113.{n}"))
    counts = found.take()["chart_data"]
    assert (counts.errors, counts.slow) == (1000, 1000)
    assert len(counts.errors_by) == len(counts.slow_by) == outcomes.MAX_CLIENTS


def test_streams_are_counted_by_how_they_end() -> None:
    found = outcomes_of()
    for code in (1000, 1001, 1011, 1014, 1013, 4404):
        found.stream_ended("203.0.113.1", code)
    assert found.take() == {"websocket": Counts(6, 2, 0, {"203.0.113.1": 2})}


def test_nothing_is_counted_before_it_is_enabled() -> None:
    found = Outcomes()
    respond(found, 500)
    found.stream_ended("203.0.113.1", 1011)
    found.part(scope_of(), "chart_data", 500, 0.1, requests=1)
    assert found.take() == {}


def test_counts_add_up_by_client() -> None:
    one, other = Counts(5, 3, 1, {"a": 2, "b": 1}, {"a": 1}), Counts(4, 1, 2, {"a": 1}, {"a": 1, "c": 1})
    assert one + other == Counts(9, 4, 3, {"a": 3, "b": 1}, {"a": 2, "c": 1})


async def test_counts_of_all_processes_add_up_by_span_in_a_cluster_too() -> None:
    now = 1_700_000_001.0
    with redis_server.cluster() as redis:
        one, other = (OutcomeLog(redis.url, lambda: now) for _ in range(2))
        await one.add({"chart_data": Counts(10, 1, 0, {"203.0.113.1": 1})})
        await other.add(
            {
                "chart_data": Counts(5, 2, 3, {"203.0.113.1": 1, "203.0.113.2": 1}, {"203.0.113.1": 3}),
                "websocket": Counts(1, 0, 0),
            }
        )
        now += outcomes.BUCKET_SECONDS
        await one.add({"run_data": Counts(1, 1, 1)})
        spans = await other.spans(30)
        with redis.client() as client:
            ttl = client.ttl(f"bff:1:{{outcomes}}:{outcomes.bucket(now)}")
            stored = repr([client.hgetall(f"bff:1:{{outcomes}}:{number}") for number in spans])
        await one.aclose()
        await other.aclose()
    first, second = [spans[number] for number in sorted(spans)][-2:]
    assert {piece: (found.requests, found.errors, found.slow) for piece, found in first.items()} == {
        "chart_data": (15, 3, 3),
        "websocket": (1, 0, 0),
    }
    assert sorted(first["chart_data"].errors_by.values()) == [1, 2]  # two processes, and one digest for one client
    assert list(first["chart_data"].slow_by.values()) == [3]
    assert second == {"run_data": Counts(1, 1, 1)}
    assert "203.0.113" not in stored
    assert len(spans) == 7
    assert 0 < ttl <= 900


async def test_what_else_is_written_among_the_counts_counts_for_nothing() -> None:
    now = 1_700_000_001.0
    with redis_server.running() as redis:
        log = OutcomeLog(redis.url, lambda: now)
        await log.add({"chart_data": Counts(10, 1, 0)})
        with redis.client() as client:
            name = f"bff:1:{{outcomes}}:{outcomes.bucket(now)}"
            client.hset(
                name,
                mapping={
                    "chart_data:slow": "many",
                    "other:requests": b"\xff",
                    "x": "1",
                    "chart_data:errors": "9" * 5_000,
                },
            )
        spans = await log.spans(30)
        await log.aclose()
    assert spans[max(spans)] == {"chart_data": Counts(10, 0, 0)}


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
            for fails, more in ((True, {}), (False, {}), (True, {}), (True, {"x-request-timeout": "0.001"})):
                await client.get("/api/v1/chart-data", params={"fails": fails}, headers=more)
            async with asyncio.timeout(30):
                total = Counts()
                while total.requests < 4:
                    spans = await log.spans(60)
                    total = sum((found.get("chart_data", Counts()) for found in spans.values()), Counts())
            assert (total.errors, total.slow, list(total.errors_by.values())) == (2, 0, [2])
            redis.stop()
            assert (await client.get("/health/live")).status_code == 200
        await log.aclose()


async def test_nothing_is_reported_unless_asked_for() -> None:
    cases: list[dict[str, Any]] = [{}, {"rollback_enabled": True}, {"redis_url": "redis://127.0.0.1:9/0"}]
    for settings in cases:
        app = app_of(**settings)
        async with app.router.lifespan_context(app):
            assert "report outcomes" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_a_limit_of_one_client_or_of_the_service_and_a_drain_count_for_nothing(
    start_app: Callable[[Any], Awaitable[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bff_shared.outcome_log.EVERY", 60)
    metrics = Metrics()
    with redis_server.running() as redis:
        settings = Settings(rollback_enabled=True, redis_url=redis.url)
        app = create_app("aggregator", settings, metrics=metrics, checks={}, lifespan=nothing)

        @app.get("/api/v1/chart-data")
        async def chart(whose: str) -> None:
            raise ClientBusy("one client has its share") if whose == "client" else Busy("no more capacity")

        origin = await start_app(app)
        reported: list[int] = []
        async with httpx.AsyncClient(base_url=origin) as client:
            for whose, drains in (("client", False), ("service", False), ("service", True)):
                app.state.service.health.draining = drains
                assert (await client.get("/api/v1/chart-data", params={"whose": whose})).status_code == 503
                reported.append(metrics.outcomes.take()["chart_data"].errors)
    assert reported == [0, 0, 0]
