import asyncio
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from bff_demo.options import Options
from bff_demo.server import DemoServer

PLAY = '{"t":"ctrl","cmd":"play"}'

# A client that leaves in the middle of a run has stopped reading, so it would wait in vain for the answer to its close.
connect = partial(open_socket, close_timeout=0.05)


@pytest.fixture(scope="module")
def faulty() -> Iterator[DemoServer]:
    with DemoServer(Options(faults=True, heartbeat_seconds=0.05)) as demo:
        yield demo


@pytest.fixture(scope="module")
def _client(faulty: DemoServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=faulty.url, timeout=20) as client:
        yield client


@pytest.fixture
def client(_client: httpx.Client) -> Iterator[httpx.Client]:
    yield _client
    _client.delete("/__faults")
    _client.delete("/__requests")
    _client.cookies.clear()


@pytest.fixture
def socket_url(faulty: DemoServer, find_run: Callable[..., str]) -> str:
    return f"{faulty.ws_url}/backtests/{find_run('MSFT', '2025-03-01', '2025-03-31')}/ws"


def show(client: httpx.Client, path: str) -> Any:
    return client.get(path).json()


def put(client: httpx.Client, rules: Any) -> None:
    assert client.put("/__faults", json=rules).status_code == 200


async def play_until_closed(url: str) -> tuple[int, int | None]:
    """How many frames came, and the close code."""
    count = 0
    async with asyncio.timeout(20), connect(url) as socket:
        await socket.send(PLAY)
        try:
            while True:
                count += '"t": "frame"' in str(await socket.recv(decode=True))
        except ConnectionClosed:
            return count, socket.close_code


def test_rules_are_put_shown_and_deleted(client: httpx.Client) -> None:
    rule = {"path_prefix": "/bars", "latency_ms": 1.0}
    counters = {"matched": 0, "applied": 0, "killed": 0}
    for body in (rule, [rule], {"rules": [rule]}):
        put(client, body)
        assert client.get("/__faults").json() == {"rules": [rule | counters]}
    assert client.delete("/__faults").json() == client.get("/__faults").json() == {"rules": []}


def test_bad_rule_is_422_and_changes_nothing(client: httpx.Client) -> None:
    put(client, {"error_status": 500})
    assert client.put("/__faults", json={"latencyms": 1}).status_code == 422
    assert client.get("/healthz").status_code == 500


def test_one_part_fails_while_the_others_answer(client: httpx.Client, socket_url: str) -> None:
    run = socket_url.split("/")[-2]
    put(client, [{"path_pattern": "/equity$", "error_status": 500}, {"path_pattern": "/orders$", "refuse": True}])
    assert client.get(f"/backtests/{run}/metrics").status_code == 200
    failed = client.get(f"/backtests/{run}/equity")
    assert (failed.status_code, failed.json()["error"]["code"]) == (500, "INTERNAL")
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(f"/backtests/{run}/orders")


def test_refused_post_gets_no_answer(client: httpx.Client) -> None:
    put(client, {"refuse": True, "times": 1})
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        client.post("/backtests", content=b"x" * 100_000)
    assert client.post("/backtests", content=b"x").status_code == 400


def test_latency_delays_the_answer(client: httpx.Client) -> None:
    put(client, {"latency_ms": 200})
    started = time.monotonic()
    assert client.get("/healthz").status_code == 200
    assert time.monotonic() - started >= 0.2


def test_error_rate_is_the_same_every_time(client: httpx.Client) -> None:
    def statuses() -> list[int]:
        put(client, {"error_rate": 0.5})
        return [client.get("/healthz").status_code for _ in range(20)]

    first = statuses()
    assert set(first) == {200, 503}
    assert statuses() == first


@pytest.mark.parametrize("cut", [0, 1, 100_000])
def test_cut_body_breaks_the_connection_after_so_many_bytes(client: httpx.Client, cut: int) -> None:
    put(client, {"cut_after_bytes": cut})
    window = {"symbol": "AAPL", "from": "2024-10-01", "to": "2024-10-31"}
    received: list[bytes] = []

    def read() -> None:
        with client.stream("GET", "/bars/minute", params=window) as answer:
            received.extend(answer.iter_raw())

    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        read()
    assert len(b"".join(received)) == cut


def test_cut_event_stream_never_ends_cleanly(client: httpx.Client, socket_url: str) -> None:
    put(client, {"cut_after_bytes": 5000})
    run = socket_url.split("/")[-2]
    with (
        pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)),
        client.stream("GET", f"/backtests/{run}/stream") as answer,
    ):
        answer.read()


def test_short_body_is_not_cut(client: httpx.Client) -> None:
    put(client, {"cut_after_bytes": 15})
    assert client.get("/healthz").json() == {"status": "ok"}


def test_dripping_body_arrives_whole(client: httpx.Client) -> None:
    put(client, {"drip_bytes_per_s": 100})
    started = time.monotonic()
    assert client.get("/healthz").json() == {"status": "ok"}
    assert time.monotonic() - started >= 0.1


