import gzip
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_shared.upstream.decoding import PIECE_BYTES, Decoder, Undecodable

ASKED = [(b"Accept-Encoding", b"br;q=0, gzip")]


def decode(data: bytes, *, codings: tuple[bytes, ...] = (b"gzip",), limit: int = 1 << 20, step: int = 1000) -> bytes:
    decoder = Decoder(ASKED, codings, limit)
    content = [part for start in range(0, len(data), step) for part in decoder.feed(data[start : start + step])]
    decoder.end()
    assert all(len(part) <= max(PIECE_BYTES, step) for part in content)
    return b"".join(content)


@given(st.binary(max_size=5000), st.integers(1, 500))
def test_content_comes_out_as_it_went_in_however_it_arrives(content: bytes, step: int) -> None:
    assert decode(gzip.compress(content), step=step) == content
    assert decode(content, codings=(), step=step) == content
    assert decode(gzip.compress(content) + gzip.compress(b"more"), step=step) == content + b"more"


@pytest.mark.parametrize(
    "codings", [(b"gzip, gzip",), (b"gzip", b"gzip"), (b"br",), (b"zstd",), (b"deflate",), (b"x-unknown",)]
)
def test_what_was_not_asked_for_or_has_several_layers_is_refused_at_once(codings: tuple[bytes, ...]) -> None:
    with pytest.raises(Undecodable, match="not asked for"):
        Decoder(ASKED, codings, 1000)


def test_a_coding_is_refused_where_identity_was_asked_for() -> None:
    with pytest.raises(Undecodable):
        Decoder([(b"accept-encoding", b"identity")], (b"gzip",), 1000)


@pytest.mark.parametrize("codings", [(), (b"identity",), (b" Identity , ",)])
def test_no_coding_is_always_accepted(codings: tuple[bytes, ...]) -> None:
    assert decode(b"plain", codings=codings) == b"plain"


@pytest.mark.parametrize(
    "data",
    [b"no gzip", gzip.compress(b"hello", mtime=0)[:-3], gzip.compress(b"hello", mtime=0) + b"garbage"],
    ids=["no gzip", "cut", "garbage after it"],  # the same in every worker
)
def test_what_does_not_fit_its_coding_is_refused(data: bytes) -> None:
    with pytest.raises(Undecodable):
        decode(data)


def test_empty_members_without_end_are_refused() -> None:
    with pytest.raises(Undecodable, match="members"):
        decode(gzip.compress(b"", mtime=0) * 100)
    assert decode(gzip.compress(b"x", mtime=0) * 16) == b"x" * 16


def test_a_bomb_is_stopped_at_the_limit_while_it_inflates() -> None:
    bomb = gzip.compress(bytes(200 << 20), 9)
    decoder = Decoder(ASKED, (b"gzip",), 1 << 20)
    sizes: list[int] = []
    tracemalloc.start()
    with pytest.raises(Undecodable, match="larger"):
        sizes.extend(len(part) for part in decoder.feed(bomb))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(sizes) <= 1 << 20
    assert peak < 8 << 20
