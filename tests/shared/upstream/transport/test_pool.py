import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import httpx
import pytest

from bff_shared.upstream.transport.connection import Connection
from bff_shared.upstream.transport.http_transport import FailureStage, HttpTransport, Stats, stage
from bff_shared.upstream.transport.pool import Origin, Pool
from bff_shared.upstream.transport.request_cycle import Timeouts
from tests.support.transport import GUARD, OK, Clock, Handler, StartRaw


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def new_transport(clock: Clock) -> AsyncIterator[Callable[..., HttpTransport]]:
    made: list[HttpTransport] = []

    def make(**changes: Any) -> HttpTransport:
        options: dict[str, Any] = {
            "max_connections": 20,
            "max_idle": 20,
            "idle_seconds": 5.0,
            "max_head_bytes": 16 * 1024,
            "high_water": 256 * 1024,
            "ssl_context": None,
            "clock": clock,
        }
        made.append(HttpTransport(**{**options, **changes}))
        return made[-1]

    yield make
    for transport in made:
        await transport.aclose()


async def send(
    transport: HttpTransport, origin: str, method: str = "GET", *, pool: float = GUARD, fresh: bool = False
) -> httpx.Response:
    timeout = {"connect": GUARD, "read": GUARD, "write": GUARD, "pool": pool}
    extensions = {"timeout": timeout, "repeatable": method in {"GET", "DELETE"}, "fresh": fresh}
    request = httpx.Request(
        method, origin, headers=[(b"Host", b"b")], stream=httpx.ByteStream(b""), extensions=extensions
    )
    async with asyncio.timeout(GUARD):
        return await transport.handle_async_request(request)


async def ask(transport: HttpTransport, origin: str, method: str = "GET", *, fresh: bool = False) -> bytes:
    response = await send(transport, origin, method, fresh=fresh)
    assert isinstance(response.stream, httpx.AsyncByteStream)
    return b"".join([piece async for piece in response.stream])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(GUARD):
        while not condition():
            await asyncio.sleep(0.001)


def ok_with(header: bytes = b"") -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n" + header + b"Content-Length: 2\r\n\r\nok")

    return handle


class Gate:
    """A server that answers when told to, in the order in which requests came."""

    def __init__(self) -> None:
        self.arrived: list[asyncio.Future[None]] = []

    def has_seen(self, count: int) -> bool:
        return len(self.arrived) >= count

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.arrived.append(turn)
            await turn
            writer.write(OK)


async def test_the_connection_used_last_is_used_next(
    new_transport: Callable[..., HttpTransport], start_raw: StartRaw
) -> None:
    gate = Gate()
    transport, origin = new_transport(), await start_raw(gate)
    tasks = [asyncio.create_task(ask(transport, origin)) for _ in range(3)]
    await until(lambda: len(gate.arrived) == 3)
    for turn in gate.arrived:
        turn.set_result(None)
    await asyncio.gather(*tasks)
    assert transport.stats == Stats(open=3, in_use=0, idle=3, waiting=0, created=3, reused=0)
    for _ in range(5):
        task = asyncio.create_task(ask(transport, origin))
        await until(lambda: not gate.arrived[-1].done())
        assert transport.stats.idle == 2
        gate.arrived[-1].set_result(None)
        await task
    assert transport.stats == Stats(open=3, in_use=0, idle=3, waiting=0, created=3, reused=5)


async def test_another_origin_is_refused_unsent(
    new_transport: Callable[..., HttpTransport], start_raw: StartRaw
) -> None:
    transport = new_transport()
    assert await ask(transport, await start_raw(ok_with())) == b"ok"
    with pytest.raises(httpx.UnsupportedProtocol, match="another origin") as caught:
        await ask(transport, await start_raw(ok_with()))
    assert stage(caught.value) is FailureStage.CONNECT
    assert transport.stats.created == 1


async def test_the_number_of_connections_is_bounded(
    new_transport: Callable[..., HttpTransport], start_raw: StartRaw
) -> None:
    gate = Gate()
    transport, origin = new_transport(max_connections=2), await start_raw(gate)
    tasks = [asyncio.create_task(ask(transport, origin)) for _ in range(10)]
    for served in range(10):
        await until(partial(gate.has_seen, served + 1))
        assert transport.stats.open == 2
        gate.arrived[served].set_result(None)
    assert await asyncio.gather(*tasks) == [b"ok"] * 10
    assert transport.stats == Stats(open=2, in_use=0, idle=2, waiting=0, created=2, reused=8)


async def test_waiting_for_a_connection_is_bounded(
    new_transport: Callable[..., HttpTransport], start_raw: StartRaw
) -> None:
    gate = Gate()
    transport, origin = new_transport(max_connections=1), await start_raw(gate)
    holder = asyncio.create_task(ask(transport, origin))
    await until(lambda: len(gate.arrived) == 1)
    with pytest.raises(httpx.PoolTimeout) as caught:
        await send(transport, origin, "POST", pool=0.02)
    assert stage(caught.value) is FailureStage.CONNECT
    assert transport.stats.waiting == 0
    gate.arrived[0].set_result(None)
    assert await holder == b"ok"


