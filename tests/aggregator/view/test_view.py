"""The view of a run: three lines of what three requests would have answered, each as soon as it is there."""

import asyncio
import json
import sys
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from bff_aggregator.cache import lease
from bff_aggregator.cache.store import Store
from bff_aggregator.runs import service
from bff_aggregator.runs.response import RunResponses
from bff_shared.outcome_log import OutcomeLog
from bff_shared.outcomes import Counts
from tests.support.redis_server import RedisServer

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

StartAggregator = Callable[..., Awaitable[httpx.AsyncClient]]
StartApp = Callable[[Any], Awaitable[str]]
Query = dict[str, str | int]
PARTS = ("metrics", "equity", "orders")
RUN = "/backtests/r"
FLAGS = ("chart_data", "run_data")
HANG = 20


class Backend:
    """A backend with one run; answers to paths in `held` wait for `let_go`, and `statuses` are those of others."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.left: list[str] = []
        self.held: dict[str, asyncio.Event] = {}
        self.statuses: dict[str, int] = {}
        self.run = {"run_id": "r", "status": "DONE", "created_at": "2024-01-02T00:00:00Z", "symbol": "AAPL"}
        self.run |= {"run_from": "2024-01-01", "run_to": "2024-01-31"}

    def hold(self, *paths: str) -> None:
        self.held |= {path: asyncio.Event() for path in paths}

    def let_go(self, *paths: str) -> None:
        for path in paths:
            self.held.pop(path).set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        self.calls[path] += 1
        if path in self.held and not await self.waited(receive, self.held[path]):
            self.left.append(path)
            return
        status = self.statuses.get(path, 200)
        head = {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]}
        await send(head)
        body = self.body(path) if status == 200 else {"detail": "the backend's own words"}
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})

    async def waited(self, receive: Any, event: asyncio.Event) -> bool:
        """Wait for an event; tell whether the client is still there."""

        async def leave() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        ways = [asyncio.create_task(leave()), asyncio.create_task(event.wait())]
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        return ways[1] in done

    def body(self, path: str) -> Any:
        if path == RUN:
            return self.run
        if path == f"{RUN}/metrics":
            return {"total_return": 1.0}
        if path.startswith(RUN):
            return {path.rpartition("/")[2]: [{"timestamp": "2024-01-02T14:30:00Z", "equity": 1.0, "price": 1.0}]}
        bar = {"t": "2024-01-02T00:00:00Z", "o": 1.0, "h": 2.0, "l": 0.5, "c": 1.5, "v": 100, "n": 1}
        return {"symbol": "AAPL", "bars": [bar]}


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
async def client(backend: Backend, start_app: StartApp, start_aggregator: StartAggregator) -> httpx.AsyncClient:
    return await start_aggregator(backend_url=await start_app(backend), run_timeout=HANG, chart_timeout=HANG)


@asynccontextmanager
async def lines(client: httpx.AsyncClient, path: str = "/api/v1/runs/r/view") -> AsyncIterator[AsyncIterator[Any]]:
    """Ask for a view and give its lines one by one."""
    async with asyncio.timeout(HANG), client.stream("GET", path) as answer:
        assert answer.status_code == 200
        yield (json.loads(line) async for line in answer.aiter_lines())


async def view(client: httpx.AsyncClient, run: str = "r", **rest: Any) -> dict[str, dict[str, Any]]:
    """Return the lines of a whole view by name."""
    answer = await client.get(f"/api/v1/runs/{run}/view", **rest)
    assert answer.status_code == 200
    is_zstd = answer.headers.get("content-encoding") == "zstd"  # which the client does not know
    content = zstd.decompress(answer.content) if is_zstd else answer.content
    told = [json.loads(line) for line in content.splitlines()]
    assert told[0]["name"] == "head"
    assert sorted(line["name"] for line in told) == ["chart", "head", "run"]
    return {line["name"]: line for line in told}


async def until(fact: Callable[[], Any]) -> None:
    async with asyncio.timeout(HANG):
        while not fact():
            await asyncio.sleep(0.005)


def run_of(demo: Any, **fields: Any) -> str:
    items = demo.get("/backtests", limit=100).json()["items"]
    return str(next(item["run_id"] for item in items if fields.items() <= item.items()))


def without(body: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in names}


async def test_lines_are_what_the_requests_for_each_part_answer(demo: Any, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url, run_timeout=HANG, chart_timeout=HANG)
    run = run_of(demo, symbol="AAPL", run_from="2024-11-01", status="DONE")
    told = await view(client, run, params={"timeframe": "1H", "target_points": 100, "equity_points": 300})
    window = {"from_date": "2024-11-01", "to_date": "2024-11-30"}
    query: Query = {"symbol": "AAPL", "timeframe": "1H", "target_points": 100, "format": "columns", **window}
    status = (await client.get(f"/api/v1/runs/{run}/status")).json()
    chart = (await client.get("/api/v1/chart-data", params=query)).json()
    whole = (await client.get(f"/api/v1/runs/{run}/complete", params={"equity_points": 300})).json()
    assert told["head"] == {"name": "head", "status": 200, "body": status}
    assert without(told["chart"]["body"], "metadata") == without(chart, "metadata")
    assert len(chart["t"]) > 50
    assert without(told["run"]["body"], "metadata") == without(whole, "metadata")
    assert 100 < len(told["run"]["body"]["equity"]) <= 300


@pytest.mark.parametrize("coding", ["identity", "gzip", "zstd"])
async def test_tags_are_good_for_the_requests_of_each_part(
    demo: Any, start_aggregator: StartAggregator, coding: str
) -> None:
    client = await start_aggregator(backend_url=demo.url, run_timeout=HANG, chart_timeout=HANG)
    run = run_of(demo, symbol="AAPL", run_from="2024-11-01", status="DONE")
    headers = {"Accept-Encoding": coding}
    told = await view(client, run, headers=headers)
    query: Query = {"symbol": "AAPL", "timeframe": "1D", "target_points": 2000, "format": "columns"}
    query |= {"from_date": "2024-11-01", "to_date": "2024-11-30"}
    chart = {**headers, "If-None-Match": told["chart"]["etag"]}
    assert (await client.get("/api/v1/chart-data", params=query, headers=chart)).status_code == 304
    whole = {**headers, "If-None-Match": told["run"]["etag"]}
    assert (await client.get(f"/api/v1/runs/{run}/complete", headers=whole)).status_code == 304


async def test_view_costs_no_call_that_its_parts_do_not(backend: Backend, client: httpx.AsyncClient) -> None:
    told = await view(client)
    assert backend.calls == Counter((RUN, *(f"{RUN}/{name}" for name in PARTS), "/bars/daily"))
    assert told["run"]["body"]["metadata"]["backend_calls"] == 4
    again = await view(client)
    assert backend.calls.total() == 5
    assert [again[name]["body"]["metadata"]["cache_hit"] for name in ("chart", "run")] == [True, True]


async def test_head_and_chart_come_while_the_run_is_still_read(backend: Backend, client: httpx.AsyncClient) -> None:
    backend.hold(f"{RUN}/equity")
    async with lines(client) as told:
        assert (await anext(told))["name"] == "head"
        assert (await anext(told))["name"] == "chart"
        backend.let_go(f"{RUN}/equity")
        assert (await anext(told))["body"]["metadata"]["partial_data"] is False
        assert await anext(told, None) is None


async def test_chart_of_a_known_symbol_is_asked_for_before_the_run_is_seen(
    backend: Backend, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bff_aggregator.runs.service.LEAD", HANG)
    backend.hold(RUN)
    known = {"symbol": "AAPL", "from_date": "2024-01-01", "to_date": "2024-01-31"}
    asking = asyncio.create_task(view(client, params=known))
    await until(lambda: backend.calls["/bars/daily"])
    assert not [path for path in backend.calls if path.startswith(f"{RUN}/equity")]
    backend.let_go(RUN)
    told = await asking
    assert (told["chart"]["body"]["symbol"], told["chart"]["body"]["c"]) == ("AAPL", [1.5])
    assert backend.calls.total() == 5


@pytest.mark.parametrize(
    "known", [{"symbol": "MSFT", "from_date": "2024-01-01", "to_date": "2024-01-31"}, {"symbol": "MSFT"}]
)
async def test_symbol_that_is_not_the_runs_changes_nothing_but_the_time(
    client: httpx.AsyncClient, known: Query
) -> None:
    told = await view(client, params=known)
    assert told["chart"]["body"]["symbol"] == "AAPL"
    assert told["chart"]["body"]["from_date"] == "2024-01-01"


async def test_run_comes_while_the_chart_is_still_read(backend: Backend, client: httpx.AsyncClient) -> None:
    backend.hold("/bars/daily")
    async with lines(client) as told:
        assert (await anext(told))["body"]["status"] == "DONE"
        assert (await anext(told))["name"] == "run"
        backend.let_go("/bars/daily")
        assert (await anext(told))["body"]["c"] == [1.5]
        assert await anext(told, None) is None


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_each_compressed_line_can_be_read_before_the_next(
    backend: Backend, client: httpx.AsyncClient, coding: str
) -> None:
    backend.hold(f"{RUN}/equity", "/bars/daily")
    reader = zlib.decompressobj(31) if coding == "gzip" else zstd.ZstdDecompressor()
    text = b""
    async with (
        asyncio.timeout(HANG),
        client.stream("GET", "/api/v1/runs/r/view", headers={"Accept-Encoding": coding}) as answer,
    ):
        assert answer.headers["content-encoding"] == coding
        async for piece in answer.aiter_raw():
            text += reader.decompress(piece)
            if text.count(b"\n") == 1 and "/bars/daily" in backend.held:
                backend.let_go("/bars/daily")
            elif text.count(b"\n") == 2 and backend.held:
                backend.let_go(f"{RUN}/equity")
    assert [json.loads(line)["name"] for line in text.splitlines()] == ["head", "chart", "run"]
    assert reader.eof


async def test_headers_keep_caches_and_buffers_away(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/runs/r/view")
    names = ("content-type", "cache-control", "vary", "x-accel-buffering")
    assert [answer.headers[name] for name in names] == [
        "application/x-ndjson",
        "private, no-store",
        "Authorization, Cookie, Accept-Encoding",
        "no",
    ]
    assert "etag" not in answer.headers


async def test_without_its_head_a_view_is_the_error_of_the_status(backend: Backend, client: httpx.AsyncClient) -> None:
    for status, code in ((404, "RUN_NOT_FOUND"), (500, "BACKEND_UNAVAILABLE")):
        backend.statuses[RUN] = status
        view, alone = [await client.get(f"/api/v1/runs/r/{name}") for name in ("view", "status")]
        assert view.status_code == alone.status_code
        assert view.json()["error"]["code"] == alone.json()["error"]["code"] == code
    backend.statuses[RUN] = 403
    refused = await client.get("/api/v1/runs/r/view")
    assert (refused.status_code, refused.json()) == (403, {"detail": "the backend's own words"})
    assert "/bars/daily" not in backend.calls


async def test_chart_that_fails_costs_nothing_else(backend: Backend, client: httpx.AsyncClient) -> None:
    query = {"symbol": "AAPL", "timeframe": "1D", "from_date": "2024-01-01", "to_date": "2024-01-31"}
    for given, status, code in (
        (500, 502, "BACKEND_UNAVAILABLE"),
        (403, 403, "FORBIDDEN"),
        (429, 429, "TOO_MANY_REQUESTS"),
    ):
        backend.statuses["/bars/daily"] = given
        told = await view(client)
        assert (await client.get("/api/v1/chart-data", params=query)).status_code == told["chart"]["status"] == status
        error = told["chart"]["body"]["error"]
        assert error["code"] == code
        assert error["details"]["correlation_id"]
        assert told["run"]["status"] == 200
    metrics = (await client.get("/metrics")).text
    assert 'bff_view_parts_total{part="chart",status="502"} 1.0' in metrics
    assert 'bff_view_parts_total{part="run",status="200"} 3.0' in metrics


async def test_run_that_goes_away_after_its_head_is_a_failed_part(backend: Backend, client: httpx.AsyncClient) -> None:
    backend.run["status"] = "RUNNING"
    backend.hold(f"{RUN}/equity")
    async with lines(client) as told:
        assert (await anext(told))["body"]["status"] == "RUNNING"
        backend.statuses[RUN] = 404
        assert (await anext(told))["name"] == "chart"
        backend.let_go(f"{RUN}/equity")
        last = await anext(told)
    assert (last["name"], last["status"], last["body"]["error"]["code"]) == ("run", 404, "RUN_NOT_FOUND")


async def test_defect_in_a_part_costs_that_part_only(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(RunResponses, "plain", fail)
    told = await view(client)
    assert (told["run"]["status"], told["run"]["body"]["error"]["code"]) == (500, "INTERNAL")
    assert "a defect" not in json.dumps(told)
    assert "a part of a view failed" in caplog.messages
    assert told["chart"]["status"] == 200


async def test_run_that_was_encoded_for_its_own_request_is_not_encoded_again(
    backend: Backend, client: httpx.AsyncClient
) -> None:
    backend.run["note"] = "x" * 2000  # short answers are not compressed, whoever asks
    gzip = {"Accept-Encoding": "gzip"}
    alone = await client.get("/api/v1/runs/r/complete", headers=gzip)
    told = await view(client, headers=gzip)
    assert alone.headers["content-encoding"] == "gzip"
    assert without(told["run"]["body"], "metadata") == without(alone.json(), "metadata")
    assert 'bff_run_bodies_total{origin="encoded"} 1.0' in (await client.get("/metrics")).text


async def test_unfinished_run_has_no_tag(backend: Backend, client: httpx.AsyncClient) -> None:
    backend.run["status"] = "RUNNING"
    told = await view(client)
    assert "etag" not in told["run"]
    assert "etag" in told["chart"]


async def test_run_without_symbol_or_window_has_no_chart(backend: Backend, client: httpx.AsyncClient) -> None:
    whole = backend.run
    for absent in ("symbol", "run_from", "run_to"):
        backend.run = without(whole, absent)
        told = await view(client, headers={"Authorization": f"Bearer {absent}"})
        assert (told["chart"]["status"], told["chart"]["body"]["error"]["code"]) == (404, "DATASET_NOT_FOUND")
        assert told["run"]["status"] == 200
    assert "/bars/daily" not in backend.calls
    window = {"from_date": "2024-01-02", "to_date": "2024-01-31"}
    told = await view(client, params=window, headers={"Authorization": "Bearer run_to"})
    assert told["chart"]["body"]["from_date"] == "2024-01-02"


async def test_bad_parameters_are_refused_by_name_before_the_backend_is_asked(
    backend: Backend, client: httpx.AsyncClient
) -> None:
    for query, field in (
        ("timeframe=1Y", "timeframe"),
        ("timeframe=1D&timeframe=1H", "timeframe"),
        ("target_points=99", "target_points"),
        ("rth_only=perhaps", "rth_only"),
        ("from_date=2024-01-01", "to_date"),
        ("from_date=2024-02-30&to_date=2024-03-01", "from_date"),
        ("from_date=2024-02-02&to_date=2024-02-01", "to_date"),
        ("equity_points=-1", "equity_points"),
        ("symbol=%00&from_date=2024-01-01&to_date=2024-01-31", "symbol"),
    ):
        answer = await client.get(f"/api/v1/runs/r/view?{query}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "VALIDATION")
        assert field in answer.json()["error"]["details"]["fields"]
    assert (await client.get("/api/v1/runs/r/view", headers={"X-Request-Timeout": "soon"})).status_code == 422
    assert not backend.calls


async def test_time_limit_of_the_request_holds_for_all_parts(backend: Backend, client: httpx.AsyncClient) -> None:
    backend.hold("/bars/daily", f"{RUN}/equity")
    told = await view(client, headers={"X-Request-Timeout": "0.5"})
    assert (told["chart"]["status"], told["chart"]["body"]["error"]["code"]) == (504, "BACKEND_TIMEOUT")
    assert told["run"]["body"]["metadata"]["failed_sources"] == ["equity"]
    backend.hold(RUN)
    late = {"X-Request-Timeout": "0.2", "Authorization": "Bearer other"}
    answer = await client.get("/api/v1/runs/r/view", headers=late)
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "BACKEND_TIMEOUT")
    backend.let_go("/bars/daily", f"{RUN}/equity", RUN)


async def test_users_do_not_see_what_is_kept_for_others(backend: Backend, client: httpx.AsyncClient) -> None:
    await view(client, headers={"Authorization": "Bearer one"})
    told = await view(client, headers={"Authorization": "Bearer other"})
    assert told["run"]["body"]["metadata"]["cache_hit"] is False
    assert backend.calls.total() == 10


async def test_client_that_leaves_ends_the_calls_that_only_it_waits_for(
    backend: Backend, client: httpx.AsyncClient
) -> None:
    backend.hold(f"{RUN}/equity", f"{RUN}/orders")
    async with lines(client) as told:
        assert (await anext(told))["name"] == "head"
        assert (await anext(told))["name"] == "chart"
        await until(lambda: backend.calls[f"{RUN}/equity"] and backend.calls[f"{RUN}/orders"])
    await until(lambda: sorted(backend.left) == [f"{RUN}/equity", f"{RUN}/orders"])


async def test_client_that_leaves_before_the_head_costs_no_further_call(
    backend: Backend, client: httpx.AsyncClient
) -> None:
    backend.hold(RUN, *(f"{RUN}/{name}" for name in PARTS))
    asking = asyncio.create_task(client.get("/api/v1/runs/r/view"))
    await until(lambda: backend.calls.total() == 4)
    asking.cancel()
    await until(lambda: set(backend.left) >= {f"{RUN}/{name}" for name in PARTS})
    assert "/bars/daily" not in backend.calls


async def test_run_is_looked_at_while_its_parts_are_being_claimed(
    backend: Backend, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreed, take = asyncio.Event(), lease.Leases.take

    async def slowly(*given: Any) -> set[str]:
        await agreed.wait()
        return await take(*given)

    monkeypatch.setattr(lease.Leases, "take", slowly)
    async with lines(client) as told:
        assert (await anext(told))["name"] == "head"
        assert (await anext(told))["name"] == "chart"
        assert sorted(backend.calls) == [RUN, "/bars/daily"]
        agreed.set()
        assert (await anext(told))["body"]["metadata"]["partial_data"] is False


async def test_claim_that_comes_after_the_answer_is_given_back(
    backend: Backend,
    redis: Any,
    start_app: StartApp,
    start_aggregator: StartAggregator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered, acquired, acquire = asyncio.Event(), asyncio.Event(), Store.acquire

    async def slowly(*given: Any) -> Any:
        await answered.wait()
        found = await acquire(*given)
        acquired.set()
        return found

    monkeypatch.setattr(Store, "acquire", slowly)
    monkeypatch.setattr(lease, "LEASE_SECONDS", 10.0 * HANG)
    monkeypatch.setattr(service, "BEHIND", 0.0)
    backend.statuses[RUN] = 404
    client = await start_aggregator(backend_url=await start_app(backend), redis_url=redis.url)
    assert (await client.get("/api/v1/runs/r/view")).status_code == 404
    answered.set()
    await acquired.wait()
    with redis.client() as looking:
        await until(lambda: not looking.keys("*:lock"))


async def test_curve_is_asked_for_first_and_told_where_it_always_was(
    backend: Backend, start_app: StartApp, start_aggregator: StartAggregator
) -> None:
    # With one connection to the backend, calls are made in the order in which they are asked for.
    client = await start_aggregator(backend_url=await start_app(backend), run_timeout=HANG, max_connections=1)
    whole = (await client.get("/api/v1/runs/r/complete")).json()
    assert list(backend.calls) == [RUN, f"{RUN}/equity", f"{RUN}/metrics", f"{RUN}/orders"]
    assert list(whole["metadata"]["parts"]) == ["run", *PARTS]
    assert whole["metadata"]["data_sources"] == ["run", *PARTS]


async def test_parts_count_for_the_flags_that_they_belong_to_unless_the_client_was_in_a_hurry(
    backend: Backend, start_app: StartApp, start_aggregator: StartAggregator, redis: RedisServer
) -> None:
    settings = {"run_timeout": HANG, "chart_timeout": HANG, "rollback_enabled": True, "redis_url": redis.url}
    client = await start_aggregator(backend_url=await start_app(backend), **settings)
    backend.statuses["/bars/daily"] = 500
    assert (await view(client))["chart"]["status"] == 502
    backend.hold("/bars/daily")
    assert (await view(client, headers={"X-Request-Timeout": "0.1"}))["chart"]["status"] == 504
    backend.let_go("/bars/daily")
    log, found = OutcomeLog(redis.url), dict[str, Counts]()
    async with asyncio.timeout(HANG):
        while sum(counts.requests for counts in found.values()) < 4:
            spans = await log.spans(60)
            found = {key: sum((of.get(key, Counts()) for of in spans.values()), Counts()) for key in FLAGS}
    await log.aclose()
    assert [(found[key].requests, found[key].errors) for key in FLAGS] == [(2, 1), (2, 0)]
