import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from bff_demo.options import Options
from bff_demo.server import DemoServer

Find = Callable[..., str]
NO_DATA = {"detail": "No data for symbol/year range"}


def get(client: httpx.Client, path: str, **params: Any) -> httpx.Response:
    return client.get(path, params={name.rstrip("_"): value for name, value in params.items()})


def test_healthz_is_ok(client: httpx.Client) -> None:
    assert get(client, "/healthz").text == '{"status":"ok"}'


def test_answers_carry_no_headers_of_their_own(client: httpx.Client) -> None:
    answer = client.get("/healthz", headers={"x-request-id": "abc"})
    assert set(answer.headers) == {"date", "server", "content-length", "content-type"}


def test_list_items_have_the_documented_fields(client: httpx.Client) -> None:
    answer = get(client, "/backtests", limit=3, to="2025-09-30").json()
    assert list(answer) == ["items", "total", "limit", "offset"]
    assert (answer["limit"], answer["offset"]) == (3, 0)
    assert list(answer["items"][0]) == [
        "run_id", "created_at", "strategy_id", "status", "symbol", "run_from", "run_to", "duration_ms",
    ]  # fmt: skip
    assert {name: value for name, value in answer["items"][0].items() if name != "run_id"} == {
        "created_at": "2025-09-27T06:40:25.874238+00:00",
        "strategy_id": "sma_crossover",
        "status": "DONE",
        "symbol": "TSLA",
        "run_from": "2025-01-01",
        "run_to": "2025-09-17",
        "duration_ms": 1234,
    }


def test_list_is_sorted_by_creation(client: httpx.Client) -> None:
    down = [item["created_at"] for item in get(client, "/backtests", limit=500, to="2026-01-31").json()["items"]]
    up = get(client, "/backtests", limit=500, to="2026-01-31", order="created_at").json()["items"]
    assert down == sorted(down, reverse=True)
    assert [item["created_at"] for item in up] == down[::-1]
    assert len(down) == 23


@pytest.mark.parametrize(("asked", "used"), [(0, 1), (-5, 1), (1, 1), (500, 500), (9999, 500)])
def test_limit_is_clamped(client: httpx.Client, asked: int, used: int) -> None:
    assert get(client, "/backtests", limit=asked).json()["limit"] == used


def test_list_pages_do_not_overlap(client: httpx.Client) -> None:
    pages = [get(client, "/backtests", limit=7, offset=offset, to="2026-01-31").json() for offset in (0, 7, 14, 21, 28)]
    assert [len(page["items"]) for page in pages] == [7, 7, 7, 2, 0]
    assert len({item["run_id"] for page in pages for item in page["items"]}) == pages[0]["total"] == 23


def test_list_is_filtered(client: httpx.Client) -> None:
    window = {"from": "2025-09-01", "to": "2025-09-26"}
    assert [item["symbol"] for item in client.get("/backtests", params=window).json()["items"]] == ["MSFT"]
    spy = get(client, "/backtests", symbol="SPY", limit=100, to="2026-01-31").json()
    assert spy["total"] == 3
    assert {item["symbol"] for item in spy["items"]} == {"SPY"}
    assert get(client, "/backtests", strategy_id="other").json()["total"] == 0


def test_detail_has_the_documented_fields(client: httpx.Client, find_run: Find) -> None:
    run = find_run("TSLA", "2025-01-01", "2025-09-17")
    assert get(client, f"/backtests/{run}").json() == {
        "run_id": run,
        "dataset_id": "TSLA-2025-1m",
        "strategy_id": "sma_crossover",
        "params": {"fast": 20, "slow": 50},
        "seed": 42,
        "slippage_fees": {},
        "speed": 60,
        "code_hash": "40f49803d9f6e1fb355c33065a67d243ca45c227",
        "created_at": "2025-09-27T06:40:25.874238+00:00",
        "status": "DONE",
        "duration_ms": 1234,
        "artifacts": {
            "metrics_path": f"data/backtests/{run}/metrics.json",
            "equity_path": f"data/backtests/{run}/equity.parquet",
            "orders_path": f"data/backtests/{run}/orders.parquet",
            "fills_path": f"data/backtests/{run}/fills.parquet",
            "run_manifest_path": f"data/backtests/{run}/run-manifest.json",
        },
        "manifest": {"path": f"data/backtests/{run}/run-manifest.json"},
        "run_from": "2025-01-01",
        "run_to": "2025-09-17",
    }


def test_parts_of_a_run_have_the_documented_shapes(client: httpx.Client, find_run: Find) -> None:
    run = find_run("TSLA", "2024-10-01", "2024-12-31")
    assert list(get(client, f"/backtests/{run}/metrics").json()) == ["total_return", "max_drawdown"]
    equity = get(client, f"/backtests/{run}/equity").json()
    assert equity["equity"][0] == {"timestamp": "2024-10-01T13:30:00Z", "equity": 100000.0}
    assert len(equity["equity"]) == 62 * 390 + 2 * 210
    order = get(client, f"/backtests/{run}/orders").json()["orders"][0]
    price = order.pop("price")
    assert 100 < price < 1000
    assert order == {
        "order_id": "o0", "timestamp": "2024-10-01T13:30:00Z", "symbol": "", "side": "BUY", "quantity": 1,
        "order_type": "MKT", "status": "FILLED", "commission": None,
    }  # fmt: skip


