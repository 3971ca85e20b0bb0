import asyncio

import httpx
import pytest

from bff_shared.upstream.transport.http_transport import FailureStage, HttpTransport, Timings, stage
from tests.support.transport import (
    GUARD,
    OK,
    StartRaw,
    answering,
    ask,
    new_request,
    ok_for_ever,
    pieces_of,
    read_all,
    read_head,
)

# The request as it leaves.


async def test_a_request_leaves_byte_for_byte_as_given(transport: HttpTransport, start_raw: StartRaw) -> None:
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_head(reader))
        writer.write(OK)

    origin = await start_raw(handle)
    request = new_request(
        origin, target=b"/a%2Fb/../c?q=%20+;&&x=|\xc3\xa9", headers=[(b"X-a", b"1"), (b"x-A", b"\xff")]
    )
    request.method = "gEt"
    await read_all(await transport.handle_async_request(request))
    assert seen == [
        b"gEt /a%2Fb/../c?q=%20+;&&x=|\xc3\xa9 HTTP/1.1\r\nHost: backend\r\nX-a: 1\r\nx-A: \xff\r\n\r\n",
    ]


async def test_the_urls_own_target_is_sent_without_an_extension(transport: HttpTransport, start_raw: StartRaw) -> None:
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_head(reader))
        writer.write(OK)

    async with httpx.AsyncClient(transport=transport) as client:
        response = await client.get(await start_raw(handle) + "/bars/daily?symbol=AAPL")
    assert response.text == "ok"
    assert seen[0].startswith(b"GET /bars/daily?symbol=AAPL HTTP/1.1\r\n")


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\nb", b"a\0"])
async def test_a_value_with_a_line_break_is_refused_unsent(transport: HttpTransport, value: bytes) -> None:
    request = new_request("http://127.0.0.1:9", headers=[(b"x", value)])
    with pytest.raises(httpx.LocalProtocolError) as caught:
        await transport.handle_async_request(request)
    assert stage(caught.value) is FailureStage.CONNECT
    assert caught.value.request is request


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "https://127.0.0.1:9"])
async def test_what_cannot_be_carried_is_refused(transport: HttpTransport, url: str) -> None:
    with pytest.raises(httpx.UnsupportedProtocol) as caught:
        await transport.handle_async_request(new_request(url))
    assert stage(caught.value) is FailureStage.CONNECT


# The answer as it comes.


async def test_an_answer_comes_byte_for_byte(transport: HttpTransport, start_raw: StartRaw) -> None:
    body = b"\x1f\x8b not really gzip"
    origin = await start_raw(
        answering(
            b"HTTP/1.1 299 So \xe9\r\nSet-cookie: a\r\nX: \xff\r\nSET-COOKIE: b\r\nContent-Encoding: gzip\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
    )
    response = await transport.handle_async_request(new_request(origin))
    assert response.status_code == 299
    assert response.headers.raw == [
        (b"Set-cookie", b"a"),
        (b"X", b"\xff"),
        (b"SET-COOKIE", b"b"),
        (b"Content-Encoding", b"gzip"),
        (b"Content-Length", b"%d" % len(body)),
    ]
    assert response.extensions["http_version"] == b"HTTP/1.1"
    assert await read_all(response) == body


async def test_trailers_are_no_part_of_the_response(transport: HttpTransport, start_raw: StartRaw) -> None:
    origin = await start_raw(
        answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nX-sum: 2\r\n\r\n")
    )
    response = await transport.handle_async_request(new_request(origin))
    assert await read_all(response) == b"ok"
    assert response.headers.raw == [(b"Transfer-Encoding", b"chunked")]


async def test_timings_tell_a_new_connection_from_a_reused_one(transport: HttpTransport, start_raw: StartRaw) -> None:
    origin = await start_raw(ok_for_ever)
    seen = []
    for _ in range(2):
        response = await transport.handle_async_request(new_request(origin))
        await read_all(response)
        seen.append((response.extensions["timings"], response.extensions["reused"]))
    (first, first_reused), (second, second_reused) = seen
    assert isinstance(first, Timings)
    assert first.connect > 0
    assert first.first_byte > 0
    assert second.connect == 0
    assert (first_reused, second_reused) == (False, True)


async def test_an_answer_to_head_with_a_length_leaves_the_connection_usable(
    transport: HttpTransport, start_raw: StartRaw
) -> None:
    origin = await start_raw(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", OK))
    assert await ask(transport, origin, "HEAD") == b""
    assert await ask(transport, origin) == b"ok"
    assert transport.stats.created == 1


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_answers_without_a_body_leave_the_connection_usable(
    transport: HttpTransport, start_raw: StartRaw, status: bytes
) -> None:
    origin = await start_raw(answering(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n", OK))
    assert await ask(transport, origin) == b""
    assert await ask(transport, origin) == b"ok"
    assert transport.stats.created == 1


async def test_interim_responses_are_skipped(transport: HttpTransport, start_raw: StartRaw) -> None:
    origin = await start_raw(answering(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK))
    assert await ask(transport, origin) == b"ok"


async def test_a_body_is_handed_on_piece_by_piece(transport: HttpTransport, start_raw: StartRaw) -> None:
    read = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await read.wait()
        writer.write(b"6\r\nsecond\r\n0\r\n\r\n")

    async with asyncio.timeout(GUARD):
        response = await transport.handle_async_request(new_request(await start_raw(handle)))
        pieces = pieces_of(response)
        assert await anext(pieces) == b"first"
        read.set()
        assert await anext(pieces) == b"second"
        with pytest.raises(StopAsyncIteration):
            await anext(pieces)


async def test_a_body_without_length_ends_with_the_connection(transport: HttpTransport, start_raw: StartRaw) -> None:
    origin = await start_raw(answering(b"HTTP/1.1 200 OK\r\n\r\nall of it"))
    assert await ask(transport, origin) == b"all of it"
    assert transport.stats.open == 0
