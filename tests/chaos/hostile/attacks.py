"""Requests that mean to be two, or to reach what is not for them, as bytes: what is sent, and what may be answered.

A body that hides a request hides one for `HIDDEN`; whoever reads the framing otherwise than nginx would let it arrive.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

HIDDEN = "/api/v1/backtests/hidden-in-another"
EVIL = "evil.example"
INNER = f"GET {HIDDEN} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
REFUSED = frozenset({400, 501})
ANY = frozenset(
    {200, 304, 307, 400, 401, 403, 404, 405, 408, 411, 413, 414, 415, 417, 421, 422, 426, 428, 431, 501, 505}
)
"""Everything that an attack may be answered with when nobody says better: no error of a server, no way elsewhere."""

ROUTES = ("/api/v1/backtests", "/api/v1/chart-data", "/api/v1/streams", "/backtests")
"""A path of the proxy, the aggregator, the relay, and the backend past them."""


@dataclass(frozen=True, slots=True)
class Attack:
    """Bytes to send on a connection of their own.

    Attributes:
        kind: which row of the table it counts in.
        data: what is sent.
        allowed: statuses that may come back, on the connection's first answer.
        silent: whether no answer at all is fine too: the connection is closed, or the rest of a message awaited.
    """

    kind: str
    data: bytes
    allowed: frozenset[int] = ANY
    silent: bool = False


def _post(route: str, *lines: bytes, body: bytes = b"") -> bytes:
    head = b"\r\n".join([b"POST " + route.encode() + b" HTTP/1.1", b"Host: a", *lines])
    return head + b"\r\n\r\n" + body


def _get(target: bytes, *lines: bytes, host: bytes = b"Host: a") -> bytes:
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", host, *lines]) + b"\r\n\r\n"


def every() -> Iterator[Attack]:
    """Yield all of them."""
    for route in ROUTES:
        yield from _transfer_codings(route)
        yield from _lengths(route)
        yield from _chunks(route)
        yield from _tunnels(route)
    yield from _request_lines()
    yield from _lines()
    yield from _hosts()
    yield from _targets()
    yield from _sizes()


def _transfer_codings(route: str) -> Iterator[Attack]:
    """CL.TE, TE.CL and TE.TE: a length, and a Transfer-Encoding that only some would understand."""
    ending = b"0\r\n\r\n" + INNER
    length = b"Content-Length: %d" % len(ending)
    for coding in (
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: Chunked",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: identity, chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: \x0bchunked",
        b'Transfer-Encoding: "chunked"',
        b"Transfer-Encoding:\tchunked",
        b"Transfer-Encoding:chunked",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding:\r\n chunked",
        b"X-A: b\r\n Transfer-Encoding: chunked",
        b"Transfer-Encoding\r\n : chunked",
        b"X-A: b\rTransfer-Encoding: chunked",
        b"X-A: b\nTransfer-Encoding: chunked",
    ):
        for lines in ((length, coding), (coding, length)):
            yield Attack("length and transfer coding", _post(route, *lines, body=ending), REFUSED)
    for name in (b"transfer_encoding", b"Transfer-Encoding\x00", b"X\r\tTransfer-Encoding", b"Transfer\xadEncoding"):
        yield Attack("length and transfer coding", _post(route, length, name + b": chunked", body=ending))


def _lengths(route: str) -> Iterator[Attack]:
    body = b"{}" + INNER
    for lines in (
        (b"Content-Length: 2", b"Content-Length: %d" % len(body)),
        (b"Content-Length: 2", b"Content-Length: 2"),
        (b"Content-Length: 2, %d" % len(body),),
        (b"Content-Length: 2, 2",),
        (b"Content-Length: +2",),
        (b"Content-Length: -2",),
        (b"Content-Length: 0x2",),
        (b"Content-Length: 2 2",),
        (b"Content-Length: 2_0",),
        (b"Content-Length: \xb2",),
        (b"Content-Length: 18446744073709551618",),
        (b"Content-Length : 2",),
        (b"Content-Length:\r\n 2",),
        (b"Content-Length: ",),
    ):
        yield Attack("ambiguous length", _post(route, *lines, body=body), frozenset({400, 413}))
    for name in (b"content_length", b"Content-Length\x0b", b"Content\x7fLength"):
        hidden = _post(route, name + b": 2", b"Content-Length: %d" % len(body), body=body)
        yield Attack("ambiguous length", hidden)


def _chunks(route: str) -> Iterator[Attack]:
    """Chunked bodies that end elsewhere for a lenient reader (RFC 9112 section 7.1)."""
    coded = b"Transfer-Encoding: chunked"
    for body in (
        b"0x2\r\n{}\r\n0\r\n\r\n",
        b"+2\r\n{}\r\n0\r\n\r\n",
        b"-2\r\n{}\r\n0\r\n\r\n",
        b" 2\r\n{}\r\n0\r\n\r\n",
        b"2_0\r\n{}\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        b"8000000000000000\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}0\r\n\r\n",
        b"2\r\n{}XX0\r\n\r\n",
        b"1\r\n{}\r\n0\r\n\r\n",
        b"\r\n2\r\n{}\r\n0\r\n\r\n",
        b"g\r\n{}\r\n0\r\n\r\n",
    ):
        # nginx hands the first chunks on before it meets the wrong one, so the service may have answered already.
        yield Attack("chunks", _post(route, coded, body=body + INNER), ANY, silent=True)
    for ending in (
        b"2;a=\n\r\n{}\r\n0\r\n\r\n",
        b"2\n{}\n0\n\n",
        b"2;" + b"a" * 20_000 + b"\r\n{}\r\n0\r\n\r\n",
        b'2;a="\r\n"\r\n{}\r\n0\r\n\r\n',
        b"2\r\n{}\r\n0\r\nContent-Length: 90\r\nHost: evil.example\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"2\r\n{}\r\n0\r\n" + b"a: b\r\n" * 3_000 + b"\r\n",
        b"2\r\n{}\r\n0\r\nGET " + HIDDEN.encode() + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ):
        yield Attack("chunks", _post(route, coded, body=ending), ANY, silent=True)


def _tunnels(route: str) -> Iterator[Attack]:
    """Upgrades that are none: what follows has to go through the route map like any other request."""
    after = _get(b"/metrics") + _get(b"/health/ready")
    path = route.encode()
    key = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
    for lines in (
        (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 777", key),
        (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: x"),
        (b"Connection: Upgrade", b"Upgrade: websocket"),
        (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
        (b"Connection: keep-alive, Upgrade", b"Upgrade: h2c, websocket"),
        (b"Connection: HTTP2-Settings", b"Upgrade:\th2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
    ):
        for target in (path, b"/api/v1/runs/none/stream", b"/api/v1/backtests/none/ws"):
            yield Attack("tunnels", _get(target, *lines) + after, ANY, silent=True)


def _request_lines() -> Iterator[Attack]:
    for line in (
        b"GET  /api/v1/backtests HTTP/1.1",
        b"GET /api/v1/backtests  HTTP/1.1",
        b"GET\t/api/v1/backtests HTTP/1.1",
        b"GET /api/v1/backtests HTTP/1.1 HTTP/1.1",
        b"GET /api/v1/backtests http/1.1",
        b"GET /api/v1/backtests HTTP/9.9",
        b"GET /api/v1/backtests HTTP/2.0",
        b"GET /api/v1/backtests HTTP/1.1\r",
        b"get /api/v1/backtests HTTP/1.1",
        b"G\x00T /api/v1/backtests HTTP/1.1",
        b"GET api/v1/backtests HTTP/1.1",
        b"GET * HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"CONNECT evil.example:443 HTTP/1.1",
        b"TRACE /api/v1/backtests HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"X" * 300 + b" /api/v1/backtests HTTP/1.1",
        b" GET /api/v1/backtests HTTP/1.1",
        b"\x00GET /api/v1/backtests HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ):
        yield Attack("request lines", line + b"\r\nHost: a\r\n\r\n", ANY, silent=True)
    for target in (
        b"http://evil.example/api/v1/backtests",
        b"http://evil.example@a/api/v1/backtests",
        b"http://a:80:80/api/v1/backtests",
        b"https://evil.example/metrics",
        b"http:/api/v1/backtests",
        b"//evil.example/api/v1/backtests",
        b"file:///etc/passwd",
        b"gopher://127.0.0.1:6379/_FLUSHALL",
    ):
        yield Attack("absolute targets", _get(target))


def _lines() -> Iterator[Attack]:
    for line in (
        b"X-A: b\rX-C: d",
        b"X-A: b\x00c",
        b"X-A\x00: b",
        b"X-A : b",
        b": b",
        b"X-A",
        b"X(A): b",
        b"X-A: b\r\n c",
        b"X-A: b\x0b\x0cc",
        b"X-A: b\r\r\nX-C: d",
        b"X-A: b\x85X-C: d",
        b"Expect: 200-maybe",
        b"Range: bytes=0-,0-,0-,5-4,-1,99999999999999999999-",
        b"X-Accel-Redirect: /.bff/health/proxy\r\nX-Sendfile: /etc/passwd",
        b"X-Original-URL: /metrics\r\nX-Rewrite-URL: /metrics\r\nX-HTTP-Method-Override: DELETE",
        b"If-None-Match: " + b'"x", ' * 4_000,
        b"Cookie: " + b"a=b; " * 6_000,
        b"Accept-Encoding: " + b"gzip;q=0.1, " * 2_000,
        b"Authorization: Bearer \xff\xfe\x80",
        b"Traceparent: 00-" + b"f" * 5_000,
    ):
        for route in ROUTES:
            yield Attack("header lines", _get(route.encode(), line))


def _hosts() -> Iterator[Attack]:
    for host in (
        b"X-No: host",
        b"Host:",
        b"Host: a\r\nHost: evil.example",
        b"Host: a, evil.example",
        b"Host: a/../b",
        b"Host: a@evil.example",
        b"Host: a b",
        b"Host: [::1",
        b"Host: a\x00b",
        b"Host: a\\b",
        b"Host: .a",
        b"Host: a:99999999",
        b"Host: " + b"a" * 10_000,
        b"Host:\r\n evil.example",
    ):
        for route in (*ROUTES, "/health", "/"):
            yield Attack("hosts", _get(route.encode(), host=host))


def _targets() -> Iterator[Attack]:
    for tail in (
        b"%00", b"a%00b", b"%0d%0aX-Evil:%20yes", b"%250d%250a", b"..;/..;/metrics", b"..%5c..%5cmetrics",
        b"%5c..%5c..%5cmetrics", b"%c0%ae%c0%ae/metrics", b"%252e%252e/metrics", b"%252e%252e%252fmetrics", b"%u002e/x",
        b"..%00/metrics", b"%2f%2fevil.example", b"\\..\\metrics", b"#/../metrics", b"?/../metrics", b"%e2%80%ae",
        b"\xff\xfe", b"a\tb", b"a%", b"a%f", b"%2e%2e%2f%2e%2e%2fmetrics", b"x/%2e%2e%3b/metrics",
    ):  # fmt: skip
        for route in ROUTES:
            yield Attack("targets", _get(route.encode() + b"/" + tail))
    for query in (
        b"symbol=%00",
        b"symbol=AAPL%0d%0aX-Evil:%20yes",
        b"symbol=" + b"A" * 20_000,
        b"&" * 20_000,
        b"=&=%zz",
    ):
        yield Attack("targets", _get(b"/api/v1/chart-data?timeframe=1D&from=2024-01-01&to=2024-02-01&" + query))


def _sizes() -> Iterator[Attack]:
    for route in ROUTES:
        path = route.encode()
        yield Attack("sizes", _get(path, *[b"x-%d: y" % n for n in range(20_000)]), frozenset({400, 431}))
        yield Attack("sizes", _get(path, *[b"x: " + b"y" * 30_000] * 5), frozenset({400, 431}))
        yield Attack("sizes", _get(path, *[b"x-%d: y" % n for n in range(1_000)]))
        yield Attack("sizes", _get(path, *[b"x: y"] * 3_000))
        yield Attack("sizes", _get(path, b"x" * 33_000 + b": y"), frozenset({400, 431}))
        yield Attack("sizes", _get(path + b"/" * 33_000), frozenset({414}))
        yield Attack("sizes", _get(path) * 300)
        yield Attack("sizes", _post(route, b"Content-Length: 1000000", b"Expect: 100-continue"), ANY, silent=True)


def garbled(seed: int, count: int) -> Iterator[Attack]:
    """Yield good requests of which some bytes were changed, left out, doubled or put in."""
    draw = random.Random(seed)  # noqa: S311  the same every time
    odd = [
        b"\0",
        b"\r",
        b"\n",
        b"\r\n",
        b" ",
        b"\t",
        b":",
        b"%",
        b"/",
        b"\\",
        b"\x7f",
        b"\xff",
        b"9" * 30,
        b"chunked",
        b"{",
    ]
    window = b"?symbol=AAPL&timeframe=1D&from=2024-01-01&to=2024-02-01"
    for _ in range(count):
        route = draw.choice(ROUTES)
        # The backend answers a bad date with 500, and so does the proxy then; dates are for the aggregator to judge.
        query = window if route.endswith("chart-data") else b"?symbol=AAPL"
        data = bytearray(
            draw.choice((
                _get(route.encode() + query, b"Accept: */*"),
                _post(route, b"Content-Length: 2", b"Content-Type: application/json", body=b"{}"),
                _post(route, b"Transfer-Encoding: chunked", body=b"2\r\n{}\r\n0\r\n\r\n"),
            ))
        )  # fmt: skip
        for _ in range(draw.randint(1, 6)):
            at = draw.randrange(len(data))
            data[at : at + draw.randint(0, 3)] = draw.choice((b"", *odd, bytes(data[at : at + 8]), draw.randbytes(2)))
        yield Attack("garbled requests", bytes(data), ANY | {409}, silent=True)
