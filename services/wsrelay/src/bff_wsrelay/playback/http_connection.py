"""The connection below an HTTP response without end: whether the client is gone, what is buffered, how to drop it. I/O.

ASGI hides three things that an endless response needs: whether the client is gone while another request is queued
behind this one, how much of what was sent is still here, and a way to drop a connection that takes nothing. uvicorn's
protocol knows them; `HttpProtocol` puts them into the scope as `scope["extensions"][CONNECTION_EXTENSION]`.
"""

import asyncio
import contextlib
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any, cast

from starlette.types import Scope

from bff_shared.http import server

CONNECTION_EXTENSION = "bff.connection"
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
"""16 bytes in base64."""


class HttpConnection:
    """One client connection of the HTTP server.

    `lost` is set when it is gone, whichever request was notified; `drained` while the kernel has taken everything, once
    `unbuffered` was called.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.get_buffered = transport.get_write_buffer_size
        self.lost = asyncio.Event()
        self._on_lost: set[Callable[[], None]] = set()
        self.drained = asyncio.Event()
        self.drained.set()

    def __repr__(self) -> str:
        """Return the client's address, the bytes it has not taken, and whether it is gone."""
        peer = self._transport.get_extra_info("peername")
        return f"<HttpConnection {peer} buffered={self.get_buffered()} lost={self.lost.is_set()}>"

    def unbuffered(self, unsent: int) -> None:
        """Let a sender wait until the kernel has taken everything, which holds about `unsent` bytes that were not sent.

        What is buffered cannot be coalesced any more. The kernel has that option on Linux and macOS only.
        """
        self._transport.set_write_buffer_limits(0)
        option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
        connection = self._transport.get_extra_info("socket")
        if option is not None and connection is not None:
            with contextlib.suppress(OSError):  # a Unix socket has no such option
                connection.setsockopt(socket.IPPROTO_TCP, option, unsent)

    @contextlib.contextmanager
    def telling(self, on_lost: Callable[[], None]) -> Iterator[None]:
        """Call `on_lost` once the connection is gone, at once if it is already, while the context is open."""
        self._on_lost.add(on_lost)
        try:
            if self.lost.is_set():
                on_lost()
            yield
        finally:
            self._on_lost.discard(on_lost)

    def lose(self) -> None:
        """Note that the connection is gone."""
        self.lost.set()
        self.drained.set()
        for call in tuple(self._on_lost):
            call()

    def abort(self) -> None:
        """Drop the connection and what was not sent."""
        self._transport.abort()


class HttpProtocol(server.HttpProtocol):
    """The HTTP/1.1 server with an `HttpConnection` in each scope."""

    _connection: HttpConnection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Take a new connection."""
        self._connection = HttpConnection(transport)
        super().connection_made(transport)

    def on_message_begin(self) -> None:
        """Begin a request's scope."""
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)["extensions"] = {CONNECTION_EXTENSION: self._connection}

    def _should_upgrade(self) -> bool:
        """Return whether the request is a handshake (RFC 6455 section 4.1); the app says what is wrong with others."""
        given = {name: value.strip() for name, value in self.headers}
        return (
            super()._should_upgrade()
            and self.parser.get_method() == b"GET"
            and given.get(b"sec-websocket-version") == b"13"
            and _KEY.fullmatch(given.get(b"sec-websocket-key", b"")) is not None
        )

    def pause_writing(self) -> None:
        """Note that the kernel has not taken everything."""
        self._connection.drained.clear()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that it has."""
        self._connection.drained.set()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request of the connection; uvicorn tells only the newest."""
        self._connection.lose()
        super().connection_lost(exc)


def connection_of(scope: Scope) -> HttpConnection:
    """Return the connection that a request came on."""
    connection: HttpConnection = scope["extensions"][CONNECTION_EXTENSION]
    return connection
