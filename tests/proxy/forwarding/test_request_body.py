"""Request bodies: when a place at the backend is taken for one, and what becomes of those that come too slowly."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable

import httpx
import pytest

from bff_proxy.forwarding.forwarder import _while_client_listens
from bff_proxy.forwarding.request_body import BodyLimits
from tests.support.http1 import OK, Message, Peer, address, exchange, read_answer, read_body

StartProxy = Callable[..., Awaitable[str]]
GET = b"GET /api/v1/x HTTP/1.1\r\nhost: a\r\n\r\n"
LARGE = 1_000_000


def post(*headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"POST /api/v1/x HTTP/1.1", b"host: a", *headers, b"", b""]) + body


async def active(origin: str, gauge: str) -> int:
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"{origin}/metrics")).text
    found = re.search(rf"^{gauge} (\S+)$", text, re.MULTILINE)
    assert found
    return int(float(found[1]))


async def settled(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.01)


def test_patience_is_what_rate_grace_and_total_leave() -> None:
    limits = BodyLimits(rate=1000, grace=5, total=60)
    assert limits.patience(0, 0, 0) == 5
    assert limits.patience(2000, 1, 1) == 6
    assert limits.patience(2000, 9, 9) == 0
    assert limits.patience(10**9, 1, 58) == 2
    assert BodyLimits(rate=0, total=60).patience(0, 50, 50) == 10


def test_time_in_which_nobody_waits_for_the_client_does_not_count_against_the_rate() -> None:
    assert BodyLimits(rate=1000, grace=5, total=600).patience(100, 0.5, 300) == pytest.approx(4.6)


@pytest.mark.parametrize(
    "words",
    [
        post(b"content-length: 100", body=b"x"),
        post(b"content-length: 100"),
        post(b"content-length: %d" % LARGE),
        post(b"transfer-encoding: chunked"),
    ],
)
async def test_a_client_that_dawdles_before_its_body_is_there_is_408_and_the_backend_hears_nothing(
    start_proxy: StartProxy, words: bytes
) -> None:
    peer = Peer()
    answer = await exchange(await start_proxy(peer, body_grace_seconds=0.2), words)
    assert answer.status == 408
    assert json.loads(answer.body)["error"]["code"] == "REQUEST_TIMEOUT"
    assert peer.requests == []


@pytest.mark.parametrize("framing", [b"content-length: %d" % LARGE, b"transfer-encoding: chunked"])
async def test_a_large_body_that_falls_behind_loses_its_place(start_bare_proxy: StartProxy, framing: bytes) -> None:
    async def behave(request: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        await read_body(reader, request, until_close=False)

    peer = Peer(behave=behave)
    origin = await start_bare_proxy(peer, body_grace_seconds=0.3)
    start = b"400\r\n" + b"x" * 1024 + b"\r\n" if b"chunked" in framing else b"x" * 1024
    answer = await exchange(origin, post(framing, body=start))
    assert answer.status == 408
    assert answer.values(b"connection") == [b"close"]
    assert len(peer.requests) == 1

    async def is_free() -> bool:
        return peer.open == 0 and await active(origin, "bff_upstream_uploads_active") == 0

    await settled(is_free)


async def test_a_body_may_take_no_longer_in_all_than_is_set(start_bare_proxy: StartProxy) -> None:
    async def behave(request: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        await read_body(reader, request, until_close=False)

    origin = await start_bare_proxy(Peer(behave=behave), body_seconds=0.3, body_min_rate_bytes=1)
    reader, writer = await asyncio.open_connection(*address(origin))
    writer.write(post(b"content-length: %d" % LARGE))

    async def drip() -> None:
        while True:
            writer.write(b"x" * 1000)
            await writer.drain()
            await asyncio.sleep(0.01)

    dripping = asyncio.create_task(drip())
    assert (await asyncio.wait_for(read_answer(reader), 30)).status == 408
    dripping.cancel()
    await asyncio.wait((dripping,))
    writer.close()


async def test_a_slow_body_that_keeps_the_rate_arrives_whole(start_proxy: StartProxy) -> None:
    peer = Peer()
    reader, writer = await asyncio.open_connection(*address(await start_proxy(peer, body_grace_seconds=5)))
    writer.write(post(b"content-length: 100000"))
    for _ in range(10):
        writer.write(b"x" * 10_000)
        await writer.drain()
        await asyncio.sleep(0.01)
    assert (await read_answer(reader)).status == 200
    assert peer.requests[0].body == b"x" * 100_000
    writer.close()


async def test_uploads_under_way_take_no_place_of_other_requests(start_proxy: StartProxy) -> None:
    async def behave(request: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_body(reader, request, until_close=False)
        writer.write(OK)

    peer = Peer(behave=behave)
    origin = await start_proxy(peer, max_connections=2, max_queue=0, max_uploads=10)
    writers = []
    for number in range(16):  # small ones wait in memory, large ones have places of their own
        _, writer = await asyncio.open_connection(*address(origin))
        size = 50_000 if number % 2 else LARGE
        writer.write(post(b"content-length: %d" % size, body=b"x"))
        writers.append(writer)

    async def are_there() -> bool:
        return len(peer.requests) == 6  # a client's share of ten

    await settled(are_there)
    for _ in range(5):
        assert (await exchange(origin, GET)).status == 200
    for writer in writers:
        writer.transport.abort()


async def test_streams_of_one_client_take_no_place_of_other_requests(start_proxy: StartProxy) -> None:
    async def behave(request: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"/stream" in request.target:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hello\n\n")
            await reader.read()
        writer.write(OK)

    origin = await start_proxy(Peer(behave=behave), max_connections=2, max_queue=0, max_streams=20)
    stream = b"GET /api/v1/backtests/1/stream HTTP/1.1\r\nhost: a\r\n\r\n"
    writers = []
    for _ in range(12):
        reader, writer = await asyncio.open_connection(*address(origin))
        writer.write(stream)
        await asyncio.wait_for(reader.readuntil(b": hello\n\n"), 30)
        writers.append(writer)
    assert (await exchange(origin, stream)).status == 503  # the client's share of the streams
    for _ in range(5):
        assert (await exchange(origin, GET)).status == 200
    reader, other = await asyncio.open_connection(*address(origin), local_addr=("127.0.0.9", 0))
    other.write(stream)
    await asyncio.wait_for(reader.readuntil(b": hello\n\n"), 30)
    for writer in [*writers, other]:
        writer.transport.abort()


@pytest.mark.parametrize("size", [100, LARGE])
async def test_an_early_answer_to_an_upload_passes(start_bare_proxy: StartProxy, size: int) -> None:
    async def behave(_: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 401 No\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno")
        await writer.drain()
        await reader.read()

    sent = b"x" * min(size, 2000)
    answer = await exchange(await start_bare_proxy(Peer(behave=behave)), post(b"content-length: %d" % size, body=sent))
    assert (answer.status, answer.body) == (401, b"no")


async def test_a_request_that_is_cancelled_from_without_is_not_taken_for_one_whose_client_left() -> None:
    async def connected() -> dict[str, str]:
        await asyncio.Event().wait()
        raise AssertionError

    async def work() -> str:
        await asyncio.Event().wait()
        return "never"

    request = asyncio.create_task(_while_client_listens(work(), connected, None))
    await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
