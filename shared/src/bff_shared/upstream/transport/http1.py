"""The client's half of HTTP/1.1 (RFC 9112) as bytes in, bytes out: no sockets, no event loop.

`encode_head` and `BodyFramer` write a request; `ResponseReader` reads what comes back. Heads keep their bytes: order,
case and repeats of the fields are those of the wire in both directions.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import httptools

RawHeader = tuple[bytes, bytes]
RawHeaders = list[RawHeader]

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NO_TARGET = re.compile(rb"[\x00-\x20\x7f]")
_DIGITS = re.compile(rb"[0-9]{1,19}")
_KEEP_ALIVE_TIMEOUT = re.compile(rb"(?:^|[,;\s])timeout\s*=\s*\"?([0-9]{1,9})", re.IGNORECASE)


class InvalidRequest(ValueError):
    """The request cannot be written as one unambiguous HTTP/1.1 message."""


class MalformedResponse(Exception):
    """The peer's bytes are not a response to the request (RFC 9112), or end in the middle of one."""


@dataclass(frozen=True, slots=True)
class Framing:
    """How the request's own headers delimit its body: `length` bytes, or chunks, or (neither) no body at all.

    `closes` says that they announce the connection's end (RFC 9112 section 9.6).
    """

    length: int | None = None
    chunked: bool = False
    expects_continue: bool = False
    closes: bool = False

    @property
    def has_body(self) -> bool:
        """Whether a body belongs to the request, be it an empty one."""
        return self.chunked or self.length is not None


_NO_BODY = Framing()


def encode_head(method: bytes, target: bytes, headers: Sequence[RawHeader]) -> tuple[bytes, Framing]:
    """Write a request's head, fields exactly as given, and tell how its body is delimited.

    Raises InvalidRequest for a method or field name that is no token, for CONNECT, a target with whitespace or control
    characters, a field value with CR, LF or NUL, and headers that delimit the body in two ways or in an unknown one.
    """
    if _TOKEN.fullmatch(method) is None or method == b"CONNECT":
        raise InvalidRequest("the method is not a token, or is CONNECT")
    if not target or _NO_TARGET.search(target) is not None:
        raise InvalidRequest("the request target is empty or has whitespace or control characters")
    head = b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, b"".join([b"%b: %b\r\n" % header for header in headers]))
    breaks = len(headers) + 2
    if head.count(b"\r") != breaks or head.count(b"\n") != breaks or b"\0" in head:
        raise InvalidRequest("a header has CR, LF or NUL in it")
    if headers and (_TOKEN.fullmatch(b"".join([name for name, _ in headers])) is None or b"\n: " in head):
        raise InvalidRequest("a header name is not a token")
    return head, _framing(headers)


def _framing(headers: Sequence[RawHeader]) -> Framing:
    lengths: list[bytes] = []
    codings: list[bytes] = []
    expects_continue = closes = False
    for name, value in headers:
        # Names are compared in full only where their length is that of one of the four.
        size = len(name)
        if size == 14 and name.lower() == b"content-length":
            lengths.append(value)
        elif size == 17 and name.lower() == b"transfer-encoding":
            codings.append(value)
        elif size == 6 and name.lower() == b"expect":
            expects_continue = value.strip().lower() == b"100-continue"
        elif size == 10 and name.lower() == b"connection":
            closes = closes or _announces_close(value)
    if not lengths and not codings:
        return Framing(closes=True) if closes else _NO_BODY
    length = _body_length(lengths, codings)
    return Framing(length, length is None, expects_continue, closes)


def _body_length(lengths: list[bytes], codings: list[bytes]) -> int | None:
    """Return the body's length, None if it comes in chunks."""
    if len(lengths) + len(codings) > 1:
        raise InvalidRequest("the body is delimited twice: repeated Content-Length or Transfer-Encoding, or both")
    if codings:
        if codings[0].strip().lower() != b"chunked":
            raise InvalidRequest("Transfer-Encoding is something else than chunked")
        return None
    if _DIGITS.fullmatch(lengths[0]) is None:
        raise InvalidRequest("Content-Length is not a number of bytes")
    return int(lengths[0])


def _announces_close(value: bytes) -> bool:
    return b"close" in [option.strip() for option in value.lower().split(b",")]


class BodyFramer:
    """Frames a request's body piece by piece; `complete` once the message is whole on the wire."""

    __slots__ = ("_chunked", "_left", "complete")

    def __init__(self, framing: Framing) -> None:
        self._chunked = framing.chunked
        self._left = framing.length or 0
        self.complete = not framing.chunked and not framing.length

    def frame(self, piece: bytes) -> bytes:
        """Return the bytes to send for one piece of the body. Raises InvalidRequest beyond Content-Length."""
        if not piece:
            # A chunk of size 0 would end the message (RFC 9112 section 7.1).
            return b""
        if self._chunked:
            return b"%x\r\n%b\r\n" % (len(piece), piece)
        self._left -= len(piece)
        if self._left < 0:
            raise InvalidRequest("the body is longer than its Content-Length")
        self.complete = self._left == 0
        return piece

    def finish(self) -> bytes:
        """Return what ends the body. Raises InvalidRequest short of Content-Length."""
        if self._chunked:
            self.complete = True
            return b"0\r\n\r\n"
        if self._left:
            raise InvalidRequest("the body is shorter than its Content-Length")
        return b""


class Head(NamedTuple):
    """Status line and fields of a final response."""

    status: int
    http_version: bytes
    headers: RawHeaders


