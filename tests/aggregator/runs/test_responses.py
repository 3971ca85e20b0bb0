"""The forms that answers about runs take, and what stands in them."""

import asyncio
import gzip
import math
import statistics
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from itertools import pairwise
from typing import Any

import httpx
import pytest

from bff_aggregator.http import content_coding

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

StartAggregator = Callable[..., Awaitable[httpx.AsyncClient]]
PARTS = ("metrics", "equity", "orders")
SMALL = {"AAPL": "2024-11-01", "MSFT": "2025-03-01", "SPY": "2024-06-01"}


def small(demo: Any, symbol: str = "AAPL") -> str:
    items = demo.get("/backtests", limit=100, symbol=symbol).json()["items"]
    return str(next(item["run_id"] for item in items if item["run_from"] == SMALL[symbol]))


def without_metadata(answer: httpx.Response) -> dict[str, Any]:
    return {name: part for name, part in answer.json().items() if name != "metadata"}


async def test_finished_run_is_not_sent_twice(demo: Any, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url)
    path = f"/api/v1/runs/{small(demo)}/complete"
    cold, warm = await client.get(path), await client.get(path)
    assert cold.headers["etag"] != warm.headers["etag"], "their metadata differ, so their bytes do"
    for tag in (cold.headers["etag"], warm.headers["etag"], f'"x", W/{warm.headers["etag"]}'):
        answer = await client.get(path, headers={"if-none-match": tag})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] in tag
        assert "Authorization" in answer.headers["vary"]
    other = await client.get(f"{path}?equity_points=50", headers={"if-none-match": cold.headers["etag"]})
    assert other.status_code == 200
    plain = await client.get(path, headers={"if-none-match": cold.headers["etag"], "accept-encoding": "identity"})
    assert plain.status_code == 200


@pytest.mark.parametrize(("accept", "coding"), [("gzip", "gzip"), ("gzip, deflate, br, zstd", "zstd")])
@pytest.mark.parametrize("path", ["complete", "list"])
async def test_compressed_answer_is_the_plain_one(
    demo: Any, start_aggregator: StartAggregator, path: str, accept: str, coding: str
) -> None:
    client = await start_aggregator(backend_url=demo.url)
    target = "/api/v1/runs" if path == "list" else f"/api/v1/runs/{small(demo)}/complete"
    plain = await client.get(target, headers={"accept-encoding": "identity"})
    async with client.stream("GET", target, headers={"accept-encoding": accept}) as packed:
        raw = b"".join([piece async for piece in packed.aiter_raw()])
    assert packed.headers["content-encoding"] == coding
    assert "Accept-Encoding" in packed.headers["vary"]
    assert "content-encoding" not in plain.headers
    assert len(raw) < len(plain.content) / 3
    body = httpx.Response(200, content={"gzip": gzip.decompress, "zstd": zstd.decompress}[coding](raw))
    if path == "complete":
        assert without_metadata(body) == without_metadata(plain)
        assert packed.headers["etag"].endswith(f'-{coding}"')
    else:
        assert [item["run_id"] for item in body.json()["items"]] == [item["run_id"] for item in plain.json()["items"]]


async def test_columns_hold_the_same_as_rows(demo: Any, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url)
    path = f"/api/v1/runs/{small(demo)}/complete"
    rows = (await client.get(path)).json()
    columns = (await client.get(f"{path}?format=columns")).json()
    seconds = [int(datetime.fromisoformat(point["ts"]).timestamp()) for point in rows["equity"]]
    assert columns["equity"]["t"] == seconds
    assert set(columns["equity"]) == {"t", "value", "drawdown"}
    for name in ("value", "drawdown"):
        assert columns["equity"][name] == [point[name] for point in rows["equity"]]
    assert columns["orders"]["price"] == [order["price"] for order in rows["orders"]]
    assert columns["orders"]["t"] == [int(datetime.fromisoformat(order["ts"]).timestamp()) for order in rows["orders"]]


async def test_parts_not_asked_for_are_skipped_and_shared_by_other_requests(
    demo: Any, start_aggregator: StartAggregator
) -> None:
    client = await start_aggregator(backend_url=demo.url)
    run = small(demo)
    light = (await client.get(f"/api/v1/runs/{run}/complete?include_equity=false&include_orders=false")).json()
    assert [light["metadata"]["parts"][part]["state"] for part in PARTS] == ["ok", "skipped", "skipped"]
    assert (light["equity"], light["orders"]) == (None, None)
    whole = (await client.get(f"/api/v1/runs/{run}/complete")).json()
    assert whole["metadata"]["backend_calls"] == 2
    assert [whole["metadata"]["parts"][part]["source"] for part in PARTS] == ["cache", "backend", "backend"]


