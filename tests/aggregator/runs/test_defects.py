"""A defect of ours costs what it is in, is logged, and leaves what is known where it was."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from bff_aggregator.backend.run_calls import RunSource
from bff_aggregator.runs import response
from bff_aggregator.runs.encode import Shape, encode_sections
from bff_aggregator.runs.list_service import RunListService
from bff_aggregator.runs.revision import RunBundle
from tests.support.foreign import ForeignBackend

StartAggregator = Callable[..., Awaitable[httpx.AsyncClient]]
StartApp = Callable[[Any], Awaitable[str]]
COMPLETE, LIST = "/api/v1/runs/r/complete", "/api/v1/runs"


async def breaks(*_: Any, **__: Any) -> Any:
    raise ValueError("a defect")


async def metrics_state(client: httpx.AsyncClient) -> str:
    return str((await client.get(LIST)).json()["items"][0]["metrics_state"])


async def test_a_part_that_cannot_be_read_fails_alone(
    start_app: StartApp, start_aggregator: StartAggregator, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(RunSource, "_part", breaks_for("metrics", RunSource._part))
    client = await start_aggregator(backend_url=await start_app(ForeignBackend()))
    parts = (await client.get(COMPLETE)).json()["metadata"]["parts"]
    assert {name: parts[name]["state"] for name in ("metrics", "equity", "orders")} == {
        "metrics": "failed",
        "equity": "ok",
        "orders": "ok",
    }
    assert parts["metrics"]["error"]["code"] == "INTERNAL"
    assert "a part of a run could not be read" in caplog.text


def breaks_for(name: str, really: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def part(source: RunSource, user: Any, run_id: str, wanted: str, began: float, **how: Any) -> Any:
        return await (breaks() if wanted == name else really(source, user, run_id, wanted, began, **how))

    return part


async def test_a_list_that_cannot_be_loaded_is_stale_where_it_is_known(
    start_app: StartApp, start_aggregator: StartAggregator, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr("bff_aggregator.runs.list_service.FRESH", 0.0)
    client = await start_aggregator(backend_url=await start_app(ForeignBackend()))
    known = (await client.get(LIST)).json()
    monkeypatch.setattr(RunSource, "fetch_list", breaks)
    stale = (await client.get(LIST)).json()
    assert (known["metadata"]["stale"], stale["metadata"]["stale"]) == (False, True)
    assert [item["run_id"] for item in stale["items"]] == ["r"]
    assert "a page of the list could not be loaded" in caplog.text
    other = await client.get(LIST, headers={"authorization": "Bearer other"})
    assert (other.status_code, other.json()["error"]["code"]) == (500, "INTERNAL")


async def test_metrics_that_cannot_be_brought_leave_the_list(
    start_app: StartApp, start_aggregator: StartAggregator, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(RunListService, "_bring_all", breaks)
    client = await start_aggregator(backend_url=await start_app(ForeignBackend()))
    assert await metrics_state(client) == "pending"
    assert "metrics of the list could not be brought" in caplog.text


async def test_metrics_that_failed_are_said_to_have(start_app: StartApp, start_aggregator: StartAggregator) -> None:
    backend = ForeignBackend(statuses={"/backtests/r/metrics": 500})
    client = await start_aggregator(backend_url=await start_app(backend))
    async with asyncio.timeout(30):
        while await metrics_state(client) != "failed":
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("status", "seen"), [(204, 502), (403, 403), (500, 502)])
async def test_a_list_comes_with_200_or_not_at_all(
    status: int, seen: int, start_app: StartApp, start_aggregator: StartAggregator
) -> None:
    client = await start_aggregator(backend_url=await start_app(ForeignBackend(statuses={"/backtests": status})))
    assert (await client.get(LIST)).status_code == seen


async def test_a_failed_parts_error_is_told_though_it_is_no_json(
    start_app: StartApp, start_aggregator: StartAggregator
) -> None:
    path = "/backtests/r/orders"
    backend = ForeignBackend(statuses={path: 422})
    backend.bodies[path] = b"<html>"
    client = await start_aggregator(backend_url=await start_app(backend))
    part = (await client.get(COMPLETE)).json()["metadata"]["parts"]["orders"]
    assert (part["state"], part["error"]["status"]) == ("failed", 422)


async def test_a_defect_in_writing_that_is_in_none_of_the_parts_is_500(
    start_app: StartApp, start_aggregator: StartAggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = encode_sections

    def fails_for_all(bundle: RunBundle, shape: Shape) -> Any:
        if sum(part.usable for part in bundle.parts.values()) > 1:
            raise ValueError("a defect")
        return encode(bundle, shape)

    monkeypatch.setattr(response, "encode_sections", fails_for_all)
    client = await start_aggregator(backend_url=await start_app(ForeignBackend()))
    answer = await client.get(COMPLETE)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "INTERNAL")


async def test_debug_logging_tells_where_the_parts_of_a_run_came_from(
    start_app: StartApp, start_aggregator: StartAggregator, caplog: Any
) -> None:
    caplog.set_level(logging.DEBUG, "bff_aggregator.runs")
    client = await start_aggregator(backend_url=await start_app(ForeignBackend()))
    await client.get(COMPLETE)
    [record] = [vars(record) for record in caplog.records if record.message == "run loaded"]
    assert record["parts"] == dict.fromkeys(("metrics", "equity", "orders"), "ok from backend")
