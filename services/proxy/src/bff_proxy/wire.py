"""uvicorn's HTTP/1.1 server, made transparent: the request target as it came, and a bound on the head's size."""

from urllib.parse import quote

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

TARGET = "bff.target"
MAX_HEAD = 64 * 1024
_ASCII = bytes(range(0x21, 0x7F)).decode()


class HeadTooLarge(Exception):
    """The request's head is larger than MAX_HEAD bytes."""


class Wire(HttpToolsProtocol):
    """Adds `scope["bff.target"]`: the request target's bytes.

    An ASGI scope cannot tell `/a?` from `/a`, and uvicorn takes no byte beyond ASCII in a path; both are for the
    backend to judge.
    """

    _head = 0

    def on_message_begin(self) -> None:
        """Begin a request; called by the parser."""
        self._head = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target; called by the parser."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; called by the parser."""
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request to the app; called by the parser."""
        target = self.url
        self.scope[TARGET] = target  # type: ignore[literal-required]  # a key of ours in uvicorn's typed scope
        if not target.isascii():
            self.url = quote(target, safe=_ASCII).encode()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's own text is not shown
        """Answer a request that is not valid HTTP, in the canonical shape; there is no id yet to correlate it by."""
        large = self._head > MAX_HEAD
        status = b"431 Request Header Fields Too Large" if large else b"400 Bad Request"
        code, text = (b"HEADERS_TOO_LARGE", b"the head is too large") if large else (b"BAD_REQUEST", b"not valid HTTP")
        body = b'{"error":{"code":"%b","message":"%b","details":{}}}' % (code, text)
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, len(body)) + body)
        self.transport.close()

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > MAX_HEAD:
            raise HeadTooLarge
