"""The same requests to a backend directly and through nginx and the proxy: what arrives and comes back is the same.

The named additions are the exception: ids, `X-Forwarded-*`, `X-Real-IP`, `Via`, the backend's own `Host`, and
`X-Content-Type-Options` on what comes back; and the hop-by-hop headers are removed.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from bff_proxy.app import create_app
from bff_proxy.settings import ProxySettings
from bff_shared.http.paths import refusal
from bff_tools.stack import Stack, StackOptions
from tests.support.http1 import Message, Pairs, Peer, address, exchange, read_answer

ADDED = {
    b"x-request-id",
    b"traceparent",
    b"via",
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"x-real-ip",
}
REMOVED = {b"connection", b"keep-alive", b"te", b"upgrade", b"proxy-connection", b"transfer-encoding"}
FRAMING = {b"content-length", b"transfer-encoding", b"host"}

TOKEN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!~*'"
SEGMENT = st.text(TOKEN + '%:@$&+,;=|()[]{}^`<>"\\é漢', max_size=12).map(lambda text: text.replace("%", "%2F"))
QUERY = st.text(TOKEN + "%:@/?$&&&+;==|[]{}é漢", max_size=30).map(lambda text: text.replace("%", "%20"))
NAME = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.", min_size=1, max_size=12).map(lambda text: f"x-t{text}")
VALUE = st.binary(max_size=24).map(lambda raw: bytes(b for b in raw if b >= 0x20 and b != 0x7F).strip(b" "))
BODY = st.one_of(st.none(), st.binary(max_size=300))
STANDARD = st.sampled_from(
    [
        (b"Accept", b"application/json, */*;q=0.1"),
        (b"Accept-Encoding", b"gzip, br, zstd"),
        (b"Authorization", b"Bearer a.b-c"),
        (b"Cookie", b"session=1; other=2"),
        (b"Range", b"bytes=0-99"),
        (b"If-None-Match", b'"x", W/"y"'),
        (b"Content-Type", b"application/octet-stream"),
        (b"Idempotency-Key", b"k-1"),
        (b"User-Agent", b"test/1 (x; y)"),
        (b"TE", b"trailers"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Proxy-Connection", b"keep-alive"),
    ]
)


@dataclass(frozen=True)
class Case:
    """A request, and the answer that the backend gives to it."""

    method: bytes
    target: bytes
    headers: Pairs
    named: bytes | None
    body: bytes | None
    chunked: bool
    status: int
    answer_headers: Pairs
    answer_body: bytes
    answer_chunked: bool

    def request(self, prefix: bytes) -> bytes:
        lines = [b"%b %b HTTP/1.1" % (self.method, prefix + self.target), b"Host: shop.example"]
        lines += [b"%b: %b" % pair for pair in self.headers]
        if self.named:
            lines.append(b"Connection: keep-alive, %b" % self.named)
        if self.body is None:
            return b"\r\n".join([*lines, b"", b""])
        if self.chunked:
            chunk = b"%x\r\n%b\r\n" % (len(self.body), self.body) if self.body else b""
            return b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", chunk + b"0\r\n\r\n"])
        return b"\r\n".join([*lines, b"Content-Length: %d" % len(self.body), b"", self.body])

    def answer(self) -> bytes:
        lines = [b"HTTP/1.1 %d Reason" % self.status, *(b"%b: %b" % pair for pair in self.answer_headers)]
        if self.status in {204, 304}:
            return b"\r\n".join([*lines, b"", b""])
        if self.answer_chunked and self.method != b"HEAD":
            chunk = b"%x\r\n%b\r\n" % (len(self.answer_body), self.answer_body) if self.answer_body else b""
            return b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", chunk + b"0\r\n\r\n"])
        body = b"" if self.method == b"HEAD" else self.answer_body
        return b"\r\n".join([*lines, b"Content-Length: %d" % len(self.answer_body), b"", body])


LISTS = {b"set-cookie", b"content-encoding", b"vary", b"www-authenticate", b"cookie", b"te"}


def once(pairs: Pairs) -> Pairs:
    """Keep the first of the fields that a message may have only once (RFC 9110 section 5.3)."""
    kept: Pairs = []
    for name, value in pairs:
        repeatable = name.lower() in LISTS or name.startswith(b"x-t")
        if repeatable or name.lower() not in {other.lower() for other, _ in kept}:
            kept.append((name, value))
    return kept


ANSWER_HEADER = st.one_of(
    st.tuples(NAME.map(str.encode), VALUE),
    st.sampled_from(
        [
            (b"Set-Cookie", b"a=1; Path=/; HttpOnly"),
            (b"Set-Cookie", b"b=2"),
            (b"Content-Encoding", b"gzip"),
            (b"Content-Encoding", b"x-own"),
            (b"ETag", b'W/"1"'),
            (b"Vary", b"Accept"),
            (b"Cache-Control", b"private, max-age=5"),
            (b"Content-Range", b"bytes 0-1/5"),
            (b"Date", b"Tue, 15 Nov 1994 08:12:31 GMT"),
            (b"Server", b"uvicorn"),
            (b"Location", b"https://other.example/x"),
            (b"WWW-Authenticate", b'Basic realm="x"'),
            (b"Content-Type", b"application/json"),
        ]
    ),
)


def safe_path(segments: list[str]) -> bytes:
    """Return a path of segments that nobody refuses."""
    kept = (segment for segment in segments if refusal(f"/{segment}".encode()) is None)
    return "/".join(["", "backtests", *kept]).encode()


CASES = st.builds(
    Case,
    method=st.sampled_from([b"GET", b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"]),
    target=st.builds(
        lambda segments, query: safe_path(segments) + (b"" if query is None else b"?" + query.encode()),
        st.lists(SEGMENT, max_size=4),
        st.one_of(st.none(), QUERY),
    ),
    headers=st.lists(st.one_of(st.tuples(NAME.map(str.encode), VALUE), STANDARD), max_size=6).map(once),
    named=st.one_of(st.none(), st.just(b"x-tnamed")),
    body=BODY,
    chunked=st.booleans(),
    status=st.sampled_from([200, 200, 200, 201, 202, 204, 206, 302, 304, 400, 401, 404, 409, 422, 429, 500, 503, 504]),
    answer_headers=st.lists(ANSWER_HEADER, max_size=5).map(once),
    answer_body=st.binary(max_size=400),
    answer_chunked=st.booleans(),
)


class Both:
    """One client with a connection to the backend and one to the origin before it."""

    def __init__(self, backend: Peer, direct: str, origin: str) -> None:
        self.backend, self.origins = backend, {"direct": (direct, b""), "origin": (origin, b"/api/v1")}
        self.streams: dict[str, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def send(self, case: Case, way: str) -> tuple[Message, Message]:
        """Send a case one way; return the request that arrived and the answer that came back."""
        self.backend.answer = case.answer()
        self.backend.requests.clear()
        origin, prefix = self.origins[way]
        if way not in self.streams:
            self.streams[way] = await asyncio.open_connection(*address(origin))
        reader, writer = self.streams[way]
        writer.write(case.request(prefix))
        answer = await asyncio.wait_for(read_answer(reader, case.method), 20)
        if b"close" in answer.values(b"connection"):
            writer.close()
            del self.streams[way]
        assert len(self.backend.requests) == 1, answer
        return self.backend.requests[0], answer

    async def close(self) -> None:
        for _, writer in self.streams.values():
            writer.close()


@pytest.fixture
async def both(start_raw: Any, start_app: Any) -> AsyncIterator[Both]:
    backend = Peer()
    direct = await start_raw(backend)
    proxy = await start_app(
        create_app(ProxySettings(proxy_prefixes=("/",), backend_url=direct, breaker_min_calls=10**9))
    )
    place = (proxy.removeprefix("http://"),)
    upstreams = {"proxy": place, "aggregator": place, "wsrelay": place}
    stack = Stack(StackOptions(backend_url=direct, upstreams=upstreams, redis=False))
    await asyncio.to_thread(stack.start)
    subject = Both(backend, direct, stack.origin)
    yield subject
    await subject.close()
    await asyncio.to_thread(stack.stop)


def comparable(headers: Pairs, dropped: set[bytes]) -> dict[bytes, list[bytes]]:
    """Return each field's values in order; the order of different fields means nothing (RFC 9110 section 5.3)."""
    fields: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name.lower() not in dropped:
            fields.setdefault(name.lower(), []).append(value)
    return fields


