import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import uvloop

from bff_shared.upstream.transport.connection import Connection
from bff_shared.upstream.transport.http1 import Framing
from bff_shared.upstream.transport.http_transport import Failure, FailureStage, HttpTransport, failure_of, stage
from bff_shared.upstream.transport.request_cycle import PreparedRequest, RequestCycle, Timeouts
from tests.support.transport import GUARD, OK, Handler, Pieces, StartRaw, new_transport

TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno"
CHUNKED = (b"Transfer-Encoding", b"chunked")
EXPECT = (b"Expect", b"100-continue")
PIECE = 64 * 1024


def pending() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


def length(size: int) -> tuple[bytes, bytes]:
    return (b"Content-Length", b"%d" % size)


async def post(
    transport: HttpTransport,
    origin: str,
    body: httpx.AsyncByteStream,
    *headers: tuple[bytes, bytes],
    method: str = "POST",
    write: float = GUARD,
) -> httpx.Response:
    request = httpx.Request(
        method,
        origin,
        headers=[(b"Host", b"backend"), *headers],
        stream=body,
        extensions={"timeout": {"connect": GUARD, "read": GUARD, "write": write, "pool": GUARD}},
    )
    async with asyncio.timeout(GUARD):
        return await transport.handle_async_request(request)


async def read_all(response: httpx.Response) -> bytes:
    assert isinstance(response.stream, httpx.AsyncByteStream)
    return b"".join([piece async for piece in response.stream])


async def read_head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(GUARD):
        while not condition():
            await asyncio.sleep(0.001)


