import asyncio
import gc
import gzip
import time
import tracemalloc
import warnings

import pytest

from bff_shared.errors import (
    BackendMalformed,
    BackendTimeout,
)
from bff_shared.upstream.client import Call, Kind
from tests.support.upstream import (
    Script,
    StartRaw,
    client,
)


async def test_compressed_answer_is_decoded(start_raw: StartRaw) -> None:
    body = gzip.compress(b"hello")
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with client(await start_raw(Script(head + body))) as upstream:
        asked = [(b"accept-encoding", b"gzip")]
        assert (await upstream.fetch(Call("GET", b"/", asked))).content == b"hello"


@pytest.mark.parametrize("coding", [b"gzip", b"gzip, gzip", b"br"])
async def test_a_coding_that_was_not_asked_for_is_malformed(start_raw: StartRaw, coding: bytes) -> None:
    body = gzip.compress(b"hello")
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: %b\r\ncontent-length: %d\r\n\r\n" % (coding, len(body))
    async with client(await start_raw(Script(head + body))) as upstream:
        with pytest.raises(BackendMalformed, match="not asked for"):
            await upstream.fetch(Call("GET", b"/", [(b"accept-encoding", b"identity")]))


async def test_a_bomb_is_malformed_and_takes_little_memory(start_raw: StartRaw) -> None:
    body = gzip.compress(bytes(100 << 20), 9)
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with client(await start_raw(Script(head + body))) as upstream:
        tracemalloc.start()
        with pytest.raises(BackendMalformed, match="larger"):
            await upstream.fetch(Call("GET", b"/", [(b"accept-encoding", b"gzip")]), limit=1 << 20)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 8 << 20


async def test_deadline_bounds_the_whole_call(start_raw: StartRaw) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with client(await start_raw(drip)) as upstream:
        with pytest.raises(BackendTimeout):
            await upstream.fetch(Call("GET", b"/", deadline=time.monotonic() + 0.1))


async def test_answer_larger_than_the_limit_is_refused(start_raw: StartRaw) -> None:
    async with client(await start_raw(Script())) as upstream:
        with pytest.raises(BackendMalformed):
            await upstream.fetch(Call("GET", b"/"), limit=1)


async def test_a_response_that_lasts_gives_its_place_to_short_calls(start_raw: StartRaw) -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nx")
        await reader.read()

    async with client(
        await start_raw(endless), max_connections=1, max_queue=1, long_seconds=0.05, queue_timeout=10
    ) as upstream:
        first = await upstream.open(Call("GET", b"/"))
        second = await upstream.open(Call("GET", b"/"))
        assert upstream._limits[Kind.STREAM].active == 1
        await first.aclose()
        await second.aclose()
        assert [gate.active for gate in upstream._limits.values()] == [0, 0, 0]


async def test_a_response_that_is_dropped_without_being_closed_gives_its_place_back(start_raw: StartRaw) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # what other tests have left is not what this one is about
    async with client(await start_raw(Script()), max_connections=1, max_queue=1, queue_timeout=10) as upstream:
        await upstream.open(Call("GET", b"/"))
        gc.collect()
        assert (await upstream.fetch(Call("GET", b"/"))).status == 200
        assert upstream._limits[Kind.SHORT].active == 0
