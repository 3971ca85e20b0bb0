"""The fault proxy does to connections what its faults say, and nothing else."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.chaos.faultproxy import Fault, FaultProxy
from tests.conftest import StartRaw

GUARD = 10.0


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65_536):
        writer.write(piece)
        await writer.drain()


@pytest.fixture
async def proxy(start_raw: StartRaw) -> AsyncIterator[FaultProxy]:
    port = int((await start_raw(echo)).rpartition(":")[2])
    with FaultProxy("127.0.0.1", port) as running:
        yield running


@asynccontextmanager
async def connected(proxy: FaultProxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        async with asyncio.timeout(GUARD):
            yield reader, writer
    finally:
        writer.transport.abort()


async def first_byte(proxy: FaultProxy) -> bytes:
    async with connected(proxy) as (reader, _):
        return await reader.readexactly(1)


async def test_bytes_and_ends_pass_unchanged(proxy: FaultProxy) -> None:
    sent = bytes(range(256)) * 4_000
    async with connected(proxy) as (reader, writer):
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        writer.write_eof()
        assert await reader.read() == b""
    async with asyncio.timeout(GUARD):
        while proxy.open:
            await asyncio.sleep(0.001)


async def test_latency_holds_every_piece_back_each_way(proxy: FaultProxy) -> None:
    proxy.inject(Fault(latency=0.05))
    async with connected(proxy) as (reader, writer):
        begun = time.monotonic()
        writer.write(b"x")
        await reader.readexactly(1)
        assert time.monotonic() - begun >= 0.1


async def test_jitter_keeps_the_order(proxy: FaultProxy) -> None:
    proxy.inject(Fault(jitter=0.005))
    async with connected(proxy) as (reader, writer):
        for number in range(50):
            writer.write(b"%02d" % number)
            await writer.drain()
        assert await reader.readexactly(100) == b"".join(b"%02d" % number for number in range(50))


async def test_bandwidth_is_a_limit(proxy: FaultProxy) -> None:
    proxy.inject(Fault(bandwidth=200_000))
    async with connected(proxy) as (reader, writer):
        begun = time.monotonic()
        writer.write(bytes(20_000))
        await reader.readexactly(20_000)
        assert time.monotonic() - begun >= 0.08


async def test_cut_ends_the_answer_after_so_many_bytes(proxy: FaultProxy) -> None:
    proxy.inject(Fault(cut_after=10))
    async with connected(proxy) as (reader, writer):
        writer.write(bytes(100))
        assert await reader.read() == bytes(10)


async def test_reset_is_seen_as_one(proxy: FaultProxy) -> None:
    proxy.inject(Fault(reset_after=10))
    async with connected(proxy) as (reader, writer):
        writer.write(bytes(100))
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(100)


async def test_what_a_black_hole_held_arrives_when_it_is_gone(proxy: FaultProxy) -> None:
    async with connected(proxy) as (reader, writer):
        proxy.inject(Fault(black_hole=True))
        writer.write(b"held")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(4), 0.05)
        proxy.heal()
        assert await reader.readexactly(4) == b"held"


async def test_slow_close_holds_the_end_back(proxy: FaultProxy) -> None:
    proxy.inject(Fault(slow_close=0.05))
    async with connected(proxy) as (reader, writer):
        begun = time.monotonic()
        writer.write(b"x")
        writer.write_eof()
        assert await reader.read() == b"x"
        assert time.monotonic() - begun >= 0.1


async def test_refused_connections_are_reset_and_others_go_on(proxy: FaultProxy) -> None:
    async with connected(proxy) as (reader, writer):
        writer.write(b"x")
        await reader.readexactly(1)
        proxy.inject(Fault(refuse=True))
        with pytest.raises(ConnectionResetError):
            await first_byte(proxy)
        writer.write(b"y")
        assert await reader.readexactly(1) == b"y"


async def test_drop_resets_what_is_there(proxy: FaultProxy) -> None:
    async with connected(proxy) as (reader, writer):
        writer.write(b"x")
        await reader.readexactly(1)
        proxy.drop()
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
    assert proxy.open == 0


def test_an_absent_target_is_a_reset() -> None:
    with FaultProxy("127.0.0.1", 1) as proxy, pytest.raises(ConnectionResetError):
        asyncio.run(first_byte(proxy))
