import time

import pytest

from bff_shared.errors import (
    BackendMalformed,
    BackendTimeout,
    BackendUnavailable,
    Busy,
    ClientBusy,
)
from bff_shared.health import CheckFailed
from bff_shared.upstream.client import Call, Kind
from tests.support.upstream import (
    NOWHERE,
    OK,
    Script,
    StartRaw,
    client,
)


async def test_answer_is_fetched_whole(start_raw: StartRaw) -> None:
    script = Script()
    async with client(await start_raw(script)) as upstream:
        answer = await upstream.fetch(Call("GET", b"/a%2Fb?x=%20|", [(b"authorization", b"Bearer t")]))
    assert (answer.status, answer.content) == (200, b"ok")
    assert script.requests[0].startswith(b"GET /a%2Fb?x=%20| HTTP/1.1\r\n")
    assert b"authorization: Bearer t\r\n" in script.requests[0]


async def test_refused_connection_is_unavailable() -> None:
    async with client(NOWHERE) as upstream:
        with pytest.raises(BackendUnavailable):
            await upstream.fetch(Call("GET", b"/"))


async def test_nonsense_is_malformed(start_raw: StartRaw) -> None:
    async with client(await start_raw(Script(b"what is this\r\n\r\n"))) as upstream:
        with pytest.raises(BackendMalformed):
            await upstream.fetch(Call("GET", b"/"))


async def test_silence_is_a_timeout(start_raw: StartRaw) -> None:
    async with client(await start_raw(Script(None)), first_byte_timeout=0.05) as upstream:
        with pytest.raises(BackendTimeout):
            await upstream.fetch(Call("GET", b"/"))


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
