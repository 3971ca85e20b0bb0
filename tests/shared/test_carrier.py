import asyncio
import gc
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from bff_shared.carrier import Carrier, Stage, Stats, Timings, reused, stage
from bff_shared.exchange import AnswerBody

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
StartRaw = Callable[[Handler], Awaitable[str]]

GUARD = 10.0  # seconds within which anything has happened, or never will
TIMEOUT = {"connect": GUARD, "read": GUARD, "write": GUARD, "pool": GUARD}
HIGH_WATER = 256 * 1024
ONE_READ = 64 * 1024
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Clock:
    """Monotonic seconds that move only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Pieces(httpx.AsyncByteStream):
    """A body that arrives piece by piece; a future among the pieces is waited for, an exception is raised."""

    def __init__(self, *pieces: Any) -> None:
        self.pieces = pieces
        self.given = 0
        self.stopped = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for piece in self.pieces:
                if isinstance(piece, BaseException):
                    raise piece
                if isinstance(piece, asyncio.Future):
                    await piece
                else:
                    self.given += 1
                    yield piece
        finally:
            self.stopped.set()


def new_carrier(**changes: Any) -> Carrier:
    options: dict[str, Any] = {
        "max_connections": 20,
        "max_idle": 20,
        "idle_seconds": 5.0,
        "max_head_bytes": 16 * 1024,
        "high_water": HIGH_WATER,
        "ssl_context": None,
    }
    return Carrier(**{**options, **changes})


@pytest.fixture
async def carrier() -> AsyncIterator[Carrier]:
    async with new_carrier() as carrier:
        yield carrier


def new_request(
    origin: str,
    method: str = "GET",
    *,
    target: bytes = b"/",
    headers: list[tuple[bytes, bytes]] | None = None,
    body: httpx.AsyncByteStream | None = None,
    **extensions: Any,
) -> httpx.Request:
    timeout = {**TIMEOUT, **extensions.pop("timeout", {})}
    return httpx.Request(
        method,
        origin,
        headers=[(b"Host", b"backend"), *(headers or [])],
        stream=body or httpx.ByteStream(b""),
        extensions={"target": target, "timeout": timeout, **extensions},
    )


def pieces_of(response: httpx.Response) -> AsyncIterator[bytes]:
    assert isinstance(response.stream, httpx.AsyncByteStream)
    return aiter(response.stream)


async def read_all(response: httpx.Response) -> bytes:
    return b"".join([piece async for piece in pieces_of(response)])


async def ask(carrier: Carrier, origin: str, method: str = "GET", **options: Any) -> bytes:
    async with asyncio.timeout(GUARD):
        return await read_all(await carrier.handle_async_request(new_request(origin, method, **options)))


async def read_head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def answering(*answers: bytes) -> Handler:
    """Answer the requests of a connection in turn, then close it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await read_head(reader)
            writer.write(answer)
            await writer.drain()

    return handle


async def ok_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await read_head(reader)
        writer.write(OK)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(GUARD):
        while not condition():
            await asyncio.sleep(0.001)