async def test_an_idle_stream_stays_open_and_silent_until_its_client_leaves(
    client: httpx.Client, faulty: DemoServer
) -> None:
    put(client, {"path_pattern": "/stream$", "idle_stream": True})
    async with (
        httpx.AsyncClient(base_url=faulty.url, timeout=20) as reader,
        reader.stream("GET", "/backtests/any/stream") as response,
    ):
        assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream")
        pieces = response.aiter_bytes()
        assert await anext(pieces) == b": idle\n\n"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await anext(pieces)


def test_wrong_json_is_another_shape_or_none_at_all(client: httpx.Client) -> None:
    put(client, {"wrong_json": True})
    answer = client.get("/backtests")
    assert (answer.status_code, answer.json()) == (200, {"unexpected": True})
    put(client, {"wrong_json": "syntax"})
    with pytest.raises(json.JSONDecodeError):
        client.get("/backtests").json()


def test_headers_are_added(client: httpx.Client) -> None:
    put(client, {"headers": {"Set-Cookie": "session=1"}})
    assert client.get("/healthz").headers["set-cookie"] == "session=1"


@pytest.mark.parametrize("frames", [0, 1, 250])
async def test_killed_socket_got_exactly_so_many_frames(client: httpx.Client, socket_url: str, frames: int) -> None:
    put(client, {"ws_kill_after_frames": frames})
    assert await play_until_closed(socket_url) == (frames, 1006)


async def test_kill_may_be_a_close_and_is_limited(client: httpx.Client, socket_url: str) -> None:
    put(client, {"ws_kill_after_frames": 10, "ws_kill_code": 1011, "ws_kill_times": 1})
    assert await play_until_closed(socket_url) == (10, 1011)
    async with asyncio.timeout(20), connect(socket_url) as socket:
        await socket.send(PLAY)
        for _ in range(500):
            await socket.recv()
    assert show(client, "/__faults")["rules"][0]["killed"] == 1


async def test_stalled_socket_stays_open_and_silent_until_the_rules_change(
    client: httpx.Client, socket_url: str
) -> None:
    put(client, {"ws_stall_after_frames": 5})
    async with asyncio.timeout(20), connect(socket_url) as socket:
        await socket.send(PLAY)
        count = 0
        while count < 5:
            count += '"t": "frame"' in str(await socket.recv(decode=True))
        # Six heartbeats would fit.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.recv(), 0.3)
        await asyncio.to_thread(client.delete, "/__faults")
        assert await socket.recv()


async def test_stalled_socket_can_be_left(client: httpx.Client, socket_url: str) -> None:
    put(client, {"ws_stall_after_frames": 1})
    async with asyncio.timeout(20), connect(socket_url) as socket:
        await socket.send(PLAY)
        while '"t": "frame"' not in str(await socket.recv(decode=True)):
            pass
    async with asyncio.timeout(20):
        while show(client, "/__requests")["in_flight"]:
            await asyncio.sleep(0.01)


async def test_handshake_is_refused_or_answered_with_an_error(client: httpx.Client, socket_url: str) -> None:
    put(client, [{"refuse": True, "times": 1}, {"error_status": 503, "times": 1}])
    with pytest.raises((InvalidHandshake, EOFError, ConnectionError)) as dropped:
        await connect(socket_url, open_timeout=20)
    assert not isinstance(dropped.value, InvalidStatus)
    with pytest.raises(InvalidStatus) as refused:
        await connect(socket_url, open_timeout=20)
    assert refused.value.response.status_code == 503


def test_requests_are_recorded_as_they_came(client: httpx.Client) -> None:
    client.delete("/__requests")
    client.get("/backtests/a%2Fb", params={"x": "1 2"}, headers=[("X-One", "a"), ("X-One", "b")])
    client.post("/backtests", content=b"12345")
    seen = client.get("/__requests").json()
    assert seen["total"] == 2
    assert seen["counts"] == {"GET /backtests/a/b": 1, "POST /backtests": 1}
    first, second = seen["requests"]
    assert (first["type"], first["method"], first["raw_path"]) == ("http", "GET", "/backtests/a%2Fb")
    assert first["query"] in ("x=1+2", "x=1%202")
    assert [value for name, value in first["headers"] if name == "x-one"] == ["a", "b"]
    assert second["body_bytes"] == 5


def test_recorder_filters_by_path_and_counts_what_is_in_flight(client: httpx.Client) -> None:
    client.delete("/__requests")
    client.get("/healthz")
    client.get("/bars/daily")
    seen = client.get("/__requests", params={"path_prefix": "/bars"}).json()
    assert (seen["total"], len(seen["requests"])) == (1, 1)
    assert (seen["in_flight"], seen["max_in_flight"]) == (0, 1)


async def test_handshakes_are_recorded(client: httpx.Client, socket_url: str) -> None:
    async with connect(socket_url, additional_headers={"X-Request-ID": "r1"}):
        pass
    (seen,) = show(client, "/__requests?path_prefix=/backtests/")["requests"]
    assert (seen["type"], ["x-request-id", "r1"] in seen["headers"]) == ("websocket", True)
