"""An origin as a client sees it from outside: one question at a time, each with a deadline."""

import base64
import contextlib
import http.client
import os
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Final
from urllib.parse import urlsplit

MOST_BYTES: Final = 1 << 20
H2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""What a client begins HTTP/2 with (RFC 9113, 3.4): the preface and settings without a value."""
SETTINGS: Final = 4


@dataclass(frozen=True)
class Answer:
    """A response: header names in lower case; `error` instead of everything where there was none."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: str = ""


@dataclass(frozen=True)
class Protocols:
    """What a TLS connection came to: the protocol that ALPN chose, days of the certificate left, and what is wrong."""

    alpn: str
    days_left: float
    error: str = ""


class Outside:
    """An origin by its URL.

    Args:
        url: `http(s)://host[:port]`.
        timeout: seconds for each question.

    Raises:
        ValueError: the URL is of another form.
    """

    def __init__(self, url: str, timeout: float = 10.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path not in {"", "/"}:
            raise ValueError(f"{url!r} is not of the form https://host")
        self.url = f"{parts.scheme}://{parts.netloc}"
        self.is_tls = parts.scheme == "https"
        self._host = parts.hostname
        self._authority = parts.netloc
        self._port = parts.port or (443 if self.is_tls else 80)
        self._timeout = timeout

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Return the response to a GET; a certificate that does not hold is `protocols`' affair."""
        context = ssl._create_unverified_context()  # noqa: S323  looked at by protocols(), which says what is wrong
        connection = (
            http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=context)
            if self.is_tls
            else http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        )
        try:
            connection.request("GET", path, headers={"Host": self._authority, **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, _lower(response.getheaders()), response.read(MOST_BYTES))
        except (OSError, http.client.HTTPException) as error:
            return Answer(error=str(error) or type(error).__name__)
        finally:
            connection.close()

    def handshake(self, path: str, page: str) -> Answer:
        """Return the response to a WebSocket handshake (RFC 6455, 4.1) of a page of the origin `page`."""
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {self._authority}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            f"Origin: {page}",
        ]
        return self._raw(lines)

    def first_event(self, path: str, within: float) -> tuple[Answer, float | None]:
        """Return the response to a request for events, and after how many seconds its first byte of content came.

        None for the seconds means that none came `within` them.
        """
        lines = [f"GET {path} HTTP/1.1", f"Host: {self._authority}", "Accept: text/event-stream"]
        began = time.monotonic()
        try:
            with self._connected(within) as connection:
                connection.sendall(_request(lines))
                with connection.makefile("rb") as stream:
                    answer = _head(stream)
                    if answer.status != http.client.OK:
                        return Answer(answer.status, answer.headers, stream.read1(MOST_BYTES)), None
                    return (answer, time.monotonic() - began) if stream.read(1) else (answer, None)
        except TimeoutError:
            return Answer(http.client.OK), None
        except (OSError, ValueError) as error:
            return Answer(error=str(error) or type(error).__name__), None

    def protocols(self) -> Protocols:
        """Connect with TLS as a browser does, offering HTTP/2, and return what came of it."""
        context = ssl.create_default_context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        error = ""
        try:
            with self._plain() as plain, context.wrap_socket(plain, server_hostname=self._host) as secured:
                ends = ssl.cert_time_to_seconds(str((secured.getpeercert() or {}).get("notAfter")))
                return Protocols(secured.selected_alpn_protocol() or "http/1.1", (ends - time.time()) / 86_400)
        except ssl.SSLCertVerificationError as refused:
            error = refused.verify_message
        except (OSError, ValueError) as failed:
            return Protocols("", 0, str(failed))
        context = ssl._create_unverified_context()  # noqa: S323  only to see the protocol; the error is returned
        context.set_alpn_protocols(["h2", "http/1.1"])
        try:
            with self._plain() as plain, context.wrap_socket(plain, server_hostname=self._host) as secured:
                return Protocols(secured.selected_alpn_protocol() or "http/1.1", 0, error)
        except OSError as failed:
            return Protocols("", 0, str(failed))

    def speaks_http2_in_clear(self) -> bool:
        """Tell whether the origin answers HTTP/2 without TLS, as a balancer in front may speak it."""
        try:
            with self._plain() as connection:
                connection.sendall(H2_PREFACE)
                first = connection.recv(9)
                return len(first) == 9 and first[3] == SETTINGS
        except OSError:
            return False

    def _raw(self, lines: list[str]) -> Answer:
        try:
            with self._connected(self._timeout) as connection:
                connection.sendall(_request(lines))
                with connection.makefile("rb") as stream:
                    answer = _head(stream)
                    if answer.status == http.client.SWITCHING_PROTOCOLS:
                        return answer
                    return Answer(answer.status, answer.headers, stream.read1(MOST_BYTES))
        except (OSError, ValueError) as error:
            return Answer(error=str(error) or type(error).__name__)

    def _plain(self, within: float | None = None) -> socket.socket:
        return socket.create_connection((self._host, self._port), self._timeout if within is None else within)

    @contextlib.contextmanager
    def _connected(self, within: float) -> Iterator[socket.socket]:
        with self._plain(within) as plain:
            if not self.is_tls:
                yield plain
                return
            context = ssl._create_unverified_context()  # noqa: S323  looked at by protocols()
            with context.wrap_socket(plain, server_hostname=self._host) as secured:
                yield secured


def _request(lines: list[str]) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode()


def _head(stream: BinaryIO) -> Answer:
    """Read a response up to its content; raise ValueError for what is none."""
    readline = stream.readline
    status = readline(65_537).decode("latin-1").split(" ", 2)
    if len(status) < 2 or not status[1].isdigit():
        raise ValueError("no HTTP response")
    headers = []
    while line := readline(65_537).decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers.append((name, value.strip()))
    return Answer(int(status[1]), _lower(headers))


def _lower(headers: list[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}