def recording(seen: list[bytes], end: bytes) -> Handler:
    """Record each request up to `end` and answer it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append((await reader.readuntil(end)).partition(b"\r\n\r\n")[2])
            writer.write(OK)

    return handle


# What is sent.


async def test_a_body_of_known_length_is_sent_as_it_is(transport: HttpTransport, start_raw: StartRaw) -> None:
    seen: list[bytes] = []
    origin = await start_raw(recording(seen, b"stop"))
    for _ in range(2):
        response = await post(transport, origin, Pieces(b"start ", b"", b"stop"), length(10))
        assert await read_all(response) == b"ok"
    assert seen == [b"start stop"] * 2
    assert transport.stats.created == 1


async def test_a_chunked_body_is_framed(transport: HttpTransport, start_raw: StartRaw) -> None:
    seen: list[bytes] = []
    origin = await start_raw(recording(seen, b"\r\n0\r\n\r\n"))
    for _ in range(2):
        response = await post(transport, origin, Pieces(b"hello", b"", b"world!"), CHUNKED)
        assert await read_all(response) == b"ok"
    assert seen == [b"5\r\nhello\r\n6\r\nworld!\r\n0\r\n\r\n"] * 2
    assert transport.stats.created == 1


@pytest.mark.parametrize("size", [0, 10, 200_000])
async def test_a_body_in_memory_arrives_whole(transport: HttpTransport, start_raw: StartRaw, size: int) -> None:
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        seen.append(await reader.readexactly(size))
        writer.write(OK)

    response = await post(transport, await start_raw(handle), httpx.ByteStream(b"x" * size), length(size))
    assert await read_all(response) == b"ok"
    assert seen == [b"x" * size]


async def test_a_body_without_framing_is_neither_read_nor_sent(transport: HttpTransport, start_raw: StartRaw) -> None:
    seen: list[bytes] = []
    body = Pieces(b"never")
    origin = await start_raw(recording(seen, b"\r\n\r\n"))
    assert await read_all(await post(transport, origin, body)) == b"ok"
    assert seen == [b""]
    assert body.given == 0


@pytest.mark.parametrize("body", [httpx.ByteStream(b"whole"), Pieces(b"whole")])
async def test_a_small_request_leaves_in_one_write(
    transport: HttpTransport, start_raw: StartRaw, body: httpx.AsyncByteStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[bytes] = []
    original = socket.socket.send

    def send(sock: socket.socket, data: bytes, *rest: int) -> int:
        writes.append(bytes(data))
        return original(sock, data, *rest)

    origin = await start_raw(recording([], b"whole"))
    monkeypatch.setattr(socket.socket, "send", send)
    await read_all(await post(transport, origin, body, length(5)))
    assert [data for data in writes if not data.startswith(b"HTTP/")] == [
        b"POST / HTTP/1.1\r\nHost: backend\r\nContent-Length: 5\r\n\r\nwhole"
    ]


async def test_a_head_does_not_wait_for_its_body(transport: HttpTransport, start_raw: StartRaw) -> None:
    arrived = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        arrived.set()
        await reader.readuntil(b"late")
        writer.write(OK)

    late = pending()
    task = asyncio.create_task(post(transport, await start_raw(handle), Pieces(late, b"late"), length(4)))
    async with asyncio.timeout(GUARD):
        await arrived.wait()
        late.set_result(None)
        assert await read_all(await task) == b"ok"


@pytest.mark.parametrize("kind", [httpx.ByteStream, Pieces])
@pytest.mark.parametrize(("size", "word"), [(3, "longer"), (10, "shorter")])
async def test_a_body_that_belies_its_length_is_refused(
    transport: HttpTransport, start_raw: StartRaw, kind: Callable[[bytes], httpx.AsyncByteStream], size: int, word: str
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        await reader.read()

    with pytest.raises(httpx.LocalProtocolError, match=word):
        await post(transport, await start_raw(handle), kind(b"hello"), length(size))
    assert transport.stats.open == 0


async def test_an_error_of_the_body_is_given_back(transport: HttpTransport, start_raw: StartRaw) -> None:
    gone = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        await reader.read()
        gone.set()

    with pytest.raises(LookupError, match="client went away"):
        await post(transport, await start_raw(handle), Pieces(b"x", LookupError("client went away")), CHUNKED)
    async with asyncio.timeout(GUARD):
        await gone.wait()
    assert transport.stats.open == 0


async def test_an_upload_waits_for_a_slow_peer(transport: HttpTransport, start_raw: StartRaw) -> None:
    go_on = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        await go_on.wait()
        await reader.readexactly(1000 * PIECE)
        writer.write(OK)

    body = Pieces(*[b"x" * PIECE] * 1000)
    task = asyncio.create_task(post(transport, await start_raw(handle), body, length(1000 * PIECE)))
    given = -1
    while given != body.given or not given:
        given = body.given
        await asyncio.sleep(0.05)
    # The kernel's buffers took some; the rest of the 64 MB is still with its source.
    assert given < 500
    go_on.set()
    async with asyncio.timeout(GUARD):
        assert await read_all(await task) == b"ok"
    assert body.given == 1000


async def test_a_peer_that_takes_nothing_is_a_write_timeout(transport: HttpTransport, start_raw: StartRaw) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        await read_head(reader)
        await pending()

    body = Pieces(*[b"x" * PIECE] * 1000)
    with pytest.raises(httpx.WriteTimeout) as caught:
        await post(transport, await start_raw(handle), body, length(1000 * PIECE), write=0.05)
    assert stage(caught.value) is FailureStage.SENT
    assert body.stopped.is_set()
    assert transport.stats.open == 0


async def test_a_peer_that_hangs_up_during_the_upload_is_a_write_error(
    transport: HttpTransport, start_raw: StartRaw
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.transport.abort()

    body = Pieces(*[b"x" * PIECE] * 1000)
    with pytest.raises((httpx.WriteError, httpx.RemoteProtocolError)) as caught:
        await post(transport, await start_raw(handle), body, length(1000 * PIECE))
    assert stage(caught.value) is FailureStage.SENT
    await until(body.stopped.is_set)


# Answers that come early.


async def test_an_early_answer_is_heard_and_ends_the_upload(transport: HttpTransport, start_raw: StartRaw) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"first")
        writer.write(TOO_LARGE)
        await reader.read()

    body = Pieces(b"first", pending())
    response = await post(transport, await start_raw(handle), body, CHUNKED)
    assert response.status_code == 413
    assert await read_all(response) == b"no"
    assert transport.stats.open == 0
    await until(body.stopped.is_set)


@pytest.mark.parametrize("closing", ["close", "reset"])
@pytest.mark.parametrize("round_number", range(10))
async def test_an_early_answer_is_heard_though_the_peer_closes(
    transport: HttpTransport, start_raw: StartRaw, closing: str, round_number: int
) -> None:
    del round_number

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(TOO_LARGE)
        if closing == "close":
            # Closing with unread bytes sends RST after the answer.
            writer.close()
        else:
            await reader.readexactly(PIECE)
            writer.transport.abort()

    response = await post(transport, await start_raw(handle), Pieces(*[b"x" * PIECE] * 2000), length(2000 * PIECE))
    assert response.status_code == 413
    assert await read_all(response) == b"no"
    assert transport.stats.open == 0


def refusing(listener: socket.socket, times: int) -> None:
    """Answer each connection's head at once, and close it while the upload still comes."""
    for _ in range(times):
        sock, _ = listener.accept()
        with sock:
            sock.recv(100)
            sock.sendall(TOO_LARGE)


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_an_early_answer_is_heard_though_a_write_fails_first(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """The peer is a thread, so its answer and its reset arrive at any moment of the upload."""
    rounds = 50

    async def run(origin: str) -> set[tuple[int, bytes]]:
        async with new_transport() as transport:
            answers = set()
            for _ in range(rounds):
                body = Pieces(*[b"x" * PIECE] * 1000)
                response = await post(transport, origin, body, length(1000 * PIECE))
                answers.add((response.status_code, await read_all(response)))
                assert body.given < 1000
            return answers

    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = threading.Thread(target=refusing, args=(listener, rounds))
        peer.start()
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            assert runner.run(run(f"http://127.0.0.1:{listener.getsockname()[1]}")) == {(413, b"no")}
        peer.join(GUARD)


async def test_an_upload_goes_on_while_its_answer_is_read(transport: HttpTransport, start_raw: StartRaw) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while (line := await reader.readuntil(b"\r\n")) != b"0\r\n":
            writer.write(line + await reader.readexactly(int(line, 16) + 2))
        writer.write(b"0\r\n\r\n")
        await reader.readexactly(2)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)

    second = pending()
    response = await post(transport, origin := await start_raw(echo), Pieces(b"one", second, b"two"), CHUNKED)
    assert isinstance(response.stream, httpx.AsyncByteStream)
    pieces = aiter(response.stream)
    async with asyncio.timeout(GUARD):
        assert await anext(pieces) == b"one"
        second.set_result(None)
        assert await anext(pieces) == b"two"
        assert [piece async for piece in pieces] == []
    assert await read_all(await post(transport, origin, Pieces(), method="GET")) == b"ok"


