"""A page of a configured origin can read every error of every path: its code, message, id and Retry-After."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from bff_aggregator.app import create_app as create_aggregator
from bff_aggregator.settings import AggregatorSettings
from bff_proxy.app import create_app as create_proxy
from bff_proxy.settings import ProxySettings
from bff_shared.errors import Busy
from bff_wsrelay.app import create_app as create_relay
from bff_wsrelay.settings import RelaySettings

StartApp = Callable[[Any], Awaitable[str]]
ORIGIN = "https://app.example"
SETTINGS: dict[str, Any] = {"backend_url": "http://127.0.0.1:9", "allowed_origins": (ORIGIN,), "admin_token": "secret"}
CHART = "/api/v1/chart-data?timeframe=1D&from_date=2024-01-01&to_date=2024-02-01"


async def defect(*_: Any, **__: Any) -> Any:
    raise ValueError("a defect of ours at 10.9.8.7")


async def busy(*_: Any, **__: Any) -> Any:
    raise Busy("too much to do", 7)


def with_extra_routes(app: Any) -> Any:
    for path, endpoint in (("/api/v1/flags/defect", defect), ("/api/v1/flags/busy", busy)):
        app.add_route(path, endpoint)
    return app


@pytest.fixture
def apps() -> dict[str, Any]:
    return {
        "proxy": with_extra_routes(create_proxy(ProxySettings(**SETTINGS))),
        "aggregator": with_extra_routes(create_aggregator(AggregatorSettings(**SETTINGS))),
        "wsrelay": with_extra_routes(create_relay(RelaySettings(**SETTINGS))),
    }


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        yield client


def readable(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert {"X-Request-ID", "Retry-After"} <= set(answer.headers["access-control-expose-headers"].split(", "))
    assert answer.json()["error"]["details"]["correlation_id"] == answer.headers["x-request-id"]
    assert "10.9.8.7" not in answer.text


@pytest.mark.parametrize(
    ("service", "method", "path", "status", "code"),
    [
        ("proxy", "GET", "/api/v1/backtests", 502, "BACKEND_UNAVAILABLE"),
        ("proxy", "GET", "/api/v1/unrouted", 404, "NOT_FOUND"),
        ("proxy", "GET", "/api/v1/backtests/%00", 400, "BAD_REQUEST"),
        ("proxy", "TRACE", "/api/v1/backtests", 405, "METHOD_NOT_ALLOWED"),
        ("proxy", "POST", "/ofrep/v1/evaluate/flags/unknown", 404, "FLAG_NOT_FOUND"),
        ("proxy", "GET", "/api/v1/flags/defect", 500, "INTERNAL"),
        ("proxy", "GET", "/api/v1/flags/busy", 503, "BUSY"),
        ("aggregator", "GET", f"{CHART}&symbol=AAPL", 502, "BACKEND_UNAVAILABLE"),
        ("aggregator", "GET", f"{CHART}&symbol=%00", 422, "VALIDATION"),
        ("aggregator", "POST", CHART, 405, "METHOD_NOT_ALLOWED"),
        ("aggregator", "GET", "/api/v1/runs?limit=x", 422, "VALIDATION"),
        ("aggregator", "GET", "/api/v1/runs", 502, "BACKEND_UNAVAILABLE"),
        ("aggregator", "GET", "/api/v1/nothing", 404, "NOT_FOUND"),
        ("aggregator", "DELETE", "/api/v1/cache/chart-data?symbol=AAPL", 401, "UNAUTHORIZED"),
        ("aggregator", "GET", "/api/v1/flags/defect", 500, "INTERNAL"),
        ("aggregator", "GET", "/api/v1/flags/busy", 503, "BUSY"),
        ("wsrelay", "GET", "/api/v1/nothing", 404, "NOT_FOUND"),
        ("wsrelay", "POST", "/api/v1/runs/x/stream", 405, "METHOD_NOT_ALLOWED"),
        ("wsrelay", "GET", "/api/v1/flags/defect", 500, "INTERNAL"),
        ("wsrelay", "GET", "/api/v1/flags/busy", 503, "BUSY"),
    ],
)
async def test_every_error_can_be_read_by_a_page_of_a_configured_origin(
    apps: dict[str, Any],
    start_app: StartApp,
    http: httpx.AsyncClient,
    service: str,
    method: str,
    path: str,
    status: int,
    code: str,
) -> None:
    origin = await start_app(apps[service])
    answer = await http.request(method, origin + path, headers={"origin": ORIGIN})
    if code == "FLAG_NOT_FOUND":  # as OpenFeature's protocol spells it
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        return
    readable(answer, status, code)
    if code == "BUSY":
        assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize(("service", "path"), [("proxy", "/api/v1/backtests"), ("aggregator", f"{CHART}&symbol=AAPL")])
async def test_a_defect_behind_a_direct_path_is_internal_logged_with_its_traceback_and_readable(
    apps: dict[str, Any],
    start_app: StartApp,
    http: httpx.AsyncClient,
    caplog: pytest.LogCaptureFixture,
    service: str,
    path: str,
) -> None:
    app = apps[service]
    app.serve_directly(defect, app.is_direct)
    origin = await start_app(app)
    readable(await http.get(origin + path, headers={"origin": ORIGIN}), 500, "INTERNAL")
    (record,) = [record for record in caplog.records if record.message == "request failed"]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)


async def test_an_error_stays_closed_to_other_origins(
    apps: dict[str, Any], start_app: StartApp, http: httpx.AsyncClient
) -> None:
    origin = await start_app(apps["proxy"])
    answer = await http.get(f"{origin}/api/v1/unrouted", headers={"origin": "https://evil.example"})
    assert answer.status_code == 404
    assert "access-control-allow-origin" not in answer.headers