def resets(writer: asyncio.StreamWriter) -> None:
    """Let closing a connection send RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


# The request as it leaves.


async def test_a_request_leaves_byte_for_byte_as_given(carrier: Carrier, start_raw: StartRaw) -> None:
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_head(reader))
        writer.write(OK)

    origin = await start_raw(handle)
    request = new_request(
        origin, target=b"/a%2Fb/../c?q=%20+;&&x=|\xc3\xa9", headers=[(b"X-a", b"1"), (b"x-A", b"\xff")]
    )
    request.method = "gEt"
    await read_all(await carrier.handle_async_request(request))
    assert seen == [
        b"gEt /a%2Fb/../c?q=%20+;&&x=|\xc3\xa9 HTTP/1.1\r\nHost: backend\r\nX-a: 1\r\nx-A: \xff\r\n\r\n",
    ]


async def test_the_urls_own_target_is_sent_without_an_extension(carrier: Carrier, start_raw: StartRaw) -> None:
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_head(reader))
        writer.write(OK)

    async with httpx.AsyncClient(transport=carrier) as client:
        response = await client.get(await start_raw(handle) + "/bars/daily?symbol=AAPL")
    assert response.text == "ok"
    assert seen[0].startswith(b"GET /bars/daily?symbol=AAPL HTTP/1.1\r\n")


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\nb", b"a\0"])
async def test_a_value_with_a_line_break_is_refused_unsent(carrier: Carrier, value: bytes) -> None:
    request = new_request("http://127.0.0.1:9", headers=[(b"x", value)])
    with pytest.raises(httpx.LocalProtocolError) as caught:
        await carrier.handle_async_request(request)
    assert stage(caught.value) is Stage.CONNECT
    assert caught.value.request is request


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "https://127.0.0.1:9"])
async def test_what_cannot_be_carried_is_refused(carrier: Carrier, url: str) -> None:
    with pytest.raises(httpx.UnsupportedProtocol) as caught:
        await carrier.handle_async_request(new_request(url))
    assert stage(caught.value) is Stage.CONNECT


# The answer as it comes.


async def test_an_answer_comes_byte_for_byte(carrier: Carrier, start_raw: StartRaw) -> None:
    body = b"\x1f\x8b not really gzip"
    origin = await start_raw(
        answering(
            b"HTTP/1.1 299 So \xe9\r\nSet-cookie: a\r\nX: \xff\r\nSET-COOKIE: b\r\nContent-Encoding: gzip\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
    )
    response = await carrier.handle_async_request(new_request(origin))
    assert response.status_code == 299
    assert response.headers.raw == [
        (b"Set-cookie", b"a"),
        (b"X", b"\xff"),
        (b"SET-COOKIE", b"b"),
        (b"Content-Encoding", b"gzip"),
        (b"Content-Length", b"%d" % len(body)),
    ]
    assert response.extensions["reason_phrase"] == b"So \xe9"
    assert response.extensions["http_version"] == b"HTTP/1.1"
    assert await read_all(response) == body


async def test_trailers_are_there_when_the_body_has_ended(carrier: Carrier, start_raw: StartRaw) -> None:
    origin = await start_raw(
        answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nX-sum: 2\r\n\r\n")
    )
    response = await carrier.handle_async_request(new_request(origin))
    assert await read_all(response) == b"ok"
    assert response.extensions["trailers"] == [(b"X-Sum", b"1"), (b"X-sum", b"2")]


async def test_timings_tell_a_new_connection_from_a_reused_one(carrier: Carrier, start_raw: StartRaw) -> None:
    origin = await start_raw(ok_for_ever)
    seen = []
    for _ in range(2):
        response = await carrier.handle_async_request(new_request(origin))
        await read_all(response)
        seen.append((response.extensions["timings"], response.extensions["reused"]))
    (first, first_reused), (second, second_reused) = seen
    assert isinstance(first, Timings)
    assert first.connect > 0
    assert first.first_byte > 0
    assert second.connect == 0
    assert (first_reused, second_reused) == (False, True)


async def test_an_answer_to_head_with_a_length_leaves_the_connection_usable(
    carrier: Carrier, start_raw: StartRaw
) -> None:
    origin = await start_raw(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", OK))
    assert await ask(carrier, origin, "HEAD") == b""
    assert await ask(carrier, origin) == b"ok"
    assert carrier.stats.created == 1


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_answers_without_a_body_leave_the_connection_usable(
    carrier: Carrier, start_raw: StartRaw, status: bytes
) -> None:
    origin = await start_raw(answering(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n", OK))
    assert await ask(carrier, origin) == b""
    assert await ask(carrier, origin) == b"ok"
    assert carrier.stats.created == 1


async def test_interim_answers_are_skipped_and_observed(carrier: Carrier, start_raw: StartRaw) -> None:
    seen: list[tuple[int, list[tuple[bytes, bytes]]]] = []
    origin = await start_raw(answering(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK))
    body = await ask(carrier, origin, on_informational=lambda status, headers: seen.append((status, headers)))
    assert body == b"ok"
    assert seen == [(103, [(b"Link", b"</a>")])]


async def test_a_failing_observer_fails_its_own_request(carrier: Carrier, start_raw: StartRaw) -> None:
    def refuse(status: int, headers: object) -> None:
        raise LookupError(status, headers)

    origin = await start_raw(answering(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK))
    with pytest.raises(LookupError):
        await ask(carrier, origin, on_informational=refuse)
    assert carrier.stats.open == 0


async def test_a_body_is_handed_on_piece_by_piece(carrier: Carrier, start_raw: StartRaw) -> None:
    read = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await read.wait()
        writer.write(b"6\r\nsecond\r\n0\r\n\r\n")

    async with asyncio.timeout(GUARD):
        response = await carrier.handle_async_request(new_request(await start_raw(handle)))
        pieces = pieces_of(response)
        assert await anext(pieces) == b"first"
        read.set()
        assert await anext(pieces) == b"second"
        with pytest.raises(StopAsyncIteration):
            await anext(pieces)


async def test_a_body_without_length_ends_with_the_connection(carrier: Carrier, start_raw: StartRaw) -> None:
    origin = await start_raw(answering(b"HTTP/1.1 200 OK\r\n\r\nall of it"))
    assert await ask(carrier, origin) == b"all of it"
    assert carrier.stats.open == 0


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
    carrier: Carrier, start_raw: StartRaw, answer: bytes
) -> None:
    with pytest.raises(httpx.RemoteProtocolError) as caught:
        await ask(carrier, await start_raw(answering(answer)))
    assert stage(caught.value) is Stage.ANSWERED
    assert carrier.stats.open == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
async def test_a_break_off_within_the_body_is_raised_after_what_came(
    carrier: Carrier, start_raw: StartRaw, answer: bytes
) -> None:
    response = await carrier.handle_async_request(new_request(await start_raw(answering(answer))))
    pieces = pieces_of(response)
    assert await anext(pieces) == b"half"
    with pytest.raises(httpx.RemoteProtocolError) as caught:
        await anext(pieces)
    assert stage(caught.value) is Stage.ANSWERED
    assert carrier.stats.open == 0


async def test_a_reset_within_the_body_is_a_read_error(carrier: Carrier, start_raw: StartRaw) -> None:
    received = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await received.wait()
        resets(writer)

    response = await carrier.handle_async_request(new_request(await start_raw(handle)))
    received.set()
    with pytest.raises(httpx.ReadError):
        await read_all(response)
    assert carrier.stats.open == 0


async def test_a_refused_connection_was_never_made(carrier: Carrier) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(httpx.ConnectError) as caught:
        await ask(carrier, f"http://127.0.0.1:{port}", "POST")
    assert stage(caught.value) is Stage.CONNECT
    assert not reused(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    assert carrier.stats == Stats(0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 70])
async def test_an_unresolvable_host_is_a_connect_error(carrier: Carrier, host: str) -> None:
    with pytest.raises(httpx.ConnectError) as caught:
        await ask(carrier, f"http://{host}/")
    assert stage(caught.value) is Stage.CONNECT


async def test_a_connection_that_is_not_accepted_in_time_is_a_connect_timeout(carrier: Carrier) -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        # A listener without room: its accept queue of one is taken, so a further SYN is not answered.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        with pytest.raises(httpx.ConnectTimeout) as caught:
            await ask(carrier, f"http://127.0.0.1:{full.getsockname()[1]}", timeout={"connect": 0.05})
    assert stage(caught.value) is Stage.CONNECT
    assert carrier.stats.open == 0


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"")
    await reader.read()


@pytest.mark.parametrize("limit", ["first_byte", "read"])
async def test_no_answer_in_time_is_a_read_timeout(carrier: Carrier, start_raw: StartRaw, limit: str) -> None:
    origin = await start_raw(silence)
    with pytest.raises(httpx.ReadTimeout) as caught:
        await ask(carrier, origin, timeout={limit: 0.05})
    assert stage(caught.value) is Stage.SENT
    assert carrier.stats.open == 0


async def test_the_first_byte_limit_covers_a_head_that_drips(carrier: Carrier, start_raw: StartRaw) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not writer.is_closing():
            writer.write(b"A: b\r\n")
            await asyncio.sleep(0.01)

    with pytest.raises(httpx.ReadTimeout) as caught:
        await ask(carrier, await start_raw(drip), timeout={"first_byte": 0.1})
    assert stage(caught.value) is Stage.ANSWERED


async def test_the_read_limit_is_the_silence_within_a_body(carrier: Carrier, start_raw: StartRaw) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await reader.read()

    response = await carrier.handle_async_request(new_request(await start_raw(handle), timeout={"read": 0.05}))
    with pytest.raises(httpx.ReadTimeout) as caught:
        await read_all(response)
    assert stage(caught.value) is Stage.ANSWERED
    assert carrier.stats.open == 0


async def test_a_slow_reader_is_no_read_timeout(carrier: Carrier, start_raw: StartRaw) -> None:
    origin = await start_raw(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhalf"))
    response = await carrier.handle_async_request(new_request(origin, timeout={"read": 0.02}))
    await asyncio.sleep(0.06)
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

    async with new_carrier(max_connections=1) as carrier:
        origin = await start_raw(handle)
        first = await carrier.handle_async_request(new_request(origin))
        pieces = pieces_of(first)
        assert await anext(pieces) == b"ha"
        rest = asyncio.create_task(read_all(first))
        second = asyncio.create_task(ask(carrier, origin, timeout={"first_byte": 0.05}))
        await until(lambda: carrier.stats.waiting == 1)
        finish.set()
        assert await rest == b"lf"
        with pytest.raises(httpx.ReadTimeout):
            await second
        assert carrier.stats.created == 1


# Requests sent again, and those that are not.


def dying(seen: list[bytes], first: bytes = OK) -> Handler:
    """Answer one request of each connection; take the second and close without an answer."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await read_head(reader)).partition(b" ")[0])
        writer.write(first)
        seen.append((await read_head(reader)).partition(b" ")[0])

    return handle


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"])
async def test_a_stale_connection_is_not_seen_by_idempotent_requests(
    carrier: Carrier, start_raw: StartRaw, method: str
) -> None:
    seen: list[bytes] = []
    origin = await start_raw(dying(seen))
    await ask(carrier, origin)
    assert await ask(carrier, origin, method) == (b"" if method == "HEAD" else b"ok") or method == "HEAD"
    assert seen == [b"GET", method.encode(), method.encode()]
    assert carrier.stats.created == 2


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_post_is_sent_once(carrier: Carrier, start_raw: StartRaw, method: str) -> None:
    seen: list[bytes] = []
    origin = await start_raw(dying(seen))
    await ask(carrier, origin)
    with pytest.raises(httpx.RemoteProtocolError) as caught:
        await ask(carrier, origin, method)
    assert seen == [b"GET", method.encode()]
    assert stage(caught.value) is Stage.SENT
    assert reused(caught.value)