async def test_closing_an_early_answer_stops_its_upload(transport: HttpTransport, start_raw: StartRaw) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"first")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nno")
        await reader.read()

    body = Pieces(b"first", pending())
    response = await post(transport, await start_raw(handle), body, CHUNKED)
    await response.aclose()
    assert body.stopped.is_set()
    assert transport.stats.open == 0


async def test_an_upload_that_fails_under_an_early_answer_breaks_the_answer(
    transport: HttpTransport, start_raw: StartRaw
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"first")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nno")
        await reader.read()

    failing = pending()
    response = await post(transport, await start_raw(handle), Pieces(b"first", failing), CHUNKED)
    failing.set_exception(LookupError("client went away"))
    with pytest.raises(LookupError):
        await read_all(response)
    assert transport.stats.open == 0


async def test_a_body_that_outlives_its_exchange_reaches_no_other(
    transport: HttpTransport, start_raw: StartRaw
) -> None:
    """The answer is whole when all of Content-Length is sent; what the stream gives after that goes nowhere."""

    class Stubborn(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"12345"
            try:
                await pending()
            except asyncio.CancelledError:
                yield b"GET /smuggled HTTP/1.1\r\n\r\n"

    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"12345"))
        writer.write(OK)
        seen.append(await read_head(reader))
        writer.write(OK)

    origin = await start_raw(handle)
    assert await read_all(await post(transport, origin, Stubborn(), length(5))) == b"ok"
    assert await read_all(await post(transport, origin, Pieces(), method="GET")) == b"ok"
    assert transport.stats.created == 1
    assert [request.partition(b" HTTP")[0] for request in seen] == [b"POST /", b"GET /"]


async def test_an_exchange_over_a_closed_connection_sends_nothing(start_raw: StartRaw) -> None:
    """The peer may close between a connection's being handed over and its use."""

    def forget(*_: object) -> None:
        pass

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        await reader.read()

    def make() -> Connection:
        return Connection(buffer=memoryview(bytearray(100)), high_water=100, on_free=forget, on_closed=forget)

    url = httpx.URL(await start_raw(handle))
    _, connection = await asyncio.get_running_loop().create_connection(make, url.host, url.port or 0)
    connection.served = 1
    connection.abort()
    request = httpx.Request("POST", url)
    timeouts = Timeouts(GUARD, GUARD, GUARD, GUARD, GUARD)
    prepared = PreparedRequest(request, b"POST / HTTP/1.1\r\n\r\n", Framing(), b"", timeouts)
    with pytest.raises(httpx.ReadError) as caught:
        await RequestCycle(connection, prepared, lambda: 0.0, 100).run()
    assert failure_of(caught.value) == Failure(FailureStage.CONNECT, reused=True)


# Expect: 100-continue.


async def test_a_body_waits_for_100(transport: HttpTransport, start_raw: StartRaw) -> None:
    body = Pieces(b"body")
    given_before: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        given_before.append(body.given)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await reader.readuntil(b"body")
        writer.write(OK)

    response = await post(transport, await start_raw(handle), body, EXPECT, length(4))
    assert await read_all(response) == b"ok"
    assert given_before == [0]
    assert transport.stats.idle == 1


@pytest.mark.parametrize("body", [Pieces(b"body"), httpx.ByteStream(b"body")])
async def test_a_final_answer_instead_of_100_spares_the_body(
    transport: HttpTransport, start_raw: StartRaw, body: httpx.AsyncByteStream
) -> None:
    rest: list[bytes] = []
    closed = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
        rest.append(await reader.read())
        closed.set()

    response = await post(transport, await start_raw(handle), body, EXPECT, length(4))
    assert response.status_code == 417
    assert await read_all(response) == b""
    async with asyncio.timeout(GUARD):
        await closed.wait()
    assert rest == [b""]
    assert transport.stats.open == 0


async def test_a_body_goes_without_100_after_a_while(
    transport: HttpTransport, start_raw: StartRaw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bff_shared.upstream.transport.request_cycle.CONTINUE_SECONDS", 0.02)
    seen: list[bytes] = []
    response = await post(transport, await start_raw(recording(seen, b"body")), Pieces(b"body"), EXPECT, length(4))
    assert await read_all(response) == b"ok"
    assert seen == [b"body"]
