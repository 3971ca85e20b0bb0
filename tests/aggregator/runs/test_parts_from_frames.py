"""A backend without the parts' routes has them in its event stream: every answer about a run is whole all the same."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.support.foreign import ForeignBackend

StartAggregator = Callable[..., Awaitable[httpx.AsyncClient]]
StartApp = Callable[[Any], Awaitable[str]]
PARTS = ("metrics", "equity", "orders")
STREAM = "/backtests/r/stream"
VALUES = (100.0, 110.0, 99.0)


def events(*ends: str) -> bytes:
    texts = []
    for n, value in enumerate(VALUES):
        ts = f"2024-01-02T14:3{n}:00Z"
        order = {"ts_utc": ts, "side": ("BUY", "SELL")[n % 2], "qty": 2, "price": value, "order_id": f"o{n}"}
        frame = {"t": "frame", "ts": ts, "ohlc": None, "orders": [order], "equity": {"ts": ts, "value": value}}
        texts.append(f"event: frame\ndata: {json.dumps(frame)}\n\n")
    return "".join([*texts, *ends]).encode()


END = 'event: end\ndata: {"t":"end"}\n\n'


def without_routes(stream: bytes) -> ForeignBackend:
    backend = ForeignBackend()
    for part in PARTS:
        backend.bodies[f"/backtests/r/{part}"] = b'{"detail":"Not Found"}'
        backend.statuses[f"/backtests/r/{part}"] = 404
    backend.bodies[STREAM] = stream
    return backend


async def test_complete_run_is_whole_and_its_frames_are_read_once(
    start_aggregator: StartAggregator, start_app: StartApp
) -> None:
    backend = without_routes(events(END))
    client = await start_aggregator(backend_url=await start_app(backend))
    for _ in ("cold", "warm"):
        run = (await client.get("/api/v1/runs/r/complete")).json()
        assert [point["value"] for point in run["equity"]] == [*VALUES]
        assert [order["order_id"] for order in run["orders"]] == ["o0", "o1", "o2"]
        assert run["metrics"]["total_return"] == pytest.approx(-0.01)
        assert run["metrics"]["max_drawdown"] == pytest.approx(0.1)
        assert (run["metrics"]["total_trades"], run["metrics"]["winning_trades"]) == (1, 1)
        assert run["metadata"]["partial_data"] is False
        assert {run["metadata"]["parts"][part]["state"] for part in PARTS} == {"ok"}
        assert {run["metadata"]["parts"][part]["source"] for part in PARTS} == {"frames"}
    assert backend.calls[STREAM] == 1


async def test_all_who_ask_at_once_share_one_reading(start_aggregator: StartAggregator, start_app: StartApp) -> None:
    backend = without_routes(events(END))
    backend.gates[STREAM] = asyncio.Event()
    client = await start_aggregator(backend_url=await start_app(backend))
    tasks = [asyncio.create_task(client.get("/api/v1/runs/r/complete")) for _ in range(5)]
    async with asyncio.timeout(20):
        while not backend.calls[STREAM]:
            await asyncio.sleep(0.01)
    backend.gates[STREAM].set()
    runs = [(await task).json() for task in tasks]
    assert {len(run["equity"]) for run in runs} == {3}
    assert backend.calls[STREAM] == 1


async def test_view_and_list_are_whole_too(start_aggregator: StartAggregator, start_app: StartApp) -> None:
    client = await start_aggregator(backend_url=await start_app(without_routes(events(END))))
    answer = await client.get("/api/v1/runs/r/view?from_date=2024-01-01&to_date=2024-01-05")
    lines = {line["name"]: line["body"] for line in map(json.loads, answer.text.splitlines())}
    assert len(lines["run"]["orders"]) == 3
    async with asyncio.timeout(20):
        while (await client.get("/api/v1/runs")).json()["items"][0]["metrics_state"] != "ok":
            await asyncio.sleep(0.05)
    item = (await client.get("/api/v1/runs")).json()["items"][0]
    assert item["metrics"]["total_return"] == pytest.approx(-0.01)


@pytest.mark.parametrize(
    ("stream", "state", "partial"),
    [
        (events(), "failed", True),
        (events('event: error\ndata: {"t":"err","msg":"name is not defined"}\n\n'), "failed", True),
        (events('event: error\ndata: {"t":"err","msg":"artifact missing"}\n\n'), "missing", True),
    ],
)
async def test_frames_that_do_not_come_to_their_end_make_no_part(
    stream: bytes, state: str, partial: bool, start_aggregator: StartAggregator, start_app: StartApp
) -> None:
    client = await start_aggregator(backend_url=await start_app(without_routes(stream)))
    run = (await client.get("/api/v1/runs/r/complete")).json()
    assert {run["metadata"]["parts"][part]["state"] for part in PARTS} == {state}
    assert (run["equity"], run["metadata"]["partial_data"]) == (None, partial)


async def test_part_that_a_run_does_not_have_is_no_reason_to_read_its_frames(
    start_aggregator: StartAggregator, start_app: StartApp
) -> None:
    backend = without_routes(events(END))
    for part in PARTS:
        backend.bodies[f"/backtests/r/{part}"] = b'{"error":{"code":"ARTIFACT_MISSING","message":"none"}}'
    client = await start_aggregator(backend_url=await start_app(backend))
    run = (await client.get("/api/v1/runs/r/complete")).json()
    assert {run["metadata"]["parts"][part]["state"] for part in PARTS} == {"missing"}
    assert backend.calls[STREAM] == 0


@pytest.mark.parametrize(("status", "state"), [(404, "missing"), (410, "missing"), (500, "failed"), (204, "failed")])
async def test_frames_that_a_run_does_not_have_are_missing_and_others_failed(
    status: int, state: str, start_aggregator: StartAggregator, start_app: StartApp
) -> None:
    backend = without_routes(b"")
    backend.statuses[STREAM] = status
    client = await start_aggregator(backend_url=await start_app(backend))
    run = (await client.get("/api/v1/runs/r/complete")).json()
    assert {run["metadata"]["parts"][part]["state"] for part in PARTS} == {state}


async def test_what_comes_after_the_end_is_not_waited_for(
    start_aggregator: StartAggregator, start_app: StartApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bff_aggregator.backend.frames_reader.PIECE", 10)
    client = await start_aggregator(backend_url=await start_app(without_routes(events(END, "data: more\n\n" * 3))))
    run = (await client.get("/api/v1/runs/r/complete")).json()
    assert [point["value"] for point in run["equity"]] == [*VALUES]


def run_named(name: str) -> bytes:
    return json.dumps(
        {"run_id": name, "status": "DONE", "symbol": "AAPL", "created_at": "2024-01-02T00:00:00Z"}
    ).encode()


async def test_list_reads_the_frames_of_two_runs_at_once_and_who_opens_a_run_does_not_wait_for_them(
    start_aggregator: StartAggregator, start_app: StartApp
) -> None:
    backend, names = ForeignBackend(), [f"run{number}" for number in range(6)]
    backend.bodies["/backtests"] = b'{"items":[%b],"total":6,"limit":20,"offset":0}' % b",".join(map(run_named, names))
    for name in names:
        backend.bodies[f"/backtests/{name}"] = run_named(name)
        for part in PARTS:
            backend.bodies[f"/backtests/{name}/{part}"] = b'{"detail":"Not Found"}'
            backend.statuses[f"/backtests/{name}/{part}"] = 404
        backend.bodies[f"/backtests/{name}/stream"] = events(END)
        backend.gates[f"/backtests/{name}/stream"] = asyncio.Event()

    def reading() -> set[str]:
        return {name for name in names if backend.calls[f"/backtests/{name}/stream"]}

    client = await start_aggregator(backend_url=await start_app(backend))
    await client.get("/api/v1/runs")
    async with asyncio.timeout(20):
        while len(reading()) < 2 or not all(backend.calls[f"/backtests/{name}/metrics"] for name in names):
            await asyncio.sleep(0.01)
        assert len(reading()) == 2
        waiting = max(set(names) - reading())
        backend.gates[f"/backtests/{waiting}/stream"].set()
        whole = await client.get(f"/api/v1/runs/{waiting}/complete", headers={"X-Request-Timeout": "15"})
        assert whole.json()["metadata"]["partial_data"] is False
        assert len(reading()) == 3
        for gate in backend.gates.values():
            gate.set()
        while (await client.get("/api/v1/runs")).json()["metadata"]["metrics_pending"]:
            await asyncio.sleep(0.05)
    assert reading() == set(names)
    assert {backend.calls[f"/backtests/{name}/stream"] for name in names} == {1}
