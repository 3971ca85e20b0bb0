import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI, Query

from bff_shared.app import create_app
from bff_shared.errors import CircuitOpen
from bff_shared.health import CheckFailed
from bff_shared.settings import Settings
from bff_shared.telemetry.metrics import Metrics


@asynccontextmanager
async def nothing(_: FastAPI) -> AsyncIterator[None]:
    yield


async def down() -> None:
    raise CheckFailed("connection refused")


def sample() -> FastAPI:
    app = create_app("proxy", Settings(), metrics=Metrics(), checks={"backend": down}, lifespan=nothing)

    @app.get("/things/{name}")
    async def thing(name: str, limit: int = Query(1, ge=1)) -> dict[str, object]:
        return {"name": name, "limit": limit}

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("secret at 10.9.8.7")

    @app.get("/open")
    async def circuit() -> None:
        raise CircuitOpen("calls are paused", 4.2)

    return app


@pytest.fixture
async def client(start_app) -> AsyncIterator[httpx.AsyncClient]:  # type: ignore[no-untyped-def]  # typed in conftest
    async with httpx.AsyncClient(base_url=await start_app(sample()), trust_env=False) as client:
        yield client


async def test_given_id_comes_back(client: httpx.AsyncClient) -> None:
    answer = await client.get("/things/a", headers={"x-request-id": "mine-1"})
    assert answer.headers.get_list("x-request-id") == ["mine-1"]


async def test_unsafe_id_is_replaced(client: httpx.AsyncClient) -> None:
    answer = await client.get("/things/a", headers={"x-request-id": "x" * 10_000})
    assert len(answer.headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/nowhere", 404, "NOT_FOUND"),
        ("/things/a?limit=0", 422, "VALIDATION"),
        ("/broken", 500, "INTERNAL"),
        ("/open", 503, "BACKEND_CIRCUIT_OPEN"),
    ],
)
async def test_errors_have_the_canonical_shape(client: httpx.AsyncClient, path: str, status: int, code: str) -> None:
    answer = await client.get(path, headers={"x-request-id": "mine-2"})
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["details"]["correlation_id"] == "mine-2"
    assert answer.headers["x-request-id"] == "mine-2"
    assert "10.9.8.7" not in answer.text


async def test_wrong_method_is_told(client: httpx.AsyncClient) -> None:
    answer = await client.post("/things/a")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "GET"


async def test_bad_field_is_named(client: httpx.AsyncClient) -> None:
    answer = await client.get("/things/a?limit=0")
    assert list(answer.json()["error"]["details"]["fields"]) == ["limit"]


async def test_problem_document_for_those_who_ask(client: httpx.AsyncClient) -> None:
    answer = await client.get("/open", headers={"accept": "application/problem+json"})
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["code"] == "BACKEND_CIRCUIT_OPEN"


async def test_health_is_degraded_and_ready_without_the_backend(client: httpx.AsyncClient) -> None:
    report = (await client.get("/health")).json()
    assert report["status"] == "degraded"
    assert report["dependencies"]["backend"]["error"] == "connection refused"
    assert (await client.get("/health/ready")).status_code == 200
    assert (await client.get("/health/live")).status_code == 200


async def test_draining_service_is_not_ready(start_app) -> None:  # type: ignore[no-untyped-def]  # typed in conftest
    app = sample()
    origin = await start_app(app)
    app.state.service.health.draining = True
    async with httpx.AsyncClient(base_url=origin, trust_env=False) as client:
        ready = await client.get("/health/ready")
        assert ready.status_code == 503
        assert ready.headers["connection"] == "close"
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/things/a")).status_code == 200


async def test_metrics_count_by_route_template(client: httpx.AsyncClient) -> None:
    for name in ("a", "b"):
        await client.get(f"/things/{name}")
    await client.get("/nowhere/at/all")
    text = (await client.get("/metrics")).text
    assert 'bff_http_requests_total{method="GET",route="/things/{name}",status="200"} 2.0' in text
    assert 'bff_http_requests_total{method="GET",route="unmatched",status="404"} 1.0' in text
    assert 'bff_http_request_duration_seconds_count{method="GET",route="/things/{name}"} 2.0' in text


async def test_each_request_has_one_log_line(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "bff.access")
    await client.get("/things/a")
    (line,) = [record for record in caplog.records if record.name == "bff.access"]
    fields = vars(line)
    assert (fields["method"], fields["route"], fields["status"]) == ("GET", "/things/{name}", 200)
    assert fields["bytes"] == len(json.dumps({"name": "a", "limit": 1}, separators=(",", ":")))
