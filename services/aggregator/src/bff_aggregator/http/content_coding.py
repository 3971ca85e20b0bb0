"""Content codings: which one a client gets, the bytes, and entity tags per coding. Pure.

RFC 9110 sections 8.4 (codings), 8.8 (validators) and 12.5.3 (`Accept-Encoding`). Levels are chosen by measuring: what a
level more would save on the wire is less than what it costs in time.
"""

import sys
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from bff_aggregator.http.steps import Steps

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

IDENTITY = "identity"
CODINGS = ("zstd", "gzip")
MIN_BYTES = 1024
UNKNOWN_SIZE = MIN_BYTES
"""Stands for the size of what is not made yet."""

_ZSTD_LEVEL, _GZIP_LEVEL = 3, 4
_GZIP_WINDOW = 31
# What is compressed while somebody waits for the rest has to be quick.
_QUICK_ZSTD, _QUICK_GZIP = 1, 2
_SHORT = 256
STEP_BYTES = 256 * 1024


def choose(accept_encoding: str | None, size: int) -> str:
    """Return the coding for a body of `size` bytes: the client's favourite, at equal weight zstd before gzip.

    Without the header, for a small body or where nothing else is acceptable it is identity.
    """
    if not accept_encoding or size < MIN_BYTES:
        return IDENTITY
    # What browsers send is short and always the same.
    find = _favourite if len(accept_encoding) <= _SHORT else _favourite.__wrapped__
    return find(accept_encoding)


@lru_cache(maxsize=64)
def _favourite(accept_encoding: str) -> str:
    weights = _weights(accept_encoding)
    rest = weights.get("*", 0.0)
    best = max(CODINGS, key=lambda coding: weights.get(coding, rest))
    weight = weights.get(best, rest)
    return best if weight > 0 and weight >= weights.get(IDENTITY, 0.0) else IDENTITY


def _weights(header: str) -> dict[str, float]:
    weights = {}
    for member in header.lower().split(","):
        coding, _, parameter = member.partition(";")
        name, _, value = parameter.strip().partition("=")
        try:
            weight = float(value) if name.strip() == "q" else 1.0
        except ValueError:
            weight = 0.0
        weights[coding.strip().replace("x-gzip", "gzip")] = weight
    return weights


def compress(body: bytes, coding: str) -> bytes:
    """Return a body in a coding."""
    if coding == "zstd":
        return zstd.compress(body, level=_ZSTD_LEVEL)
    if coding == "gzip":
        packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
        return packer.compress(body) + packer.flush()
    return body


def compress_steps(pieces: Sequence[bytes], coding: str, *, quick: bool = False) -> Steps[bytes]:
    """Return a body, given in pieces, in `gzip` or `zstd`, in steps of STEP_BYTES; `quick` is for who waits for it."""
    packer: Any
    if coding == "zstd":
        packer = zstd.ZstdCompressor(level=_QUICK_ZSTD if quick else _ZSTD_LEVEL)
    else:
        packer = zlib.compressobj(_QUICK_GZIP if quick else _GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    packed = []
    for view in _cut(pieces):
        packed.append(packer.compress(view))
        yield
    return b"".join((*packed, packer.flush()))


def _cut(pieces: Sequence[bytes]) -> Iterator[memoryview]:
    """Yield views of the pieces, in their order, of at most STEP_BYTES."""
    for piece in pieces:
        view = memoryview(piece)
        for at in range(0, len(view), STEP_BYTES):
            yield view[at : at + STEP_BYTES]


class Stream:
    """One body in a coding, of which each piece can be read as soon as it has come."""

    def __init__(self, coding: str) -> None:
        self._zstd = zstd.ZstdCompressor(level=_QUICK_ZSTD) if coding == "zstd" else None
        self._gzip = zlib.compressobj(_QUICK_GZIP, zlib.DEFLATED, _GZIP_WINDOW) if coding == "gzip" else None

    def add(self, piece: bytes | memoryview) -> bytes:
        """Return the next piece in the coding, up to a boundary that a decoder can read to."""
        if self._zstd:
            return self._zstd.compress(piece, self._zstd.FLUSH_BLOCK)
        if self._gzip:
            return self._gzip.compress(piece) + self._gzip.flush(zlib.Z_SYNC_FLUSH)
        return bytes(piece)

    def steps(self, pieces: Sequence[bytes]) -> Steps[bytes]:
        """Return, in steps of STEP_BYTES, what `add` would of pieces in a row."""
        packed = []
        for view in _cut(pieces):
            packed.append(self.add(view))
            yield
        return b"".join(packed)

    def end(self) -> bytes:
        """Return what ends the body."""
        if self._zstd:
            return self._zstd.flush()
        return self._gzip.flush() if self._gzip else b""


def entity_tag(content: str, edition: str, coding: str) -> str:
    """Return the strong entity tag of an answer: digests of what it says and of how it was come by, and the coding.

    Together they determine its bytes, and they are some hundred times shorter.
    """
    return f'"{content}-{edition}-{coding}"'


def matching_tag(if_none_match: Sequence[str], tag: str) -> str | None:
    """Return the tag of a client's stored answer that is still as good as the one tagged `tag`, if there is one.

    Answers that differ only in how they were come by (`load_time_ms`, `cache_hit`) have different bytes and different
    tags; for revalidation they are equal, and 304 carries the tag of the one that the client has.
    """
    content, _, coding = tag.strip('"').split("-")
    for member in ",".join(if_none_match).split(","):
        given = member.strip()
        if given == "*":
            return tag
        parts = given.removeprefix("W/").strip('"').split("-")
        if len(parts) == 3 and parts[0] == content and parts[2] == coding:
            return given.removeprefix("W/")
    return None