async def test_a_put_whose_body_was_streamed_is_sent_once(carrier: Carrier, start_raw: StartRaw) -> None:
    seen: list[bytes] = []
    origin = await start_raw(dying(seen))
    await ask(carrier, origin)
    with pytest.raises(httpx.TransportError) as caught:
        await ask(carrier, origin, "PUT", headers=[(b"Content-Length", b"1")], body=Pieces(b"x"))
    assert seen == [b"GET", b"PUT"]
    assert stage(caught.value) is Stage.SENT


async def test_a_new_connection_that_closes_without_an_answer_is_not_retried(
    carrier: Carrier, start_raw: StartRaw
) -> None:
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        seen.append(await read_head(reader))

    with pytest.raises(httpx.RemoteProtocolError) as caught:
        await ask(carrier, await start_raw(handle))
    assert len(seen) == 1
    assert stage(caught.value) is Stage.SENT
    assert not reused(caught.value)


async def test_an_answer_begun_on_a_reused_connection_is_not_retried(carrier: Carrier, start_raw: StartRaw) -> None:
    origin = await start_raw(answering(OK, b"HTTP/1.1 2"))
    await ask(carrier, origin)
    with pytest.raises(httpx.RemoteProtocolError) as caught:
        await ask(carrier, origin)
    assert stage(caught.value) is Stage.ANSWERED
    assert carrier.stats.created == 1


