"""What nginx does for itself: limits for each client address, headers and paths that go no further, TLS and HTTP/2."""

import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from bff_tools import Stack, StackOptions
from bff_tools.nginx import HTTP2_SINCE, host_lines, origin_lines, tls_lines, trusted_lines
from bff_tools.ports import free_ports
from bff_tools.servers import find_nginx, nginx_version
from tests.integration.standin import WAIT_S, Client, MakeStack, Message, StandIn, read_head

SERVICES = ("proxy", "aggregator", "wsrelay")
REAL_IP, TRUSTED = trusted_lines(["127.0.0.0/8"])
LIMITS = {
    "NGINX_STREAMS_PER_CLIENT": "3",
    "NGINX_UPLOADS_PER_CLIENT": "2",
    "NGINX_REQUESTS_PER_CLIENT": "4",
    "NGINX_REAL_IP": REAL_IP,
    "NGINX_TRUSTED": TRUSTED,
    "NGINX_HSTS": "max-age=86400",
    "NGINX_HOSTS": host_lines(["origin.test", "*.app.test"]),
    **origin_lines(["https://page.test", "https://*.pages.test:8443"]),
}
"""Small limits, pages of other origins, and a balancer in front whose word on the address counts: this machine."""


def log_lines(stack: Stack) -> list[dict[str, Any]]:
    """Return the access log of a stack's nginx."""
    return [json.loads(line) for line in stack["nginx"].log_text().splitlines() if line.startswith("{")]


@dataclass
class Edge:
    """One nginx with a stand-in for each service and for the backend, and few places for one client address."""

    stack: Stack
    parts: dict[str, StandIn]

    @property
    def client(self) -> Client:
        return Client(self.stack.origin_port)

    @property
    def requests(self) -> list[Message]:
        return [request for part in self.parts.values() for request in part.requests]

    @property
    def body_files(self) -> list[Path]:
        return list((self.stack.folder / "client_body").rglob("*"))


@pytest.fixture(scope="module")
def whole(make_stack: MakeStack) -> Iterator[Edge]:
    names = (*SERVICES, "backend")
    parts = {name: StandIn(name, port).start() for name, port in zip(names, free_ports(4), strict=True)}
    upstreams = {name: [parts[name].address] for name in SERVICES}
    options = StackOptions(backend_url=f"http://{parts['backend'].address}", upstreams=upstreams, route_map=LIMITS)
    yield Edge(make_stack(options), parts)
    for part in parts.values():
        part.stop()


@pytest.fixture
def edge(whole: Edge) -> Edge:
    for part in whole.parts.values():
        part.forget()
    return whole


def from_address(address: str) -> str:
    return f"X-Forwarded-For: {address}"


def begin(edge: Edge, owned: ExitStack, request: str, address: str) -> socket.socket:
    """Send a request that is not answered yet, or not finished, and leave its connection open."""
    connection = owned.enter_context(edge.client.connect())
    connection.sendall(f"{request}\r\nHost: origin.test\r\n{from_address(address)}\r\n".encode())
    return connection


def reached(edge: Edge, count: int) -> None:
    """Wait until so many requests have come through."""
    until = time.monotonic() + WAIT_S
    while len(edge.requests) < count:
        assert time.monotonic() < until, f"{len(edge.requests)} of {count} requests came through"
        time.sleep(0.01)


# ── Limits for each client address ──


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/api/v1/runs/7/stream", 3),
        ("/api/v1/flags/events", 3),
        ("/ofrep/v1/events", 3),
        ("/api/v1/backtests/7/stream", 3),
        ("/backtests/7/stream", 3),
        ("/api/v1/chart-data", 4),
        ("/api/v1/backtests", 4),
    ],
)
def test_one_address_holds_so_many_and_another_notices_nothing(edge: Edge, path: str, limit: int) -> None:
    with ExitStack() as owned:
        for _ in range(limit):
            begin(edge, owned, f"GET {path}?do=silence HTTP/1.1", "192.0.2.1").sendall(b"\r\n")
        reached(edge, limit)
        refused = edge.client.ask(path, from_address("192.0.2.1"))
        assert (refused.status, refused.json()["error"]["code"]) == (429, "TOO_MANY_REQUESTS")
        assert refused.one("retry-after") == "1"
        assert refused.all("ratelimit") == [], "a place that is taken says nothing about a rate"
        assert edge.client.ask(path, from_address("192.0.2.2")).status == 200
        for part in edge.parts.values():
            part.go_on.set()