class ResponseReader:
    """Reads the response to one request: interim heads, the final head, body and trailers (RFC 9112 sections 4 to 7).

    Feed it bytes and look at it afterwards. `head` is None until the final head is whole; `chunks` holds body bytes not
    yet taken, `buffered` of them; `complete` says that the message is whole, and then `reusable` whether the
    connection may carry another. Strict as llhttp is by default: bare LF, folded lines, Content-Length together with
    Transfer-Encoding or repeated, and transfer codings that nobody asked for are all refused.
    """

    __slots__ = (
        "_body_seen",
        "_closes",
        "_error",
        "_head_bytes",
        "_headers",
        "_interim",
        "_is_head",
        "_max_head_bytes",
        "_parser",
        "_surplus",
        "_unparsed",
        "_until_eof",
        "buffered",
        "chunks",
        "complete",
        "continued",
        "head",
        "keep_alive_seconds",
        "reusable",
    )

    def __init__(self, *, is_head: bool, max_head_bytes: int) -> None:
        self.head: Head | None = None
        self.chunks: list[bytes] = []
        self.buffered = 0
        self.complete = False
        self.continued = False
        self.reusable = False
        self.keep_alive_seconds: float | None = None
        self._is_head = is_head
        self._max_head_bytes = max_head_bytes
        self._headers: RawHeaders = []
        self._interim = False
        self._until_eof = False
        self._closes = False
        self._surplus = False
        self._body_seen = False
        self._head_bytes = 0
        self._unparsed = 0
        self._error: BaseException | None = None
        # One parser per response, then thrown away: httptools cannot tell llhttp that a response to HEAD has no body.
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    def feed(self, data: bytes | memoryview) -> None:
        """Take bytes off the wire. Raises MalformedResponse."""
        parser = self._parser
        if parser is None:
            self.reusable = False
            return
        self._body_seen = False
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self._surplus = True
            if not self.complete:
                self.close()
                if self._error is not None:
                    raise self._error from exc
                raise MalformedResponse(f"malformed response: {exc}") from exc
        if self.complete:
            self.close()
            self.reusable = (
                self.reusable and not self._surplus and not (self._is_head and bytes(data[-4:]) != b"\r\n\r\n")
            )
        elif self._body_seen:
            self._unparsed = 0
        else:
            # Whatever the parser keeps to itself (a field in progress, chunk extensions) is bounded here.
            self._unparsed += len(data)
            if self._unparsed > self._max_head_bytes:
                self.close()
                raise MalformedResponse("the response's head or trailer section is too large")

    def feed_eof(self) -> None:
        """Take the end of the stream. Raises MalformedResponse unless it may end here (RFC 9112 section 8)."""
        if self.complete:
            return
        self.close()
        if self.head is None:
            raise MalformedResponse("the peer closed the connection within the head of its response")
        if not self._until_eof:
            raise MalformedResponse("the peer closed the connection within the body of its response")
        self.complete = True

    def take(self) -> bytes:
        """Hand over the buffered body bytes, undecoded."""
        chunks = self.chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self.buffered = 0
        return data

    def close(self) -> None:
        """Drop the parser, which refers back to its reader."""
        self._parser = None

    def _refuse(self, reason: str) -> MalformedResponse:
        error = self._error = MalformedResponse(reason)
        return error

    # Callbacks of httptools, in the order in which it calls them.

    def on_message_begin(self) -> None:
        """Note bytes beyond the response's end."""
        self._surplus = self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a field of the head; trailers are counted and dropped (RFC 9112 section 7.1.2)."""
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self._max_head_bytes:
            raise self._refuse("the response's head or trailer section is too large")
        if self.head is None:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Decide what the head means: interim, without a body, or with one."""
        parser = self._parser
        if parser is None or self.complete:
            return
        status = parser.get_status_code()
        version = parser.get_http_version()
        if version not in ("1.1", "1.0") or not 100 <= status <= 999 or status == 101:
            raise self._refuse(f"unusable response: HTTP/{version} {status}")
        self._interim = status < 200
        if self._interim:
            self.continued = self.continued or status == 100
            return
        self._judge_framing(status)
        self.head = Head(status, b"HTTP/1.1" if version == "1.1" else b"HTTP/1.0", self._headers)
        self._head_bytes = self._unparsed = 0
        self._body_seen = True
        # HTTP/1.0 connections are not kept: their persistence was never standardised (RFC 9112 appendix C.2.2).
        self.reusable = version == "1.1" and not self._closes and (self._is_head or not self._until_eof)
        self.complete = self._is_head

    def on_body(self, data: bytes) -> None:
        """Collect body bytes."""
        if self.complete:
            self._surplus = True
            return
        self._body_seen = True
        self.chunks.append(data)
        self.buffered += len(data)

    def on_chunk_header(self) -> None:
        """Note a body where none may be."""
        self._surplus = self._surplus or self.complete

    def on_chunk_complete(self) -> None:
        """Let httptools hand over the last trailer, which it does only where this callback is."""

    def on_message_complete(self) -> None:
        """End the response, or an interim one before it."""
        if self._interim:
            self._interim = False
            self._headers = []
            return
        self.complete = True

    def _judge_framing(self, status: int) -> None:
        delimited = False
        for name, value in self._headers:
            size = len(name)
            if size == 14 and name.lower() == b"content-length":
                delimited = True
            elif size == 17 and name.lower() == b"transfer-encoding":
                # We send no TE, so no other coding may be used (RFC 9112 section 7.4); handing one on would garble it.
                if delimited or value.strip().lower() != b"chunked":
                    raise self._refuse("the response's Transfer-Encoding is not plainly chunked")
                delimited = True
            elif size == 10 and name.lower() == b"connection":
                self._closes = self._closes or _announces_close(value)
            elif size == 10 and name.lower() == b"keep-alive":
                found = _KEEP_ALIVE_TIMEOUT.search(value)
                self.keep_alive_seconds = float(found[1]) if found else None
        self._until_eof = not delimited and status not in (204, 304)
