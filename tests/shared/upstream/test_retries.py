import asyncio

import pytest

from bff_shared.errors import (
    BackendMalformed,
    BackendUnavailable,
)
from bff_shared.upstream.client import Call
from tests.support.upstream import (
    BUSY,
    OK,
    Handler,
    Script,
    StartRaw,
    client,
)


def stale(seen: list[bytes]) -> Handler:
    """Answer the first request of each connection; take the second and close without an answer."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n")).partition(b" ")[0])
        writer.write(OK)
        seen.append((await reader.readuntil(b"\r\n\r\n")).partition(b" ")[0])

    return handle


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
