"""How every service's HTTP server ends a connection: the response arrives, and an invalid request gets one like any."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import SecretStr

from bff_aggregator.app import create_app as create_aggregator
from bff_aggregator.settings import AggregatorSettings
from bff_proxy.app import create_app as create_proxy
from bff_proxy.settings import ProxySettings
from bff_shared.http import server
from bff_wsrelay.app import create_app as create_relay
from bff_wsrelay.settings import RelaySettings
from tests.support.http1 import Message, address, read_answer
from tests.support.serving import listening

StartApp = Callable[[Any], Awaitable[str]]
ORIGIN = "https://app.example"
SETTINGS: dict[str, Any] = {"backend_url": "http://127.0.0.1:9", "allowed_origins": (ORIGIN,)}
MAKERS: dict[str, Callable[[], Any]] = {
    "proxy": lambda: create_proxy(ProxySettings(**SETTINGS)),
    "aggregator": lambda: create_aggregator(AggregatorSettings(**SETTINGS)),
    "wsrelay": lambda: create_relay(RelaySettings(**SETTINGS)),
}
HEAD = b"host: a\r\nx-request-id: known-1\r\norigin: https://app.example\r\naccept: */*\r\n"
LONG = b"content-length: 20000000\r\n\r\n"
PIECE = b"x" * 65_536
each_service = pytest.mark.parametrize("service", MAKERS)


@pytest.fixture
def brief_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LINGER_SECONDS", 0.2)


async def told(origin: str, sent: bytes) -> Message:
    """Send something and a body that goes on, and read the response only then."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(*address(origin))
        try:
            writer.write(sent)
            for _ in range(40):
                await asyncio.sleep(0.002)
                writer.write(PIECE)
                await writer.drain()
            return await read_answer(reader)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def without_end(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(PIECE)
        await writer.drain()
        await asyncio.sleep(0.01)


def readable(answer: Message, status: int, code: str) -> None:
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"]) == (status, code)
    assert error["details"]["correlation_id"] == "known-1"
    assert answer.values(b"x-request-id") == [b"known-1"]
    assert answer.values(b"access-control-allow-origin") == [ORIGIN.encode()]
    assert answer.values(b"connection") == [b"close"]


@each_service
@pytest.mark.parametrize(
    "odd", [b"x[odd: 1\r\n", b"x-odd: \x01\r\n", b"content-length: 1\r\ntransfer-encoding: chunked\r\n"]
)
async def test_an_invalid_request_gets_a_readable_error_although_its_body_goes_on(
    start_app: StartApp, service: str, odd: bytes
) -> None:
    origin = await start_app(MAKERS[service]())
    answer = await told(origin, b"POST /api/v1/runs HTTP/1.1\r\n" + HEAD + odd + LONG)
    readable(answer, 400, "BAD_REQUEST")


@each_service
async def test_an_unknown_method_gets_a_readable_error(start_app: StartApp, service: str) -> None:
    origin = await start_app(MAKERS[service]())
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(*address(origin))
        writer.write(b"FOO /api/v1/runs HTTP/1.1\r\n" + HEAD + b"\r\n")
        answer = await read_answer(reader)
        assert await reader.read() == b""
        writer.close()
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (400, "BAD_REQUEST")


async def test_a_refused_body_that_goes_on_does_not_cost_the_client_its_response(start_app: StartApp) -> None:
    origin = await start_app(MAKERS["proxy"]())
    answer = await told(origin, b"POST /ofrep/v1/evaluate/flags HTTP/1.1\r\n" + HEAD + LONG)
    readable(answer, 413, "PAYLOAD_TOO_LARGE")


@each_service
async def test_garbage_behind_a_request_is_answered_after_it(start_app: StartApp, service: str) -> None:
    origin = await start_app(MAKERS[service]())
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(*address(origin))
        writer.write(b"GET /health/ready HTTP/1.1\r\nhost: a\r\n\r\n\x00\x01\x02\r\n\r\n")
        assert [(await read_answer(reader)).status for _ in range(2)] == [200, 400]
        assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("service", ["proxy"])
async def test_a_malformed_chunk_ends_its_own_request_once(start_app: StartApp, service: str) -> None:
    origin = await start_app(MAKERS[service]())
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(*address(origin))
        writer.write(
            b"POST /api/v1/backtests HTTP/1.1\r\n" + HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nZZ\r\n"
        )
        readable(await read_answer(reader), 400, "BAD_REQUEST")
        assert await reader.read() == b""
        writer.close()


@pytest.mark.usefixtures("brief_linger")
@each_service
async def test_a_client_that_sends_on_after_its_response_is_cut(start_app: StartApp, service: str) -> None:
    origin = await start_app(MAKERS[service]())
    async with asyncio.timeout(20):
        _, writer = await asyncio.open_connection(*address(origin))
        writer.write(b"POST /api/v1/runs HTTP/1.1\r\nx[odd: 1\r\n" + LONG)
        with pytest.raises(ConnectionError):
            await without_end(writer)


@each_service
@pytest.mark.parametrize("upgrade", [b"websocket", b"h2c"])
@pytest.mark.parametrize("framing", [b"content-length: 43\r\n", b"transfer-encoding: chunked\r\n"])
async def test_the_body_of_a_request_that_asks_for_an_upgrade_is_no_request(
    start_app: StartApp, service: str, upgrade: bytes, framing: bytes
) -> None:
    origin = await start_app(MAKERS[service]())
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(*address(origin))
        writer.write(
            b"POST /ofrep/v1/evaluate/flags HTTP/1.1\r\n"
            + HEAD
            + b"upgrade: "
            + upgrade
            + b"\r\nconnection: upgrade\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + framing + b"\r\n"
        )
        readable(await read_answer(reader), 400, "BAD_REQUEST")
        writer.write(b"GET /health/live HTTP/1.1\r\nhost: smuggled\r\n\r\n")
        assert await reader.read() == b""
        writer.close()


async def test_every_request_of_a_connection_learns_that_the_client_is_gone() -> None:
    told, seen = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, _send: Any) -> None:
        assert scope["path"] == "/first"
        await receive()
        seen.set()
        if (await receive())["type"] == "http.disconnect":
            told.set()

    async with asyncio.timeout(20), listening(app, force=True, lifespan="off") as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /first HTTP/1.1\r\nhost: a\r\n\r\nGET /second HTTP/1.1\r\nhost: a\r\n\r\n")
        await seen.wait()
        writer.close()
        await told.wait()


