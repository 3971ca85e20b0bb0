"""What the aggregator's app offers to whoever looks into a running process."""

import logging
from typing import Any

import httpx
import pytest

from bff_aggregator.app import create_app
from bff_aggregator.cache.loader import Loader
from bff_aggregator.cache.store import Store
from bff_aggregator.charts import routes as chart_routes
from bff_aggregator.charts.response_cache import ResponseCache
from bff_aggregator.charts.service import ChartService
from bff_aggregator.http.response_budget import ResponseBudget
from bff_aggregator.runs.list_service import RunListService
from bff_aggregator.runs.response import RunResponses
from bff_aggregator.runs.service import RunService
from bff_aggregator.settings import AggregatorSettings
from bff_shared.upstream.client import Upstream
from tests.aggregator.conftest import Demo, StartAggregator
from tests.support.foreign import ForeignBackend

COMPONENTS = {
    "upstream": Upstream,
    "store": Store,
    "loader": Loader,
    "budget": ResponseBudget,
    "charts": ChartService,
    "chart_responses": ResponseCache,
    "runs": RunService,
    "run_list": RunListService,
    "run_responses": RunResponses,
}
CHART = "/api/v1/chart-data?symbol=AAPL&timeframe=1D&from=2024-01-01&to=2024-03-01"


def test_every_component_is_reached_from_the_apps_state() -> None:
    state = create_app(AggregatorSettings(backend_url="http://127.0.0.1:9")).state
    assert {name: type(getattr(state, name)) for name in COMPONENTS} == COMPONENTS
    assert state.service.name == "aggregator"
    assert "\n" not in repr(state.upstream)


def test_long_lived_components_say_in_one_line_where_they_stand() -> None:
    state = create_app(AggregatorSettings(backend_url="http://127.0.0.1:9")).state
    assert repr(state.store) == "<Store 0 entries, 0 bytes in memory, without Redis>"
    assert repr(state.loader) == "<Loader 0 look-ups and 0 fills under way>"
    assert repr(state.runs) == "<RunService 0 looks, 0 parts under way, 0 tasks behind them>"


async def test_debug_logging_tells_what_goes_in_and_out_of_each_layer(
    start_aggregator: StartAggregator, demo: Demo, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("bff_aggregator", "bff_shared"):
        caplog.set_level(logging.DEBUG, name)
    client = await start_aggregator(backend_url=demo.url)
    (await client.get(CHART)).raise_for_status()
    assert [(record.name, record.message) for record in caplog.records] == [
        ("bff_shared.upstream.client", "the backend responded"),
        ("bff_aggregator.cache.loader", "cache entries loaded"),
        ("bff_aggregator.charts.service", "chart made"),
    ]
    assert vars(caplog.records[1])["made"] > 0
    assert vars(caplog.records[2])["backend_calls"] == 1


async def test_the_described_route_of_charts_responds_as_the_one_that_is_served(start_app: Any) -> None:
    app = create_app(AggregatorSettings(backend_url=await start_app(ForeignBackend())))
    query = "?symbol=AAPL&timeframe=1D&from_date=2024-01-01&to_date=2024-01-05&format=columns"
    async with httpx.AsyncClient(base_url=await start_app(app)) as client:
        served = await client.get(chart_routes.PATH + query)
        app.is_direct = lambda _: False  # type: ignore[attr-defined]  # what `create_common_app` adds
        described = await client.get(chart_routes.PATH + query)
        assert (served.status_code, described.status_code) == (200, 200)
        assert described.json()["t"] == served.json()["t"]