async def test_those_who_wait_are_served_in_turn(
    new_transport: Callable[..., HttpTransport], start_raw: StartRaw
) -> None:
    done: list[int] = []

    async def one(number: int) -> None:
        await ask(transport, origin)
        done.append(number)

    transport, origin = new_transport(max_connections=1), await start_raw(ok_with())
    await asyncio.gather(*(one(number) for number in range(20)))
    assert done == list(range(20))


async def test_a_waiter_that_gives_up_costs_no_connection(
    new_transport: Callable[..., HttpTransport], start_raw: StartRaw
) -> None:
    gate = Gate()
    transport, origin = new_transport(max_connections=1), await start_raw(gate)
    holder = asyncio.create_task(ask(transport, origin))
    await until(lambda: len(gate.arrived) == 1)
    quitter = asyncio.create_task(ask(transport, origin))
    patient = asyncio.create_task(ask(transport, origin))
    await until(lambda: transport.stats.waiting == 2)
    gate.arrived[0].set_result(None)
    # The connection may be handed to the quitter in the very turn in which it gives up.
    await holder
    quitter.cancel()
    await asyncio.wait({quitter})
    async with asyncio.timeout(GUARD):
        while not patient.done():
            for turn in gate.arrived:
                if not turn.done():
                    turn.set_result(None)
            await asyncio.sleep(0.001)
    assert await patient == b"ok"
    assert transport.stats.open <= 1


async def test_a_connection_given_to_a_waiter_that_is_cancelled_at_once_is_free_again(
    start_raw: StartRaw, clock: Clock
) -> None:
    url = httpx.URL(await start_raw(ok_with()))
    origin = Origin(b"http", url.raw_host, url.port or 80)
    timeouts = Timeouts(connect=GUARD, write=GUARD, read=GUARD, pool=GUARD, first_byte=GUARD)
    pool = Pool(max_connections=1, max_idle=1, idle_seconds=5.0, high_water=1024, ssl_context=None, clock=clock)

    async def acquire() -> Connection:
        return await pool.acquire(origin, timeouts, httpx.Request("GET", url), fresh=False, repeatable=True)

    connection = await acquire()
    waiter = asyncio.create_task(acquire())
    await until(lambda: pool.stats.waiting == 1)
    connection.finished(reusable=True, keep_alive_seconds=None)
    waiter.cancel()
    await asyncio.wait({waiter})
    assert waiter.cancelled()
    assert (pool.stats.in_use, pool.stats.idle) == (0, 1)
    assert repr(pool) == "<Pool open=1/1 in_use=0 waiting=0>"
    assert repr(connection) == "<Connection idle served=0>"
    async with asyncio.timeout(GUARD):
        assert await acquire() is connection
    pool.close()


async def test_a_waiter_for_a_fresh_connection_gets_the_slot_of_the_one_that_became_free(
    new_transport: Callable[..., HttpTransport], start_raw: StartRaw
) -> None:
    gate = Gate()
    transport, origin = new_transport(max_connections=1), await start_raw(gate)
    holder = asyncio.create_task(ask(transport, origin))
    await until(lambda: len(gate.arrived) == 1)
    waiter = asyncio.create_task(ask(transport, origin, fresh=True))
    await until(lambda: transport.stats.waiting == 1)
    gate.arrived[0].set_result(None)
    assert await holder == b"ok"
    await until(lambda: len(gate.arrived) == 2)
    gate.arrived[1].set_result(None)
    assert await waiter == b"ok"
    assert transport.stats == Stats(open=1, in_use=0, idle=1, waiting=0, created=2, reused=0)


async def test_a_closed_connections_slot_goes_to_a_waiter(
    new_transport: Callable[..., HttpTransport], start_raw: StartRaw
) -> None:
    gate = Gate()
    transport, origin = new_transport(max_connections=1), await start_raw(gate)
    holder = asyncio.create_task(ask(transport, origin))
    await until(lambda: len(gate.arrived) == 1)
    waiter = asyncio.create_task(ask(transport, origin))
    await until(lambda: transport.stats.waiting == 1)
    holder.cancel()
    await until(lambda: len(gate.arrived) == 2)
    gate.arrived[1].set_result(None)
    assert await waiter == b"ok"
    assert transport.stats.created == 2


async def test_a_failed_dial_gives_its_slot_back(new_transport: Callable[..., HttpTransport]) -> None:
    transport = new_transport(max_connections=1)
    for _ in range(3):
        with pytest.raises(httpx.ConnectError):
            await send(transport, "http://no-such-host.invalid", pool=0.0)
    assert transport.stats == Stats(0, 0, 0, 0, 0, 0)


