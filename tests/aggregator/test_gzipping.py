import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_aggregator import gzipping


@given(st.binary(max_size=5000), st.lists(st.binary(max_size=300), min_size=1, max_size=3))
def test_one_beginning_fits_many_ends(first: bytes, ends: list[bytes]) -> None:
    opened = gzipping.begin(first, 2)
    for end in ends:
        assert gzip.decompress(gzipping.end(opened, end)) == first + end


@pytest.mark.parametrize("accept", ["gzip", "br, GZIP;q=0.5", "*", "x-gzip", "gzip ; q=1.0, *;q=0", "deflate, *;q=0.1"])
def test_gzip_is_accepted(accept: str) -> None:
    assert gzipping.is_accepted(accept)


@pytest.mark.parametrize("accept", [None, "", "br", "gzip;q=0", "*;q=0", "gzip;q=0, *", "gzip;q=many", "gzipped"])
def test_gzip_is_not_accepted(accept: str | None) -> None:
    assert not gzipping.is_accepted(accept)
