"""uvicorn's HTTP/1.1 server, made transparent: the request target as it came, and a bound on the head's size."""

import asyncio
from typing import Any, cast

from bff_shared.errors import BffError, HeadersTooLarge
from bff_shared.http.server import AmbiguousFraming, HttpProtocol

TARGET = "bff.target"
MAX_HEAD = 64 * 1024
_STAND_INS = bytes(byte if byte < 0x80 else ord("~") for byte in range(256))


class HeadTooLarge(Exception):
    """The request's head is larger than MAX_HEAD bytes."""


class Cork:
    """A transport that writes once per turn of the event loop: uvicorn writes heads and bodies one by one."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        """Be the transport in all else."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write by the end of this turn."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def write_eof(self) -> None:
        """Write what is left and end this direction."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Write what is left and close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            if not self._transport.is_closing():  # the client may have left since, and uvloop takes no write then
                self._transport.write(b"".join(self._parts))
            self._parts.clear()


class TransparentHttpProtocol(HttpProtocol):
    """Adds `scope["bff.target"]`: the request target's bytes.

    An ASGI scope cannot tell `/a?` from `/a`, and the parser takes no byte beyond ASCII in a target (RFC 3986 has
    none); both are for the backend to judge. So the parser sees `~` in place of such bytes.
    """

    _head = 0
    _between = _in_head = True
    _line = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Take a new connection."""
        super().connection_made(cast("asyncio.Transport", Cork(transport, self.loop)))

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        if self._between and not data.isascii():
            line, end, rest = data.partition(b"\r\n")
            if end and not line.isascii():
                self._line = line
                data = line.translate(_STAND_INS) + end + rest
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Begin a request; called by the parser."""
        self._head, self._between, self._in_head = 0, False, True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """End a request; called by the parser."""
        self._between = True
        super().on_message_complete()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target; called by the parser."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer, which is none (RFC 9110 section 6.5.1); called by the parser."""
        self._count(len(name) + len(value) + 4)
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request to the app; called by the parser. Raises AmbiguousFraming."""
        codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        # Only chunked can be undone here, and HTTP/1.0 knows none (RFC 9112 section 6.1).
        if codings and (codings != [b"chunked"] or self.parser.get_http_version() == "1.0"):
            raise AmbiguousFraming
        self._in_head = False
        target, self._line = self._line.split(b" ")[1] if self._line else self.url, b""
        self.scope[TARGET] = target  # type: ignore[literal-required]  # a key of ours in uvicorn's typed scope
        super().on_headers_complete()

    def malformed(self) -> BffError:
        """Return what is wrong with the request that could not be parsed."""
        return HeadersTooLarge("the head is too large") if self._head > MAX_HEAD else super().malformed()

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > MAX_HEAD:
            raise HeadTooLarge