async def test_an_idle_connection_makes_room_for_a_fresh_one(
    new_transport: Callable[..., HttpTransport], start_raw: StartRaw
) -> None:
    transport, origin = new_transport(max_connections=1), await start_raw(ok_with())
    for fresh in (False, True):
        assert await ask(transport, origin, fresh=fresh) == b"ok"
    assert transport.stats == Stats(open=1, in_use=0, idle=1, waiting=0, created=2, reused=0)


async def test_the_number_of_idle_connections_is_bounded(
    new_transport: Callable[..., HttpTransport], start_raw: StartRaw
) -> None:
    gate = Gate()
    transport, origin = new_transport(max_idle=2), await start_raw(gate)
    tasks = [asyncio.create_task(ask(transport, origin)) for _ in range(5)]
    await until(lambda: len(gate.arrived) == 5)
    for turn in gate.arrived:
        turn.set_result(None)
    await asyncio.gather(*tasks)
    assert (transport.stats.open, transport.stats.idle) == (2, 2)


@pytest.mark.parametrize(
    ("header", "seconds", "created"),
    [
        (b"", 4.9, 1),
        (b"", 5.0, 2),
        (b"Keep-Alive: timeout=3\r\n", 1.9, 1),
        (b"Keep-Alive: timeout=3\r\n", 2.0, 2),
        (b"Keep-Alive: timeout=1\r\n", 0.0, 2),
        (b"Keep-Alive: timeout=60\r\n", 5.0, 2),
        (b"Connection: close\r\n", 0.0, 2),
    ],
)
async def test_idle_connections_expire(
    new_transport: Callable[..., HttpTransport],
    start_raw: StartRaw,
    clock: Clock,
    header: bytes,
    seconds: float,
    created: int,
) -> None:
    transport, origin = new_transport(), await start_raw(ok_with(header))
    await ask(transport, origin)
    clock.now += seconds
    await ask(transport, origin)
    assert transport.stats.created == created
    assert transport.stats.open <= 1


async def test_expired_connections_are_closed_without_a_request(
    new_transport: Callable[..., HttpTransport], start_raw: StartRaw, clock: Clock
) -> None:
    transport, origin = new_transport(idle_seconds=0.02), await start_raw(ok_with())
    await ask(transport, origin)
    assert transport.stats.idle == 1
    clock.now += 1
    await until(lambda: transport.stats.open == 0)


@pytest.mark.parametrize(("method", "created"), [("GET", 1), ("DELETE", 1), ("POST", 2), ("PATCH", 2)])
async def test_what_cannot_be_repeated_takes_no_connection_idle_for_long(
    new_transport: Callable[..., HttpTransport], start_raw: StartRaw, clock: Clock, method: str, created: int
) -> None:
    transport, origin = new_transport(), await start_raw(ok_with())
    await ask(transport, origin)
    await ask(transport, origin, "POST")
    assert transport.stats.created == 1
    clock.now += 1.1
    await ask(transport, origin, method)
    assert transport.stats.created == created


async def test_a_connection_closed_by_the_peer_leaves_the_pool(
    new_transport: Callable[..., HttpTransport], start_raw: StartRaw
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)

    transport, origin = new_transport(), await start_raw(handle)
    assert await ask(transport, origin) == b"ok"
    await until(lambda: transport.stats.open == 0)
    assert await ask(transport, origin, "POST") == b"ok"


async def test_bytes_nobody_asked_for_end_an_idle_connection(
    new_transport: Callable[..., HttpTransport], start_raw: StartRaw
) -> None:
    answered = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await answered.wait()
        writer.write(OK)
        await reader.read()

    transport = new_transport()
    assert await ask(transport, await start_raw(handle)) == b"ok"
    answered.set()
    await until(lambda: transport.stats.open == 0)


async def test_a_close_the_loop_has_yet_to_see_does_not_meet_a_post(
    new_transport: Callable[..., HttpTransport], start_raw: StartRaw
) -> None:
    """The peer's FIN is in the kernel, but the event loop had no turn to read it."""
    writers: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)

    transport, origin = new_transport(), await start_raw(handle)
    assert await ask(transport, origin) == b"ok"
    # A duplicate of the peer's socket shuts it down at once, in this turn of the loop.
    with writers[0].get_extra_info("socket").dup() as sock:
        sock.shutdown(2)
    assert await ask(transport, origin, "POST") == b"ok"
    assert transport.stats.created == 2


async def test_a_request_that_announces_the_end_ends_the_connection(
    new_transport: Callable[..., HttpTransport], start_raw: StartRaw
) -> None:
    transport, origin = new_transport(), await start_raw(ok_with())
    request = httpx.Request("GET", origin, headers=[("Connection", "close")], stream=httpx.ByteStream(b""))
    response = await transport.handle_async_request(request)
    assert response.status_code == 200
    await until(lambda: transport.stats.open == 0)
