import asyncio
import gzip
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bff_shared.errors import BackendMalformed, BackendTimeout, BackendUnavailable, Busy, CircuitOpen
from bff_shared.health import CheckFailed
from bff_shared.metrics import Metrics
from bff_shared.settings import Settings
from bff_shared.upstream import Call, Upstream

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
        assert (await upstream.fetch(Call("GET", b"/"))).content == b"hello"


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


async def test_breaker_opens_and_closes_by_a_probe(start_raw: StartRaw) -> None:
    now = 0.0
    script = Script(*[b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"] * 4)
    settings = Settings(backend_url=await start_raw(script), breaker_min_calls=4, breaker_open_seconds=5)
    upstream = Upstream(settings, Metrics(), clock=lambda: now)
    for _ in range(4):
        assert (await upstream.fetch(Call("GET", b"/"))).status == 503
    with pytest.raises(CircuitOpen) as caught:
        await upstream.fetch(Call("GET", b"/"))
    assert caught.value.retry_after == 5
    assert len(script.requests) == 4
    now = 6.0
    assert (await upstream.fetch(Call("GET", b"/"))).status == 200
    assert (await upstream.fetch(Call("GET", b"/"))).status == 200
    await upstream.aclose()


async def test_open_circuit_leaves_other_circuits_alone(start_raw: StartRaw) -> None:
    failure = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
    script = Script(*[failure] * 4)
    async with client(await start_raw(script), breaker_min_calls=4) as upstream:
        for _ in range(4):
            await upstream.fetch(Call("GET", b"/", circuit="equity"))
        with pytest.raises(CircuitOpen):
            await upstream.fetch(Call("GET", b"/", circuit="equity"))
        assert (await upstream.fetch(Call("GET", b"/", circuit="orders"))).status == 200
        assert (await upstream.fetch(Call("GET", b"/"))).status == 200


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