def test_unfinished_uploads_of_one_address_leave_its_reads_and_other_addresses_alone(edge: Edge) -> None:
    with ExitStack() as owned:
        for _ in range(2):
            upload = begin(edge, owned, "POST /api/v1/backtests?do=upload HTTP/1.1", "192.0.2.3")
            upload.sendall(b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        for _ in range(2):
            assert edge.parts["proxy"].go_on.wait(WAIT_S)
        refused = edge.client.ask("/api/v1/backtests", from_address("192.0.2.3"), method="POST", body=b"{}")
        assert refused.status == 429
        (line,) = [line for line in log_lines(edge.stack) if line["client"] == "192.0.2.3"]
        assert (line["status"], line["limit_conn"], line["limit_rate"]) == (429, "REJECTED", "PASSED")
        with_body = edge.client.ask("/api/v1/backtests", from_address("192.0.2.3"), "Content-Length: 2", method="GET")
        assert with_body.status == 429
        assert edge.client.ask("/api/v1/backtests", from_address("192.0.2.3")).status == 200
        other = edge.client.ask("/api/v1/backtests", from_address("192.0.2.4"), method="POST", body=b"{}")
        assert other.status == 200


def test_requests_above_the_rate_of_one_address_are_refused_and_another_is_served(make_stack: MakeStack) -> None:
    values = {**LIMITS, "NGINX_REQUEST_RATE": "1r/m", "NGINX_REQUEST_BURST": "2"}
    elsewhere = {name: ["127.0.0.1:1"] for name in SERVICES}
    options = StackOptions(backend_url="http://127.0.0.1:1", upstreams=elsewhere, route_map=values)
    stack = make_stack(options)
    client = Client(stack.origin_port)
    statuses = [client.ask("/api/v1/x", from_address("192.0.2.1")).status for _ in range(5)]
    assert statuses == [502, 502, 502, 429, 429]
    assert client.ask("/api/v1/x", from_address("192.0.2.2")).status == 502
    refused = client.ask("/", from_address("192.0.2.1"))
    assert refused.status == 429
    assert refused.one("retry-after") == "1"
    assert (refused.one("ratelimit-policy"), refused.one("ratelimit")) == (
        '"requests";q=1;w=60',
        '"requests";r=0;t=1',
    )
    statuses = [client.ask("/api/v1/x", from_address(f"2001:db8:0:1::{n:x}")).status for n in range(5)]
    assert statuses == [502, 502, 502, 429, 429]
    assert client.ask("/api/v1/x", from_address("2001:db8:0:2::1")).status == 502
    lines = [line for line in log_lines(stack) if line["limit_rate"] == "REJECTED"]
    assert [line["client"] for line in lines] == ["192.0.2.1"] * 3 + ["2001:db8:0:1::3", "2001:db8:0:1::4"]
    assert {(line["status"], line["limit_conn"]) for line in lines} == {(429, "")}


# ── Bodies ──


@pytest.mark.parametrize(
    "path",
    ["/api/v1/chart-data", "/api/v1/runs", "/api/v1/flags/events", "/api/v1/runs/7/stream", "/api/v1/streams", "/"],
)
@pytest.mark.parametrize("framing", ["Content-Length: 1048576", "Transfer-Encoding: chunked"])
def test_a_route_that_takes_no_body_keeps_none(edge: Edge, path: str, framing: str) -> None:
    with ExitStack() as owned:
        connection = begin(edge, owned, f"POST {path} HTTP/1.1", "192.0.2.5")
        connection.sendall(f"{framing}\r\n\r\n".encode())
        if "chunked" in framing:
            connection.sendall(b"100000\r\n" + b"x" * 4096)
        stream = owned.enter_context(connection.makefile("rb"))
        answer = read_head(stream)
        assert answer is not None
        assert answer.status in {405, 413}
        assert not [file for file in edge.body_files if file.is_file()]
    assert edge.requests == []


@pytest.mark.parametrize(("path", "who"), [("/backtests", "backend"), ("/api/v1/backtests", "proxy")])
def test_a_large_upload_to_what_is_away_is_answered_in_the_one_shape(edge: Edge, path: str, who: str) -> None:
    edge.parts[who].stop()
    try:
        answer = edge.client.ask(path, method="POST", body=b"x" * 2_000_000)
    finally:
        edge.parts[who].start()
    assert (answer.status, answer.one("content-type")) == (502, "application/json")
    assert answer.json()["error"]["details"]["route"] == who


# ── Responses ──


@pytest.mark.parametrize("path", ["/api/v1/backtests", "/backtests"])
def test_a_response_with_a_head_of_60_kb_passes(edge: Edge, path: str) -> None:
    answer = edge.client.ask(f"{path}?do=say&header=X-Large:+{'y' * 30_000}&header=X-Larger:+{'z' * 1}")
    assert len(answer.one("x-large")) == 30_000


def test_a_full_relay_says_so_itself_even_when_all_are_full(make_stack: MakeStack) -> None:
    parts = [StandIn(f"wsrelay-{n}", port).start() for n, port in enumerate(free_ports(2))]
    elsewhere = ["127.0.0.1:1"]
    upstreams = {"wsrelay": [part.address for part in parts], "aggregator": elsewhere, "proxy": elsewhere}
    client = Client(make_stack(StackOptions(backend_url="http://127.0.0.1:1", upstreams=upstreams)).origin_port)
    try:
        for _ in range(12):
            answer = client.ask("/api/v1/runs/7/stream?do=say&status=503&header=Retry-After:+7")
            assert (answer.status, answer.all("retry-after"), answer.body) == (503, ["7"], b"<p>said</p>")
    finally:
        for part in parts:
            part.stop()


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("http://AUTHORITY/backtests/7?a=b", "/backtests/7?a=b"),
        ("http://AUTHORITY//evil.example/x", "/evil.example/x"),
        ("http://AUTHORITY/\\evil.example", "/evil.example"),
        ("http://AUTHORITY/\t/evil.example", "/evil.example"),  # browsers leave tabs out
        ("http://AUTHORITY/\t\\ \t/evil.example", "/evil.example"),
        ("http://AUTHORITY?a=b", "/?a=b"),
        ("HTTP://AUTHORITY/x", "/x"),
        ("https://AUTHORITY/x", "/x"),
        ("//AUTHORITY/x", "/x"),
        ("http://AUTHORITY", "/"),
        ("/x//y", "/x//y"),
        ("http://elsewhere.example/x", "http://elsewhere.example/x"),
    ],
)
def test_a_redirect_stays_at_the_origin_and_names_no_other_host(edge: Edge, location: str, expected: str) -> None:
    location = location.replace("AUTHORITY", edge.parts["backend"].address)
    answer = edge.client.ask(f"/backtests/7?do=say&status=302&header=Location:+{quote(location)}")
    assert answer.one("location") == expected


