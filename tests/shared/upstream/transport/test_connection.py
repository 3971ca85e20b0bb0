import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from bff_shared.upstream.transport.connection import Connection

GUARD = 10.0  # seconds within which anything has happened, or never will


class Recorder:
    """An exchange that notes what its connection tells it."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.happened = asyncio.Event()

    def received(self, data: bytes | memoryview) -> None:
        self._note(bytes(data))

    def ended(self) -> None:
        self._note("ended")

    def lost(self, cause: Exception | None) -> None:
        self._note(("lost", cause))

    def timed_out(self) -> None:
        self._note("timed out")

    def _note(self, event: object) -> None:
        self.events.append(event)
        self.happened.set()

    async def next(self) -> object:
        async with asyncio.timeout(GUARD):
            await self.happened.wait()
        self.happened.clear()
        return self.events[-1]


class Owner:
    """Makes a connection to a socket of the test's own, and notes what becomes of it."""

    def __init__(self) -> None:
        self.freed: list[float | None] = []
        self.closed = 0

    async def connect(self, address: tuple[str, int]) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(self._make, *address)
        return connection

    def _make(self) -> Connection:
        return Connection(
            buffer=memoryview(bytearray(1024)),
            high_water=4096,
            on_free=lambda _, seconds: self.freed.append(seconds),
            on_closed=lambda _: self._count(),
        )

    def _count(self) -> None:
        self.closed += 1


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
async def pair(owner: Owner) -> AsyncIterator[tuple[Connection, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = await owner.connect(listener.getsockname())
        peer, _ = listener.accept()
        with peer:
            yield connection, peer
            connection.abort()
            await asyncio.sleep(0)


async def test_an_exchange_is_told_what_comes(pair: tuple[Connection, socket.socket]) -> None:
    connection, peer = pair
    exchange = Recorder()
    connection.carry(exchange)
    peer.send(b"some bytes")
    assert await exchange.next() == b"some bytes"
    peer.shutdown(socket.SHUT_WR)
    assert await exchange.next() in ("ended", ("lost", None))
    assert "ended" in exchange.events


async def test_a_deadline_is_told_once_and_moves_on(pair: tuple[Connection, socket.socket]) -> None:
    connection, _ = pair
    exchange = Recorder()
    connection.carry(exchange)
    started = connection.loop.time()
    connection.set_deadline(0.01)
    connection.set_deadline(0.05)
    assert await exchange.next() == "timed out"
    assert connection.loop.time() - started >= 0.045
    connection.set_deadline(GUARD)
    connection.set_deadline(0.01)
    assert await exchange.next() == "timed out"
    assert len(exchange.events) == 2


async def test_a_deadline_taken_back_is_not_told(pair: tuple[Connection, socket.socket]) -> None:
    connection, _ = pair
    exchange = Recorder()
    connection.carry(exchange)
    connection.set_deadline(0.01)
    connection.set_deadline(None)
    await asyncio.sleep(0.03)
    assert exchange.events == []


async def test_a_deadline_does_not_outlive_its_exchange(pair: tuple[Connection, socket.socket], owner: Owner) -> None:
    connection, _ = pair
    first, second = Recorder(), Recorder()
    connection.carry(first)
    connection.set_deadline(0.01)
    connection.finished(reusable=True, keep_alive_seconds=3.0)
    connection.carry(second)
    await asyncio.sleep(0.03)
    assert (first.events, second.events) == ([], [])
    assert owner.freed == [3.0]


async def test_reading_pauses_and_goes_on(pair: tuple[Connection, socket.socket]) -> None:
    connection, peer = pair
    exchange = Recorder()
    connection.carry(exchange)
    connection.pause_reading()
    peer.send(b"late")
    await asyncio.sleep(0.02)
    assert exchange.events == []
    connection.resume_reading()
    assert await exchange.next() == b"late"


async def test_a_connection_that_ends_while_paused_is_read_on_when_free(
    pair: tuple[Connection, socket.socket], owner: Owner
) -> None:
    connection, peer = pair
    connection.carry(Recorder())
    connection.pause_reading()
    connection.finished(reusable=True, keep_alive_seconds=None)
    peer.close()
    async with asyncio.timeout(GUARD):
        while not owner.closed:
            await asyncio.sleep(0.001)


async def test_writers_wait_for_room(pair: tuple[Connection, socket.socket]) -> None:
    connection, peer = pair
    peer.setblocking(False)
    connection.carry(Recorder())
    connection.write(b"x" * 20_000_000)
    with pytest.raises(TimeoutError):
        await connection.drain(0.01)
    waiting = asyncio.create_task(connection.drain(GUARD))
    async with asyncio.timeout(GUARD):
        while not waiting.done():
            await asyncio.get_running_loop().sock_recv(peer, 1_000_000)
    await waiting


async def test_what_a_lost_socket_still_holds_can_be_read(pair: tuple[Connection, socket.socket]) -> None:
    connection, peer = pair
    connection.pause_reading()
    peer.send(b"last words")
    assert connection.read_remainder(4) == b"last"
    assert connection.read_remainder(100) == b" words"
    assert connection.read_remainder(100) == b""


async def test_silence_is_told_from_bytes_and_from_the_end(pair: tuple[Connection, socket.socket]) -> None:
    connection, peer = pair
    assert connection.is_silent()
    connection.pause_reading()
    peer.send(b"x")
    assert not connection.is_silent()
    assert connection.read_remainder(1) == b"x"
    assert connection.is_silent()
    peer.shutdown(socket.SHUT_WR)
    assert not connection.is_silent()


async def test_closing_twice_is_told_once(pair: tuple[Connection, socket.socket], owner: Owner) -> None:
    connection, _ = pair
    connection.abort()
    connection.abort()
    await asyncio.sleep(0)
    assert owner.closed == 1
    assert not connection.is_silent()


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_small_writes_are_not_held_back(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def run() -> int:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            connection = await Owner().connect(listener.getsockname())
            number = connection._file_number()
            assert number is not None
            with socket.socket(fileno=os.dup(number)) as sock:
                option = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            connection.abort()
            await asyncio.sleep(0)
            return option

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(run()) == 1
