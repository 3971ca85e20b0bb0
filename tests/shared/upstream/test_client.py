import asyncio
import gc
import gzip
import itertools
import time
import tracemalloc
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from bff_shared.errors import (
    BackendMalformed,
    BackendTimeout,
    BackendUnavailable,
    BadRequest,
    Busy,
    CircuitOpen,
    ClientBusy,
)
from bff_shared.health import CheckFailed
from bff_shared.settings import Settings
from bff_shared.telemetry.metrics import Metrics
from bff_shared.upstream.client import Call, Kind, Upstream

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
StartRaw = Callable[[Handler], Awaitable[str]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
NOWHERE = "http://127.0.0.1:9"


@asynccontextmanager
async def client(origin: str, **settings: Any) -> AsyncIterator[Upstream]:
    upstream = Upstream(Settings(backend_url=origin, **settings), Metrics(), draw=lambda: 0.0)
    try:
        yield upstream
    finally:
        await upstream.aclose()


class Script:
    """A server that answers its n-th request with the n-th entry (b"" hangs up), and remembers the requests."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = itertools.chain(answers, itertools.repeat(OK))
        self.requests: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head)
            answer = next(self.answers)
            if answer is None:
                await reader.read()
            if not answer:
                return
            writer.write(answer)
            await writer.drain()


async def test_answer_is_fetched_whole(start_raw: StartRaw) -> None:
    script = Script()
    async with client(await start_raw(script)) as upstream:
        answer = await upstream.fetch(Call("GET", b"/a%2Fb?x=%20|", [(b"authorization", b"Bearer t")]))
    assert (answer.status, answer.content) == (200, b"ok")
    assert script.requests[0].startswith(b"GET /a%2Fb?x=%20| HTTP/1.1\r\n")
    assert b"authorization: Bearer t\r\n" in script.requests[0]


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


async def test_refused_connection_is_unavailable() -> None:
    async with client(NOWHERE) as upstream:
        with pytest.raises(BackendUnavailable):
            await upstream.fetch(Call("GET", b"/"))


async def test_get_is_tried_again_after_a_hang_up(start_raw: StartRaw) -> None:
    script = Script(b"", b"")
    async with client(await start_raw(script)) as upstream:
        assert (await upstream.fetch(Call("GET", b"/"))).status == 200
    assert len(script.requests) == 3


async def test_post_is_sent_once(start_raw: StartRaw) -> None:
    script = Script(b"")
    async with client(await start_raw(script)) as upstream:
        with pytest.raises(BackendUnavailable):
            await upstream.fetch(Call("POST", b"/", [(b"content-length", b"0")]))
    assert len(script.requests) == 1


async def test_retries_end(start_raw: StartRaw) -> None:
    script = Script(b"", b"", b"", b"")
    async with client(await start_raw(script), retries=2) as upstream:
        with pytest.raises(BackendUnavailable):
            await upstream.fetch(Call("GET", b"/"))
    assert len(script.requests) == 3


@pytest.mark.parametrize("part", [b"HTTP/1.1 200 OK\r\nconte", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"])
async def test_answer_that_began_is_not_asked_for_again(start_raw: StartRaw, part: bytes) -> None:
    requests = 0

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await reader.readuntil(b"\r\n\r\n")
        requests += 1
        writer.write(part)
        await writer.drain()

    async with client(await start_raw(break_off)) as upstream:
        with pytest.raises(BackendMalformed):
            await upstream.fetch(Call("GET", b"/"))
    assert requests == 1


async def test_nonsense_is_malformed(start_raw: StartRaw) -> None:
    async with client(await start_raw(Script(b"what is this\r\n\r\n"))) as upstream:
        with pytest.raises(BackendMalformed):
            await upstream.fetch(Call("GET", b"/"))


async def test_silence_is_a_timeout(start_raw: StartRaw) -> None:
    async with client(await start_raw(Script(None)), first_byte_timeout=0.05) as upstream:
        with pytest.raises(BackendTimeout):
            await upstream.fetch(Call("GET", b"/"))


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


BUSY = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def timed(origin: str, clock: Clock, **settings: Any) -> Upstream:
    own = {"breaker_min_calls": 4, "breaker_open_seconds": 5, "retries": 0}
    return Upstream(Settings(backend_url=origin, **own | settings), Metrics(), clock=clock)


async def opened(origin: str, clock: Clock, **settings: Any) -> Upstream:
    """Return a client whose breaker has just opened by four calls of two clients, answered 503 each."""
    upstream = timed(origin, clock, **settings)
    for number in range(4):
        assert (await upstream.fetch(Call("GET", b"/", client=f"client {number % 2}"))).status == 503
    with pytest.raises(CircuitOpen):
        await upstream.fetch(Call("GET", b"/"))
    return upstream


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
    async with asyncio.timeout(5):
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
    await asyncio.wait_for(probed.wait(), 5)
    caller.cancel()
    await asyncio.wait((caller,))
    go_on.set()
    async with asyncio.timeout(5):
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
    body = httpx_body(never())
    call = Call("POST", b"/", [(b"content-length", b"1000")], body, kind=Kind.UPLOAD, uploaded=lambda: False)
    upload = asyncio.create_task(upstream.fetch(call))
    async with asyncio.timeout(5):
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
            async with asyncio.timeout(10):
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
            body = httpx_body(never())
            with pytest.raises(BackendUnavailable):
                await upstream.fetch(Call("POST", b"/", headers, body, kind=Kind.UPLOAD, uploaded=lambda: False))


def httpx_body(parts: AsyncIterator[bytes]) -> httpx.AsyncByteStream:
    class Body(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for part in parts:
                yield part

    return Body()


# The one retry layer: what the backend sees is what the settings say.


def stale(seen: list[bytes]) -> Handler:
    """Answer the first request of each connection; take the second and close without an answer."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n")).partition(b" ")[0])
        writer.write(OK)
        seen.append((await reader.readuntil(b"\r\n\r\n")).partition(b" ")[0])

    return handle


