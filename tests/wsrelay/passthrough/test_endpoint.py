"""The pass-through endpoint through real sockets: what passes, what is refused, how it ends."""

import asyncio

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Request, Response

from tests.support.passthrough import Relay, StartBackend, StartRelay


async def wait_closed(backend: ServerConnection) -> None:
    await backend.wait_closed()


async def test_text_and_binary_messages_pass_both_ways_in_order(echo_relay: Relay) -> None:
    sent: list[str | bytes] = ["plain", b"\x00\xff", "", b"", "\u20ac\U0001f600", "x" * 70_000, bytes(70_000)]
    async with echo_relay.watch() as viewer:
        await viewer.sends(*sent)
        assert await viewer.receives(len(sent)) == sent


async def test_path_query_and_credentials_reach_the_backend(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    seen: list[Request] = []

    async def script(backend: ServerConnection) -> None:
        assert backend.request is not None
        seen.append(backend.request)
        await backend.send("hello")
        await backend.wait_closed()

    relay = await start_relay((await start_backend(script)).url)
    headers = [("Authorization", "Bearer abc"), ("Cookie", "a=1; b=2"), ("X-Request-ID", "id-1"), ("X-Other", "o")]
    async with relay.watch("?speed=60&q=%2F", additional_headers=headers) as viewer:
        assert await viewer.receives() == ["hello"]
        assert viewer.headers["x-request-id"] == "id-1"
    request = seen[0]
    assert request.path == "/backtests/run-1/ws?speed=60&q=%2F"
    for name, value in headers:
        assert request.headers.get_all(name) == [value]
    assert request.headers["X-Forwarded-Proto"] == "http"
    assert request.headers["X-Forwarded-For"] == "127.0.0.1"
    assert request.headers["traceparent"].startswith("00-")
    assert len(request.headers.get_all("Sec-WebSocket-Key")) == 1


async def test_a_cookie_of_32_kilobytes_reaches_the_backend(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    async def script(backend: ServerConnection) -> None:
        await backend.send(str(len(backend.request.headers["Cookie"])) if backend.request else "")
        await backend.wait_closed()

    relay = await start_relay((await start_backend(script)).url)
    async with relay.watch(additional_headers={"Cookie": "a=" + "x" * 32_766}) as viewer:
        assert await viewer.receives() == ["32768"]


async def test_a_header_line_that_is_too_long_is_answered_431(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    relay = await start_relay((await start_backend(wait_closed)).url)
    with pytest.raises(InvalidStatus) as caught:
        await relay.watch(additional_headers={"Cookie": "a=" + "x" * 70_000}).__aenter__()
    assert caught.value.response.status_code == 431


async def test_cookies_set_by_the_backends_handshake_reach_the_viewer(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    def add(_connection: ServerConnection, _request: Request, response: Response) -> None:
        response.headers["Set-Cookie"] = "a=1"
        response.headers["Set-Cookie"] = "b=2"

    relay = await start_relay((await start_backend(wait_closed, process_response=add)).url)
    async with relay.watch() as viewer:
        assert viewer.headers.get_all("Set-Cookie") == ["a=1", "b=2"]


async def test_the_backend_chooses_among_the_viewers_subprotocols(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    relay = await start_relay((await start_backend(wait_closed, subprotocols=["v2", "v3"])).url)
    async with relay.watch(subprotocols=["v1", "v2"]) as viewer:
        assert viewer.connection.subprotocol == "v2"


@pytest.mark.parametrize("status", [302, 401, 403, 404, 429, 500])
async def test_a_refusal_by_the_backend_is_the_answer_to_the_handshake(
    start_relay: StartRelay, start_backend: StartBackend, status: int
) -> None:
    def refuse(_connection: ServerConnection, _request: Request) -> Response:
        pairs = [("Content-Type", "application/json"), ("WWW-Authenticate", "Bearer"), ("Content-Length", "11")]
        return Response(status, "Refused", Headers([*pairs, ("Location", "http://internal:1/")]), b'{"no":"go"}')

    relay = await start_relay((await start_backend(wait_closed, process_request=refuse)).url)
    with pytest.raises(InvalidStatus) as caught:
        await relay.watch().__aenter__()
    answer = caught.value.response
    assert (answer.status_code, answer.body) == (status, b'{"no":"go"}')
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "Location" not in answer.headers


async def test_a_page_of_another_origin_is_refused_before_the_backend_is_asked(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    backend = await start_backend(wait_closed)
    relay = await start_relay(backend.url)
    with pytest.raises(InvalidStatus) as caught:
        await relay.watch(origin="https://evil.example").__aenter__()
    assert caught.value.response.status_code == 403
    assert backend.served == 0


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, "done"), (4404, "no such run"), (3000, ""), (1008, "\u00e4" * 61), (4999, "")], ids=str
)
async def test_a_clean_close_by_the_backend_reaches_the_viewer(
    start_relay: StartRelay, start_backend: StartBackend, code: int, reason: str
) -> None:
    async def script(backend: ServerConnection) -> None:
        await backend.send('{"t":"hb"}')
        await backend.close(code, reason)

    backend = await start_backend(script)
    relay = await start_relay(backend.url)
    async with relay.watch() as viewer:
        assert await viewer.receives() == [{"t": "hb"}]
        assert await viewer.ends() == (code, reason)
    assert backend.served == 1


@pytest.mark.parametrize(("code", "reason"), [(1000, "bye"), (4001, "\u00e4" * 61), (3999, "")], ids=str)
async def test_the_viewers_close_reaches_the_backend(
    start_relay: StartRelay, start_backend: StartBackend, code: int, reason: str
) -> None:
    closed: asyncio.Future[tuple[int | None, str | None]] = asyncio.get_running_loop().create_future()

    async def script(backend: ServerConnection) -> None:
        await backend.wait_closed()
        closed.set_result((backend.close_code, backend.close_reason))

    relay = await start_relay((await start_backend(script)).url)
    async with relay.watch() as viewer:
        await viewer.connection.close(code, reason)
    async with asyncio.timeout(30):
        assert await closed == (code, reason)


async def test_a_viewer_that_vanishes_went_away_for_the_backend(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    closed: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    async def script(backend: ServerConnection) -> None:
        await backend.wait_closed()
        closed.set_result(backend.close_code)

    relay = await start_relay((await start_backend(script)).url)
    async with relay.watch() as viewer:
        viewer.connection.transport.abort()
        async with asyncio.timeout(30):
            assert await closed == 1001


async def test_a_message_above_the_limit_ends_both_sides_with_1009(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    async def script(backend: ServerConnection) -> None:
        await backend.recv()
        await backend.send(bytes(1024 * 1024 + 1))
        await backend.wait_closed()

    relay = await start_relay((await start_backend(script)).url)
    async with relay.watch() as viewer:
        await viewer.sends("now")
        assert (await viewer.ends())[0] == 1009
    async with relay.watch() as viewer:
        await viewer.sends(bytes(1024 * 1024 + 1))
        assert (await viewer.ends())[0] == 1009


async def test_a_broken_connection_of_another_protocol_is_passed_on(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    async def script(backend: ServerConnection) -> None:
        await backend.send(await backend.recv())
        await backend.recv()
        backend.transport.abort()

    backend = await start_backend(script)
    relay = await start_relay(backend.url)
    async with relay.watch() as viewer:
        await viewer.sends("free text")
        assert await viewer.receives() == ["free text"]
        await viewer.sends("more")
        assert await viewer.ends() == (1014, "")
    assert backend.served == 1
