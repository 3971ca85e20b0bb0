from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.support.foreign import RUN, ForeignBackend

StartAggregator = Callable[..., Awaitable[httpx.AsyncClient]]
PARTS = ("metrics", "equity", "orders")


def run_of(demo: Any, status: str, **fields: Any) -> str:
    items = demo.get("/backtests", limit=100).json()["items"]
    wanted = {"status": status, **fields}
    return str(next(item["run_id"] for item in items if wanted.items() <= item.items()))


def month(demo: Any) -> str:
    return run_of(demo, "DONE", symbol="AAPL", run_from="2024-11-01")


async def test_complete_run_has_all_parts_of_the_backend(demo: Any, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url)
    run = month(demo)
    answer = await client.get(f"/api/v1/runs/{run}/complete", params={"equity_points": 0})
    assert answer.status_code == 200
    body = answer.json()
    detail, metrics, equity, orders = (
        demo.get(f"/backtests/{run}{part}").json() for part in ("", *map("/{}".format, PARTS))
    )
    assert {name: body["run"][name] for name in detail} == detail
    assert body["run"]["symbol"] == "AAPL"
    assert {name: body["metrics"][name] for name in metrics} == metrics
    assert [(p["ts"], p["value"]) for p in body["equity"]] == [(p["timestamp"], p["equity"]) for p in equity["equity"]]
    assert [(o["ts"], o["price"], o["side"], o["symbol"]) for o in body["orders"]] == [
        (o["timestamp"], o["price"], o["side"], "AAPL") for o in orders["orders"]
    ]
    assert body["metadata"]["orders_count"] == len(orders["orders"])
    assert body["metadata"]["equity_points"] == len(equity["equity"])
    assert body["metadata"]["partial_data"] is False
    assert {part["state"] for part in body["metadata"]["parts"].values()} == {"ok"}


async def test_second_answer_comes_from_the_cache(demo: Any, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url)
    path = f"/api/v1/runs/{month(demo)}/complete"
    first = (await client.get(path)).json()
    demo.forget()
    second = (await client.get(path)).json()
    assert demo.seen("/backtests") == []
    assert (first["metadata"]["cache_hit"], first["metadata"]["backend_calls"]) == (False, 4)
    assert (second["metadata"]["cache_hit"], second["metadata"]["backend_calls"]) == (True, 0)
    assert {name: first[name] for name in ("run", *PARTS)} == {name: second[name] for name in ("run", *PARTS)}


async def test_unknown_run_is_404_and_costs_one_call(demo: Any, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url)
    answer = await client.get("/api/v1/runs/nope/complete")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "RUN_NOT_FOUND")
    assert (await client.get("/api/v1/runs/nope/status")).status_code == 404


@pytest.mark.parametrize("status", ["ERROR", "CANCELLED"])
async def test_parts_that_do_not_exist_are_missing_not_failed(
    demo: Any, start_aggregator: StartAggregator, status: str
) -> None:
    client = await start_aggregator(backend_url=demo.url)
    body = (await client.get(f"/api/v1/runs/{run_of(demo, status)}/complete")).json()
    assert body["run"]["status"] == status
    assert [body[name] for name in PARTS] == [None, None, None]
    assert (body["metadata"]["partial_data"], body["metadata"]["failed_sources"]) == (True, [])
    assert {body["metadata"]["parts"][name]["state"] for name in PARTS} == {"missing"}


async def test_backend_that_is_down_is_502(start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url="http://127.0.0.1:9")
    for path in ("/api/v1/runs/x/complete", "/api/v1/runs/x/status", "/api/v1/runs"):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "BACKEND_UNAVAILABLE")


async def test_list_is_the_backends(demo: Any, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url)
    body = (await client.get("/api/v1/runs", params={"symbol": "TSLA", "limit": 2, "offset": 1})).json()
    told = demo.get("/backtests", symbol="TSLA", limit=2, offset=1).json()
    assert [
        {name: item[name] for name in other} for item, other in zip(body["items"], told["items"], strict=True)
    ] == told["items"]
    assert (body["total"], body["limit"], body["offset"]) == (told["total"], 2, 1)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/v1/runs/a%0Ab/complete", "run_id"),
        ("/api/v1/runs/%2e%2e/status", "run_id"),
        ("/api/v1/runs/%C2%AD/view", "run_id"),
        (f"/api/v1/runs/{'a' * 257}/complete", "run_id"),
        ("/api/v1/runs/x/complete?equity_points=-1", "equity_points"),
        ("/api/v1/runs/x/complete?orders_limit=some", "orders_limit"),
        ("/api/v1/runs/x/complete?require=metrics,fills", "require"),
        ("/api/v1/runs/x/complete?format=arrow", "format"),
        ("/api/v1/runs/x/complete?include_equity=perhaps", "include_equity"),
        ("/api/v1/runs?limit=some", "limit"),
        ("/api/v1/runs?to=2024-02-30T00:00:00Z", "to"),
        ("/api/v1/runs?from=yesterday", "from"),
    ],
)
async def test_bad_input_is_422_naming_the_field(start_aggregator: StartAggregator, path: str, field: str) -> None:
    client = await start_aggregator(backend_url="http://127.0.0.1:9")
    answer = await client.get(path)
    assert answer.status_code == 422
    assert field in answer.json()["error"]["details"]["fields"]


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("limit=0", "limit=1&offset=0&order=-created_at"),
        ("limit=-5&offset=-1", "limit=1&offset=0&order=-created_at"),
        ("limit=9999&order=zzz", "limit=500&offset=0&order=-created_at"),
        ("order=created_at", "limit=20&offset=0&order=created_at"),
        ("from=2024-01-02T00:00:00&to=2024-01-03T23:00:00-05:00", "from=2024-01-02&to=2024-01-04&"),
    ],
)
async def test_list_is_held_to_what_the_backend_allows_as_the_backend_does_it(
    demo: Any, start_aggregator: StartAggregator, query: str, asked: str
) -> None:
    client = await start_aggregator(backend_url=demo.url)
    assert (await client.get(f"/api/v1/runs?{query}")).status_code == 200
    assert asked in demo.seen("/backtests")[0]["query"]


async def test_fields_of_the_originals_contract_are_there(start_aggregator: StartAggregator, start_app: Any) -> None:
    backend = ForeignBackend()
    backend.bodies["/backtests/r"] = (
        RUN[:-1] + b',"started_at":"2024-01-02T00:00:01Z","finished_at":"2024-01-02T00:00:02Z","error_message":"so"}'
    )
    client = await start_aggregator(backend_url=await start_app(backend))
    complete = (await client.get("/api/v1/runs/r/complete")).json()
    status = (await client.get("/api/v1/runs/r/status")).json()
    for told in (complete["run"], status):
        names = ("started_at", "completed_at", "error_message")
        assert [told[name] for name in names] == ["2024-01-02T00:00:01Z", "2024-01-02T00:00:02Z", "so"]
    assert (complete["metrics"]["winning_trades"], complete["metrics"]["losing_trades"]) == (0, 0)
    assert complete["metrics"]["profit_factor"] is None