async def test_a_stale_connection_is_replaced_without_a_wait_within_the_attempts(start_raw: StartRaw) -> None:
    seen: list[bytes] = []
    async with client(await start_raw(stale(seen)), retries=1) as upstream:
        for _ in range(2):
            assert (await upstream.fetch(Call("GET", b"/"))).status == 200
    assert seen == [b"GET", b"GET", b"GET"]


@pytest.mark.parametrize("retries", [0, 1, 2])
async def test_the_backend_never_sees_more_requests_than_the_attempts(start_raw: StartRaw, retries: int) -> None:
    requests = 0

    async def first_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await reader.readuntil(b"\r\n\r\n")
        requests += 1
        if requests == 1:
            writer.write(OK)
            await reader.readuntil(b"\r\n\r\n")
            requests += 1

    async with client(await start_raw(first_only), retries=retries) as upstream:
        assert (await upstream.fetch(Call("GET", b"/"))).status == 200
        with pytest.raises(BackendUnavailable):
            await upstream.fetch(Call("GET", b"/"))
    assert requests == 1 + 1 + retries


async def test_a_call_has_no_more_attempts_than_it_asks_for(start_raw: StartRaw) -> None:
    script = Script(b"", b"", b"")
    async with client(await start_raw(script), retries=5) as upstream:
        with pytest.raises(BackendUnavailable):
            await upstream.fetch(Call("GET", b"/", attempts=2))
    assert len(script.requests) == 2


async def test_a_response_is_a_reason_to_repeat_where_the_call_says_so(start_raw: StartRaw) -> None:
    script = Script(BUSY, BUSY, BUSY)
    async with client(await start_raw(script)) as upstream:
        assert (await upstream.fetch(Call("GET", b"/", attempts=2))).status == 503
        assert len(script.requests) == 1
        assert (await upstream.fetch(Call("GET", b"/", attempts=2, repeat_statuses={503}))).status == 503
    assert len(script.requests) == 3


