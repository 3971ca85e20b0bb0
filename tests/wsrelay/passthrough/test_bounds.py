"""What a session may hold: slow sides are waited for, and nothing stays behind when they are gone."""

import asyncio
import gc
import json
import time

from websockets.asyncio.server import ServerConnection

from bff_wsrelay.passthrough.session import SessionLimits
from bff_wsrelay.websocket.connector import ConnectionOptions, Connector
from tests.support.passthrough import Relay, StartBackend, StartRelay, open_sockets

CHUNK = b"x" * 64 * 1024
FLOOD = 64 * 1024 * 1024


async def settle(relay: Relay) -> tuple[int, int, int]:
    """Return the tasks, sockets and objects that are left when every viewer is gone."""
    async with asyncio.timeout(30):
        while relay.admission.connections:
            await asyncio.sleep(0.005)
    left = (-1, -1)
    async with asyncio.timeout(30):
        while left != (left := (len(asyncio.all_tasks()), open_sockets())):
            await asyncio.sleep(0.05)
    gc.collect()
    return *left, len(gc.get_objects())


async def test_a_viewer_that_reads_nothing_stops_the_backend(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    sent = 0
    blocked = asyncio.Event()

    async def flood(backend: ServerConnection) -> None:
        nonlocal sent
        await backend.send("{}")
        while sent < FLOOD:
            try:
                async with asyncio.timeout(0.3):
                    await backend.send(CHUNK)
            except TimeoutError:
                blocked.set()
                await backend.wait_closed()
            sent += len(CHUNK)

    relay = await start_relay((await start_backend(flood)).url)
    async with relay.watch(max_queue=1) as viewer:
        await viewer.receives()
        async with asyncio.timeout(20):
            await blocked.wait()
        assert sent < FLOOD / 2
        viewer.connection.transport.abort()


async def test_of_what_nobody_takes_about_two_messages_or_512_kib_wait(start_backend: StartBackend) -> None:
    blocked = asyncio.Event()

    async def flood(backend: ServerConnection) -> None:
        for _ in range(FLOOD // len(CHUNK)):
            try:
                async with asyncio.timeout(0.3):
                    await backend.send(CHUNK)
            except TimeoutError:
                blocked.set()
                await backend.wait_closed()

    link = await Connector((await start_backend(flood)).url, ConnectionOptions(connect=10)).connect("/x", [])
    async with asyncio.timeout(30):
        await blocked.wait()
    assert sum(len(message) for message in await link.receive()) <= 512 * 1024
    link.transport.abort()


async def test_a_backend_that_reads_nothing_stops_the_viewer(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    over = asyncio.Event()

    async def deaf(backend: ServerConnection) -> None:
        backend.transport.pause_reading()
        await over.wait()
        backend.transport.abort()

    relay = await start_relay((await start_backend(deaf)).url)
    async with relay.watch() as viewer:
        sent = 0
        while sent < FLOOD:
            try:
                async with asyncio.timeout(0.3):
                    await viewer.sends(CHUNK)
            except TimeoutError:
                break
            sent += len(CHUNK)
        assert sent < FLOOD / 2
        over.set()
        viewer.connection.transport.abort()


async def test_a_slow_viewer_gets_everything(start_relay: StartRelay, start_backend: StartBackend) -> None:
    count = 300

    async def flood(backend: ServerConnection) -> None:
        for number in range(count):
            await backend.send(number.to_bytes(4, "big") + CHUNK)
        await backend.wait_closed()

    relay = await start_relay((await start_backend(flood)).url)
    async with relay.watch(max_queue=1) as viewer:
        for number in range(count):
            [message] = await viewer.receives()
            assert message == number.to_bytes(4, "big") + CHUNK
            if number % 50 == 0:
                await asyncio.sleep(0.02)


async def test_what_a_viewer_says_too_fast_waits_and_arrives_in_order(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    arrivals: list[int] = []
    over = asyncio.Event()

    async def note(backend: ServerConnection) -> None:
        async for message in backend:
            arrivals.append(json.loads(message)["val"])
            if len(arrivals) == 30:
                over.set()

    limits = SessionLimits(max_controls=20)
    relay = await start_relay((await start_backend(note)).url, limits=limits)
    async with relay.watch() as viewer:
        begun = time.monotonic()
        await viewer.sends(*({"t": "ctrl", "cmd": "speed", "val": number} for number in range(30)))
        async with asyncio.timeout(30):
            await over.wait()
    assert time.monotonic() - begun >= 9 / 20  # 20 at once, then 20 a second
    assert arrivals == list(range(30))


async def test_nothing_is_left_of_viewers_that_come_and_go(echo_relay: Relay) -> None:
    async def visit(number: int) -> None:
        async with echo_relay.watch() as viewer:
            await viewer.sends(str(number))
            assert await viewer.receives() == [str(number)]
            if number % 3 == 0:
                viewer.connection.transport.abort()
            elif number % 3 == 1:
                await viewer.connection.close(4000)

    async def visits(count: int) -> None:
        for start in range(0, count, 25):
            await asyncio.gather(*(visit(start + number) for number in range(25)))

    await visits(100)
    tasks, handles, things = await settle(echo_relay)
    await visits(300)
    left = await settle(echo_relay)
    assert left[0] <= tasks
    assert left[1] <= handles
    assert left[2] - things < 300
