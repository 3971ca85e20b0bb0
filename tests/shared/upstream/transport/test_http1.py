import pytest

from bff_shared.upstream.transport.http1 import (
    BodyFramer,
    Framing,
    InvalidRequest,
    MalformedResponse,
    RawHeaders,
    ResponseReader,
    encode_head,
)

HEAD_LIMIT = 1024


def read(*parts: bytes, is_head: bool = False) -> ResponseReader:
    reader = ResponseReader(is_head=is_head, max_head_bytes=HEAD_LIMIT)
    for part in parts:
        reader.feed(memoryview(part))
    return reader


def bytewise(data: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in data]


# Requests.


def test_a_head_is_written_as_given() -> None:
    head, framing = encode_head(
        b"pAtCh", b"/a%2Fb?c=%20+;|\xc3\xa9", [(b"X-One", b"1"), (b"hOsT", b"h"), (b"X-One", b"\xff"), (b"E", b"")]
    )
    assert head == b"pAtCh /a%2Fb?c=%20+;|\xc3\xa9 HTTP/1.1\r\nX-One: 1\r\nhOsT: h\r\nX-One: \xff\r\nE: \r\n\r\n"
    assert framing == Framing()
    assert not framing.has_body


@pytest.mark.parametrize(
    ("headers", "framing"),
    [
        ([(b"content-length", b"12")], Framing(length=12)),
        ([(b"Content-Length", b"0")], Framing(length=0)),
        ([(b"Transfer-Encoding", b"Chunked")], Framing(chunked=True)),
        ([(b"Expect", b"100-continue"), (b"Content-Length", b"1")], Framing(length=1, expects_continue=True)),
        ([(b"Connection", b"x, Close")], Framing(closes=True)),
        ([(b"Connection", b"x-close")], Framing()),
    ],
)
def test_framing_follows_the_requests_headers(headers: RawHeaders, framing: Framing) -> None:
    assert encode_head(b"POST", b"/", headers)[1] == framing


@pytest.mark.parametrize("value", [b"a\r\nb: c", b"a\nb", b"a\rb", b"a\0b", b"\r\n\r\nGET / HTTP/1.1"])
def test_a_header_value_cannot_start_a_line(value: bytes) -> None:
    with pytest.raises(InvalidRequest):
        encode_head(b"GET", b"/", [(b"x", value), (b"y", b"1")])


@pytest.mark.parametrize("name", [b"", b"a b", b"a:", b"a\r\nb", b"\xe9", b"a\t"])
def test_a_header_name_is_a_token(name: bytes) -> None:
    with pytest.raises(InvalidRequest):
        encode_head(b"GET", b"/", [(b"x", b"1"), (name, b"1")])


@pytest.mark.parametrize("target", [b"", b"/a b", b"/\r\nx", b"/\0", b"/a\tb", b"/\x7f"])
def test_a_target_has_no_whitespace_or_control(target: bytes) -> None:
    with pytest.raises(InvalidRequest):
        encode_head(b"GET", target, [])


@pytest.mark.parametrize("method", [b"", b"GE T", b"G\r\n", b"CONNECT", b"G?\x00"])
def test_a_method_is_a_token_and_not_connect(method: bytes) -> None:
    with pytest.raises(InvalidRequest):
        encode_head(method, b"/", [])


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
        [(b"content-length", b"1"), (b"Content-Length", b"1")],
        [(b"content-length", b"+1")],
        [(b"content-length", b"1, 1")],
        [(b"content-length", b"")],
        [(b"transfer-encoding", b"gzip, chunked")],
    ],
)
def test_an_ambiguous_body_is_refused(headers: RawHeaders) -> None:
    with pytest.raises(InvalidRequest):
        encode_head(b"POST", b"/", headers)


def test_chunks_are_framed_and_ended() -> None:
    framer = BodyFramer(Framing(chunked=True))
    assert [framer.frame(b"hello"), framer.frame(b""), framer.frame(b"x" * 16)] == [
        b"5\r\nhello\r\n",
        b"",
        b"10\r\n" + b"x" * 16 + b"\r\n",
    ]
    states = [framer.complete]
    assert framer.finish() == b"0\r\n\r\n"
    states.append(framer.complete)
    assert states == [False, True]


def test_a_body_of_known_length_passes_as_it_is() -> None:
    framer = BodyFramer(Framing(length=5))
    states = [(framer.frame(piece), framer.complete) for piece in (b"he", b"llo")]
    assert states == [(b"he", False), (b"llo", True)]
    assert framer.finish() == b""


def test_a_body_beyond_its_length_is_refused() -> None:
    framer = BodyFramer(Framing(length=3))
    with pytest.raises(InvalidRequest, match="longer"):
        framer.frame(b"four")


def test_a_body_short_of_its_length_is_refused() -> None:
    framer = BodyFramer(Framing(length=3))
    framer.frame(b"2")
    with pytest.raises(InvalidRequest, match="shorter"):
        framer.finish()


def test_no_body_is_complete_from_the_start() -> None:
    assert BodyFramer(Framing()).complete
    assert BodyFramer(Framing(length=0)).complete


# Answers.


