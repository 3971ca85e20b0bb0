"""The route map in a real nginx, with stand-ins behind it that tell what reached them."""

import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from bff_tools import Stack, StackOptions
from bff_tools.nginx import RESOLVE_SINCE
from bff_tools.origin import ROOT
from bff_tools.ports import free_ports
from bff_tools.servers import find_nginx, nginx_version
from tests.integration.standin import WAIT_S, Client, MakeStack, Message, NameServer, StandIn, read_chunk, read_head

SERVICES = ("proxy", "aggregator", "wsrelay")


@dataclass
class Origin:
    """One nginx with a stand-in for each service and for the backend."""

    stack: Stack
    parts: dict[str, StandIn]

    @property
    def client(self) -> Client:
        return Client(self.stack.origin_port)

    def requests(self) -> list[Message]:
        return [request for part in self.parts.values() for request in part.requests]


@pytest.fixture(scope="module")
def whole(make_stack: MakeStack) -> Iterator[Origin]:
    names = (*SERVICES, "backend")
    parts = {name: StandIn(name, port).start() for name, port in zip(names, free_ports(4), strict=True)}
    upstreams = {name: [parts[name].address] for name in SERVICES}
    backend = f"http://{parts['backend'].address}"
    timeouts = {"NGINX_READ_TIMEOUT": "1s"}
    yield Origin(make_stack(StackOptions(backend_url=backend, upstreams=upstreams, route_map=timeouts)), parts)
    for part in parts.values():
        part.stop()


@pytest.fixture
def origin(whole: Origin) -> Origin:
    for part in whole.parts.values():
        part.forget()
    return whole