@pytest.mark.parametrize("target", [b"POST /ofrep/v1/evaluate/flags", b"PUT /api/v1/flags/websocket"])
async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_failure_of_ours(
    start_app: StartApp, caplog: pytest.LogCaptureFixture, target: bytes
) -> None:
    app = create_proxy(ProxySettings(**SETTINGS, admin_token=SecretStr("admin")))
    origin = await start_app(app)
    requests = app.state.service.metrics.requests
    async with asyncio.timeout(20):
        _, writer = await asyncio.open_connection(*address(origin))
        writer.write(target + b" HTTP/1.1\r\nauthorization: Bearer admin\r\n" + HEAD + b"content-length: 200\r\n\r\n{")
        while not app.state.service.metrics.in_flight.collect()[0].samples[0].value:
            await asyncio.sleep(0.01)
        writer.close()
        while not (seen := [s.labels["status"] for m in requests.collect() for s in m.samples]):
            await asyncio.sleep(0.01)
    assert seen[0] == "499"
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_request_that_arrives_as_the_server_stops_is_served_and_its_connection_closed() -> None:
    connections: list[server.HttpProtocol] = []

    class Seen(server.HttpProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
            connections.append(self)
            super().connection_made(transport)

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async with listening(app, force=False, http=Seen, lifespan="off") as port, asyncio.timeout(20):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            assert (await asyncio.to_thread(client.recv, 4096)).startswith(b"HTTP/1.1 200")
            # The loop does not run between these two: what the client has sent is in the kernel when the server stops.
            client.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx")
            connections[0].shutdown()
            assert (await asyncio.to_thread(client.recv, 4096)).startswith(b"HTTP/1.1 200")
            assert await asyncio.to_thread(client.recv, 4096) == b""


async def test_an_idle_connection_is_closed_by_a_server_that_stops() -> None:
    async def app(_: Any, __: Any, ___: Any) -> None: ...

    async with asyncio.timeout(20):
        async with listening(app, force=False, lifespan="off") as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.close()