def test_runs_speak_several_vocabularies(client: httpx.Client, find_run: Find) -> None:
    full = get(client, f"/backtests/{find_run('AAPL', '2024-01-01', '2024-12-31')}/metrics").json()
    assert {"sharpe", "sortino", "hit_rate", "turnover"} <= full.keys()
    renamed = find_run("SPY", "2024-06-01", "2024-06-30")
    assert {"sharpe_ratio", "win_rate"} <= get(client, f"/backtests/{renamed}/metrics").json().keys()
    assert get(client, f"/backtests/{renamed}").json()["status"] == "COMPLETED"
    assert list(get(client, f"/backtests/{renamed}/equity").json()["equity"][0]) == ["ts_utc", "value"]
    assert get(client, f"/backtests/{renamed}/orders").json()["orders"][0]["symbol"] == "SPY"


def test_two_readings_are_the_same_bytes(client: httpx.Client, find_run: Find) -> None:
    run = find_run("MSFT", "2025-03-01", "2025-03-31")
    for part in ("metrics", "equity", "orders"):
        assert get(client, f"/backtests/{run}/{part}").content == get(client, f"/backtests/{run}/{part}").content


def test_unknown_run_is_the_canonical_404(client: httpx.Client) -> None:
    for path in ("/backtests/nope", "/backtests/nope/metrics", "/backtests/nope/equity", "/backtests/nope/orders"):
        answer = get(client, path)
        assert answer.status_code == 404
        assert answer.json() == {"error": {"code": "RUN_NOT_FOUND", "message": "Run nope not found"}}


def test_failed_run_has_no_artifacts(client: httpx.Client, find_run: Find) -> None:
    run = find_run("MSFT", "2025-06-01", "2025-06-30")
    detail = get(client, f"/backtests/{run}").json()
    assert detail["status"] == "ERROR"
    assert set(detail["artifacts"].values()) == {None}
    for part in ("metrics", "equity", "orders"):
        answer = get(client, f"/backtests/{run}/{part}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ARTIFACT_NOT_FOUND")


def test_one_done_run_lacks_its_equity_only(client: httpx.Client, find_run: Find) -> None:
    run = find_run("NVDA", "2025-07-01", "2025-07-31")
    assert get(client, f"/backtests/{run}").json()["status"] == "DONE"
    codes = {part: get(client, f"/backtests/{run}/{part}").status_code for part in ("metrics", "equity", "orders")}
    assert codes == {"metrics": 200, "equity": 404, "orders": 200}


def test_running_run_is_done_after_a_while(find_run: Find) -> None:
    now = 1_800_000_000.0
    run = find_run("TSLA", "2025-10-01", "2025-12-31")
    with DemoServer(Options(running_seconds=30, clock=lambda: now)) as demo:
        item = httpx.get(f"{demo.url}/backtests", params={"symbol": "TSLA"}).json()["items"][0]
        assert (item["status"], "duration_ms" in item) == ("RUNNING", False)
        assert httpx.get(f"{demo.url}/backtests/{run}/equity").json()["error"]["code"] == "ARTIFACT_NOT_FOUND"
        now += 30
        detail = httpx.get(f"{demo.url}/backtests/{run}").json()
        assert (detail["status"], detail["duration_ms"]) == ("DONE", 1234)
        assert len(httpx.get(f"{demo.url}/backtests/{run}/equity").json()["equity"]) == 62 * 390 + 2 * 210


@pytest.mark.parametrize(
    ("path", "count", "first"),
    [
        ("/bars/daily", 23, "2024-10-01T00:00:00Z"),
        ("/bars/hour", 161, "2024-10-01T13:30:00Z"),
        ("/bars/minute", 23 * 390, "2024-10-01T13:30:00Z"),
        ("/bars/minute_decimated", 23 * 98, "2024-10-01T13:28:00Z"),
    ],
)
def test_bars_of_a_month(client: httpx.Client, path: str, count: int, first: str) -> None:
    answer = client.get(path, params={"symbol": "AAPL", "from": "2024-10-01", "to": "2024-10-31"})
    body = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert (body["symbol"], len(body["bars"]), body["bars"][0]["t"]) == ("AAPL", count, first)
    assert list(body["bars"][0]) == ["t", "o", "h", "l", "c", "v", *(["n"] if path == "/bars/daily" else [])]
    assert json.dumps(body, separators=(",", ":")) == answer.text


