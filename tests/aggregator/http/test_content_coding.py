import gzip
import sys
import zlib
from typing import Any

import pytest

from bff_aggregator.http.content_coding import Stream, choose, compress, entity_tag, matching_tag

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        (None, "identity"),
        ("", "identity"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate", "gzip"),
        ("x-gzip", "gzip"),
        ("br", "identity"),
        ("*", "zstd"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("zstd;q=0, gzip;q=0.1", "gzip"),
        ("gzip;q=0.5, identity", "identity"),
        ("gzip;q=0", "identity"),
        ("gzip;q=nonsense", "identity"),
        ("GZIP ; Q=1", "gzip"),
    ],
)
def test_coding_is_the_clients_choice(header: str | None, coding: str) -> None:
    assert choose(header, 10_000) == coding


def test_long_list_of_codings_is_read_too() -> None:
    assert choose(", ".join(["x" * 30] * 20) + ", gzip", 10_000) == "gzip"


def test_small_bodies_are_not_compressed() -> None:
    assert choose("gzip", 100) == "identity"


def test_coded_bytes_are_the_body_again() -> None:
    body = b"abc" * 1000
    assert gzip.decompress(compress(body, "gzip")) == body
    assert zstd.decompress(compress(body, "zstd")) == body
    assert compress(body, "identity") is body


def test_tag_matches_the_same_content_in_the_same_coding() -> None:
    tag, colder = entity_tag("c0", "warm", "gzip"), entity_tag("c0", "cold", "gzip")
    assert tag != colder
    assert matching_tag([f'"x", {colder}'], tag) == colder
    assert matching_tag([f"W/{tag}"], tag) == tag
    assert matching_tag(["*"], tag) == tag
    assert matching_tag([entity_tag("c0", "warm", "zstd")], tag) is None
    assert matching_tag([entity_tag("c1", "warm", "gzip"), '"-"', "x"], tag) is None


@pytest.mark.parametrize("coding", ["identity", "gzip", "zstd"])
def test_each_piece_of_a_stream_can_be_read_when_it_has_come(coding: str) -> None:
    stream, reader = Stream(coding), reading(coding)
    pieces = [b"one\n", bytes(range(256)) * 2000, b"", b"three\n"]
    for piece in pieces:
        assert reader.decompress(stream.add(piece)) == piece
    assert reader.decompress(stream.end()) == b""
    assert reader.eof or coding == "identity"


class _Plain:
    eof = False

    def decompress(self, data: bytes) -> bytes:
        return data


def reading(coding: str) -> Any:
    if coding == "identity":
        return _Plain()
    return zlib.decompressobj(31) if coding == "gzip" else zstd.ZstdDecompressor()
