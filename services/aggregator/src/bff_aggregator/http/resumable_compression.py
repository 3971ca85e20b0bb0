"""A compressed body whose long first part is compressed once and continued with a short last part. Pure.

gzip (RFC 1952) and zstd (RFC 8878); each body is a single member or frame, which every decoder reads.
"""

import struct
import sys
import zlib
from dataclasses import dataclass
from typing import Final

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_GZIP_TRAILER: Final = struct.Struct("<II")
# An answer waits for its compression, so both are quick ones: 2 ms for half a megabyte.
_GZIP_LEVEL, _ZSTD_LEVEL = 2, 1
_BLOCK: Final = 128 * 1024
_LAST: Final = 1


@dataclass(frozen=True, slots=True)
class Opened:
    """The first part in a coding, up to a byte boundary that any continuation may follow, and its plain size.

    `crc` is what gzip's trailer needs of it.
    """

    coding: str
    data: bytes
    size: int
    crc: int = 0


def begin(text: bytes, coding: str) -> Opened:
    """Compress the first part, which is not empty, in `gzip` or `zstd`."""
    if coding == "zstd":
        packer = zstd.ZstdCompressor(level=_ZSTD_LEVEL)
        return Opened(coding, packer.compress(text) + packer.flush(packer.FLUSH_BLOCK), len(text))
    deflate = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    # RFC 1951 section 3.2.4: an empty stored block ends at a byte boundary.
    data = _GZIP_HEADER + deflate.compress(text) + deflate.flush(zlib.Z_FULL_FLUSH)
    return Opened(coding, data, len(text), zlib.crc32(text))


def end(first: Opened, text: bytes) -> bytes:
    """Return what follows the first part's data where the body ends with `text`."""
    if first.coding == "zstd":
        return _raw_blocks(text)
    deflate = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    rest = deflate.compress(text) + deflate.flush()
    trailer = _GZIP_TRAILER.pack(zlib.crc32(text, first.crc), (first.size + len(text)) & 0xFFFFFFFF)
    return rest + trailer


def _raw_blocks(text: bytes) -> bytes:
    """Return the last blocks of a frame, stored as they are (RFC 8878 section 3.1.1.2)."""
    pieces = [text[at : at + _BLOCK] for at in range(0, len(text), _BLOCK)] or [b""]
    last = len(pieces) - 1
    heads = ((len(piece) << 3) | (_LAST if at == last else 0) for at, piece in enumerate(pieces))
    return b"".join(head.to_bytes(3, "little") + piece for head, piece in zip(heads, pieces, strict=True))
