"""A gzip body (RFC 1952) whose long first part is compressed once and continued with a short last part. Pure."""

import re
import struct
import zlib
from dataclasses import dataclass
from typing import Final

_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_TRAILER: Final = struct.Struct("<II")
_GZIP = re.compile(r"(?:x-)?gzip|\*", re.IGNORECASE)
_WEIGHT = re.compile(r"\s*q\s*=\s*(\S+)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Opened:
    """The first part, compressed up to a byte boundary, and what the trailer needs of it."""

    data: bytes
    crc: int
    size: int


def begin(text: bytes, level: int) -> Opened:
    """Compress the first part, up to a byte boundary that any continuation may follow (RFC 1951 section 3.2.4)."""
    deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    data = _HEADER + deflate.compress(text) + deflate.flush(zlib.Z_FULL_FLUSH)
    return Opened(data, zlib.crc32(text), len(text))


def end(first: Opened, text: bytes) -> bytes:
    """Return the whole gzip body of the first part followed by `text`."""
    deflate = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    rest = deflate.compress(text) + deflate.flush()
    return b"".join(
        (first.data, rest, _TRAILER.pack(zlib.crc32(text, first.crc), (first.size + len(text)) & 0xFFFFFFFF))
    )


def is_accepted(accept_encoding: str | None) -> bool:
    """Tell whether gzip may be used (RFC 9110 section 12.5.3); an explicit `gzip` counts more than `*`."""
    weights: dict[str, float] = {}
    for member in (accept_encoding or "").split(","):
        coding, _, parameter = member.partition(";")
        if _GZIP.fullmatch(coding.strip()):
            weights[coding.strip().lower().removeprefix("x-")] = _weight(parameter)
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _weight(parameter: str) -> float:
    match = _WEIGHT.fullmatch(parameter)
    try:
        return float(match[1]) if match else 1.0
    except ValueError:
        return 0.0