async def test_what_is_not_retryable_is_asked_once(start_raw: StartRaw) -> None:
    script = Script(b"nonsense\r\n\r\n", b"nonsense\r\n\r\n")
    async with client(await start_raw(script)) as upstream:
        with pytest.raises(BackendMalformed):
            await upstream.fetch(Call("GET", b"/", attempts=3, repeat_statuses={500}))
    assert len(script.requests) == 1


# Places by kind and by client.


async def test_streams_and_uploads_take_no_place_of_short_calls(start_raw: StartRaw) -> None:
    async with client(await start_raw(Script()), max_connections=1, max_streams=2, max_queue=0) as upstream:
        held = [await upstream.open(Call("GET", b"/", kind=kind)) for kind in (Kind.STREAM, Kind.STREAM, Kind.UPLOAD)]
        assert (await upstream.fetch(Call("GET", b"/"))).status == 200
        with pytest.raises(Busy):
            await upstream.open(Call("GET", b"/", kind=Kind.STREAM))
        for response in held:
            await response.aclose()


async def test_one_client_leaves_places_for_others(start_raw: StartRaw) -> None:
    async with client(await start_raw(Script()), max_connections=5, max_queue=0, client_share=0.6) as upstream:
        held = [await upstream.open(Call("GET", b"/", client="greedy")) for _ in range(3)]
        with pytest.raises(ClientBusy):
            await upstream.open(Call("GET", b"/", client="greedy"))
        assert (await upstream.fetch(Call("GET", b"/", client="other"))).status == 200
        for response in held:
            await response.aclose()


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


async def test_client_errors_do_not_open_the_breaker(start_raw: StartRaw) -> None:
    script = Script(*[b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n"] * 8)
    async with client(await start_raw(script), breaker_min_calls=4) as upstream:
        for _ in range(8):
            assert (await upstream.fetch(Call("GET", b"/"))).status == 404


async def test_calls_beyond_cap_and_queue_are_busy_and_places_come_back(start_raw: StartRaw) -> None:
    async with client(await start_raw(Script()), max_connections=1, max_queue=0) as upstream:
        response = await upstream.open(Call("GET", b"/"))
        with pytest.raises(Busy):
            await upstream.open(Call("GET", b"/"))
        await response.aclose()
        await response.aclose()
        assert (await upstream.fetch(Call("GET", b"/"))).status == 200


async def test_check_tells_why_the_backend_is_not_well(start_raw: StartRaw) -> None:
    script = Script(OK, b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")
    async with client(await start_raw(script)) as upstream:
        await upstream.check()
        with pytest.raises(CheckFailed, match="500"):
            await upstream.check()
    async with client(NOWHERE) as upstream:
        with pytest.raises(CheckFailed) as caught:
            await upstream.check()
    assert "127.0.0.1" not in str(caught.value)


async def test_the_client_says_how_it_stands(start_raw: StartRaw) -> None:
    origin = await start_raw(Script())
    async with client(origin, max_connections=5, max_uploads=2, max_streams=3) as upstream:
        response = await upstream.open(Call("GET", b"/private?q=1", kind=Kind.STREAM))
        assert repr(upstream) == (
            f"<Upstream {origin.removeprefix('http://')} short=0+0 upload=0+0 stream=1+0 <Circuits 1 not_closed={{}}> "
            "<HttpTransport <Pool open=1/20 in_use=0 waiting=0>>>"
        )
        await response.aclose()


async def test_debug_logging_tells_what_was_asked_and_what_came_of_it(
    start_raw: StartRaw, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "bff_shared.upstream.client")
    async with client(await start_raw(Script(OK, None)), retries=0) as upstream:
        await upstream.fetch(Call("GET", b"/bars?token=secret", circuit="read /bars"))
        with pytest.raises(BackendTimeout):
            await upstream.fetch(Call("GET", b"/bars", deadline=time.monotonic() + 0.05))
    told = [(record.message, vars(record)["path"], vars(record).get("status")) for record in caplog.records]
    assert told == [
        ("the backend responded", "/bars", 200),
        ("no response within the deadline", "/bars", None),
    ]
    assert "secret" not in caplog.text
