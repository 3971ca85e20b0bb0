import asyncio
import gc
import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import uvloop

from bff_shared.upstream.transport.http_transport import FailureStage, HttpTransport, Stats, stage
from bff_shared.upstream.transport.request_cycle import ResponseBody
from tests.support.transport import (
    GUARD,
    HIGH_WATER,
    OK,
    ONE_READ,
    Pieces,
    StartRaw,
    ask,
    new_request,
    new_transport,
    ok_for_ever,
    pieces_of,
    read_all,
    read_head,
    resets,
    until,
)

# Cancellation, closing, leaks.


async def test_cancelling_a_request_closes_its_connection(transport: HttpTransport, start_raw: StartRaw) -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        await read_head(reader)
        arrived.set()
        await reader.read()
        gone.set()

    task = asyncio.create_task(ask(transport, await start_raw(handle)))
    async with asyncio.timeout(GUARD):
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert transport.stats.open == 0
        await gone.wait()


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_head(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
    piece = b"x" * ONE_READ
    while True:
        writer.write(piece)
        await writer.drain()


async def test_closing_an_answer_closes_its_connection(transport: HttpTransport, start_raw: StartRaw) -> None:
    response = await transport.handle_async_request(new_request(await start_raw(endless)))
    await response.aclose()
    assert transport.stats.open == 0
    with pytest.raises(httpx.StreamClosed):
        await read_all(response)


async def test_an_answer_that_is_dropped_frees_its_connection(transport: HttpTransport, start_raw: StartRaw) -> None:
    response = await transport.handle_async_request(new_request(await start_raw(endless)))
    assert transport.stats.in_use == 1
    del response
    gc.collect()
    await until(lambda: transport.stats.open == 0)


async def test_a_whole_answer_frees_its_connection_without_being_closed(
    transport: HttpTransport, start_raw: StartRaw
) -> None:
    origin = await start_raw(ok_for_ever)
    response = await transport.handle_async_request(new_request(origin))
    await until(lambda: transport.stats.idle == 1)
    assert await ask(transport, origin) == b"ok"
    assert await read_all(response) == b"ok"
    await response.aclose()
    assert transport.stats == Stats(open=1, in_use=0, idle=1, waiting=0, created=1, reused=1)


async def test_closing_the_transport_fails_what_is_under_way(start_raw: StartRaw) -> None:
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_head(reader)
        asked.set()
        await reader.read()

    transport = new_transport(max_connections=1)
    origin = await start_raw(silent)
    running = asyncio.create_task(ask(transport, origin))
    waiting = asyncio.create_task(ask(transport, origin))
    await asyncio.wait_for(asked.wait(), GUARD)
    await until(lambda: transport.stats.waiting == 1)
    await transport.aclose()
    with pytest.raises(httpx.ReadError):
        await running
    with pytest.raises(httpx.ConnectError):
        await waiting
    with pytest.raises(httpx.ConnectError):
        await ask(transport, origin)
    assert transport.stats.open == 0


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
            task = asyncio.create_task(_swallow(transport, request))
            if upload or FAULTS[kind] == b"cancel":
                await asyncio.sleep(0.01)
                task.cancel()
            await asyncio.wait({task})

    origin = await start_raw(handle)
    places = asyncio.Semaphore(50)
    sockets, tasks = open_sockets(), len(asyncio.all_tasks())
    async with new_transport(max_connections=50) as transport:
        await asyncio.gather(*(one(number) for number in range(1000)))
        await until(lambda: transport.stats.open == 0)
        # Some are cancelled before their connection is made.
        assert 450 <= transport.stats.created <= 1000
        # What an earlier test left behind may have gone meanwhile.
        await until(lambda: open_sockets() <= sockets and len(asyncio.all_tasks()) <= tasks)


async def _swallow(transport: HttpTransport, request: httpx.Request) -> None:
    try:
        response = await transport.handle_async_request(request)
        try:
            await read_all(response)
        finally:
            await response.aclose()
    except httpx.TransportError:
        pass


async def test_requests_leave_no_cyclic_garbage(transport: HttpTransport, start_raw: StartRaw) -> None:
    origin = await start_raw(ok_for_ever)
    await ask(transport, origin)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(10):
            await ask(transport, origin)
        gc.collect()
        ours = {type(thing).__name__ for thing in gc.garbage if type(thing).__module__.startswith("bff_shared")}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert ours == set()


async def test_ten_slow_readers_hold_little_memory(transport: HttpTransport, start_raw: StartRaw) -> None:
    origin = await start_raw(endless)
    responses = [await transport.handle_async_request(new_request(origin)) for _ in range(10)]

    def buffered() -> list[int]:
        bodies = [response.stream for response in responses]
        return [body._cycle.reader.buffered for body in bodies if isinstance(body, ResponseBody)]

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
    async with new_transport() as transport:
        origin = f"http://127.0.0.1:{port}"
        assert await ask(transport, origin) == b"ok"
        big = Pieces(*[b"x" * ONE_READ] * 40)
        assert await ask(transport, origin, "POST", headers=[(b"Transfer-Encoding", b"chunked")], body=big) == b"ok"
        with pytest.raises(httpx.ReadTimeout):
            await ask(transport, origin, target=b"/silence", timeout={"first_byte": 0.05})
        assert transport.stats.open == 0


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
        async with new_transport(ssl_context=ssl.create_default_context(cafile=str(certificate))) as trusting:
            assert await ask(trusting, f"https://localhost:{port}") == b"ok"
            assert await ask(trusting, f"https://localhost:{port}", "POST") == b"ok"
            assert trusting.stats.created == 1
        async with new_transport(ssl_context=ssl.create_default_context()) as wary:
            with pytest.raises(httpx.ConnectError, match=re.compile("certificate", re.IGNORECASE)) as caught:
                await ask(wary, f"https://localhost:{port}")
            assert stage(caught.value) is FailureStage.CONNECT
