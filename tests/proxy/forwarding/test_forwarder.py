import asyncio
import gzip
import json
import logging
from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.support.http1 import Message, Peer, address, exchange, read_answer, read_body, read_head

StartProxy = Callable[..., Awaitable[str]]
NOWHERE = "http://127.0.0.1:9"


def get(path: bytes = b"/api/v1/x", *headers: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
    lines = [method + b" " + path + b" HTTP/1.1", b"host: shop.example", *headers, b"", b""]
    return b"\r\n".join(lines) + body


def error_of(message: Message) -> str:
    body = json.loads(message.body)
    assert body["error"]["details"]["correlation_id"] == message.values(b"x-request-id")[0].decode()
    return str(body["error"]["code"])


@pytest.mark.parametrize("path", [b"/a%2Fb%20c+d;e", b"/a?", b"/a?b=%20+;&&=x|y&b", "/é?ü".encode(), b"/%7e?%41"])
async def test_target_arrives_as_sent(start_proxy: StartProxy, path: bytes) -> None:
    peer = Peer()
    await exchange(await start_proxy(peer), get(b"/api/v1" + path))
    assert peer.requests[0].target == path


async def test_headers_arrive_in_order_with_repeats_and_bytes(start_proxy: StartProxy) -> None:
    peer = Peer()
    sent = [(b"x-a", b"1"), (b"x-b", b"caf\xc3\xa9 \xff"), (b"x-a", b"2"), (b"under_score", b"3"), (b"x-empty", b"")]
    lines = [name + b": " + value for name, value in sent]
    await exchange(await start_proxy(peer), get(b"/api/v1/x", *lines))
    assert [
        pair for pair in peer.requests[0].headers if pair[0] in {b"x-a", b"x-b", b"under_score", b"x-empty"}
    ] == sent


@pytest.mark.parametrize("method", [b"PUT", b"PATCH", b"DELETE", b"POST", b"OPTIONS", b"PROPFIND"])
async def test_every_method_arrives_with_its_body(start_proxy: StartProxy, method: bytes) -> None:
    peer = Peer()
    await exchange(
        await start_proxy(peer), get(b"/api/v1/x", b"content-length: 4", method=method, body=b"\x00\xff\r\n")
    )
    assert (peer.requests[0].method, peer.requests[0].body) == (method, b"\x00\xff\r\n")
    assert peer.requests[0].values(b"content-length") == [b"4"]


async def test_chunked_body_arrives_chunked(start_bare_proxy: StartProxy) -> None:
    """nginx tells the length of one that it has read whole before it goes on."""
    peer = Peer()
    request = get(b"/api/v1/x", b"transfer-encoding: chunked", method=b"POST")
    await exchange(await start_bare_proxy(peer), request + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert peer.requests[0].body == b"abcde"
    assert not peer.requests[0].values(b"content-length")


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"zstd", b"x-unknown", None])
async def test_answer_passes_undecoded(start_proxy: StartProxy, coding: bytes | None) -> None:
    body = gzip.compress(b"hello")
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(body)
    extra = b"Content-Encoding: %b\r\n" % coding if coding else b""
    answer = await exchange(await start_proxy(Peer(head + extra + b"\r\n" + body)), get())
    assert answer.body == body
    assert answer.values(b"content-encoding") == ([coding] if coding else [])
    assert answer.values(b"content-length") == [b"%d" % len(body)]


async def test_chunked_answer_has_no_length(start_proxy: StartProxy) -> None:
    peer = Peer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    answer = await exchange(await start_proxy(peer), get())
    assert answer.body == b"hello"
    assert not answer.values(b"content-length")


async def test_answers_headers_pass_each_by_itself(start_proxy: StartProxy) -> None:
    date = b"Tue, 15 Nov 1994 08:12:31 GMT"
    peer = Peer(
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX-B: 2\r\nSet-Cookie: c=3\r\nDate: " + date + b"\r\nServer: old/1\r\n"
        b"Connection: x-hop\r\nX-Hop: 1\r\nContent-Length: 0\r\n\r\n"
    )
    answer = await exchange(await start_proxy(peer), get())
    assert answer.values(b"set-cookie") == [b"a=1", b"c=3"]
    assert answer.values(b"date") == [date]
    assert answer.values(b"server") == [b"old/1"]
    assert answer.values(b"x-hop") == []


