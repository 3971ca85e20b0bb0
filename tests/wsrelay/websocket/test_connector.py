"""Reaching the backend: what is sent, what its answers mean, how long is waited."""

import asyncio
import logging
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request

from bff_wsrelay.framelog.ingester import REPLAY_SCHEDULE
from bff_wsrelay.websocket.backoff import SCHEDULE, Backoff
from bff_wsrelay.websocket.client import UpstreamClosed
from bff_wsrelay.websocket.close_codes import Close
from bff_wsrelay.websocket.connector import ConnectionOptions, Connector, HandshakeRefused, Unreachable
from tests.conftest import StartRaw
from tests.support.passthrough import StartBackend

SOON = ConnectionOptions(connect=5, handshake=5)


async def echo(backend: ServerConnection) -> None:
    async for message in backend:
        await backend.send(message)


def test_waits_follow_the_schedule_and_repeat_its_last() -> None:
    backoff = Backoff(draw=lambda: 1.0)
    assert [backoff.next() for _ in range(8)] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert backoff.attempt == 8
    backoff.reset()
    assert backoff.next() == 1


def test_the_pages_on_streams_name_the_waits() -> None:
    docs = Path(__file__).parents[3] / "docs"
    passthrough, playback = (" ".join((docs / name).read_text().split()) for name in ("passthrough.md", "playback.md"))
    assert list(SCHEDULE) == [1, 2, 4, 8, 16, 30]
    assert "Delays are 1, 2, 4, 8, 16, 30, 30, … seconds" in passthrough
    assert (0.05, 0.25, 0.5, *SCHEDULE) == REPLAY_SCHEDULE
    assert "after 0.05, 0.25 and 0.5 s" in playback
    assert "then after 1, 2, 4, 8, 16, 30, 30, … s" in playback


def test_waits_are_spread_between_half_and_whole() -> None:
    assert [Backoff(draw=lambda: 0.0).next(), Backoff(draw=lambda: 0.5).next()] == [SCHEDULE[0] / 2, SCHEDULE[0] * 0.75]


async def test_a_link_carries_messages_and_ends_with_the_backends_close(start_backend: StartBackend) -> None:
    async def script(backend: ServerConnection) -> None:
        await backend.send(str(await backend.recv()))
        await backend.send(b"\x00")
        await backend.close(4001, "over")

    connection = await Connector((await start_backend(script)).url, SOON).connect("/x", [])
    await connection.transmit("hello")
    heard: list[str | bytes] = []
    while len(heard) < 2:
        heard += await connection.receive()
    assert heard == ["hello", b"\x00"]
    with pytest.raises(UpstreamClosed):
        await connection.receive()
    assert connection.end == Close(4001, "over")
    with pytest.raises(UpstreamClosed):
        await connection.transmit("too late")
    await connection.disconnect(Close(1000))


async def test_headers_are_sent_as_given_and_none_of_its_own_agent(start_backend: StartBackend) -> None:
    seen: list[Request] = []

    async def script(backend: ServerConnection) -> None:
        assert backend.request is not None
        seen.append(backend.request)

    backend = await start_backend(script)
    connection = await Connector(backend.url, SOON).connect(
        "/a%2Fb?q=%20", [(b"x-twice", b"1"), (b"x-twice", b"caf\xe9")]
    )
    await connection.disconnect(Close(1000))
    assert seen[0].path == "/a%2Fb?q=%20"
    assert seen[0].headers.get_all("x-twice") == ["1", "caf\xe9"]
    assert "User-Agent" not in seen[0].headers
    assert "Sec-WebSocket-Extensions" not in seen[0].headers


async def test_a_closed_port_is_unreachable(start_backend: StartBackend) -> None:
    backend = await start_backend(echo)
    await backend.stop()
    with pytest.raises(Unreachable):
        await Connector(backend.url, SOON).connect("/x", [])


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"not http\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
    ],
    ids=["nothing", "no HTTP", "no upgrade", "cut"],
)
async def test_an_answer_that_is_no_handshake_is_unreachable(start_raw: StartRaw, answer: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    with pytest.raises(Unreachable):
        await Connector(await start_raw(handler), SOON).connect("/x", [])


async def test_a_backend_that_does_not_answer_is_given_up(start_raw: StartRaw) -> None:
    gone = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.set()

    with pytest.raises(Unreachable):
        await Connector(await start_raw(handler), ConnectionOptions(connect=5, handshake=0.05)).connect("/x", [])
    async with asyncio.timeout(30):
        await gone.wait()


async def test_a_refusal_carries_the_backends_answer(start_raw: StartRaw) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\nX-Own: 1\r\nConnection: close\r\n\r\n{}")

    with pytest.raises(HandshakeRefused) as caught:
        await Connector(await start_raw(handler), SOON).connect("/x", [])
    assert (caught.value.status, caught.value.headers, caught.value.body) == (403, [(b"x-own", b"1")], b"{}")


@pytest.mark.parametrize("chop", [False, True])
async def test_interim_responses_are_not_the_answer_to_the_handshake(start_raw: StartRaw, *, chop: bool) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    final = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nX-Own: 1\r\nConnection: close\r\n\r\n{}"

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in [interim + final] if not chop else [bytes([byte]) for byte in interim + final]:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    with pytest.raises(HandshakeRefused) as caught:
        await Connector(await start_raw(handler), SOON).connect("/x", [])
    assert (caught.value.status, caught.value.headers, caught.value.body) == (404, [(b"x-own", b"1")], b"{}")


async def test_interim_responses_without_end_are_no_answer(start_raw: StartRaw) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)

    with pytest.raises((Unreachable, HandshakeRefused)):
        await Connector(await start_raw(handler), SOON).connect("/x", [])


async def test_credentials_are_not_written_to_any_log(
    start_backend: StartBackend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    backend = await start_backend(echo, logger=logging.getLogger("elsewhere"))
    logging.getLogger("elsewhere").setLevel(logging.ERROR)
    connection = await Connector(backend.url, SOON).connect("/x", [(b"authorization", b"Bearer s3cret")])
    await connection.disconnect(Close(1000))
    assert "s3cret" not in caplog.text
