"""Content codings of a response, decoded within a limit while it arrives. Pure.

Only `gzip`, once, and only where it was asked for: a response of a few kilobytes can say gigabytes otherwise.
"""

import zlib
from collections.abc import Iterator, Sequence

from bff_shared.http.headers import Header, tokens

PIECE_BYTES = 64 * 1024
"""The most that is decoded at a time."""

MAX_MEMBERS = 16
"""A gzip file is a series of members (RFC 1952 section 2.2). Empty ones cost time and add nothing to the size."""

GZIP = frozenset((b"gzip", b"x-gzip"))


class Undecodable(Exception):
    """The content has a coding that was not asked for, does not fit its coding, or is larger than the limit."""


class TooLarge(Undecodable):
    """The content is larger than the limit."""


class Decoder:
    """Decodes one response's content piece by piece; raises Undecodable, at the latest in `end`."""

    def __init__(self, asked: Sequence[Header], encodings: Sequence[bytes], limit: int) -> None:
        """Take the request's headers, the response's `Content-Encoding` values and the most bytes of content."""
        applied = [part.strip().lower() for value in encodings for part in value.split(b",") if part.strip()]
        applied = [coding for coding in applied if coding != b"identity"]
        accepted = tokens(value for name, value in asked if name.lower() == b"accept-encoding")
        if applied and not (len(applied) == 1 and applied[0] in GZIP and accepted & GZIP):
            raise Undecodable("the response has a content coding that was not asked for")
        self._limit, self._size, self._members = limit, 0, 1
        self._inflater = _inflater() if applied else None
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the content that some bytes of the response hold."""
        if self._inflater is None:
            yield self._count(data)
            return
        while data:
            if self._inflater.eof:
                self._members += 1
                if self._members > MAX_MEMBERS:
                    raise Undecodable("the response has too many gzip members")
                self._inflater = _inflater()
            self._begun = True
            try:
                content = self._inflater.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise Undecodable("the response does not fit its content coding") from error
            data = self._inflater.unconsumed_tail or self._inflater.unused_data
            if content:
                yield self._count(content)

    def end(self) -> None:
        """Take the end of the response."""
        if self._inflater is not None and self._begun and not self._inflater.eof:
            raise Undecodable("the response ends within its content coding")

    def _count(self, content: bytes) -> bytes:
        self._size += len(content)
        if self._size > self._limit:
            raise TooLarge("the response is larger than this service accepts")
        return content


def _inflater() -> "zlib._Decompress":
    return zlib.decompressobj(16 + zlib.MAX_WBITS)