@pytest.mark.parametrize("path", ["/backtests/7", "/api/v1/backtests/7", "/api/v1/runs/7"])
@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "image/svg+xml", "application/xhtml+xml", "text/xml"])
def test_markup_from_behind_runs_nothing_in_the_origins_name(edge: Edge, path: str, kind: str) -> None:
    answer = edge.client.ask(f"{path}?do=say&header=Content-Type:+{quote(kind)}")
    assert answer.all("content-security-policy") == ["sandbox"]
    assert answer.all("x-content-type-options") == ["nosniff"]


def test_what_a_part_says_about_its_own_content_is_not_said_twice(edge: Edge) -> None:
    own = "header=Content-Security-Policy:+default-src+x&header=X-Content-Type-Options:+nosniff"
    answer = edge.client.ask(f"/backtests/7?do=say&header=Content-Type:+text/html&{own}")
    assert answer.all("content-security-policy") == ["default-src x"]
    assert answer.all("x-content-type-options") == ["nosniff"]
    assert edge.client.ask("/api/v1/runs").all("content-security-policy") == []


# ── What goes no further ──

TWINS = ["X_Forwarded_For", "X-Forwarded_For", "X_Forwarded-Proto", "X_Real_IP", "X_Request-ID", "Content_Length",
         "Transfer_Encoding"]  # fmt: skip