# Cancellation, closing, leaks.


async def test_cancelling_a_request_closes_its_connection(carrier: Carrier, start_raw: StartRaw) -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        await read_head(reader)
        arrived.set()
        await reader.read()
        gone.set()

    task = asyncio.create_task(ask(carrier, await start_raw(handle)))
    async with asyncio.timeout(GUARD):
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert carrier.stats.open == 0
        await gone.wait()


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_head(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
    piece = b"x" * ONE_READ
    while True:
        writer.write(piece)
        await writer.drain()


async def test_closing_an_answer_closes_its_connection(carrier: Carrier, start_raw: StartRaw) -> None:
    response = await carrier.handle_async_request(new_request(await start_raw(endless)))
    await response.aclose()
    assert carrier.stats.open == 0
    with pytest.raises(httpx.StreamClosed):
        await read_all(response)


async def test_an_answer_that_is_dropped_frees_its_connection(carrier: Carrier, start_raw: StartRaw) -> None:
    response = await carrier.handle_async_request(new_request(await start_raw(endless)))
    assert carrier.stats.in_use == 1
    del response
    gc.collect()
    await until(lambda: carrier.stats.open == 0)


async def test_a_whole_answer_frees_its_connection_without_being_closed(carrier: Carrier, start_raw: StartRaw) -> None:
    origin = await start_raw(ok_for_ever)
    response = await carrier.handle_async_request(new_request(origin))
    await until(lambda: carrier.stats.idle == 1)
    assert await ask(carrier, origin) == b"ok"
    assert await read_all(response) == b"ok"
    await response.aclose()
    assert carrier.stats == Stats(open=1, in_use=0, idle=1, waiting=0, created=1, reused=1)


async def test_closing_the_carrier_fails_what_is_under_way(start_raw: StartRaw) -> None:
    carrier = new_carrier(max_connections=1)
    origin = await start_raw(silence)
    running = asyncio.create_task(ask(carrier, origin))
    waiting = asyncio.create_task(ask(carrier, origin))
    await until(lambda: carrier.stats.waiting == 1)
    await carrier.aclose()
    with pytest.raises(httpx.ReadError):
        await running
    with pytest.raises(httpx.ConnectError):
        await waiting
    with pytest.raises(httpx.ConnectError):
        await ask(carrier, origin)
    assert carrier.stats.open == 0


def open_sockets() -> int:
    return sum(1 for entry in Path("/proc/self/fd").iterdir() if "socket:" in _target(entry))


def _target(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except OSError:
        return ""


FAULTS = [
    b"",
    b"<html>",
    b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA: " + b"x" * 20_000,
    b"HTTP/1.1 413 No\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
    b"silence",
    b"reset",
    b"cancel",
]


async def test_a_thousand_faults_leave_no_connection_and_no_task(start_raw: StartRaw) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = FAULTS[int((await read_head(reader)).split(b" ")[1][1:])]
        if fault in (b"silence", b"cancel"):
            await reader.read()
        elif fault == b"reset":
            resets(writer)
        else:
            writer.write(fault)

    async def one(number: int) -> None:
        kind = number % len(FAULTS)
        upload = bool(number // len(FAULTS) % 2)
        request = new_request(
            origin,
            "POST" if upload else "GET",
            target=b"/%d" % kind,
            headers=[(b"Transfer-Encoding", b"chunked")] if upload else [],
            body=Pieces(b"x", asyncio.get_running_loop().create_future()) if upload else None,
            timeout={"first_byte": 0.02, "read": 0.02},
        )
        async with places:
            task = asyncio.create_task(_swallow(carrier, request))
            if upload or FAULTS[kind] == b"cancel":
                await asyncio.sleep(0.01)
                task.cancel()
            await asyncio.wait({task})

    origin = await start_raw(handle)
    places = asyncio.Semaphore(50)
    before = open_sockets(), len(asyncio.all_tasks())
    async with new_carrier(max_connections=50) as carrier:
        await asyncio.gather(*(one(number) for number in range(1000)))
        await until(lambda: carrier.stats.open == 0)
        # Some are cancelled before their connection is made.
        assert 450 <= carrier.stats.created <= 1000
        await until(lambda: (open_sockets(), len(asyncio.all_tasks())) == before)


async def _swallow(carrier: Carrier, request: httpx.Request) -> None:
    try:
        response = await carrier.handle_async_request(request)
        try:
            await read_all(response)
        finally:
            await response.aclose()
    except httpx.TransportError:
        pass


async def test_requests_leave_no_cyclic_garbage(carrier: Carrier, start_raw: StartRaw) -> None:
    origin = await start_raw(ok_for_ever)
    await ask(carrier, origin)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(10):
            await ask(carrier, origin)
        gc.collect()
        ours = {type(thing).__name__ for thing in gc.garbage if type(thing).__module__.startswith("bff_shared")}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert ours == set()


async def test_ten_slow_readers_hold_little_memory(carrier: Carrier, start_raw: StartRaw) -> None:
    origin = await start_raw(endless)
    responses = [await carrier.handle_async_request(new_request(origin)) for _ in range(10)]

    def buffered() -> list[int]:
        bodies = [response.stream for response in responses]
        return [body._exchange.reader.buffered for body in bodies if isinstance(body, AnswerBody)]

    await until(lambda: min(buffered()) > HIGH_WATER)
    for response in responses:
        assert len(await anext(pieces_of(response))) > HIGH_WATER
    await until(lambda: min(buffered()) > HIGH_WATER)
    for _ in range(50):
        await asyncio.sleep(0.001)
        assert max(buffered()) <= HIGH_WATER + ONE_READ
    for response in responses:
        await response.aclose()


# Where it runs.


async def _a_bit_of_everything(port: int) -> None:
    async with new_carrier() as carrier:
        origin = f"http://127.0.0.1:{port}"
        assert await ask(carrier, origin) == b"ok"
        big = Pieces(*[b"x" * ONE_READ] * 40)
        assert await ask(carrier, origin, "POST", headers=[(b"Transfer-Encoding", b"chunked")], body=big) == b"ok"
        with pytest.raises(httpx.ReadTimeout):
            await ask(carrier, origin, target=b"/silence", timeout={"first_byte": 0.05})
        assert carrier.stats.open == 0


async def _mixed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await read_head(reader):
            if b"/silence" in head:
                await reader.read()
                return
            if b"chunked" in head:
                await reader.readuntil(b"\r\n0\r\n\r\n")
            writer.write(OK)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_both_event_loops_carry_it(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def run() -> None:
        server = await asyncio.start_server(_mixed, "127.0.0.1", 0, limit=8 * 1024 * 1024)
        async with server:
            await _a_bit_of_everything(server.sockets[0].getsockname()[1])

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(run())


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
async def test_https_is_carried_with_the_given_context(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(  # noqa: S603, ASYNC221  fixed arguments; the test has nothing else to do
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", key, "-out", certificate, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
        env={"PATH": os.environ["PATH"]},
    )
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(certificate, key)
    server = await asyncio.start_server(_mixed, "127.0.0.1", 0, ssl=server_side)
    port = server.sockets[0].getsockname()[1]
    async with server:
        async with new_carrier(ssl_context=ssl.create_default_context(cafile=str(certificate))) as trusting:
            assert await ask(trusting, f"https://localhost:{port}") == b"ok"
            assert await ask(trusting, f"https://localhost:{port}", "POST") == b"ok"
            assert trusting.stats.created == 1
        async with new_carrier(ssl_context=ssl.create_default_context()) as wary:
            with pytest.raises(httpx.ConnectError, match=re.compile("certificate", re.IGNORECASE)) as caught:
                await ask(wary, f"https://localhost:{port}")
            assert stage(caught.value) is Stage.CONNECT
