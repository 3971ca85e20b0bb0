"""A long chart of minutes in two lines: its hours first, marked as a preview, and the exact chart as it comes."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import httpx
import pytest

from tests.aggregator.charts.test_chart_data import PATH
from tests.aggregator.charts.test_hourly_source import minutes_of
from tests.aggregator.charts.test_long_charts import PATIENT, Backend, asked, chart
from tests.aggregator.conftest import Demo, StartAggregator
from tests.conftest import Start

NDJSON = {"accept": "application/x-ndjson, application/json"}
# 3,000 points of a quarter are less than an hour each, so that only minutes have them.
FINE = {"symbol": "NVDA", "timeframe": "1M_DECIMATED", "from": "2024-04-01", "to": "2024-06-30", "target": "3000"}


@pytest.fixture
def backend() -> Backend:
    return Backend(minutes_of(date(2024, 4, 1), date(2024, 6, 30)))


async def lines_of(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        yield json.loads(line)


async def all_lines(client: httpx.AsyncClient, query: dict[str, str]) -> list[dict[str, Any]]:
    async with client.stream("GET", PATH, params=query, headers=NDJSON) as response:
        assert response.headers["content-type"] == "application/x-ndjson"
        assert response.headers["cache-control"] == "private, no-store"
        return [line async for line in lines_of(response)]


async def test_preview_of_hours_is_there_while_the_backend_still_works_on_the_minutes(
    backend: Backend, start_app: Start, start_aggregator: StartAggregator
) -> None:
    gate = backend.gates["minute"] = asyncio.Event()
    client = await start_aggregator(backend_url=await start_app(backend.app), **PATIENT)
    async with client.stream("GET", PATH, params=FINE, headers=NDJSON) as response:
        lines = lines_of(response)
        preview = await anext(lines)
        told = preview["metadata"]
        assert (told["preview"], told["source_timeframe"], told["decimation_stride"]) == (True, "1H", 60)
        assert (preview["timeframe"], len(preview["bars"])) == ("1M_DECIMATED", 63 * 7)
        gate.set()
        exact = await anext(lines)
        assert [line async for line in lines] == []
    assert "preview" not in exact["metadata"]
    assert exact["metadata"]["decimation_stride"] == 10
    assert exact["bars"] == (await chart(client, FINE))["bars"]


async def test_without_the_header_the_exact_chart_alone_is_sent_and_no_hours_are_asked_for(
    backend: Backend, start_app: Start, start_aggregator: StartAggregator
) -> None:
    client = await start_aggregator(backend_url=await start_app(backend.app), **PATIENT)
    document = await chart(client, FINE)
    assert "preview" not in document["metadata"]
    assert backend.asked == ["minute"]


async def test_what_is_in_the_cache_has_no_preview_and_is_json_with_a_tag(
    backend: Backend, start_app: Start, start_aggregator: StartAggregator
) -> None:
    client = await start_aggregator(backend_url=await start_app(backend.app), **PATIENT)
    assert len(await all_lines(client, FINE)) == 2
    answer = await client.get(PATH, params=FINE, headers=NDJSON)
    assert (answer.headers["content-type"], answer.json()["metadata"]["cache_hit"]) == ("application/json", True)
    coarser = await client.get(PATH, params={**FINE, "target": "2500"}, headers=NDJSON)
    assert (coarser.headers["content-type"], coarser.json()["metadata"]["backend_calls"]) == ("application/json", 0)
    again = await client.get(PATH, params=FINE, headers={**NDJSON, "if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("query", [{"timeframe": "1H"}, {"timeframe": "1D"}, {"to": "2024-04-20"}, {"format": "arrow"}])
async def test_what_is_quick_and_what_no_line_can_hold_has_no_preview(
    backend: Backend, start_app: Start, start_aggregator: StartAggregator, query: dict[str, str]
) -> None:
    client = await start_aggregator(backend_url=await start_app(backend.app), **PATIENT)
    answer = await client.get(PATH, params={**FINE, **query}, headers=NDJSON)
    assert answer.status_code == 200
    assert answer.headers["content-type"] != "application/x-ndjson"


async def test_without_hours_there_is_one_line(
    backend: Backend, start_app: Start, start_aggregator: StartAggregator
) -> None:
    backend.broken.add("hour")
    client = await start_aggregator(backend_url=await start_app(backend.app), **PATIENT)
    (exact,) = await all_lines(client, FINE)
    assert exact["metadata"]["source_timeframe"] == "1M"


async def test_failure_after_the_preview_is_the_second_line(
    backend: Backend, start_app: Start, start_aggregator: StartAggregator
) -> None:
    backend.broken.add("minute")
    client = await start_aggregator(backend_url=await start_app(backend.app), **PATIENT)
    preview, failure = await all_lines(client, FINE)
    assert preview["metadata"]["preview"]
    assert failure["error"]["code"] == "BACKEND_UNAVAILABLE"
    assert failure["error"]["details"]["correlation_id"]


async def test_failure_without_a_preview_is_the_response(
    backend: Backend, start_app: Start, start_aggregator: StartAggregator
) -> None:
    backend.broken |= {"hour", "minute"}
    client = await start_aggregator(backend_url=await start_app(backend.app), **PATIENT)
    answer = await client.get(PATH, params=FINE, headers=NDJSON)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "BACKEND_UNAVAILABLE")


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_refusal_is_the_response(demo: Demo, start_aggregator: StartAggregator, status: int) -> None:
    client = await start_aggregator(backend_url=demo.url, **PATIENT)
    demo.faults({"path_prefix": "/bars", "error_status": status})
    assert (await client.get(PATH, params=FINE, headers=NDJSON)).status_code == status


async def test_view_has_the_preview_as_a_line_of_its_own_before_the_chart(
    demo: Demo, start_aggregator: StartAggregator
) -> None:
    client = await start_aggregator(backend_url=demo.url, **PATIENT)
    run = (await client.get("/api/v1/runs", params={"limit": 1, "symbol": "NVDA"})).json()["items"][0]
    window = {"from": "2024-04-01", "to": "2024-06-30", "timeframe": "1M", "target": "3000"}
    demo.faults({"path_prefix": "/bars/minute", "latency_ms": 1000})
    answer = await client.get(f"/api/v1/runs/{run['run_id']}/view", params={**window, "symbol": run["symbol"]})
    lines = {line["name"]: line for line in map(json.loads, answer.text.splitlines())}
    names = [*lines]
    assert names.index("chart_preview") < names.index("chart")
    assert lines["chart_preview"]["body"]["metadata"]["preview"]
    assert "etag" not in lines["chart_preview"]
    assert lines["chart"]["body"]["metadata"]["decimation_stride"] == 10
    assert asked(demo) == ["/bars/hour", "/bars/minute"]