OVERRIDES = [
    "Client-IP",
    "True-Client-IP",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-HTTP-Method-Override",
    "X-HTTP-Method",
]


@pytest.mark.parametrize("path", ["/backtests", "/api/v1/backtests", "/api/v1/runs", "/api/v1/streams"])
def test_twins_of_forwarding_headers_and_overrides_reach_nobody(edge: Edge, path: str) -> None:
    headers = [f"{name}: 6.6.6.6" for name in (*TWINS, *OVERRIDES)]
    edge.client.ask(path, *headers, "X_Mine: kept", "X-Mine: kept too")
    (request,) = edge.requests
    names = {name for name, _ in request.headers}
    assert not names & {name.lower() for name in (*TWINS, *OVERRIDES)}
    assert (request.one("x_mine"), request.one("x-mine")) == ("kept", "kept too")


@pytest.mark.parametrize(
    "path",
    [
        "/backtests/..\\x",
        "/backtests/a\\..\\..\\x",
        "/backtests/a%5c..%5cx",
        "/backtests/a%5cx",
        "/backtests/..%0a/x",
        "/backtests/..%09",
        "/backtests/a%7fb",
        "/backtests/a%1Fb",
        "/backtests/..;/x",
        "/backtests/..;a=b/x",
        "/backtests/%2e%2e%3b/x",
        "/api/v1/backtests/..;/x",
        "/.%2F",
        "/api/v1/.%2F",
    ],
)
def test_a_path_that_somebody_could_take_for_another_reaches_nobody(edge: Edge, path: str) -> None:
    answer = edge.client.ask(path)
    assert (answer.status, answer.json()["error"]["code"]) == (400, "BAD_REQUEST")
    assert edge.requests == []


def test_queries_are_not_logged(edge: Edge) -> None:
    edge.client.ask("/api/v1/runs?access_token=SECRET&limit=1", "X-Request-ID: logged-once")
    until = time.monotonic() + WAIT_S
    while "logged-once" not in (log := edge.stack["nginx"].log_text()):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert "SECRET" not in log
    assert '"uri":"/api/v1/runs"' in log


# ── Hosts, balancers, TLS, HTTP/2 ──


