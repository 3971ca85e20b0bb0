"""HEAD answers as GET does, without a body; and X-Request-Timeout means the same on every route."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.support.foreign import ForeignBackend

StartAggregator = Callable[..., Awaitable[httpx.AsyncClient]]
StartApp = Callable[[Any], Awaitable[str]]
ROUTES = (
    "/api/v1/runs",
    "/api/v1/runs/r/status",
    "/api/v1/runs/r/complete",
    "/api/v1/runs/r/view?from_date=2024-01-01&to_date=2024-01-05",
    "/api/v1/chart-data?symbol=AAPL&timeframe=1D&from_date=2024-01-01&to_date=2024-01-05",
)
SAME = ("content-type", "vary", "content-encoding")


@pytest.mark.parametrize("route", ROUTES)
async def test_head_is_answered_with_the_head_of_get(
    start_app: StartApp, start_aggregator: StartAggregator, route: str
) -> None:
    client = await start_aggregator(backend_url=await start_app(ForeignBackend()))
    got, head = await client.get(route), await client.head(route)
    assert (head.status_code, head.content) == (200, b"")
    assert [head.headers.get(name) for name in SAME] == [got.headers.get(name) for name in SAME]
    assert ("etag" in head.headers) == ("etag" in got.headers)
    assert (await client.get(route)).status_code == 200  # over the same connection
    refused = await client.head("/api/v1/runs/none/status")
    assert refused.status_code == 404


async def test_head_of_a_view_asks_for_no_chart(start_app: StartApp, start_aggregator: StartAggregator) -> None:
    backend = ForeignBackend(delays={"/backtests/r/equity": 5.0})
    client = await start_aggregator(backend_url=await start_app(backend), run_timeout=20)
    assert (await client.head("/api/v1/runs/r/view")).status_code == 200
    assert not any(path.startswith("/bars") for path in backend.calls)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("value", "status"),
    [("1.5", 200), ("86400", 200), ("100000", 422), ("0", 422), ("-1", 422), ("nan", 422), ("inf", 422), ("x", 422)],
)
async def test_a_client_s_deadline_is_read_alike_on_every_route(
    start_app: StartApp, start_aggregator: StartAggregator, route: str, value: str, status: int
) -> None:
    client = await start_aggregator(backend_url=await start_app(ForeignBackend()))
    answer = await client.get(route, headers={"x-request-timeout": value})
    assert answer.status_code == status
    if status == 422:
        assert list(answer.json()["error"]["details"]["fields"]) == ["x-request-timeout"]
