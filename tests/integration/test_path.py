"""The main job, through the real nginx, Redis-protocol server, demo backend and three services."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import websockets

from bff_tools import Stack, StackOptions
from tests.integration.standin import MakeStack

YEAR = "from_date=2024-01-01&to_date=2024-12-31"


@pytest.fixture(scope="module")
def faulty_stack(make_stack: MakeStack) -> Stack:
    """A stack whose demo backend tells what it received."""
    return make_stack(StackOptions(demo_args=("--faults",)))


@pytest.fixture
def origin(faulty_stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=faulty_stack.origin, trust_env=False, timeout=20) as client:
        yield client


@pytest.fixture
def backend(faulty_stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=faulty_stack.backend_url, trust_env=False, timeout=20) as client:
        yield client


def settled(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something in another process has happened."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def finished_run(client: httpx.Client) -> dict[str, Any]:
    """Return the shortest finished run that has all its artifacts."""
    runs = client.get("/backtests?limit=500").json()["items"]
    done = [run for run in runs if run["status"] == "DONE"]
    whole = (run for run in done if client.get(f"/backtests/{run['run_id']}/equity").status_code == 200)
    return min(whole, key=lambda run: (run["run_to"] > run["run_from"][:5] + "99", run["run_id"]))


@pytest.mark.parametrize(
    "path",
    ["/backtests", "/backtests?limit=3&order=created_at", "/bars/daily?symbol=AAPL", "/bars/daily", "/backtests/nope"],
)
def test_proxied_answer_is_the_backends(origin: httpx.Client, backend: httpx.Client, path: str) -> None:
    through, legacy, direct = origin.get("/api/v1" + path), origin.get(path), backend.get(path)
    assert (through.status_code, through.content) == (direct.status_code, direct.content)
    assert (legacy.status_code, legacy.content) == (direct.status_code, direct.content)


def test_run_is_created_through_the_origin(origin: httpx.Client) -> None:
    body = {"strategy_id": "sma_crossover", "params": {"fast": 5, "slow": 21}, "symbol": "SPY", "year": 2024}
    first = origin.post("/api/v1/backtests", json=body, headers={"Idempotency-Key": "path-test"})
    again = origin.post("/api/v1/backtests", json=body, headers={"Idempotency-Key": "path-test"})
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["run_id"] == again.json()["run_id"]


def test_year_of_hours_agrees_value_by_value(origin: httpx.Client, backend: httpx.Client) -> None:
    chart = origin.get(f"/api/v1/chart-data?symbol=AAPL&timeframe=1H&{YEAR}").json()
    bars = backend.get("/bars/hour?symbol=AAPL&from=2024-01-01&to=2024-12-31&rth_only=true").json()["bars"]
    ours = [[bar[k] for k in ("timestamp", "open", "high", "low", "close", "volume")] for bar in chart["bars"]]
    assert ours == [[bar[k] for k in "tohlcv"] for bar in bars]
    assert chart["metadata"]["total_bars"] == len(bars) > 1500


@pytest.mark.parametrize("timeframe", ["1D", "1M", "1M_DECIMATED"])
def test_every_timeframe_answers(origin: httpx.Client, timeframe: str) -> None:
    window = "from_date=2024-10-01&to_date=2024-10-31&target_points=500"
    chart = origin.get(f"/api/v1/chart-data?symbol=AAPL&timeframe={timeframe}&{window}").json()
    assert 0 < chart["metadata"]["total_bars"] == len(chart["bars"]) <= 500


def test_complete_run_agrees_with_its_parts(origin: httpx.Client, backend: httpx.Client) -> None:
    run_id = finished_run(backend)["run_id"]
    path = f"/api/v1/runs/{run_id}/complete?equity_points=0"
    whole = origin.get(path).json()
    while whole["metadata"]["partial_data"]:  # a part that was late is there for the next request
        whole = origin.get(path).json()
    detail, equity, orders, metrics = (
        backend.get(f"/backtests/{run_id}{part}").json() for part in ("", "/equity", "/orders", "/metrics")
    )
    assert whole["run"]["status"] == "DONE"
    assert whole["run"]["strategy_id"] == detail["strategy_id"]
    values = [next(point[k] for k in ("equity", "value") if k in point) for point in equity["equity"]]
    assert [point["value"] for point in whole["equity"]] == values
    assert [order["price"] for order in whole["orders"]] == [order["price"] for order in orders["orders"]]
    assert set(metrics.values()) <= set(whole["metrics"].values()) | set(whole["metrics"].get("extra", {}).values())


def test_status_is_the_light_answer(origin: httpx.Client, backend: httpx.Client) -> None:
    run_id = finished_run(backend)["run_id"]
    assert origin.get(f"/api/v1/runs/{run_id}/status").json()["status"] == "DONE"


def first_frames(url: str, count: int) -> list[dict[str, Any]]:
    """Press play and return the first frames."""

    async def play() -> list[dict[str, Any]]:
        frames: list[dict[str, Any]] = []
        async with asyncio.timeout(30), websockets.connect(url, proxy=None, close_timeout=1) as socket:
            await socket.send('{"t":"ctrl","cmd":"play"}')
            async for text in socket:
                message = json.loads(text)
                if message["t"] == "frame":
                    frames.append(message)
                if len(frames) == count:
                    break
        return frames

    return asyncio.run(play())


def test_both_doors_and_the_legacy_path_play_the_same_run(faulty_stack: Stack, backend: httpx.Client) -> None:
    run_id = finished_run(backend)["run_id"]
    at = faulty_stack.origin.replace("http", "ws", 1)
    legacy = first_frames(f"{at}/backtests/{run_id}/ws", 50)
    assert first_frames(f"{at}/api/v1/backtests/{run_id}/ws", 50) == legacy
    for frame in first_frames(f"{at}/api/v1/runs/{run_id}/stream", 20):
        last = next((known for known in legacy if known["ts"] == frame["ts"]), None)
        assert last is None or frame["ohlc"]["c"] == last["ohlc"]["c"]


# ── What a client of the original BFF reads (docs/original-bff.md) ──

METRICS = (
    "total_return sharpe_ratio max_drawdown win_rate profit_factor total_trades winning_trades losing_trades "
    "avg_trade_return avg_winning_trade avg_losing_trade largest_winner largest_loser"
)
RUN = "run_id status strategy_id symbol created_at started_at completed_at error_message"
METADATA = "load_time_ms cache_hit backend_calls data_sources partial_data failed_sources orders_count equity_points"


def test_a_client_of_the_original_finds_what_it_reads_of_a_run(origin: httpx.Client) -> None:
    listed = origin.get("/api/v1/backtests", params={"limit": "100", "status": "DONE"}).json()["items"]
    run_id = next(item["run_id"] for item in listed if item["status"] == "DONE")
    asked = {"include_metrics": "true", "include_equity": "true", "include_orders": "true"}
    whole = origin.get(f"/api/v1/runs/{run_id}/complete", params=asked).json()
    assert set(whole) == {"run", "metrics", "equity", "orders", "metadata"}
    assert set(whole["run"]) >= {*RUN.split(), "params"}
    assert set(whole["metrics"]) >= set(METRICS.split())
    assert set(whole["metadata"]) >= set(METADATA.split())
    assert set(origin.get(f"/api/v1/runs/{run_id}/status").json()) >= set(RUN.split())


def test_a_client_of_the_original_asks_for_charts_as_it_did(origin: httpx.Client) -> None:
    asked = {"symbol": "AAPL", "timeframe": "1D", "from": "2024-01-02T00:00:00", "to": "2024-01-31T00:00:00"}
    chart = origin.get("/api/v1/chart-data", params={**asked, "target_points": "1000", "rth_only": "true"}).json()
    assert set(chart) == {"symbol", "timeframe", "from_date", "to_date", "bars", "metadata"}
    assert len(chart["bars"]) == 21
    assert set(chart["bars"][0]) >= {"timestamp", "open", "high", "low", "close", "volume"}
    told = "total_bars decimated decimation_stride cache_hit load_time_ms backend_calls data_source"
    assert set(chart["metadata"]) >= set(told.split())


@pytest.mark.parametrize("query", ["limit=9999", "limit=0", "limit=-1", "offset=-5", "order=zzz", "limit=abc"])
def test_the_list_takes_the_values_that_the_backend_takes(
    origin: httpx.Client, backend: httpx.Client, query: str
) -> None:
    ours, theirs = origin.get(f"/api/v1/runs?{query}"), backend.get(f"/backtests?{query}")
    assert ours.status_code == theirs.status_code
    if theirs.is_success:
        kept = ("total", "limit", "offset")
        assert [ours.json()[name] for name in kept] == [theirs.json()[name] for name in kept]
        ids = [[item["run_id"] for item in answer.json()["items"]] for answer in (ours, theirs)]
        assert ids[0] == ids[1]


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/health/live"])
def test_health_is_where_the_original_has_it(origin: httpx.Client, path: str) -> None:
    answer = origin.get(f"/api/v1{path}")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert answer.json()["timestamp"]


def test_a_correlation_id_goes_all_the_way_and_back(origin: httpx.Client) -> None:
    answer = origin.get("/api/v1/runs/none/complete", headers={"X-Correlation-ID": "original-1"})
    assert answer.headers["x-correlation-id"] == answer.headers["x-request-id"] == "original-1"
    assert answer.json()["error"]["details"]["correlation_id"] == "original-1"


@pytest.mark.parametrize("service", ["proxy", "aggregator", "wsrelay"])
def test_each_service_describes_itself(origin: httpx.Client, service: str) -> None:
    assert origin.get(f"/api/v1/openapi/{service}.json").json()["info"]["title"] == f"bff-{service}"


def log_of(stack: Stack, name: str, request_id: str) -> bool:
    return request_id in (stack.folder / f"{name}.log").read_text()


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/api/v1/backtests?limit=1", "proxy"),
        ("/api/v1/chart-data?symbol=MSFT&timeframe=1D&from_date=2024-03-01&to_date=2024-03-28", "aggregator"),
    ],
)
def test_one_id_goes_all_the_way(
    faulty_stack: Stack, origin: httpx.Client, backend: httpx.Client, path: str, service: str
) -> None:
    backend.delete("/__requests")
    answer = origin.get(path, headers={"X-Request-ID": f"all-the-way-{service}"})
    assert answer.headers.get_list("x-request-id") == [f"all-the-way-{service}"]
    received = json.dumps(backend.get("/__requests").json())
    assert f"all-the-way-{service}" in received
    settled(lambda: log_of(faulty_stack, "nginx", f"all-the-way-{service}"))
    settled(lambda: log_of(faulty_stack, service, f"all-the-way-{service}"))


def test_id_made_by_nginx_goes_all_the_way(faulty_stack: Stack, origin: httpx.Client) -> None:
    made = origin.get("/api/v1/backtests?limit=1").headers["x-request-id"]
    settled(lambda: log_of(faulty_stack, "nginx", made) and log_of(faulty_stack, "proxy", made))


def test_id_is_in_the_error(origin: httpx.Client) -> None:
    answer = origin.get("/api/v1/chart-data?timeframe=7X", headers={"X-Request-ID": "in-the-error"})
    assert answer.json()["error"]["details"]["correlation_id"] == "in-the-error"


@pytest.mark.parametrize("bad", ["x" * 10_000, "tab\there"])
def test_unsafe_id_is_replaced(origin: httpx.Client, bad: str) -> None:
    answer = origin.get("/api/v1/backtests?limit=1", headers={"X-Request-ID": bad})
    assert answer.status_code == 200
    assert len(answer.headers["x-request-id"]) == 32


def backend_as_seen(origin: httpx.Client) -> list[dict[str, Any]]:
    """Return what each service says of the backend; each finds out in its own time."""
    return [service["dependencies"]["backend"] for service in origin.get("/health").json()["services"].values()]


def test_services_outlive_the_backend(faulty_stack: Stack, origin: httpx.Client) -> None:
    chart = "/api/v1/chart-data?symbol=TSLA&timeframe=1D&from_date=2025-02-03&to_date=2025-02-28"
    faulty_stack["backend"].stop(5)
    try:
        for path in ("/api/v1/backtests", chart, "/api/v1/runs/never-asked-for/complete"):
            answer = origin.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (502, "BACKEND_UNAVAILABLE"), path
        settled(lambda: all(found["status"] == "down" and found["error"] for found in backend_as_seen(origin)))
        assert origin.get("/health").json()["status"] == "degraded"
    finally:
        faulty_stack["backend"].start()
        faulty_stack["backend"].wait_ready(20)
    settled(lambda: origin.get("/api/v1/backtests").status_code == 200)
    settled(lambda: origin.get(chart).status_code == 200)
    settled(lambda: bool(origin.get("/health").json()["status"] == "ok"))


def test_nothing_fails_without_redis(faulty_stack: Stack, origin: httpx.Client) -> None:
    faulty_stack["redis"].stop(5)
    try:
        window = "from_date=2025-05-01&to_date=2025-05-30"
        assert origin.get(f"/api/v1/chart-data?symbol=NVDA&timeframe=1H&{window}").status_code == 200
        assert origin.get("/api/v1/backtests?limit=1").status_code == 200
        assert origin.get("/api/v1/runs").status_code == 200
    finally:
        faulty_stack["redis"].start()
        faulty_stack["redis"].wait_ready(20)