@pytest.mark.parametrize(
    ("host", "status"),
    [("origin.test", 200), ("ORIGIN.test:8443", 200), ("a.app.test", 200), ("evil.test", 421), ("127.0.0.1", 421)],
)
def test_only_the_hosts_that_are_named_are_served(edge: Edge, host: str, status: int) -> None:
    answer = edge.client.raw(f"GET /api/v1/runs HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert answer.status == status
    if status == 421:
        assert answer.json()["error"]["code"] == "MISDIRECTED_REQUEST"
        assert edge.requests == []


def test_a_probe_may_ask_by_address(edge: Edge) -> None:
    assert edge.client.raw(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").status == 200


def test_a_balancers_word_on_the_client_counts(edge: Edge) -> None:
    edge.client.ask(
        "/api/v1/x", "X-Forwarded-For: 6.6.6.6, 192.0.2.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: a.app.test"
    )
    (request,) = edge.requests
    assert request.all("x-forwarded-for") == request.all("x-real-ip") == ["192.0.2.9"]
    assert (request.one("x-forwarded-proto"), request.one("x-forwarded-host")) == ("https", "a.app.test")


def test_a_balancer_that_passes_connections_on_says_whose_they_are(make_stack: MakeStack, edge: Edge) -> None:
    (port,) = free_ports(1)
    real_ip, trusted = trusted_lines(["127.0.0.0/8"], proxy_protocol=True)
    values = {
        "NGINX_PROXY": f"listen 127.0.0.1:{port} proxy_protocol;",
        "NGINX_REAL_IP": real_ip,
        "NGINX_TRUSTED": trusted,
    }
    upstreams = {name: [edge.parts[name].address] for name in SERVICES}
    backend = f"http://{edge.parts['backend'].address}"
    stack = make_stack(StackOptions(backend_url=backend, upstreams=upstreams, route_map=values))
    claims = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\n"
    request = f"GET /api/v1/x HTTP/1.1\r\nHost: origin.test\r\n{claims}\r\n".encode()
    preface = b"PROXY TCP4 192.0.2.9 192.0.2.1 50000 443\r\n"
    assert Client(port).raw(preface + request).status == 200
    assert Client(stack.origin_port).raw(request).status == 200
    through, directly = edge.requests
    assert [through.one(f"x-forwarded-{name}") for name in ("for", "proto", "host")] == [
        "192.0.2.9",
        "http",
        "origin.test",
    ]
    assert [directly.one(f"x-forwarded-{name}") for name in ("for", "proto")] == ["127.0.0.1", "http"]


@pytest.mark.parametrize(("scheme", "told"), [("https", ["max-age=86400"]), ("http", []), ("", [])])
def test_a_page_that_came_over_tls_is_not_to_be_asked_for_without(edge: Edge, scheme: str, told: list[str]) -> None:
    answer = edge.client.ask("/", *([f"X-Forwarded-Proto: {scheme}"] if scheme else []))
    assert answer.status == 200
    assert answer.all("strict-transport-security") == told


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    paths = folder / "origin.pem", folder / "origin.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=origin.test"]
    command += ["-addext", "subjectAltName=DNS:origin.test", "-out", str(paths[0]), "-keyout", str(paths[1])]
    subprocess.run(command, check=True, capture_output=True, timeout=60)  # noqa: S603  words of our own
    return paths


@pytest.mark.skipif(nginx_version(find_nginx()) < HTTP2_SINCE, reason="this nginx has HTTP/2 on TLS listeners only")
def test_http2_is_spoken_with_tls_and_without(make_stack: MakeStack, certificate: tuple[Path, Path]) -> None:
    (port,) = free_ports(1)
    elsewhere = {name: ["127.0.0.1:1"] for name in SERVICES}
    values = {"NGINX_TLS": tls_lines(f"127.0.0.1:{port}", str(certificate[0]), str(certificate[1]))}
    stack = make_stack(StackOptions(backend_url="http://127.0.0.1:1", upstreams=elsewhere, route_map=values))
    context = ssl.create_default_context(cafile=str(certificate[0]))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", port), WAIT_S) as plain,
        context.wrap_socket(plain, server_hostname="origin.test") as secure,
    ):
        assert secure.selected_alpn_protocol() == "h2"
    with socket.create_connection(("127.0.0.1", stack.origin_port), WAIT_S) as plain:
        plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        length_and_kind = plain.recv(9, socket.MSG_WAITALL)
        assert length_and_kind[3] == 4  # SETTINGS (RFC 9113, 3.4)
    assert Client(stack.origin_port).ask("/health/live").status == 200


if sys.platform != "linux":
    pytestmark = pytest.mark.skip(reason="needs Linux's loopback network")


# ── Errors of nginx's own, read by a page of another origin ──

PAGE = "https://page.test"