async def test_orders_come_page_by_page(demo: Any, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url)
    path = f"/api/v1/runs/{small(demo)}/complete"
    whole = (await client.get(path)).json()
    page = (await client.get(f"{path}?orders_limit=10&orders_offset=5")).json()
    assert page["orders"] == whole["orders"][5:15]
    assert page["metadata"]["orders_count"] == len(whole["orders"])
    assert (await client.get(f"{path}?orders_offset=100000")).json()["orders"] == []


async def test_decimated_equity_keeps_its_extremes(demo: Any, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url)
    for symbol in SMALL:
        path = f"/api/v1/runs/{small(demo, symbol)}/complete"
        whole = (await client.get(f"{path}?equity_points=0")).json()["equity"]
        for points in (20, 200):
            thin = (await client.get(f"{path}?equity_points={points}")).json()
            line = thin["equity"]
            assert len(line) == thin["metadata"]["equity_points"] <= points
            assert thin["metadata"]["equity_source_points"] == len(whole)
            assert (line[0], line[-1]) == (whole[0], whole[-1])
            for name, pick in (("value", max), ("value", min), ("drawdown", max)):
                assert pick(point[name] for point in line) == pick(point[name] for point in whole)
            assert all(point in whole for point in line[:20])


async def test_computed_figures_equal_an_independent_computation(demo: Any, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url)
    run = small(demo)
    body = (await client.get(f"/api/v1/runs/{run}/complete?equity_points=0")).json()
    told = demo.get(f"/backtests/{run}/metrics").json()
    value = [point["equity"] for point in demo.get(f"/backtests/{run}/equity").json()["equity"]]
    orders = demo.get(f"/backtests/{run}/orders").json()["orders"]
    returns = [later / earlier - 1 for earlier, later in pairwise(value)]
    sharpe = statistics.fmean(returns) / statistics.stdev(returns) * math.sqrt(252 * 390)
    closed = list(zip(orders[::2], orders[1::2], strict=False))
    assert all((a["side"], b["side"]) == ("BUY", "SELL") for a, b in closed)
    assert body["metrics"]["sharpe_ratio"] == pytest.approx(sharpe, rel=1e-9)
    assert body["metrics"]["total_trades"] == len(closed)
    assert body["metrics"]["win_rate"] == sum(b["price"] > a["price"] for a, b in closed) / len(closed)
    assert {name: body["metrics"][name] for name in told} == told
    won, lost = (sum(sign * (b["price"] - a["price"]) > 0 for a, b in closed) for sign in (1, -1))
    assert (body["metrics"]["winning_trades"], body["metrics"]["losing_trades"]) == (won, lost)
    of_trades = {"avg_losing_trade", "avg_winning_trade", "largest_loser", "largest_winner", "losing_trades"}
    of_trades |= {"profit_factor", "total_trades", "win_rate", "winning_trades"}
    assert body["metadata"]["computed"] == [*sorted(of_trades | {"sharpe_ratio"}), "equity.drawdown"]
    peak, losses = value[0], []
    for current in value:
        peak = max(peak, current)
        losses.append((peak - current) / peak)
    assert [point["drawdown"] for point in body["equity"]] == losses