def check_request(direct: Message, through: Message) -> None:
    assert (through.method, through.target, through.body) == (direct.method, direct.target, direct.body)
    named = {token.strip().lower() for value in direct.values(b"connection") for token in value.split(b",")}
    expected = comparable(direct.headers, REMOVED | FRAMING | named)
    arrived = comparable(through.headers, ADDED | FRAMING)
    assert arrived == expected


def check_answer(direct: Message, through: Message) -> None:
    assert (through.status, through.body) == (direct.status, direct.body)
    assert through.values(b"content-length") == direct.values(b"content-length")
    ours = {
        b"x-request-id",
        b"x-correlation-id",
        b"connection",
        b"transfer-encoding",
        b"content-length",
        b"x-content-type-options",
    }
    made = {name for name in (b"date", b"server") if not direct.values(name)}
    assert comparable(through.headers, ours | made) == comparable(direct.headers, ours)


@pytest.mark.timeout(300)
async def test_hundreds_of_requests_pass_unchanged(both: Both) -> None:
    @examples(max_examples=4 * examples().max_examples, suppress_health_check=list(HealthCheck))
    @given(CASES)
    def run(case: Case) -> None:
        async def compare() -> None:
            direct_request, direct_answer = await both.send(case, "direct")
            request, answer = await both.send(case, "origin")
            check_request(direct_request, request)
            check_answer(direct_answer, answer)

        asyncio.run_coroutine_threadsafe(compare(), loop).result(60)

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(run)


@pytest.mark.parametrize(
    "tail", [b"/.", b"/..", b"/.%2F", b"/.%2f.", b"/%2e%2E/x", b"/a%2F..%2fb", b"/a/./b?c", b"/../bars", b"/.?x"]
)
async def test_a_target_with_dot_segments_is_refused_and_reaches_nobody(both: Both, tail: bytes) -> None:
    origin, prefix = both.origins["origin"]
    request = b"GET %b/backtests%b HTTP/1.1\r\nHost: shop.example\r\n\r\n" % (prefix, tail)
    answer = await exchange(origin, request)
    assert answer.status == 400
    assert json.loads(answer.body)["error"]["code"] == "BAD_REQUEST"
    assert both.backend.requests == []