@pytest.mark.parametrize(
    ("request_line", "header", "body", "status"),
    [
        ("GET /api/v1/backtests/../x HTTP/1.1", "", b"", 400),
        ("GET /nothing HTTP/1.1", "", b"", 404),
        ("TRACE /api/v1/backtests HTTP/1.1", "", b"", 405),
        ("POST /api/v1/chart-data HTTP/1.1", "Content-Length: 2000\r\n", b"x" * 2000, 413),
        ("GET / HTTP/1.1", 'If-Match: "z"\r\n', b"", 412),
        ("GET /api/v1/x HTTP/1.1", f"X: {'y' * 40_000}\r\n", b"", 431),
        ("POST /api/v1/x HTTP/1.1", "Transfer-Encoding: gzip\r\n", b"", 501),
        ("GET /api/v1/x?do=hang_up HTTP/1.1", "", b"", 502),
        ("GET /backtests?do=hang_up HTTP/1.1", "", b"", 502),
    ],
)
@pytest.mark.parametrize("reader", [PAGE, "https://a.b.pages.test:8443"])
def test_a_page_of_a_configured_origin_reads_what_nginx_says_itself(
    edge: Edge, request_line: str, header: str, body: bytes, status: int, reader: str
) -> None:
    head = f"{request_line}\r\nHost: origin.test\r\nOrigin: {reader}\r\n{header}\r\n"
    answer = edge.client.raw(head.encode() + body)
    assert answer.status == status
    assert answer.all("access-control-allow-origin") == [reader]
    assert answer.all("access-control-allow-credentials") == ["true"]
    assert answer.all("access-control-expose-headers") == ["X-Request-ID, Retry-After, RateLimit, RateLimit-Policy"]
    assert answer.all("vary") == ([] if status == 400 else ["Origin"])  # which nobody may keep
    assert answer.json()["error"]["details"]["correlation_id"] == answer.one("x-request-id")


def test_a_page_learns_from_nginx_when_it_may_ask_again(edge: Edge) -> None:
    with ExitStack() as owned:
        for _ in range(3):
            begin(edge, owned, "GET /api/v1/flags/events?do=silence HTTP/1.1", "192.0.2.77").sendall(b"\r\n")
        reached(edge, 3)
        refused = edge.client.ask("/api/v1/flags/events", from_address("192.0.2.77"), f"Origin: {PAGE}")
        assert (refused.status, refused.one("retry-after")) == (429, "1")
        assert refused.all("access-control-allow-origin") == [PAGE]
        edge.parts["proxy"].go_on.set()


@pytest.mark.parametrize("reader", ["https://page.test.evil.test", "http://page.test", "https://page_test", "null"])
def test_what_nginx_says_itself_stays_closed_to_other_origins(edge: Edge, reader: str) -> None:
    for target, status in (("/nothing", 404), ("/api/v1/x\\y", 400)):
        answer = edge.client.ask(target, f"Origin: {reader}")
        assert (answer.status, answer.all("access-control-allow-origin")) == (status, [])


def test_a_host_that_is_not_served_tells_a_page_so(edge: Edge) -> None:
    answer = edge.client.raw(f"GET /api/v1/x HTTP/1.1\r\nHost: other.test\r\nOrigin: {PAGE}\r\n\r\n".encode())
    assert (answer.status, answer.all("access-control-allow-origin")) == (421, [PAGE])


def test_nginx_adds_nothing_to_what_a_service_says_of_origins(edge: Edge) -> None:
    for target in ("/api/v1/x", "/api/v1/runs", "/api/v1/runs/7/stream", "/backtests", "/api/v1/x?do=fail&code=404"):
        answer = edge.client.ask(target, f"Origin: {PAGE}")
        assert (answer.all("access-control-allow-origin"), answer.all("vary")) == ([], [])


def test_health_is_never_sniffed(edge: Edge) -> None:
    for target in ("/health", "/health/live"):
        assert edge.client.ask(target).all("x-content-type-options") == ["nosniff"]