def test_decimated_bars_carry_their_stride(client: httpx.Client) -> None:
    params = {"symbol": "AAPL", "from": "2024-10-01", "to": "2024-10-31", "target": "1000"}
    body = client.get("/bars/minute_decimated", params=params).json()
    assert (body["meta"], len(body["bars"])) == ({"stride_minutes": 30, "points": 299}, 299)
    assert body["bars"][0]["t"] == "2024-10-01T13:30:00Z"


def test_extended_hours_are_served_on_demand(client: httpx.Client) -> None:
    window = {"symbol": "AAPL", "from": "2024-10-01", "to": "2024-10-01"}
    regular = client.get("/bars/minute", params=window).json()["bars"]
    everything = client.get("/bars/minute", params=window | {"rth_only": "false"}).json()["bars"]
    assert len(everything) > len(regular) == 390
    assert everything[0]["t"] < regular[0]["t"]
    assert [bar for bar in everything if "T13:30" <= bar["t"][10:] < "T20:00"] == regular


def test_bars_cross_a_change_of_the_clocks(client: httpx.Client) -> None:
    window = {"symbol": "AAPL", "from": "2024-10-31", "to": "2024-11-04"}
    bars = client.get("/bars/minute", params=window).json()["bars"]
    opens = [
        bar["t"]
        for bar, before in zip(bars, [None, *bars], strict=False)
        if not before or bar["t"][:10] != before["t"][:10]
    ]
    assert opens == ["2024-10-31T13:30:00Z", "2024-11-01T13:30:00Z", "2024-11-04T14:30:00Z"]


@pytest.mark.parametrize("path", ["/bars/daily", "/bars/hour", "/bars/minute", "/bars/minute_decimated"])
def test_unknown_symbol_and_empty_window_are_404(client: httpx.Client, path: str) -> None:
    for params in ({"symbol": "ZZZ", "from": "2024-10-01", "to": "2024-10-31"},
                   {"symbol": "AAPL", "from": "2025-01-09", "to": "2025-01-09"},
                   {"symbol": "AAPL", "from": "2024-10-31", "to": "2024-10-01"}):  # fmt: skip
        answer = client.get(path, params=params)
        assert (answer.status_code, answer.json()) == (404, NO_DATA)


def test_widest_window_is_everything(client: httpx.Client) -> None:
    window = {"symbol": "AAPL", "from": "0001-01-01", "to": "9999-12-31"}
    assert len(client.get("/bars/daily", params=window).json()["bars"]) == 502
    assert client.get("/bars/minute_decimated", params=window).json()["meta"]["stride_minutes"] == 1440


def test_missing_parameters_are_listed(client: httpx.Client) -> None:
    answer = client.get("/bars/hour", params={"symbol": "AAPL"})
    assert answer.status_code == 422
    assert answer.json() == {
        "detail": [
            {"type": "missing", "loc": ["query", "from"], "msg": "Field required", "input": None},
            {"type": "missing", "loc": ["query", "to"], "msg": "Field required", "input": None},
        ]
    }


def test_bad_date_is_400_for_hours_and_500_elsewhere(client: httpx.Client) -> None:
    window = {"symbol": "AAPL", "from": "2024-13-01", "to": "2024-10-31"}
    hours = client.get("/bars/hour", params=window)
    assert (hours.status_code, list(hours.json())) == (400, ["detail"])
    for path in ("/bars/daily", "/bars/minute", "/bars/minute_decimated", "/backtests"):
        answer = client.get(path, params=window)
        assert (answer.status_code, answer.text) == (500, "Internal Server Error")


def test_control_routes_do_not_exist_without_faults(client: httpx.Client) -> None:
    assert client.put("/__faults", json={}).status_code == 404
    assert client.get("/__requests").status_code == 404


def test_without_early_closes_minutes_go_on_to_four_and_count_as_regular() -> None:
    window = {"symbol": "AAPL", "from": "2024-12-24", "to": "2024-12-24"}
    with DemoServer(Options(early_closes=False)) as demo, httpx.Client(base_url=demo.url) as client:
        minutes = client.get("/bars/minute", params=window).json()["bars"]
        hours = client.get("/bars/hour", params=window).json()["bars"]
    assert (len(minutes), minutes[-1]["t"]) == (390, "2024-12-24T20:59:00Z")
    assert (len(hours), hours[-1]["t"]) == (7, "2024-12-24T20:30:00Z")


def test_without_part_routes_parts_are_not_found_and_the_streams_have_them(find_run: Find) -> None:
    run = find_run("MSFT", "2025-03-01", "2025-03-31")
    with DemoServer(Options(part_routes=False)) as demo, httpx.Client(base_url=demo.url) as client:
        for part in ("metrics", "equity", "orders"):
            answer = client.get(f"/backtests/{run}/{part}")
            assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
        assert client.get(f"/backtests/{run}").json()["status"] == "DONE"
        events = client.get(f"/backtests/{run}/stream").text.split("\n\n")
    assert events[-2].startswith("event: end")
