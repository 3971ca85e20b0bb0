"""Replicas behind nginx: nothing that a client sends makes nginx take one for broken and keep everybody from it."""

import contextlib
import socket

import httpx
import pytest

from bff_tools import Stack, StackOptions
from tests.integration.standin import MakeStack

pytestmark = pytest.mark.slow
TRIES = 6
BIG = 8_000_000


@pytest.fixture(scope="module")
def stack(make_stack: MakeStack) -> Stack:
    return make_stack(StackOptions(replicas={"proxy": 2, "aggregator": 2}))


def attack(port: int, head: str, body: bytes) -> bytes:
    """Send a request whose body goes on after its response; return the response's first line."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head.encode() + b"\r\n")
        with contextlib.suppress(ConnectionError):
            connection.sendall(body)
        return connection.recv(200).split(b"\r\n")[0]


@pytest.mark.parametrize(
    ("path", "header", "size", "status"),
    [
        ("/ofrep/v1/evaluate/flags", "Content-Type: application/json", BIG, b" 413 "),
        ("/api/v1/flags/websocket", "Content-Type: application/json", BIG, b" 405 "),
        ("/api/v1/nothing", "X-A: b", BIG, b" 404 "),
        ("/api/v1/backtests", "X[odd: 1", BIG, b" 400 "),
        ("/api/v1/backtests", "X-Odd: \x01", BIG, b" 400 "),
        ("/api/v1/runs", "X[odd: 1", 1000, b" 400 "),
    ],
)
def test_a_body_that_is_refused_takes_no_replica_from_anybody(
    stack: Stack, path: str, header: str, size: int, status: bytes
) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\n{header}\r\nContent-Length: {size}\r\n"
    body = b"x" * size
    with httpx.Client(base_url=stack.origin, trust_env=False, timeout=20) as others:
        for _ in range(TRIES):
            assert status in attack(stack.origin_port, head, body)
            assert others.get("/api/v1/backtests?limit=1").status_code == 200
            assert others.get("/api/v1/runs?limit=1").status_code == 200
