"""Large responses: in pieces of one copy, within a budget for each client address and for all, and not for ever."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from prometheus_client import CollectorRegistry

from bff_aggregator.app import create_app
from bff_aggregator.http.response_budget import (
    EXTENSION,
    PIECE_BYTES,
    WHOLE_BYTES,
    BoundedResponses,
    Held,
    ResponseBudget,
)
from bff_aggregator.http.steps import Steps
from bff_aggregator.runs import response
from bff_aggregator.runs.encode import Shape
from bff_aggregator.runs.revision import RunBundle
from bff_aggregator.settings import AggregatorSettings
from bff_shared.errors import Busy, ClientBusy
from tests.support.foreign import GOOD, ForeignBackend

StartApp = Callable[[Any], Awaitable[str]]
ORDER = {"ts": "2024-01-02T14:30:00Z", "symbol": "AAPL", "side": "BUY", "quantity": 1, "price": 2, "note": "x" * 200}
ORDERS = json.dumps({"orders": [{"order_id": str(number), **ORDER} for number in range(6000)]}).encode()
"""More than the sockets between two ends hold."""

COMPLETE = "/api/v1/runs/r/complete"
VIEW = "/api/v1/runs/r/view?from_date=2024-01-01&to_date=2024-01-05"
PLAIN = {"Accept-Encoding": "identity"}
OTHER = {"X-Forwarded-For": "192.0.2.7"}
WAIT_S = 20.0


@pytest.fixture
async def backend(start_app: StartApp) -> str:
    return await start_app(ForeignBackend(bodies={**GOOD, "/backtests/r/orders": ORDERS}))


@asynccontextmanager
async def reading_nothing(url: str, path: str) -> AsyncIterator[asyncio.StreamReader]:
    """Ask for something, read the head, and read nothing more."""
    own, place = socket.socket(), urlsplit(url)
    own.setblocking(False)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await asyncio.get_running_loop().sock_connect(own, (place.hostname, place.port))
    reader, writer = await asyncio.open_connection(sock=own, limit=2048)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    async with asyncio.timeout(WAIT_S):
        assert b"200" in await reader.readuntil(b"\r\n")
    yield reader
    writer.transport.abort()


async def metric(client: httpx.AsyncClient, name: str) -> float:
    text = (await client.get("/metrics")).text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


async def becomes(client: httpx.AsyncClient, name: str, value: float) -> None:
    async with asyncio.timeout(WAIT_S):
        while await metric(client, name) != value:
            await asyncio.sleep(0.02)


async def start(start_app: StartApp, backend: str, **settings: Any) -> tuple[Any, str]:
    app = create_app(AggregatorSettings(backend_url=backend, run_timeout=30, chart_timeout=30, **settings))
    return app, await start_app(app)


async def test_a_client_that_reads_nothing_is_refused_more_and_others_are_not(
    start_app: StartApp, backend: str
) -> None:
    app, url = await start(start_app, backend, response_client_bytes=1_000_000)
    app.state.service.metrics.outcomes.enable(60.0, app.state.service.settings.trusted_proxies)
    async with httpx.AsyncClient(base_url=url, timeout=WAIT_S, headers=PLAIN) as client:
        async with reading_nothing(url, COMPLETE):
            assert await metric(client, "bff_response_bytes_in_flight") > 1_000_000
            refused = await client.get(COMPLETE)
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "BUSY"
            assert int(refused.headers["retry-after"]) >= 1
            assert (await client.get(COMPLETE, headers=OTHER)).status_code == 200
            assert (await client.get(f"{COMPLETE}?orders_limit=5")).status_code == 200
            assert (await client.head(COMPLETE)).status_code == 503, "it would have to be made"
        await becomes(client, "bff_response_bytes_in_flight", 0)
        assert (await client.get(COMPLETE)).status_code == 200
        assert await metric(client, 'bff_responses_refused_total{limit="client"}') == 2
    assert app.state.service.metrics.outcomes.take()["run_data"].errors == 0, "the client's own doing"


async def test_all_clients_together_have_a_budget(start_app: StartApp, backend: str) -> None:
    _, url = await start(start_app, backend, response_total_bytes=1_000_000)
    async with httpx.AsyncClient(base_url=url, timeout=WAIT_S, headers=PLAIN) as client, reading_nothing(url, COMPLETE):
        problem = {"Accept": "application/problem+json"}
        refused = await client.get(COMPLETE, headers={**OTHER, **problem})
        assert (refused.status_code, refused.json()["code"]) == (503, "BUSY")
        assert await metric(client, 'bff_responses_refused_total{limit="process"}') == 1


def test_three_clients_that_take_all_they_get_leave_room_for_another() -> None:
    budget, honest = ResponseBudget(256 << 20, 128 << 20, CollectorRegistry()), 4 << 20
    for number in range(3):
        with contextlib.suppress(ClientBusy):
            for _ in range(256):
                budget.acquire(f"greedy {number}", 1 << 20)
    assert budget.in_flight < 256 << 20
    budget.acquire("honest", honest)
    budget.acquire("honest", honest)


async def test_a_part_of_a_view_that_is_too_much_fails_alone(start_app: StartApp, backend: str) -> None:
    app, url = await start(start_app, backend, response_client_bytes=1_000_000)
    app.state.service.metrics.outcomes.enable(60.0, app.state.service.settings.trusted_proxies)
    async with httpx.AsyncClient(base_url=url, timeout=WAIT_S, headers=PLAIN) as client, reading_nothing(url, VIEW):
        async with asyncio.timeout(WAIT_S):
            while not await metric(client, "bff_response_bytes_in_flight"):
                await asyncio.sleep(0.02)
        lines = [json.loads(line) for line in (await client.get(VIEW)).text.splitlines()]
        assert {line["name"]: line["status"] for line in lines} == {"head": 200, "chart": 200, "run": 503}
        async with asyncio.timeout(WAIT_S):  # A view is counted when it has ended, just after its last byte.
            while (counted := app.state.service.metrics.outcomes.take().get("run_data")) is None:
                await asyncio.sleep(0.01)
    assert counted.errors == 0


@pytest.mark.parametrize("path", [COMPLETE, VIEW])
async def test_a_client_that_takes_nothing_is_cut_off(start_app: StartApp, backend: str, path: str) -> None:
    _, url = await start(start_app, backend, response_stuck_seconds=0.3)
    async with (
        httpx.AsyncClient(base_url=url, timeout=WAIT_S, headers=PLAIN) as client,
        reading_nothing(url, path) as reader,
    ):
        await becomes(client, "bff_responses_cut_total", 1)
        assert await metric(client, "bff_response_bytes_in_flight") == 0
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            async with asyncio.timeout(WAIT_S):
                await reader.readexactly(len(ORDERS))


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_a_large_response_is_whole(start_app: StartApp, backend: str, coding: str) -> None:
    _, url = await start(start_app, backend)
    async with httpx.AsyncClient(base_url=url, timeout=WAIT_S, headers={"Accept-Encoding": coding}) as client:
        for _ in range(2):
            answer = await client.get(COMPLETE)
            assert answer.headers.get("content-encoding", "identity") == coding
            assert [order["order_id"] for order in answer.json()["orders"]] == [str(n) for n in range(6000)]


async def sent_of(body: bytes, *, full: bool) -> list[Any]:
    """Return the messages in which a body is sent to a connection that is `full`, or not."""
    sent = list[Any]()

    async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001  ASGI's signature
        length = str(len(body)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": body})

    async def send(message: Any) -> None:
        sent.append(message)

    budget = ResponseBudget(1 << 20, 1 << 20, CollectorRegistry())
    connection = SimpleNamespace(flow=SimpleNamespace(write_paused=full))
    scope = {"type": "http", "method": "GET", "headers": [], "extensions": {EXTENSION: connection}}
    await BoundedResponses(app, budget, 1)(scope, send, send)  # type: ignore[arg-type]
    return sent[1:]


async def test_a_body_that_a_connection_takes_at_once_is_sent_whole() -> None:
    body = bytes(WHOLE_BYTES)
    (message,) = await sent_of(body, full=False)
    assert message["body"] is body
    assert len(await sent_of(body, full=True)) == 2, "to a full connection it goes in pieces, each with a deadline"
    assert len(await sent_of(body + b" ", full=False)) == 3


async def test_pieces_are_views_of_the_one_body() -> None:
    body = bytes(300_000)
    pieces = await sent_of(body, full=True)
    assert all(piece["body"].obj is body and len(piece["body"]) <= PIECE_BYTES for piece in pieces)
    assert sum(len(piece["body"]) for piece in pieces) == len(body)
    assert [piece["more_body"] for piece in pieces] == [True, True, False]


def test_one_body_of_any_size_may_be_sent_to_who_has_none() -> None:
    budget = ResponseBudget(100, 50, CollectorRegistry())
    budget.acquire("a", 1000)
    with pytest.raises(ClientBusy):
        budget.acquire("a", 1)
    with pytest.raises(Busy) as refused:
        budget.acquire("b", 1)
    assert type(refused.value) is Busy
    budget.release("a", 1000)
    budget.acquire("b", 1)
    assert budget.in_flight == 1


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_what_would_be_refused_is_never_made(
    start_app: StartApp, backend: str, monkeypatch: pytest.MonkeyPatch, coding: str
) -> None:
    made: list[object] = []
    encode = response.encode

    def counted(bundle: RunBundle, shape: Shape) -> Steps[Any]:
        made.append(shape)
        return encode(bundle, shape)

    monkeypatch.setattr(response, "encode", counted)
    _, url = await start(start_app, backend, response_client_bytes=1_000_000)
    headers = {"Accept-Encoding": coding}
    async with (
        httpx.AsyncClient(base_url=url, timeout=WAIT_S, headers=headers) as client,
        reading_nothing(url, COMPLETE),
    ):
        assert len(made) == 1
        for offset in range(1, 20):
            assert (await client.get(f"{COMPLETE}?orders_offset={offset}")).status_code == 503
        assert len(made) == 1


def test_what_was_reserved_is_settled_by_what_was_made() -> None:
    budget = ResponseBudget(1 << 20, 1 << 20, CollectorRegistry())
    held = Held(budget)
    reservation = held.reserve(500_000)
    assert budget.in_flight == 500_000
    reservation.settle(200_000)
    assert budget.in_flight == 200_000
    held.acquire(200_000)
    assert budget.in_flight == 200_000, "it is the body that room was kept for"
    held.acquire(100_000)
    assert budget.in_flight == 300_000
    held.release()
    assert (budget.in_flight, dict(budget._by_client)) == (0, {})


def test_a_client_whose_body_turns_out_small_leaves_nothing_behind() -> None:
    budget = ResponseBudget(1 << 20, 1 << 20, CollectorRegistry())
    held = Held(budget)
    held.reserve(500_000).settle(10)
    held.release()
    assert (budget.in_flight, dict(budget._by_client)) == (0, {})


def test_a_body_that_turns_out_larger_than_estimated_is_sent_all_the_same() -> None:
    budget = ResponseBudget(1 << 20, 1 << 20, CollectorRegistry())
    held = Held(budget)
    held.reserve(100_000).settle(3 << 20)
    held.acquire(3 << 20)
    assert budget.in_flight == 3 << 20
    held.release()
    assert budget.in_flight == 0
