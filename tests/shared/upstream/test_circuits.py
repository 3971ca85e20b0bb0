import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from bff_shared.errors import (
    BackendMalformed,
    BackendTimeout,
    BackendUnavailable,
    BadRequest,
    Busy,
    CircuitOpen,
)
from bff_shared.upstream.client import Call, Kind
from tests.support.upstream import (
    BUSY,
    OK,
    Clock,
    Script,
    StartRaw,
    body_of,
    client,
    opened,
)


async def test_breaker_opens_and_closes_by_a_probe_of_our_own(start_raw: StartRaw) -> None:
    clock, script = Clock(), Script(*[BUSY] * 4)
    upstream = await opened(await start_raw(script), clock)
    with pytest.raises(CircuitOpen) as caught:
        await upstream.fetch(Call("GET", b"/"))
    assert caught.value.retry_after == 5
    assert len(script.requests) == 4
    clock.now = 6.0
    upload = Call("POST", b"/up", [(b"authorization", b"Bearer t"), (b"content-length", b"0")])
    assert (await upstream.fetch(upload)).status == 200
    assert script.requests[4].startswith(b"GET /healthz HTTP/1.1\r\n")
    assert b"authorization" not in script.requests[4].lower()
    assert script.requests[5].startswith(b"POST /up ")
    await upstream.aclose()


async def test_a_probe_that_gets_no_response_in_time_leaves_the_breaker_open(start_raw: StartRaw) -> None:
    clock, script = Clock(), Script(*[BUSY] * 4, None)
    upstream = await opened(await start_raw(script), clock)
    clock.now = 6.0
    waits = asyncio.create_task(upstream.fetch(Call("GET", b"/")))
    async with asyncio.timeout(30):
        while len(script.requests) < 5:
            await asyncio.sleep(0)
    with pytest.raises(CircuitOpen):  # Others are not held up.
        await upstream.fetch(Call("GET", b"/"))
    with pytest.raises(CircuitOpen):
        await waits
    clock.now = 12.0
    assert (await upstream.fetch(Call("GET", b"/"))).status == 200
    await upstream.aclose()


async def test_a_caller_that_leaves_while_it_waits_for_the_probe_blocks_nobody(start_raw: StartRaw) -> None:
    clock, probed, go_on = Clock(), asyncio.Event(), asyncio.Event()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if b"/healthz" in head:
                probed.set()
                await go_on.wait()
            writer.write(OK if probed.is_set() else BUSY)

    upstream = await opened(await start_raw(behave), clock)
    clock.now = 6.0
    caller = asyncio.create_task(upstream.fetch(Call("GET", b"/")))
    await asyncio.wait_for(probed.wait(), 30)
    caller.cancel()
    await asyncio.wait((caller,))
    go_on.set()
    async with asyncio.timeout(30):
        while True:
            try:
                assert (await upstream.fetch(Call("GET", b"/"))).status == 200
                break
            except CircuitOpen:
                await asyncio.sleep(0.005)
    await upstream.aclose()


async def test_a_never_ending_upload_has_no_say_in_whether_the_breaker_closes(start_raw: StartRaw) -> None:
    clock = Clock()
    healthy = asyncio.Event()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if head.startswith(b"POST"):
                await reader.read()
            writer.write(OK if healthy.is_set() else BUSY)

    async def never() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    upstream = await opened(await start_raw(behave), clock)
    healthy.set()
    clock.now = 6.0
    body = body_of(never())
    call = Call("POST", b"/", [(b"content-length", b"1000")], body, kind=Kind.UPLOAD, uploaded=lambda: False)
    upload = asyncio.create_task(upstream.fetch(call))
    async with asyncio.timeout(30):
        while upstream._limits[Kind.UPLOAD].active == 0:
            await asyncio.sleep(0.005)
    for _ in range(8):
        assert (await upstream.fetch(Call("GET", b"/"))).status == 200
    upload.cancel()
    await asyncio.wait((upload,))
    await upstream.aclose()


