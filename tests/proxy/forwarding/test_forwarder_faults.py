"""What clients see, and what is left behind, when the backend or the client misbehaves."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
import uvloop

from bff_proxy.forwarding.http_server import Cork
from tests.support.http1 import OK, Message, Peer, address, exchange, read_answer, read_body, read_head

StartProxy = Callable[..., Awaitable[str]]
StartRaw = Callable[[Peer], Awaitable[str]]
GET = b"GET /api/v1/x HTTP/1.1\r\nhost: a\r\n\r\n"
POST = b"POST /api/v1/x HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi"
LONG = b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n"


def code(answer: Message) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["error"]["code"]


async def settled(condition: Callable[[], bool]) -> None:
    """Wait until something that is about to happen has happened; the test's own time limit bounds it."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def silence(_: Message, reader: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    await reader.read()


def says(*parts: bytes) -> Peer:
    """Return a backend that says some bytes and hangs up."""

    async def behave(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        raise ConnectionResetError

    return Peer(behave=behave)


async def test_refused_connection_is_502(start_proxy: StartProxy) -> None:
    assert code(await exchange(await start_proxy("http://127.0.0.1:9"), GET)) == (502, "BACKEND_UNAVAILABLE")


async def test_unresolvable_name_is_502(start_proxy: StartProxy) -> None:
    answer = await exchange(await start_proxy("http://nowhere.invalid:80"), GET)
    assert code(answer) == (502, "BACKEND_UNAVAILABLE")
    assert b"nowhere" not in answer.body


async def test_connection_that_is_not_taken_is_504(start_proxy: StartProxy) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        origin = await start_proxy(f"http://127.0.0.1:{full.getsockname()[1]}", connect_timeout=0.2)
        answer = await exchange(origin, GET)
        for filler in fillers:
            filler.close()
    assert code(answer) == (504, "BACKEND_TIMEOUT")


async def test_silent_backend_is_504(start_proxy: StartProxy) -> None:
    peer = Peer(behave=silence)
    answer = await exchange(await start_proxy(peer, first_byte_timeout=0.1), GET)
    assert code(answer) == (504, "BACKEND_TIMEOUT")
    await settled(lambda: peer.open == 0)
    assert len(peer.requests) == 1


@pytest.mark.parametrize(
    "nonsense", [b"SSH-2.0-what\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"]
)
async def test_malformed_answer_is_502(start_proxy: StartProxy, nonsense: bytes) -> None:
    assert code(await exchange(await start_proxy(says(nonsense)), GET)) == (502, "BACKEND_UNAVAILABLE")


async def test_ambiguous_framing_of_the_answer_is_502(start_proxy: StartProxy) -> None:
    peer = says(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
    assert code(await exchange(await start_proxy(peer), GET)) == (502, "BACKEND_UNAVAILABLE")


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nonly this\r\n",
    ],
)
async def test_answer_that_breaks_off_is_never_whole(start_proxy: StartProxy, start: bytes) -> None:
    reader, writer = await asyncio.open_connection(*address(await start_proxy(says(start))))
    writer.write(GET)
    with pytest.raises(asyncio.IncompleteReadError):
        await read_answer(reader)
    writer.close()


