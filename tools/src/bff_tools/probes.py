"""Is it answering? One question to a server, with a deadline."""

import http.client
import socket
from collections.abc import Callable

Probe = Callable[[float], bool]
"""Asks once, waits at most the given seconds, and tells whether the answer was the expected one."""


def http_probe(port: int, path: str, host: str = "127.0.0.1") -> Probe:
    """Return a probe that expects status 200 from a GET."""

    def ask(timeout: float) -> bool:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return ask


def redis_probe(port: int, host: str = "127.0.0.1") -> Probe:
    """Return a probe that expects `+PONG` from a Redis-protocol PING."""

    def ask(timeout: float) -> bool:
        try:
            with socket.create_connection((host, port), timeout) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    return ask