async def test_one_clients_failing_requests_leave_the_circuit_closed(start_raw: StartRaw) -> None:
    script = Script(*[BUSY] * 25)
    async with client(await start_raw(script), breaker_min_calls=20) as upstream:
        for _ in range(25):
            assert (await upstream.fetch(Call("GET", b"/", client="attacker"))).status == 503
        assert (await upstream.fetch(Call("GET", b"/", client="honest"))).status == 200


async def test_open_circuit_leaves_other_circuits_alone(start_raw: StartRaw) -> None:
    script = Script(*[BUSY] * 4)
    async with client(await start_raw(script), breaker_min_calls=4) as upstream:
        for number in range(4):
            await upstream.fetch(Call("GET", b"/", circuit="equity", client=str(number % 2)))
        with pytest.raises(CircuitOpen):
            await upstream.fetch(Call("GET", b"/", circuit="equity"))
        assert (await upstream.fetch(Call("GET", b"/", circuit="orders"))).status == 200
        assert (await upstream.fetch(Call("GET", b"/"))).status == 200


@pytest.mark.parametrize(
    "begun", [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"]
)
@pytest.mark.parametrize("ends", [True, False])
async def test_a_body_that_breaks_off_or_never_ends_counts(start_raw: StartRaw, begun: bytes, ends: bool) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(begun)
        await writer.drain()
        if not ends:
            await reader.read()

    async with client(await start_raw(behave), breaker_min_calls=4) as upstream:
        for _ in range(4):
            with pytest.raises((BackendMalformed, BackendTimeout)):
                await upstream.fetch(Call("GET", b"/", deadline=time.monotonic() + (10 if ends else 0.05)))
        with pytest.raises(CircuitOpen):
            await upstream.fetch(Call("GET", b"/"))


async def test_callers_that_give_up_do_not_count(start_raw: StartRaw) -> None:
    held = Script(*[None] * 8)
    async with client(await start_raw(held), breaker_min_calls=4) as upstream:
        for number in range(8):
            caller = asyncio.create_task(upstream.fetch(Call("GET", b"/")))
            async with asyncio.timeout(30):
                while len(held.requests) <= number:
                    await asyncio.sleep(0.001)
            caller.cancel()
            await asyncio.wait([caller])
            assert caller.cancelled()
        assert (await upstream.fetch(Call("GET", b"/"))).status == 200


async def test_our_own_overload_and_malformed_requests_do_not_count(start_raw: StartRaw) -> None:
    async with client(await start_raw(Script()), max_connections=1, max_queue=0, breaker_min_calls=4) as upstream:
        response = await upstream.open(Call("GET", b"/"))
        for _ in range(8):
            with pytest.raises(Busy):
                await upstream.open(Call("GET", b"/"))
        await response.aclose()
        for _ in range(8):
            with pytest.raises(BadRequest):
                await upstream.fetch(Call("GET", b"/", [(b"bad", b"line\r\nbreak")]))
        assert (await upstream.fetch(Call("GET", b"/"))).status == 200


async def test_a_backend_that_ends_an_unfinished_upload_is_not_to_blame(start_raw: StartRaw) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET"):
            raise AssertionError("not in this test")

    async def never() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    async with client(await start_raw(hang_up), breaker_min_calls=4, breaker_open_seconds=60) as upstream:
        for _ in range(6):
            headers = [(b"content-length", b"1000")]
            body = body_of(never())
            with pytest.raises(BackendUnavailable):
                await upstream.fetch(Call("POST", b"/", headers, body, kind=Kind.UPLOAD, uploaded=lambda: False))


async def test_client_errors_do_not_open_the_breaker(start_raw: StartRaw) -> None:
    script = Script(*[b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n"] * 8)
    async with client(await start_raw(script), breaker_min_calls=4) as upstream:
        for _ in range(8):
            assert (await upstream.fetch(Call("GET", b"/"))).status == 404
