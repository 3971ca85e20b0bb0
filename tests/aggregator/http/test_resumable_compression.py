import gzip
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bff_aggregator.http import resumable_compression

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

DECODERS = {"gzip": gzip.decompress, "zstd": zstd.decompress}


@pytest.mark.parametrize("coding", DECODERS)
@given(first=st.binary(min_size=1, max_size=5000), ends=st.lists(st.binary(max_size=300), min_size=1, max_size=3))
@settings(max_examples=50)
def test_one_beginning_fits_many_ends(coding: str, first: bytes, ends: list[bytes]) -> None:
    opened = resumable_compression.begin(first, coding)
    for end in ends:
        assert DECODERS[coding](opened.data + resumable_compression.end(opened, end)) == first + end


@pytest.mark.parametrize("coding", DECODERS)
def test_ends_longer_than_a_block_are_whole(coding: str) -> None:
    first, end = bytes(range(256)) * 2000, b"0123456789" * 40_000
    opened = resumable_compression.begin(first, coding)
    assert DECODERS[coding](opened.data + resumable_compression.end(opened, end)) == first + end


def test_zstd_body_is_one_frame() -> None:
    opened = resumable_compression.begin(b"a" * 10_000, "zstd")
    body = opened.data + resumable_compression.end(opened, b"b" * 10_000)
    reader = zstd.ZstdDecompressor()
    reader.decompress(body)
    assert (reader.eof, reader.unused_data) == (True, b"")
    assert zstd.get_frame_info(body).decompressed_size is None, "it is not known when the first part is written"
