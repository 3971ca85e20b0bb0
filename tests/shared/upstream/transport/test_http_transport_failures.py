import asyncio
import socket

import httpx
import pytest

from bff_shared.upstream.transport.http_transport import FailureStage, HttpTransport, Stats, reused, stage
from tests.support.transport import (
    OK,
    Handler,
    Pieces,
    StartRaw,
    answering,
    ask,
    new_request,
    new_transport,
    pieces_of,
    read_all,
    read_head,
    resets,
    silence,
    until,
)

# Faults.


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 20_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: half",
    ],
)
async def test_a_malformed_answer_is_a_remote_protocol_error(
    transport: HttpTransport, start_raw: StartRaw, answer: bytes
) -> None:
    with pytest.raises(httpx.RemoteProtocolError) as caught:
        await ask(transport, await start_raw(answering(answer)))
    assert stage(caught.value) is FailureStage.RESPONDED
    assert transport.stats.open == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
async def test_a_break_off_within_the_body_is_raised_after_what_came(
    transport: HttpTransport, start_raw: StartRaw, answer: bytes
) -> None:
    response = await transport.handle_async_request(new_request(await start_raw(answering(answer))))
    pieces = pieces_of(response)
    assert await anext(pieces) == b"half"
    with pytest.raises(httpx.RemoteProtocolError) as caught:
        await anext(pieces)
    assert stage(caught.value) is FailureStage.RESPONDED
    assert transport.stats.open == 0


async def test_a_reset_within_the_body_is_a_read_error(transport: HttpTransport, start_raw: StartRaw) -> None:
    received = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await received.wait()
        resets(writer)

    response = await transport.handle_async_request(new_request(await start_raw(handle)))
    received.set()
    with pytest.raises(httpx.ReadError):
        await read_all(response)
    assert transport.stats.open == 0


async def test_a_refused_connection_was_never_made(transport: HttpTransport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(httpx.ConnectError) as caught:
        await ask(transport, f"http://127.0.0.1:{port}", "POST")
    assert stage(caught.value) is FailureStage.CONNECT
    assert not reused(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    assert transport.stats == Stats(0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 70])
async def test_an_unresolvable_host_is_a_connect_error(transport: HttpTransport, host: str) -> None:
    with pytest.raises(httpx.ConnectError) as caught:
        await ask(transport, f"http://{host}/")
    assert stage(caught.value) is FailureStage.CONNECT


async def test_a_connection_that_is_not_accepted_in_time_is_a_connect_timeout(transport: HttpTransport) -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        # A listener without room: its accept queue of one is taken, so a further SYN is not answered.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        with pytest.raises(httpx.ConnectTimeout) as caught:
            await ask(transport, f"http://127.0.0.1:{full.getsockname()[1]}", timeout={"connect": 0.05})
    assert stage(caught.value) is FailureStage.CONNECT
    assert transport.stats.open == 0


@pytest.mark.parametrize("limit", ["first_byte", "read"])
async def test_no_answer_in_time_is_a_read_timeout(transport: HttpTransport, start_raw: StartRaw, limit: str) -> None:
    origin = await start_raw(silence)
    with pytest.raises(httpx.ReadTimeout) as caught:
        await ask(transport, origin, timeout={limit: 0.05})
    assert stage(caught.value) is FailureStage.SENT
    assert transport.stats.open == 0


async def test_the_first_byte_limit_covers_a_head_that_drips(transport: HttpTransport, start_raw: StartRaw) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not writer.is_closing():
            writer.write(b"A: b\r\n")
            await asyncio.sleep(0.01)

    with pytest.raises(httpx.ReadTimeout) as caught:
        await ask(transport, await start_raw(drip), timeout={"first_byte": 0.1})
    assert stage(caught.value) is FailureStage.RESPONDED


async def test_the_read_limit_is_the_silence_within_a_body(transport: HttpTransport, start_raw: StartRaw) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await reader.read()

    response = await transport.handle_async_request(new_request(await start_raw(handle), timeout={"read": 0.05}))
    with pytest.raises(httpx.ReadTimeout) as caught:
        await read_all(response)
    assert stage(caught.value) is FailureStage.RESPONDED
    assert transport.stats.open == 0


async def test_a_slow_reader_is_no_read_timeout(transport: HttpTransport, start_raw: StartRaw) -> None:
    origin = await start_raw(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhalf"))
    response = await transport.handle_async_request(new_request(origin, timeout={"read": 0.5}))
    await asyncio.sleep(0.6)
    assert await read_all(response) == b"half"


async def test_the_end_of_one_answer_does_not_lift_the_limit_of_the_next(start_raw: StartRaw) -> None:
    """The connection passes to a waiting request before the reader of the first answer has its turn."""
    finish = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha")
        await finish.wait()
        writer.write(b"lf")
        await reader.read()

    async with new_transport(max_connections=1) as transport:
        origin = await start_raw(handle)
        first = await transport.handle_async_request(new_request(origin))
        pieces = pieces_of(first)
        assert await anext(pieces) == b"ha"
        rest = asyncio.create_task(read_all(first))
        second = asyncio.create_task(ask(transport, origin, timeout={"first_byte": 0.05}))
        await until(lambda: transport.stats.waiting == 1)
        finish.set()
        assert await rest == b"lf"
        with pytest.raises(httpx.ReadTimeout):
            await second
        assert transport.stats.created == 1


# A stale connection: whoever asks decides whether a request is sent again.


def dying(seen: list[bytes], first: bytes = OK) -> Handler:
    """Answer one request of each connection; take the second and close without an answer."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await read_head(reader)).partition(b" ")[0])
        writer.write(first)
        seen.append((await read_head(reader)).partition(b" ")[0])

    return handle


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "PATCH"])
async def test_the_transport_sends_every_request_once(
    transport: HttpTransport, start_raw: StartRaw, method: str
) -> None:
    seen: list[bytes] = []
    origin = await start_raw(dying(seen))
    await ask(transport, origin)
    with pytest.raises(httpx.RemoteProtocolError) as caught:
        await ask(transport, origin, method)
    assert seen == [b"GET", method.encode()]
    assert stage(caught.value) is FailureStage.SENT
    assert reused(caught.value)


async def test_a_put_whose_body_was_streamed_is_sent_once(transport: HttpTransport, start_raw: StartRaw) -> None:
    seen: list[bytes] = []
    origin = await start_raw(dying(seen))
    await ask(transport, origin)
    with pytest.raises(httpx.TransportError) as caught:
        await ask(transport, origin, "PUT", headers=[(b"Content-Length", b"1")], body=Pieces(b"x"))
    assert seen == [b"GET", b"PUT"]
    assert stage(caught.value) is FailureStage.SENT


async def test_a_new_connection_that_closes_without_an_answer_is_not_retried(
    transport: HttpTransport, start_raw: StartRaw
) -> None:
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        seen.append(await read_head(reader))

    with pytest.raises(httpx.RemoteProtocolError) as caught:
        await ask(transport, await start_raw(handle))
    assert len(seen) == 1
    assert stage(caught.value) is FailureStage.SENT
    assert not reused(caught.value)


async def test_an_answer_begun_on_a_reused_connection_is_not_retried(
    transport: HttpTransport, start_raw: StartRaw
) -> None:
    origin = await start_raw(answering(OK, b"HTTP/1.1 2"))
    await ask(transport, origin)
    with pytest.raises(httpx.RemoteProtocolError) as caught:
        await ask(transport, origin)
    assert stage(caught.value) is FailureStage.RESPONDED
    assert transport.stats.created == 1