@pytest.mark.parametrize(
    "status", [200, 201, 202, 206, 301, 400, 401, 403, 404, 409, 418, 422, 429, 500, 502, 503, 504, 599]
)
async def test_every_status_passes(start_proxy: StartProxy, status: int) -> None:
    body = b'{"detail":"as the backend says it"}'
    peer = Peer(b"HTTP/1.1 %d Some Reason\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
    answer = await exchange(await start_proxy(peer), get())
    assert (answer.status, answer.body) == (status, body)


async def test_head_keeps_the_length_of_what_get_would_send(start_proxy: StartProxy) -> None:
    peer = Peer(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")
    answer = await exchange(await start_proxy(peer), get(method=b"HEAD"), b"HEAD")
    assert (answer.status, answer.values(b"content-length"), answer.body) == (200, [b"1234"], b"")


@pytest.mark.parametrize("length", [b"", b"Content-Length: 99\r\n"])
async def test_not_modified_has_no_body_and_the_connection_stays(start_proxy: StartProxy, length: bytes) -> None:
    peer = Peer(b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n' + length + b"\r\n")
    reader, writer = await asyncio.open_connection(*address(await start_proxy(peer)))
    for _ in range(2):
        writer.write(get(b"/api/v1/x", b'if-none-match: "x"'))
        answer = await read_answer(reader)
        assert answer.status == 304
        assert answer.values(b"content-length") == ([b"99"] if length else [])
    writer.close()


async def test_no_content_has_no_body(start_proxy: StartProxy) -> None:
    answer = await exchange(await start_proxy(Peer(b"HTTP/1.1 204 No Content\r\n\r\n")), get(method=b"DELETE"))
    assert (answer.status, answer.values(b"transfer-encoding")) == (204, [])


async def test_expect_continue_gets_the_body_sent(start_bare_proxy: StartProxy) -> None:
    """nginx answers 100 by itself, as RFC 9110 section 10.1.1 lets it, and sends no Expect on."""

    async def behave(request: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert request.values(b"expect") == [b"100-continue"]
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await read_body(reader, request, until_close=False)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    peer = Peer(behave=behave)
    reader, writer = await asyncio.open_connection(*address(await start_bare_proxy(peer)))
    writer.write(get(b"/api/v1/x", b"content-length: 5", b"expect: 100-continue", method=b"POST"))
    assert (await read_head(reader)).status == 100
    writer.write(b"hello")
    assert (await read_answer(reader)).status == 200
    assert peer.requests[0].body == b"hello"
    writer.close()


async def test_answer_before_the_upload_is_over_is_heard(start_proxy: StartProxy) -> None:
    async def behave(_: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 403 No\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno")
        await writer.drain()
        await reader.read()

    reader, writer = await asyncio.open_connection(*address(await start_proxy(Peer(behave=behave))))
    writer.write(get(b"/api/v1/x", b"content-length: 1000000", method=b"POST", body=b"only the start"))
    answer = await asyncio.wait_for(read_answer(reader), 30)
    assert (answer.status, answer.body) == (403, b"no")
    writer.close()


async def test_event_is_passed_on_while_the_answer_goes_on(start_proxy: StartProxy) -> None:
    heard = asyncio.Event()

    async def behave(_: Message, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n")
        await writer.drain()
        await heard.wait()
        writer.close()

    url = f"{await start_proxy(Peer(behave=behave))}/api/v1/stream"
    async with httpx.AsyncClient(trust_env=False) as client, client.stream("GET", url) as answer:
        assert await asyncio.wait_for(anext(answer.aiter_raw()), 30) == b"data: 1\n\n"
        heard.set()


async def test_nothing_is_kept_between_requests(start_proxy: StartProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", NOWHERE)
    peer = Peer(b"HTTP/1.1 302 Found\r\nSet-Cookie: session=alice\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n")
    origin = await start_proxy(peer)
    first = await exchange(origin, get(b"/api/v1/x", b"authorization: Bearer alice"))
    await exchange(origin, get())
    assert first.values(b"location") == [b"/api/v1/next"]
    assert len(peer.requests) == 2
    assert peer.requests[1].values(b"cookie") == []
    assert peer.requests[1].values(b"authorization") == []


async def test_ids_reach_the_backend_and_the_client(start_proxy: StartProxy) -> None:
    peer = Peer()
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = await exchange(await start_proxy(peer), get(b"/api/v1/x", b"x-request-id: mine", b"traceparent: " + trace))
    assert answer.values(b"x-request-id") == [b"mine"]
    assert peer.requests[0].values(b"x-request-id") == [b"mine"]
    (sent,) = peer.requests[0].values(b"traceparent")
    assert sent.split(b"-")[1] == b"0af7651916cd43dd8448eb211c80319c"


async def test_refused_method_is_told_which_are_allowed(start_bare_proxy: StartProxy) -> None:
    answer = await exchange(await start_bare_proxy(Peer()), get(method=b"TRACE"))
    assert (answer.status, error_of(answer)) == (405, "METHOD_NOT_ALLOWED")
    assert b"GET" in answer.values(b"allow")[0].split(b", ")


@pytest.mark.parametrize("method", [b"TRACE", b"CONNECT"])
async def test_trace_and_connect_are_refused(start_proxy: StartProxy, server: str, method: bytes) -> None:
    peer = Peer()
    answer = await exchange(await start_proxy(peer), get(method=method))
    # nginx wants the target of CONNECT to be an authority (RFC 9112 section 3.2.3).
    assert answer.status == (400 if (server, method) == ("nginx", b"CONNECT") else 405)
    assert peer.requests == []


@pytest.mark.parametrize(
    "lines",
    [
        [b"content-length: 5", b"transfer-encoding: chunked"],
        [b"content-length: 5", b"content-length: 6"],
        [b"transfer-encoding: chunked, identity"],
        [b"transfer-encoding: gzip, chunked"],
        [b"transfer-encoding: gzip", b"transfer-encoding: chunked"],
        [b"x-a: 1\rx-b: 2"],
        [b"x-a : 1"],
        [b"x-a: \x00"],
        [b"content-length: -1"],
        [b"content-length: 0x5"],
    ],
)
async def test_ambiguous_requests_never_reach_the_backend(
    start_proxy: StartProxy, server: str, lines: list[bytes]
) -> None:
    peer = Peer()
    answer = await exchange(await start_proxy(peer), get(b"/api/v1/x", *lines, method=b"POST", body=b"hello"))
    named = lines[0].partition(b": ")[2]
    unknown_coding = server == "nginx" and named in {b"chunked, identity", b"gzip, chunked"}  # it knows `chunked` alone
    expected = (501, "NOT_IMPLEMENTED") if unknown_coding else (400, "BAD_REQUEST")
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == expected
    assert peer.requests == []


async def test_bare_line_feed_never_reaches_the_backend(start_proxy: StartProxy, server: str) -> None:
    """The proxy refuses it; nginx takes it for a line's end (RFC 9112 section 2.2) and writes a proper one."""
    peer = Peer()
    answer = await exchange(await start_proxy(peer), get(b"/api/v1/x", b"x-a: 1\nx-b: 2"))
    assert answer.status == (200 if server == "nginx" else 400)
    assert all(b"\n" not in name + value for request in peer.requests for name, value in request.headers)


async def test_oversized_head_is_431(start_proxy: StartProxy) -> None:
    peer = Peer()
    answer = await exchange(await start_proxy(peer), get(b"/api/v1/x", *[b"x-a: " + b"v" * 1000] * 80))
    assert answer.status == 431
    assert peer.requests == []


async def test_announced_body_over_the_limit_is_413_unsent(start_proxy: StartProxy) -> None:
    peer = Peer()
    origin = await start_proxy(peer, max_body_bytes=10)
    answer = await exchange(origin, get(b"/api/v1/x", b"content-length: 11", method=b"POST", body=b"x" * 11))
    assert (answer.status, error_of(answer)) == (413, "PAYLOAD_TOO_LARGE")
    assert peer.requests == []


async def test_chunked_body_over_the_limit_is_413(start_proxy: StartProxy) -> None:
    origin = await start_proxy(Peer(), max_body_bytes=10)
    request = get(b"/api/v1/x", b"transfer-encoding: chunked", method=b"POST")
    answer = await exchange(origin, request + b"b\r\n" + b"x" * 11 + b"\r\n0\r\n\r\n")
    assert (answer.status, error_of(answer)) == (413, "PAYLOAD_TOO_LARGE")


async def test_path_outside_the_prefixes_is_404(start_proxy: StartProxy) -> None:
    peer = Peer()
    origin = await start_proxy(peer, proxy_prefixes=("/backtests",))
    answer = await exchange(origin, get(b"/api/v1/backtests/..%2fadmin"))
    assert (answer.status, error_of(answer)) in {(404, "NOT_FOUND"), (400, "BAD_REQUEST")}
    assert peer.requests == []


async def test_problem_document_is_for_who_asks(start_proxy: StartProxy) -> None:
    answer = await exchange(await start_proxy(NOWHERE), get(b"/api/v1/x", b"accept: application/problem+json"))
    assert answer.values(b"content-type") == [b"application/problem+json"]
    assert json.loads(answer.body)["code"] == "BACKEND_UNAVAILABLE"


async def test_each_exchange_is_one_line_with_its_timings(
    start_proxy: StartProxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    origin = await start_proxy(Peer(), proxy_prefixes=("/backtests",))
    await exchange(origin, get(b"/api/v1/backtests/1?token=s3cret", b"content-length: 3", method=b"POST", body=b"abc"))
    (line,) = [vars(record) for record in caplog.records if record.name == "bff.access"]
    assert (line["route"], line["status"], line["outcome"]) == ("/api/v1/backtests/{path}", 200, "ok")
    assert (line["bytes"], line["request_bytes"]) == (2, 3)
    assert {"connect_ms", "first_byte_ms", "duration_ms"} <= line.keys()
    assert "s3cret" not in caplog.text
    assert "abc" not in caplog.text


async def test_debug_log_shows_bodies_with_secrets_masked(
    start_proxy: StartProxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "bff_proxy")
    answer = b'{"told":1,"api_token":"s3cret"}'
    head = b"HTTP/1.1 200 OK\r\nSet-Cookie: s3cret\r\ncontent-length: %d\r\n\r\n" % len(answer)
    origin = await start_proxy(Peer(head + answer))
    body = b'{"strategy":"shown","password":"s3cret"}'
    headers = [b"authorization: Bearer s3cret", b"cookie: a=s3cret", b"content-length: %d" % len(body)]
    await exchange(origin, get(b"/api/v1/x?token=s3cret", *headers, method=b"POST", body=body))
    shown = str([vars(record) for record in caplog.records if record.name.startswith("bff_proxy")])
    assert "shown" in shown
    assert "told" in shown
    assert "s3cret" not in shown


async def test_metrics_count_bytes_and_ends(start_bare_proxy: StartProxy) -> None:
    origin = await start_bare_proxy(Peer())
    await exchange(origin, get(b"/api/v1/x", b"content-length: 3", method=b"POST", body=b"abc"))
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"{origin}/metrics")).text
    assert 'bff_proxy_body_bytes_total{direction="request"} 3.0' in text
    assert 'bff_proxy_body_bytes_total{direction="answer"} 2.0' in text
    assert 'bff_proxy_exchanges_total{outcome="ok"} 1.0' in text
    assert 'bff_upstream_calls_total{outcome="2xx"} 1.0' in text


async def test_a_transfer_coding_in_http_1_0_never_reaches_the_backend(start_proxy: StartProxy) -> None:
    peer = Peer()
    request = b"POST /api/v1/x HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    assert (await exchange(await start_proxy(peer), request)).status in {400, 501}
    assert peer.requests == []


async def test_request_trailers_never_become_headers(start_bare_proxy: StartProxy) -> None:
    peer = Peer()
    body = b"5\r\nhello\r\n0\r\nauthorization: Bearer forged\r\nx-forwarded-for: 192.0.2.1\r\n\r\n"
    request = get(b"/api/v1/x", b"transfer-encoding: chunked", method=b"POST", body=body)
    origin = await start_bare_proxy(peer)
    reader, writer = await asyncio.open_connection(*address(origin))
    for _ in range(2):
        writer.write(request)
        assert (await read_answer(reader)).status == 200
    writer.close()
    assert all(not message.values(b"authorization") for message in peer.requests)
    assert all(message.values(b"x-forwarded-for") == [b"127.0.0.1"] for message in peer.requests)


@pytest.mark.parametrize(
    "name",
    [
        b"X_Forwarded_For",
        b"X_Real_IP",
        b"Content_Length",
        b"Transfer_Encoding",
        b"X-Forwarded_Host",
        b"Client-IP",
        b"X-Original-URL",
        b"X-Rewrite-URL",
        b"X-HTTP-Method-Override",
        b"X_HTTP_Method_Override",
    ],
)
async def test_what_a_request_could_pass_itself_off_by_stays_behind(start_proxy: StartProxy, name: bytes) -> None:
    peer = Peer()
    await exchange(await start_proxy(peer), get(b"/api/v1/x", name + b": forged", b"under_score: kept"))
    assert b"forged" not in {value for _, value in peer.requests[0].headers}
    assert peer.requests[0].values(b"under_score") == [b"kept"]


@pytest.mark.parametrize("kind", [b"text/html; charset=utf-8", b"image/svg+xml", b"application/xhtml+xml"])
async def test_a_document_of_the_backends_has_no_part_in_our_origin(start_proxy: StartProxy, kind: bytes) -> None:
    peer = Peer(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: 2\r\n\r\nhi" % kind)
    answer = await exchange(await start_proxy(peer), get())
    assert b"sandbox" in answer.values(b"content-security-policy")


async def test_an_answer_with_a_head_of_up_to_64_kib_passes(start_bare_proxy: StartProxy) -> None:
    fields = b"".join(b"X-%d: %b\r\n" % (number, b"v" * 1000) for number in range(60))
    answer = await exchange(
        await start_bare_proxy(Peer(b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 2\r\n\r\nok")), get()
    )
    assert (answer.status, answer.body) == (200, b"ok")
    assert len(answer.values(b"x-59")[0]) == 1000