async def test_fifty_who_ask_at_once_cost_as_much_as_one(
    demo: Any, start_aggregator: StartAggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("snapshots.JOINABLE", "service.PART_JOINABLE"):
        monkeypatch.setattr(f"bff_aggregator.runs.{name}", 30.0)
    client = await start_aggregator(backend_url=demo.url, run_timeout=30)
    path = f"/api/v1/runs/{small(demo)}/complete"
    demo.forget()
    answers = await asyncio.gather(*(client.get(path) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(demo.seen("/backtests")) == 4
    assert sum(answer.json()["metadata"]["backend_calls"] for answer in answers) == 4


async def test_list_shows_key_metrics_once_they_are_there(demo: Any, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url)
    async with asyncio.timeout(30):
        while True:
            body = (await client.get("/api/v1/runs?symbol=SPY&limit=10")).json()
            if body["metadata"]["metrics_pending"] == 0:
                break
    for item in body["items"]:
        told = demo.get(f"/backtests/{item['run_id']}/metrics")
        if item["status"] == "DONE":
            assert item["metrics"]["sharpe_ratio"] == told.json()["sharpe_ratio"]
            assert item["metrics_state"] == "ok"
        else:
            assert (item["metrics"], item["metrics_state"]) == (None, "missing")
    demo.forget()
    assert (await client.get("/api/v1/runs?symbol=SPY&limit=10")).json()["items"] == body["items"]
    assert {request["path"] for request in demo.seen("/backtests")} <= {"/backtests"}


async def test_list_is_shown_stale_while_the_backend_fails(
    demo: Any, start_aggregator: StartAggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bff_aggregator.runs.list_service.FRESH", 0.0)
    client = await start_aggregator(backend_url=demo.url)
    fresh = (await client.get("/api/v1/runs?symbol=SPY")).json()
    demo.faults({"path_prefix": "/backtests", "refuse": True})
    stale = (await client.get("/api/v1/runs?symbol=SPY")).json()
    assert (fresh["metadata"]["stale"], stale["metadata"]["stale"]) == (False, True)
    assert [item["run_id"] for item in stale["items"]] == [item["run_id"] for item in fresh["items"]]
    assert (await client.get("/api/v1/runs?symbol=AAPL")).status_code == 502


async def test_list_does_not_wait_for_slow_metrics(demo: Any, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url)
    demo.faults({"path_pattern": "/metrics$", "latency_ms": 60_000})
    async with asyncio.timeout(30):
        body = (await client.get("/api/v1/runs?symbol=SPY")).json()
    states = {item["metrics_state"] for item in body["items"] if item["status"] in {"DONE", "ERROR", "CANCELLED"}}
    assert states == {"pending"}


async def test_metrics_are_counted_per_part(demo: Any, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url)
    await client.get(f"/api/v1/runs/{small(demo)}/complete?include_orders=false")
    text = (await client.get("/metrics")).text
    assert 'bff_run_parts_total{part="equity",source="backend",state="ok"} 1.0' in text
    assert 'bff_run_parts_total{part="orders"' not in text
    assert 'bff_run_part_seconds_count{part="metrics"} 1.0' in text


async def test_answer_says_how_it_came_about(demo: Any, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url)
    path = f"/api/v1/runs/{small(demo)}/complete"
    cold, warm = await client.get(path), await client.get(path)
    assert cold.headers["cache-status"] == "bff-aggregator; fwd=miss"
    assert warm.headers["cache-status"] == "bff-aggregator; hit"
    assert "load;dur=" in warm.headers["server-timing"]
    assert warm.headers["cache-control"] == "private, no-cache"


async def test_purged_run_is_read_anew(demo: Any, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url, admin_token="sesame")
    run = small(demo)
    for path in (f"/api/v1/runs/{run}/complete", "/api/v1/runs"):
        await client.get(path)
    purge = f"/api/v1/cache/runs?run_id={run}"
    assert (await client.delete(purge)).status_code == 401
    answer = await client.delete(purge, headers={"authorization": "Bearer sesame"})
    assert (answer.status_code, answer.json()["purged"]) == (200, True)
    again = (await client.get(f"/api/v1/runs/{run}/complete")).json()
    assert again["metadata"]["backend_calls"] == 4
    assert (await client.get("/api/v1/runs")).json()["metadata"]["backend_calls"] == 1


async def test_openapi_describes_the_answers(start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url="http://127.0.0.1:9")
    paths = (await client.get("/api/v1/openapi/aggregator.json")).json()["paths"]
    route = paths["/api/v1/runs/{run_id}/complete"]["get"]
    assert {parameter["name"] for parameter in route["parameters"]} >= {"run_id", "equity_points", "require", "format"}
    assert set(route["responses"]) >= {"200", "304", "401", "403", "404", "422", "502", "503", "504"}
    assert route["responses"]["200"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/CompleteRun"
    }


async def test_a_finished_run_is_compressed_once_for_all_who_find_it_in_the_cache(
    demo: Any, start_aggregator: StartAggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    compressed: list[object] = []
    compress_steps = content_coding.compress_steps

    def compressing(*arguments: Any, **more: Any) -> Any:
        compressed.append(arguments)
        return compress_steps(*arguments, **more)

    monkeypatch.setattr(content_coding, "compress_steps", compressing)
    client = await start_aggregator(backend_url=demo.url)
    path, headers = f"/api/v1/runs/{small(demo)}/complete", {"accept-encoding": "gzip"}
    cold = await client.get(path, headers=headers)
    warm = await asyncio.gather(*(client.get(path, headers=headers) for _ in range(10)))
    warm += [await client.get(path, headers=headers) for _ in range(3)]
    assert len(compressed) == 2, "one for who read the run, one for all who came later"
    assert len({answer.content for answer in warm}) == len({answer.headers["etag"] for answer in warm}) == 1
    assert cold.headers["etag"] != warm[0].headers["etag"]
    assert without_metadata(cold) == without_metadata(warm[0])
    assert warm[0].json()["metadata"]["cache_hit"] is True
    assert int(warm[-1].headers["age"]) >= 0
    assert "age" not in cold.headers