def log_lines(stack: Stack, request_id: str) -> list[dict[str, object]]:
    """Wait for the access log's line of a request: nginx writes it after the answer."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        lines = [json.loads(line) for line in stack["nginx"].log_text().splitlines() if line.startswith("{")]
        if found := [line for line in lines if line["request_id"] == request_id]:
            return found
        time.sleep(0.01)
    raise AssertionError(f"nginx logged nothing about {request_id}")


@pytest.mark.parametrize(
    ("target", "who"),
    [
        ("/api/v1/chart-data?symbol=AAPL", "aggregator"),
        ("/api/v1/cache/AAPL", "aggregator"),
        ("/api/v1/runs", "aggregator"),
        ("/api/v1/runs?limit=3", "aggregator"),
        ("/api/v1/runs/7/complete", "aggregator"),
        ("/api/v1/runs/7/status", "aggregator"),
        ("/api/v1/runs/7/stream/else", "aggregator"),
        ("/api/v1/runs/7/stream", "wsrelay"),
        ("/api/v1/runs/a.b%20c/stream?fps=30", "wsrelay"),
        ("/api/v1/backtests/7/ws", "wsrelay"),
        ("/api/v1/streams", "wsrelay"),
        ("/api/v1/streams/7", "wsrelay"),
        ("/api/v1/backtests", "proxy"),
        ("/api/v1/backtests/7/stream", "proxy"),
        ("/api/v1/backtests/7/ws/else", "proxy"),
        ("/api/v1/bars/daily?symbol=AAPL", "proxy"),
        ("/api/v1/runsome", "proxy"),
        ("/api/v1/chart-database", "proxy"),
        ("/api/v1/flags", "proxy"),
        ("/api/v1", "proxy"),
        ("/api/v1/", "proxy"),
        ("/ofrep/v1/evaluate/flags", "proxy"),
        ("/backtests", "backend"),
        ("/backtests/7/equity", "backend"),
        ("/bars/minute?symbol=AAPL", "backend"),
        ("/healthz", "backend"),
    ],
)
def test_a_path_reaches_its_part_byte_for_byte(origin: Origin, target: str, who: str) -> None:
    told = origin.client.ask(target).json()
    assert (told["who"], told["target"]) == (who, target)


@pytest.mark.parametrize(
    ("path", "who"),
    [
        ("/api/v1/bars/BRK%2fB;x=1/%E4%BD%A0+c%20d%25?q=a%2Bb&&r=%zz&s=[{}]|\"'&t=%00", "proxy"),
        ("/api/v1/bars//daily/?", "proxy"),
        ("/api/v1/runs/a%2Fb/complete", "aggregator"),
        ("/api/v1/r%75ns/7/stream", "wsrelay"),
        ("/backtests/%7e~/a%2Fb//c?x=/../y&z=%2e%2e/", "backend"),
        ("/api/v1/bars/..a/b../...", "proxy"),
    ],
)
def test_odd_bytes_of_a_path_are_left_alone(origin: Origin, path: str, who: str) -> None:
    told = origin.client.ask(path).json()
    assert (told["who"], told["target"]) == (who, path)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/runs/../../metrics",
        "/metrics/../api/v1/x",
        "/metrics/..%2Fapi/v1/runs/x",
        "/api/v1/runs/..%2f..",
        "/api/v1/runs/%2E%2e/x",
        "/api/v1/runs/.%2e/stream",
        "/api/v1/./runs",
        "/api/v1/runs/..",
        "/backtests/%2e",
        "/backtests/..?x=1",
    ],
)
def test_a_path_with_dot_segments_reaches_nobody(origin: Origin, path: str) -> None:
    answer = origin.client.ask(path)
    assert answer.status == 400
    assert answer.one("content-type") == "application/json"
    assert answer.json()["error"]["code"] == "BAD_REQUEST"
    assert origin.requests() == []


@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "/%6detrics",
        "//metrics",
        "//api/v1/runs",
        "/%2Fapi/v1/runs",
        "/api/v2/x",
        "/API/v1/runs",
        "/docs",
        "/health/other",
    ],
)
def test_what_is_not_in_the_route_map_reaches_nobody(origin: Origin, path: str) -> None:
    answer = origin.client.ask(path)
    assert (answer.status, answer.json()["error"]["code"]) == (404, "NOT_FOUND")
    assert origin.requests() == []


@pytest.mark.parametrize(
    "target",
    ["/.bff/error", "/.bff/health/proxy", "/.bff/health/down", "/.bff/health/whole", "/.bff/health/probe/proxy"],
)
def test_internal_locations_are_not_reachable(origin: Origin, target: str) -> None:
    assert origin.client.ask(target).status == 404
    assert origin.requests() == []


# ── Request ids ──


@pytest.mark.parametrize("target", ["/api/v1/runs", "/api/v1/x", "/api/v1/streams", "/bars/daily"])
def test_a_sane_id_goes_to_the_part_the_client_and_the_log(origin: Origin, target: str) -> None:
    given = f"run-{target}:{time.monotonic_ns()}!~"
    answer = origin.client.ask(target, f"X-Request-ID: {given}")
    assert answer.one("x-request-id") == given
    assert origin.requests()[0].one("x-request-id") == given
    (line,) = log_lines(origin.stack, given)
    assert (line["status"], line["uri"], line["method"]) == (200, target, "GET")
    assert line["route"] == answer.json()["who"]
    assert line["upstream"] == origin.parts[answer.json()["who"]].address


@pytest.mark.parametrize("target", ["/api/v1/runs", "/api/v1/x", "/api/v1/streams", "/bars/daily", "/", "/health"])
def test_correlation_id_is_another_name_of_the_id(origin: Origin, target: str) -> None:
    for given, answered in (
        (("X-Correlation-ID: c-1",), "c-1"),
        (("X-Correlation-ID: c-1", "X-Request-ID: r-1"), "r-1"),
        (("X-Request-ID: r-1",), "r-1"),
        (("X-Correlation-ID: c 1", "X-Request-ID: r 1"), None),
    ):
        for part in origin.parts.values():
            part.forget()
        answer = origin.client.ask(target, *given)
        ids = {answer.one("x-request-id"), answer.one("x-correlation-id")}
        assert ids == {answered or answer.one("x-request-id")}
        assert all({request.one("x-request-id")} == ids for request in origin.requests())


def test_backends_own_correlation_id_passes(origin: Origin) -> None:
    assert origin.client.ask("/api/v1/x?do=correlate").one("x-correlation-id") == "its-own"


@pytest.mark.parametrize("given", ["x", "y" * 128])
def test_an_id_of_1_to_128_characters_is_accepted(origin: Origin, given: str) -> None:
    assert origin.client.ask("/api/v1/x", f"X-Request-ID: {given}").one("x-request-id") == given


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("X-Request-ID: ",),
        ("X-Request-ID: " + "y" * 129,),
        ("X-Request-ID: " + "y" * 10_000,),
        ("X-Request-ID: a b",),
        ("X-Request-ID: a\tb",),
        ("X-Request-ID: a\x01b",),
        ("X-Request-ID: a\x1b[31mb",),
        ("X-Request-ID: a\x7fb",),
        ("X-Request-ID: caf\xe9",),
        ('X-Request-ID: a"b',),
        ("X-Request-ID: a\\b",),
        ("X-Request-ID: a", "X-Request-ID: b"),
    ],
)
def test_any_other_id_is_replaced(origin: Origin, headers: tuple[str, ...]) -> None:
    answer = origin.client.ask("/api/v1/x", *headers)
    made = answer.one("x-request-id")
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert origin.requests()[0].one("x-request-id") == made
    assert log_lines(origin.stack, made)[0]["status"] == 200


@pytest.mark.parametrize("target", ["/", "/health", "/health/live", "/nothing", "/api/v1/../x"])
def test_what_nginx_answers_itself_has_the_id_too(origin: Origin, target: str) -> None:
    answer = origin.client.ask(target, "X-Request-ID: given")
    assert answer.one("x-request-id") == "given"
    if answer.status >= 400:
        assert answer.json()["error"]["details"]["correlation_id"] == "given"


# ── Errors ──


@pytest.mark.parametrize("code", [400, 401, 403, 404, 405, 413, 414, 422, 429, 431, 500, 502, 503, 504])
@pytest.mark.parametrize("path", ["/api/v1/runs", "/api/v1/x", "/backtests"])
def test_errors_of_the_parts_pass_as_they_are(origin: Origin, path: str, code: int) -> None:
    answer = origin.client.ask(f"{path}?do=fail&code={code}")
    assert (answer.status, answer.body, answer.one("content-type")) == (code, b"its own words", "text/plain")
    assert len(origin.requests()) == 1


@pytest.mark.parametrize(
    ("who", "path"),
    [
        ("aggregator", "/api/v1/runs"),
        ("proxy", "/api/v1/x"),
        ("wsrelay", "/api/v1/streams"),
        ("backend", "/bars/daily"),
    ],
)
def test_an_unreachable_part_is_a_canonical_502_until_it_is_back(origin: Origin, who: str, path: str) -> None:
    origin.parts[who].stop()
    try:
        for method in ("GET", "POST"):
            answer = origin.client.ask(path, "X-Request-ID: gone", method=method)
            error = answer.json()["error"]
            assert (answer.status, answer.one("content-type")) == (502, "application/json")
            details = {"source": "edge", "route": who, "correlation_id": "gone"}
            assert (error["code"], error["details"]) == ("BACKEND_UNAVAILABLE", details)
            assert answer.one("retry-after") == "1"
            assert origin.parts[who].address not in json.dumps(error)
            assert answer.one("x-request-id") == "gone"
    finally:
        origin.parts[who].start()
    assert origin.client.ask(path).json()["who"] == who


def test_a_silent_part_is_a_canonical_504_asked_once(origin: Origin) -> None:
    answer = origin.client.ask("/api/v1/runs?do=silence")
    origin.parts["aggregator"].go_on.set()
    assert (answer.status, answer.json()["error"]["code"]) == (504, "BACKEND_TIMEOUT")
    assert len(origin.requests()) == 1


def test_a_post_that_breaks_off_is_sent_once(origin: Origin) -> None:
    answer = origin.client.ask("/api/v1/backtests?do=hang_up", method="POST", body=b"{}")
    assert (answer.status, answer.json()["error"]["code"]) == (502, "BACKEND_UNAVAILABLE")
    assert len(origin.requests()) == 1


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"GET /api/v1/" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "URI_TOO_LONG"),
        (b"GET /api/v1/x HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", 431, "HEADERS_TOO_LARGE"),
        (b"GET /api/v1/x HTTP/1.1\r\n\r\n", 400, "BAD_REQUEST"),
        (b"GET /api/v1/%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, "BAD_REQUEST"),
        (b"GET /api/v1/a%00b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "BAD_REQUEST"),
        (b"GET /api/v1/x HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400, "BAD_REQUEST"),
        (b"POST /api/v1/runs HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n", 413, "PAYLOAD_TOO_LARGE"),
        (
            b"POST /api/v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "BAD_REQUEST",
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 405, "METHOD_NOT_ALLOWED"),
        (b'GET /index.html HTTP/1.1\r\nHost: a\r\nIf-Match: "z"\r\n\r\n', 412, "PRECONDITION_FAILED"),
        (b"GET /api/v1/x HTTP/3.0\r\nHost: a\r\n\r\n", 505, "HTTP_VERSION_NOT_SUPPORTED"),
    ],
)
def test_what_nginx_refuses_is_canonical_too(origin: Origin, data: bytes, status: int, code: str) -> None:
    answer = origin.client.raw(data)
    error = answer.json()["error"]
    assert (answer.status, error["code"], answer.one("content-type")) == (status, code, "application/json")
    assert error["details"]["correlation_id"] == answer.one("x-request-id")
    assert origin.requests() == []


def test_no_log_has_a_query_where_nginx_fails_or_refuses(origin: Origin) -> None:
    head = "Host: a\r\nReferer: http://a/?token=s3cret\r\n"
    origin.client.raw(f"POST /api/v1/runs?token=s3cret HTTP/1.1\r\n{head}Content-Length: 90000\r\n\r\n".encode())
    origin.client.raw(f"GET /index.html?token=s3cret HTTP/1.1\r\n{head}If-Match: a\r\n\r\n".encode())
    origin.client.raw(f"GET /api/v1/%zz?token=s3cret HTTP/1.1\r\n{head}\r\n".encode())
    for path in ("/api/v1/runs", "/api/v1/x", "/api/v1/runs/7/stream", "/backtests"):
        assert origin.client.ask(f"{path}?token=s3cret&do=hang_up").status == 502
    origin.parts["wsrelay"].stop()
    try:
        assert origin.client.ask("/api/v1/runs/7/stream?token=s3cret", "X-Request-ID: last-of-these").status == 502
    finally:
        origin.parts["wsrelay"].start()
    assert log_lines(origin.stack, "last-of-these")
    assert "s3cret" not in origin.stack["nginx"].log_text()


@pytest.mark.parametrize("asked", ["bytes=9999-", "bytes=0-1", "bytes=2-1"])
def test_a_file_of_the_page_comes_whole_whatever_range_is_asked_for(origin: Origin, asked: str) -> None:
    whole = origin.client.ask("/page.js")
    answer = origin.client.ask("/page.js", f"Range: {asked}")
    assert (answer.status, answer.body) == (200, whole.body)


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [("POST", "/", "GET, HEAD"), ("TRACE", "/api/v1/runs", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")],
)
def test_a_method_that_nginx_refuses_is_told_which_are_allowed(
    origin: Origin, method: str, target: str, allowed: str
) -> None:
    answer = origin.client.ask(target, method=method)
    assert (answer.status, answer.all("allow")) == (405, [allowed])
    assert origin.requests() == []


def test_a_large_body_is_for_the_proxy_to_judge(origin: Origin) -> None:
    told = origin.client.ask("/api/v1/backtests", method="POST", body=b"x" * 3_000_000).json()
    assert (told["who"], told["body"]) == ("proxy", 3_000_000)


# ── Streams ──

UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: WebSocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


@pytest.mark.parametrize("path", ["/api/v1/runs/7/stream", "/api/v1/backtests/7/ws", "/backtests/7/ws"])
def test_a_websocket_is_upgraded_and_carries_bytes_both_ways(origin: Origin, path: str) -> None:
    head = "\r\n".join([f"GET {path}?do=websocket HTTP/1.1", "Host: a", *UPGRADE, "", ""])
    with origin.client.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(head.encode())
        answer = read_head(stream)
        assert answer is not None
        assert (answer.status, answer.one("sec-websocket-accept")) == (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        assert answer.one("upgrade") == "websocket"
        assert len(answer.all("x-request-id")) == 1
        for data in (b"\x81\x02hi", b"\x82\x00"):
            connection.sendall(data)
            assert stream.read(len(data)) == data
    (request,) = origin.requests()
    assert request.one("connection").lower() == "upgrade"


@pytest.mark.parametrize("protocol", ["h2c", "TLS/1.0", "websocket, h2c"])
def test_no_other_protocol_is_upgraded_to(origin: Origin, protocol: str) -> None:
    assert origin.client.ask("/api/v1/x", "Connection: Upgrade", f"Upgrade: {protocol}").status == 200
    (request,) = origin.requests()
    assert request.all("upgrade") == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v1/x", b""),
        ("GET", "/api/v1/runs", b""),
        ("GET", "/api/v1/flags/events", b""),
        ("POST", "/api/v1/x", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("POST", "/backtests", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("GET", "/backtests/7/ws", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("POST", "/api/v1/runs/7/stream", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("POST", "/backtests/7/ws", b""),
    ],
)
def test_nothing_but_a_handshake_asks_for_an_upgrade(origin: Origin, method: str, path: str, body: bytes) -> None:
    assert origin.client.ask(path, *UPGRADE, method=method, body=body).status == 200
    (request,) = origin.requests()
    assert (request.all("upgrade"), request.body) == ([], body)


@pytest.mark.parametrize("path", ["/api/v1/runs/7/stream", "/api/v1/backtests/7/stream", "/backtests/7/stream"])
def test_an_event_is_there_before_the_next_is_sent(origin: Origin, path: str) -> None:
    with origin.client.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(f"GET {path}?do=events HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        answer = read_head(stream)
        assert answer is not None
        assert answer.one("content-type") == "text/event-stream"
        assert read_chunk(stream) == b"data: 1\n\n"
        for part in origin.parts.values():
            part.go_on.set()
        assert read_chunk(stream) == b"data: 2\n\n"
        assert read_chunk(stream) == b""


@pytest.mark.parametrize("path", ["/api/v1/backtests", "/backtests"])
def test_an_upload_is_handed_on_while_it_comes(origin: Origin, path: str) -> None:
    (part,) = (origin.parts[name] for name in ("proxy", "backend") if (name == "backend") != path.startswith("/api"))
    with origin.client.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(f"POST {path}?do=upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        connection.sendall(b"3\r\nabc\r\n")
        assert part.go_on.wait(WAIT_S)
        connection.sendall(b"2\r\nde\r\n0\r\n\r\n")
        answer = read_head(stream)
    assert answer is not None
    assert answer.status == 200
    assert part.requests[0].body == b"abcde"


# ── Health of the whole ──


HEALTH = ("/health", "/health/ready", "/api/v1/health", "/api/v1/health/ready")


def told(document: Any) -> Any:
    """Return what an answer about health says without its time, which has to be about now."""
    at = datetime.fromisoformat(document.pop("timestamp"))
    assert abs(time.time() - at.timestamp()) < 120
    return document


@pytest.mark.parametrize("path", HEALTH)
def test_health_shows_all_three_in_one_answer(origin: Origin, path: str) -> None:
    answer = origin.client.ask(path)
    assert (answer.status, answer.one("content-type"), answer.one("cache-control")) == (
        200,
        "application/json",
        "no-store",
    )
    assert told(answer.json()) == {"status": "ok", "services": {name: origin.parts[name].health for name in SERVICES}}
    assert origin.parts["backend"].requests == []


@pytest.mark.parametrize("who", SERVICES)
def test_health_is_503_when_one_service_is_down(origin: Origin, who: str) -> None:
    origin.parts[who].stop()
    try:
        answers = [origin.client.ask(path) for path in HEALTH]
    finally:
        origin.parts[who].start()
    assert [answer.status for answer in answers] == [503] * len(HEALTH)
    assert answers[0].one("content-type") == "application/json"
    assert answers[0].one("cache-control") == "no-store"
    health = told(answers[0].json())
    assert health["status"] == "degraded"
    assert {name: state["status"] for name, state in health["services"].items()} == dict.fromkeys(SERVICES, "ok") | {
        who: "down"
    }
    healed = origin.client.ask("/health")
    assert (healed.status, healed.json()["status"]) == (200, "ok")


@pytest.mark.parametrize("who", SERVICES)
def test_ready_is_503_while_a_service_drains_and_health_is_not(origin: Origin, who: str) -> None:
    origin.parts[who].draining = True
    statuses = {path: origin.client.ask(path).status for path in HEALTH}
    assert statuses == {path: 503 if path.endswith("ready") else 200 for path in HEALTH}


@pytest.mark.parametrize("who", SERVICES)
def test_health_is_degraded_when_a_service_says_so_of_itself(origin: Origin, who: str) -> None:
    dependency = {"backend": {"status": "down", "latency_ms": 2.5, "error": 'no "answer"'}}
    origin.parts[who].health |= {"status": "degraded", "dependencies": dependency}
    answer = origin.client.ask("/health")
    health = answer.json()
    assert (answer.status, health["status"]) == (200, "degraded")
    assert health["services"][who] == origin.parts[who].health


def test_a_healthy_service_with_a_dependency_down_counts_by_its_own_word(origin: Origin) -> None:
    origin.parts["proxy"].health["dependencies"] = {"redis": {"status": "down"}}
    assert origin.client.ask("/health").json()["status"] == "ok"


def test_the_question_about_health_carries_nothing_of_the_client_but_the_id(origin: Origin) -> None:
    origin.client.ask(
        "/health", "X-Request-ID: h-1", "Authorization: Bearer x", "Cookie: a=b", "Range: bytes=0-1", "If-None-Match: *"
    )
    for request in origin.requests():
        assert {name for name, _ in request.headers} == {"host", "x-request-id"}
        assert request.one("x-request-id") == "h-1"


@pytest.mark.parametrize("path", ["/health/live", "/api/v1/health/live"])
def test_live_asks_nobody(origin: Origin, path: str) -> None:
    assert told(origin.client.ask(path).json()) == {"status": "ok"}
    assert origin.requests() == []


# ── Headers ──


def test_what_a_client_claims_about_forwarding_is_replaced(origin: Origin) -> None:
    claims = ("X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", "X-Real-IP: 6.6.6.6")
    origin.client.ask(
        "/api/v1/x", *claims, "Forwarded: for=6.6.6.6", "X-Forwarded-Prefix: /evil", "Proxy: http://evil", "Via: 1.0 a"
    )
    (request,) = origin.requests()
    assert request.all("x-forwarded-for") == request.all("x-real-ip") == ["127.0.0.1"]
    assert request.one("x-forwarded-proto") == "http"
    assert request.one("x-forwarded-host") == request.one("host") == f"origin.test:{origin.stack.origin_port}"
    assert not any(request.all(name) for name in ("forwarded", "x-forwarded-prefix", "proxy"))
    assert request.one("via") == "1.0 a"


def test_credentials_and_conditions_reach_the_part(origin: Origin) -> None:
    headers = {
        "authorization": "Bearer x",
        "cookie": "a=b; c=d",
        "if-none-match": '"e"',
        "traceparent": "00-1-2-01",
        "accept-encoding": "br",
    }
    origin.client.ask("/api/v1/runs", *(f"{name}: {value}" for name, value in headers.items()))
    (request,) = origin.requests()
    assert {name: request.one(name) for name in headers} == headers


def test_the_backend_is_called_by_its_own_name_on_the_rollback_path(origin: Origin) -> None:
    origin.client.ask("/backtests")
    assert origin.requests()[0].one("host") == origin.parts["backend"].address


def test_a_redirect_of_the_backend_keeps_the_browser_at_the_origin(origin: Origin) -> None:
    assert origin.client.ask("/backtests/7/?do=redirect").one("location") == "/backtests/7?a=b"


@pytest.mark.parametrize("path", ["/api/v1/x", "/api/v1/runs", "/backtests"])
def test_an_answer_cannot_steer_nginx(origin: Origin, path: str) -> None:
    assert origin.client.ask(f"{path}?do=steer").body == b"plain"


def test_connections_to_a_part_are_kept(origin: Origin) -> None:
    for _ in range(5):
        origin.client.ask("/api/v1/runs")
    assert origin.parts["aggregator"].connections <= 1


# ── The page ──


def test_the_page_is_served_with_a_strict_policy(origin: Origin) -> None:
    answer = origin.client.ask("/")
    assert (answer.status, answer.one("content-type")) == (200, "text/html; charset=utf-8")
    policy = answer.one("content-security-policy")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.one("x-content-type-options") == "nosniff"
    assert answer.one("server") == "nginx"


@pytest.mark.parametrize(
    ("path", "status", "freshness"),
    [
        ("/", 200, "no-cache"),
        ("/page.js", 200, "no-cache"),
        ("/assets/part.js", 200, "public, max-age=31536000, immutable"),
        ("/assets/gone.js", 404, ""),
    ],
)
def test_a_browser_keeps_what_has_its_digest_in_its_name_and_asks_for_the_rest_again(
    origin: Origin, path: str, status: int, freshness: str
) -> None:
    answer = origin.client.ask(path)
    assert (answer.status, "".join(answer.all("cache-control"))) == (status, freshness)
    if status == 200:
        again = origin.client.ask(path, f"If-None-Match: {answer.one('etag')}")
        assert (again.status, again.one("cache-control")) == (304, freshness)


@pytest.mark.parametrize(("file", "kind"), [("page.js", "text/javascript"), ("icon.svg", "image/svg+xml")])
def test_the_pages_files_are_served_by_their_kind(origin: Origin, file: str, kind: str) -> None:
    answer = origin.client.ask(f"/{file}")
    assert (answer.status, answer.one("content-type").partition(";")[0]) == (200, kind)


def test_the_page_needs_nothing_from_elsewhere_and_nothing_inline() -> None:
    page = (ROOT / "frontend/dashboard/index.html").read_text()
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|(?:src|href)=\"(?:https?:)?//", page)


# ── Replicas and names ──


def test_replicas_share_the_requests_and_a_gone_one_is_passed_over(make_stack: MakeStack) -> None:
    parts = [StandIn(f"proxy-{n}", port).start() for n, port in enumerate(free_ports(2))]
    elsewhere = ["127.0.0.1:1"]
    upstreams = {"proxy": [part.address for part in parts], "aggregator": elsewhere, "wsrelay": elsewhere}
    stack = make_stack(StackOptions(backend_url="http://127.0.0.1:1", upstreams=upstreams))
    client = Client(stack.origin_port)
    try:
        assert {client.ask("/api/v1/x").json()["who"] for _ in range(4)} == {"proxy-0", "proxy-1"}
        parts[0].stop()
        for method in ("GET", "POST") * 3:
            assert client.ask("/api/v1/x", method=method).json()["who"] == "proxy-1"
    finally:
        for part in parts:
            part.stop()


def test_nginx_starts_in_front_of_a_name_that_nobody_knows(make_stack: MakeStack) -> None:
    elsewhere = {name: ["127.0.0.1:1"] for name in SERVICES}
    stack = make_stack(StackOptions(backend_url="http://nobody.invalid:8000", upstreams=elsewhere))
    answer = Client(stack.origin_port).ask("/backtests")
    assert (answer.status, answer.json()["error"]["code"]) == (502, "BACKEND_UNAVAILABLE")
    assert "nobody" not in answer.body.decode()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has 127.0.0.2 ready")
@pytest.mark.skipif(nginx_version(find_nginx()) < RESOLVE_SINCE, reason="this nginx looks names up once, at start")
def test_replicas_come_and_go_behind_a_name(make_stack: MakeStack) -> None:
    (port,) = free_ports(1)
    parts = [StandIn(f"proxy-{n}", port, f"127.0.0.{n}").start() for n in (1, 2)]
    names = NameServer(["127.0.0.1"]).start()
    values = {
        "NGINX_RESOLVER": f"resolver 127.0.0.1:{names.port} valid=1s ipv6=off;",
        "PROXY_SERVERS": f"server proxy.test:{port} max_fails=1 fail_timeout=1s resolve;",
    }
    elsewhere = {name: ["127.0.0.1:1"] for name in SERVICES}
    options = StackOptions(backend_url="http://127.0.0.1:1", upstreams=elsewhere, route_map=values)
    client = Client(make_stack(options).origin_port)

    def reached() -> set[object]:
        answers = [client.ask("/api/v1/x") for _ in range(4)]
        return {answer.json()["who"] if answer.status == 200 else answer.status for answer in answers}

    def eventually_reached(expected: set[object]) -> None:
        until = time.monotonic() + WAIT_S
        while (found := reached()) != expected:
            assert time.monotonic() < until, found
            time.sleep(0.05)

    try:
        eventually_reached({"proxy-1"})
        names.addresses = ["127.0.0.1", "127.0.0.2"]
        eventually_reached({"proxy-1", "proxy-2"})
        names.addresses = ["127.0.0.2"]
        eventually_reached({"proxy-2"})
    finally:
        names.stop()
        for part in parts:
            part.stop()