@pytest.mark.parametrize("split", [False, True])
def test_an_answer_is_read_as_it_is(split: bool) -> None:
    wire = (
        b"HTTP/1.1 299 S\xe9 reason\r\nX-A: 1\r\nset-COOKIE: a\r\nSet-Cookie: b\r\nEmpty:\r\nHigh: \xff\r\n"
        b"Content-Length: 5\r\n\r\nhello"
    )
    reader = read(*(bytewise(wire) if split else [wire]))
    assert reader.head is not None
    assert reader.head.status == 299
    assert reader.head.http_version == b"HTTP/1.1"
    assert reader.head.headers == [
        (b"X-A", b"1"),
        (b"set-COOKIE", b"a"),
        (b"Set-Cookie", b"b"),
        (b"Empty", b""),
        (b"High", b"\xff"),
        (b"Content-Length", b"5"),
    ]
    assert reader.take() == b"hello"
    assert reader.buffered == 0
    assert reader.complete
    assert reader.reusable


@pytest.mark.parametrize("split", [False, True])
def test_chunks_are_joined_and_trailers_dropped(split: bool) -> None:
    wire = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\nx-sum: 2\r\n\r\n"
    )
    reader = read(*(bytewise(wire) if split else [wire]))
    assert reader.take() == b"hello world"
    assert reader.head is not None
    assert reader.head.headers == [(b"Transfer-Encoding", b"chunked")]
    assert reader.complete
    assert reader.reusable


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"HTTP/1.1 304 X\r\n\r\n"])
@pytest.mark.parametrize("framing", [b"", b"Transfer-Encoding: chunked\r\n"])
def test_an_answer_to_head_has_no_body(head: bytes, framing: bytes) -> None:
    if framing and b"Length" in head:
        framing = b""
    reader = read(head[:-2] + framing + b"\r\n", is_head=True)
    assert reader.complete
    assert reader.reusable


@pytest.mark.parametrize("framing", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""])
@pytest.mark.parametrize("surplus", [b"hello", b"5", b"5\r\nhello\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_bytes_after_an_answer_to_head_spoil_the_connection(framing: bytes, surplus: bytes) -> None:
    reader = read(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n" + surplus, is_head=True)
    assert reader.complete
    assert not reader.reusable
    assert reader.buffered == 0


@pytest.mark.parametrize("status", [b"204", b"304"])
@pytest.mark.parametrize("framing", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""])
def test_204_and_304_have_no_body(status: bytes, framing: bytes) -> None:
    reader = read(b"HTTP/1.1 " + status + b" X\r\n" + framing + b"\r\n")
    assert reader.complete
    assert reader.reusable
    assert reader.buffered == 0


def test_interim_responses_are_skipped() -> None:
    reader = read(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 0\r\n\r\n",
    )
    assert reader.continued
    assert reader.head is not None
    assert reader.head.headers == [(b"A", b"b"), (b"Content-Length", b"0")]
    assert reader.complete
    assert reader.reusable


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, CLOSE\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\nx",
    ],
)
def test_a_connection_is_not_reused_after(wire: bytes) -> None:
    reader = read(wire)
    assert reader.complete
    assert not reader.reusable


def test_a_body_without_length_ends_with_the_connection() -> None:
    reader = read(b"HTTP/1.1 200 OK\r\n\r\nsome", b" more")
    states = [reader.complete]
    reader.feed_eof()
    states.append(reader.complete)
    assert states == [False, True]
    assert reader.take() == b"some more"
    assert not reader.reusable


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"",
    ],
)
def test_an_answer_that_breaks_off_is_malformed(wire: bytes) -> None:
    reader = read(wire)
    with pytest.raises(MalformedResponse):
        reader.feed_eof()
    assert not reader.complete


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\nA: b\n\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 099 X\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"<html>oops</html>",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\n\n",
    ],
)
@pytest.mark.parametrize("split", [False, True])
def test_an_answer_of_doubtful_meaning_is_malformed(wire: bytes, split: bool) -> None:
    with pytest.raises(MalformedResponse):
        read(*(bytewise(wire) if split else [wire]))


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * HEAD_LIMIT,
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * (HEAD_LIMIT // 5) + b"\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * (HEAD_LIMIT // 20),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: " + b"x" * 2 * HEAD_LIMIT,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=" + b"x" * 2 * HEAD_LIMIT,
    ],
)
def test_what_the_parser_keeps_to_itself_is_bounded(wire: bytes) -> None:
    reader = ResponseReader(is_head=False, max_head_bytes=HEAD_LIMIT)
    parts = [wire[start : start + 100] for start in range(0, len(wire), 100)]
    with pytest.raises(MalformedResponse, match="too large"):
        any(map(reader.feed, parts))


def test_long_bodies_in_small_chunks_do_not_count_as_head() -> None:
    reader = read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"1\r\n", b"x\r\n"] * HEAD_LIMIT)
    assert reader.take() == b"x" * HEAD_LIMIT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"timeout=5, max=100", 5), (b"max=3, Timeout = 7", 7), (b"max=1", None), (b"timeout=x", None)],
)
def test_the_servers_keep_alive_limit_is_read(value: bytes, seconds: float | None) -> None:
    reader = read(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: " + value + b"\r\n\r\n")
    assert reader.keep_alive_seconds == seconds