async def test_answer_that_falls_silent_breaks_off(start_proxy: StartProxy) -> None:
    async def behave(_: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(LONG + b"x")
        await reader.read()

    peer = Peer(behave=behave)
    reader, writer = await asyncio.open_connection(*address(await start_proxy(peer, idle_timeout=0.1)))
    writer.write(GET)
    with pytest.raises(asyncio.IncompleteReadError):
        await read_answer(reader)
    await settled(lambda: peer.open == 0)
    writer.close()


@pytest.mark.parametrize("said", [b"", LONG + b"x" * 100])
async def test_client_that_leaves_frees_the_backend(start_proxy: StartProxy, said: bytes) -> None:
    async def behave(_: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await reader.read()

    peer = Peer(behave=behave)
    _, writer = await asyncio.open_connection(*address(await start_proxy(peer)))
    writer.write(GET)
    await settled(lambda: peer.open == 1 and bool(peer.requests))
    writer.transport.abort()
    await settled(lambda: peer.open == 0)


async def test_client_that_leaves_in_its_upload_frees_the_backend(start_proxy: StartProxy) -> None:
    peer = Peer(behave=silence)
    _, writer = await asyncio.open_connection(*address(await start_proxy(peer)))
    writer.write(b"POST /api/v1/x HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\npart")
    await settled(lambda: bool(peer.requests))
    writer.transport.abort()
    await settled(lambda: peer.open == 0)


async def test_get_is_tried_again_when_no_byte_came(start_proxy: StartProxy) -> None:
    async def behave(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(peer.requests) < 3:
            raise ConnectionResetError
        writer.write(OK)

    peer = Peer(behave=behave)
    assert (await exchange(await start_proxy(peer), GET)).status == 200
    assert len(peer.requests) == 3


@pytest.mark.parametrize("said", [b"", b"H"])
async def test_post_is_sent_once(start_proxy: StartProxy, said: bytes) -> None:
    peer = says(said)
    answer = await exchange(await start_proxy(peer), POST)
    assert code(answer) == (502, "BACKEND_UNAVAILABLE")
    assert len(peer.requests) == 1


async def test_get_is_not_tried_again_once_a_byte_came(start_proxy: StartProxy) -> None:
    peer = says(b"H")
    assert (await exchange(await start_proxy(peer), GET)).status == 502
    assert len(peer.requests) == 1


@pytest.mark.parametrize(("methods", "sent"), [(("GET",), 1), (("GET", "DELETE"), 3)])
async def test_delete_is_tried_again_if_configured(
    start_proxy: StartProxy, methods: tuple[str, ...], sent: int
) -> None:
    peer = says(b"")
    origin = await start_proxy(peer, retry_methods=methods)
    await exchange(origin, b"DELETE /api/v1/x HTTP/1.1\r\nhost: a\r\n\r\n")
    assert len(peer.requests) == sent


async def test_connection_that_went_stale_is_not_seen(start_proxy: StartProxy) -> None:
    async def behave(request: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_body(reader, request, until_close=False)
        writer.write(OK)
        await writer.drain()
        raise ConnectionResetError

    peer = Peer(behave=behave)
    origin = await start_proxy(peer)
    for request in (GET, POST, POST, GET):
        assert (await exchange(origin, request)).status == 200
    assert len(peer.requests) == 4


async def test_breaker_answers_at_once_and_closes_by_itself(start_proxy: StartProxy) -> None:
    peer = Peer(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")
    origin = await start_proxy(peer, breaker_min_calls=5, breaker_open_seconds=0.3)
    for number in range(5):
        assert (await exchange(origin, GET, client=f"127.0.0.{number % 2 + 2}")).body == b""
    answer = await exchange(origin, GET)
    assert code(answer) == (503, "BACKEND_CIRCUIT_OPEN")
    assert answer.values(b"retry-after") == [b"1"]
    assert len(peer.requests) == 5
    assert not [request for request in peer.requests if request.target == b"/healthz"]
    peer.answer = OK
    async with asyncio.timeout(30):
        while (await exchange(origin, GET)).status != 200:
            await asyncio.sleep(0.05)


async def test_calls_beyond_cap_and_queue_are_busy(start_proxy: StartProxy) -> None:
    release = asyncio.Event()

    async def behave(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(OK)

    peer = Peer(behave=behave)
    origin = await start_proxy(peer, max_connections=2, max_queue=1, queue_timeout=30)
    inside = [asyncio.create_task(exchange(origin, GET)) for _ in range(3)]
    await settled(lambda: len(peer.requests) == 2)
    statuses: list[int] = []
    async with asyncio.timeout(30):
        while 503 not in statuses:
            rejected = await exchange(origin, GET)
            statuses.append(rejected.status)
    assert code(rejected) == (503, "BUSY")
    assert rejected.values(b"retry-after")
    release.set()
    assert [(await task).status for task in inside] == [200, 200, 200]


async def test_thousand_faults_leave_nothing_behind(start_proxy: StartProxy) -> None:
    async def behave(request: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kind = int(request.target.rsplit(b"/", 1)[1]) % 4
        if kind == 0:
            raise ConnectionResetError
        if kind == 1:
            await reader.read()
        writer.write(LONG + b"x" if kind == 2 else b"nonsense\r\n\r\n")
        await writer.drain()
        raise ConnectionResetError

    peer = Peer(behave=behave)
    settings = {"first_byte_timeout": 0.05, "breaker_min_calls": 10_000, "retries": 0, "max_queue": 1000}
    origin = await start_proxy(peer, **settings)
    before = len(asyncio.all_tasks())
    places = asyncio.Semaphore(25)

    async def fault(number: int) -> None:
        async with places:
            reader, writer = await asyncio.open_connection(*address(origin))
            writer.write(b"GET /api/v1/%d HTTP/1.1\r\nhost: a\r\n\r\n" % number)
            if number % 5:
                with contextlib.suppress(asyncio.IncompleteReadError):
                    await read_head(reader)
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    await asyncio.gather(*(fault(number) for number in range(1000)))
    await settled(lambda: peer.open == 0 and len(asyncio.all_tasks()) <= before)
    peer._behave = None  # the same proxy goes on working
    peer.answer = OK
    async with asyncio.timeout(20):
        while (await exchange(origin, GET)).status != 200:  # the time to the first byte is short
            await asyncio.sleep(0.005)


async def test_slow_readers_hold_the_backend_back(start_proxy: StartProxy) -> None:
    written = 0

    async def behave(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.transport.set_write_buffer_limits(high=0)
        writer.write(LONG)
        for part in range(100):
            writer.write(bytes([part]) * 1_000_000)
            await writer.drain()
            written += 1_000_000

    origin = await start_proxy(Peer(behave=behave))
    readers = []
    for _ in range(10):
        reader_and_writer = await asyncio.open_connection(*address(origin), limit=1024)
        reader_and_writer[1].write(GET)
        readers.append(reader_and_writer[1])
    seen, calm = -1, 0
    async with asyncio.timeout(20):
        while calm < 60:
            calm, seen = (calm + 1, seen) if seen == written > 0 else (0, written)
            await asyncio.sleep(0.005)
    for writer in readers:
        writer.transport.abort()
    assert written < 10 * 20_000_000


async def test_what_is_written_to_a_client_that_has_left_is_dropped_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = uvloop.new_event_loop()

    async def leave() -> None:
        served, theirs = socket.socketpair()
        with theirs:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=served)
            cork = Cork(cast("asyncio.Transport", transport), loop)
            cork.abort()
            await asyncio.sleep(0.01)
            cork.write(b"HTTP/1.1 200 OK\r\n")
            await asyncio.sleep(0.01)

    try:
        await asyncio.to_thread(loop.run_until_complete, leave())
    finally:
        loop.close()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
