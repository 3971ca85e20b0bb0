"""RFC 6455 through the passthrough, in frames: an echo server behind it, and backends that break the rules."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.passthrough import MAX_MESSAGE, Relay, StartRelay
from tests.support.rfc6455 import BINARY, CLOSE, CONT, PING, PONG, TEXT, Peer, Seen, close, frame, serve

TEXTS = ["", "a", "\u00b5\u20ac\U0001f600" * 40, "x" * 125, "x" * 126, "x" * 127, "x" * 65_535, "x" * 65_536]
VALID_CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
INVALID_CODES = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535]
BROKEN_UTF8 = {
    "lone continuation": b"\x80",
    "truncated": b"\xe2\x82",
    "overlong": b"\xc0\xaf",
    "surrogate": b"\xed\xa0\x80",
    "above U+10FFFF": b"\xf4\x90\x80\x80",
    "FE": b"\xfe",
}


@asynccontextmanager
async def client(relay: Relay) -> AsyncIterator[Peer]:
    peer = await Peer.open(relay.url)
    try:
        yield peer
    finally:
        peer.leave()


async def fails_with(relay: Relay, code: int, *frames: bytes) -> None:
    async with client(relay) as peer:
        await peer.send(*frames)
        seen = await peer.rest()
        assert [one.opcode for one in seen if one.opcode not in {TEXT, PONG}] == [CLOSE]
        assert seen[-1].code == code


@pytest.mark.parametrize("chop", [0, 997])
async def test_messages_of_every_length_come_back(echo_relay: Relay, chop: int) -> None:
    async with client(echo_relay) as peer:
        for text in TEXTS:
            await peer.send(frame(TEXT, text.encode()), frame(BINARY, text.encode()), chop=chop)
            assert await peer.frame() == Seen(TEXT, text.encode())
            assert await peer.frame() == Seen(BINARY, text.encode())


async def test_a_message_in_single_bytes_comes_back(echo_relay: Relay) -> None:
    async with client(echo_relay) as peer:
        await peer.send(frame(TEXT, "\u20ac\U0001f600".encode() * 20), chop=1)
        assert await peer.frame() == Seen(TEXT, "\u20ac\U0001f600".encode() * 20)


async def test_a_message_as_large_as_the_limit_comes_back(echo_relay: Relay) -> None:
    message = bytes(range(256)) * (MAX_MESSAGE // 256)
    async with client(echo_relay) as peer:
        await peer.send(frame(BINARY, message))
        assert await peer.frame() == Seen(BINARY, message)
        await peer.send(frame(TEXT, message[:0] + b"x" * MAX_MESSAGE))
        assert await peer.frame() == Seen(TEXT, b"x" * MAX_MESSAGE)


async def test_a_larger_one_is_refused_whole_or_in_fragments(echo_relay: Relay) -> None:
    await fails_with(echo_relay, 1009, frame(BINARY, bytes(MAX_MESSAGE + 1)))
    half = bytes(MAX_MESSAGE // 2 + 1)
    await fails_with(echo_relay, 1009, frame(BINARY, half, fin=False), frame(CONT, half))


@pytest.mark.parametrize("size", [1, 3, 1024])
async def test_fragments_make_one_message(echo_relay: Relay, size: int) -> None:
    text = ("\u00b5\u20ac\U0001f600" * 200).encode()
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    frames = [frame(CONT if index else TEXT, part, fin=False) for index, part in enumerate(parts)]
    async with client(echo_relay) as peer:
        await peer.send(*frames, frame(CONT))
        assert await peer.frame() == Seen(TEXT, text)


async def test_tiny_fragments_cost_no_more_memory_than_their_bytes(echo_relay: Relay) -> None:
    async with client(echo_relay) as peer:
        await peer.send(frame(TEXT, b"a", fin=False))
        tracemalloc.start()
        try:
            for _ in range(10):
                await peer.send(*[frame(CONT, b"ab", fin=False)] * 2000)
                await peer.send(frame(PING))
                assert await peer.frame() == Seen(PONG, b"")
            grown, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert grown < 300_000
        await peer.send(frame(CONT, b"b"))
        assert await peer.frame() == Seen(TEXT, b"a" + b"ab" * 20_000 + b"b")


async def test_pings_between_fragments_are_answered_at_once(echo_relay: Relay) -> None:
    async with client(echo_relay) as peer:
        await peer.send(frame(TEXT, b"one ", fin=False), frame(PING, b"now"))
        assert await peer.frame() == Seen(PONG, b"now")
        await peer.send(frame(CONT, b"two ", fin=False), frame(PONG, b"unasked"), frame(CONT, b"three"))
        assert await peer.frame() == Seen(TEXT, b"one two three")


async def test_pings_are_answered_with_their_payload_in_order(echo_relay: Relay) -> None:
    payloads = [b"", b"a", bytes(range(125)), *(str(number).encode() for number in range(10))]
    async with client(echo_relay) as peer:
        await peer.send(*(frame(PING, payload) for payload in payloads))
        assert [await peer.frame() for _ in payloads] == [Seen(PONG, payload) for payload in payloads]


async def test_many_small_messages_come_back_in_order(echo_relay: Relay) -> None:
    messages = [str(number).encode() for number in range(2000)]
    async with client(echo_relay) as peer:
        sending = asyncio.create_task(peer.send(*(frame(TEXT, message) for message in messages)))
        assert [await peer.frame() for _ in messages] == [Seen(TEXT, message) for message in messages]
        await sending


@pytest.mark.parametrize("opcode", [3, 7, 11, 15])
async def test_reserved_opcodes_fail_the_connection(echo_relay: Relay, opcode: int) -> None:
    await fails_with(echo_relay, 1002, frame(opcode, b"x"))


@pytest.mark.parametrize("rsv", [1, 2, 4, 7])
async def test_reserved_bits_fail_the_connection(echo_relay: Relay, rsv: int) -> None:
    await fails_with(echo_relay, 1002, frame(TEXT, b"x", rsv=rsv))


async def test_frames_out_of_place_fail_the_connection(echo_relay: Relay) -> None:
    await fails_with(echo_relay, 1002, frame(CONT, b"nothing to continue"))
    await fails_with(echo_relay, 1002, frame(TEXT, b"a", fin=False), frame(TEXT, b"b"))
    await fails_with(echo_relay, 1002, frame(PING, b"a", fin=False))
    await fails_with(echo_relay, 1002, frame(PING, bytes(126)))
    await fails_with(echo_relay, 1002, frame(TEXT, b"not masked", mask=False))


@pytest.mark.parametrize("payload", BROKEN_UTF8.values(), ids=BROKEN_UTF8)
async def test_invalid_utf8_fails_the_connection(echo_relay: Relay, payload: bytes) -> None:
    await fails_with(echo_relay, 1007, frame(TEXT, b"before " + payload))
    await fails_with(echo_relay, 1007, frame(TEXT, b"be", fin=False), frame(CONT, b"fore " + payload))


async def test_characters_at_the_bounds_of_utf8_come_back(echo_relay: Relay) -> None:
    text = "\x00\x7f\x80\u07ff\u0800\ud7ff\ue000\ufffe\uffff\U00010000\U0010ffff".encode()
    async with client(echo_relay) as peer:
        await peer.send(frame(TEXT, text))
        assert await peer.frame() == Seen(TEXT, text)


@pytest.mark.parametrize("code", VALID_CODES)
async def test_a_valid_close_is_answered_with_its_code(echo_relay: Relay, code: int) -> None:
    async with client(echo_relay) as peer:
        await peer.send(close(code, b"because"), frame(TEXT, b"too late"))
        [seen] = await peer.rest()
        assert (seen.opcode, seen.code) == (CLOSE, code)


@pytest.mark.parametrize("code", INVALID_CODES)
async def test_an_invalid_close_code_is_a_protocol_error(echo_relay: Relay, code: int) -> None:
    await fails_with(echo_relay, 1002, close(code))


async def test_a_close_may_be_empty_or_carry_a_long_reason(echo_relay: Relay) -> None:
    for sent in (frame(CLOSE), close(1000, b"r" * 123)):
        async with client(echo_relay) as peer:
            await peer.send(sent)
            [seen] = await peer.rest()
            assert seen.opcode == CLOSE


async def test_a_malformed_close_fails_the_connection(echo_relay: Relay) -> None:
    await fails_with(echo_relay, 1002, frame(CLOSE, b"\x03"))
    await fails_with(echo_relay, 1002, close(1000, b"r" * 124))
    await fails_with(echo_relay, 1007, close(1000, b"\xc0\xaf"))


async def test_what_was_said_before_a_close_is_answered_before_it(echo_relay: Relay) -> None:
    async with client(echo_relay) as peer:
        await peer.send(frame(TEXT, b"last"))
        assert await peer.frame() == Seen(TEXT, b"last")
        await peer.send(frame(PING, b"p"), close(1000))
        assert [one.opcode for one in await peer.rest()] == [PONG, CLOSE]


async def test_a_half_closed_viewer_is_let_go(echo_relay: Relay) -> None:
    async with client(echo_relay) as peer:
        await peer.send(frame(TEXT, b"unfinished", fin=False))
        peer.writer.write_eof()
        await peer.rest()
    async with asyncio.timeout(30):
        while echo_relay.admission.connections:
            await asyncio.sleep(0.005)


@asynccontextmanager
async def behind(start_relay: StartRelay, *frames: bytes) -> AsyncIterator[Peer]:
    """A viewer of a backend that sends these frames once it was greeted, and then waits."""

    async def script(peer: Peer) -> None:
        await peer.frame()
        await peer.send(*frames)
        await peer.rest()

    server = await serve(script)
    async with server:
        relay = await start_relay(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with client(relay) as viewer:
            await viewer.send(frame(TEXT, b"hello"))
            yield viewer


def plain(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    return frame(opcode, payload, fin=fin, mask=False, rsv=rsv)


async def test_the_backends_fragments_and_pings_reach_the_viewer_as_messages(start_relay: StartRelay) -> None:
    euro = "\u20ac".encode()
    parts = [plain(TEXT, euro[:1], fin=False), plain(PING, b"p"), plain(CONT, euro[1:], fin=False), plain(CONT)]
    many = [plain(BINARY, b"b", fin=False), *[plain(CONT, b"b", fin=False)] * 5000, plain(CONT)]
    async with behind(start_relay, *parts, *many, plain(TEXT, b"end")) as viewer:
        assert await viewer.frame() == Seen(TEXT, euro)
        assert await viewer.frame() == Seen(BINARY, b"b" * 5001)
        assert await viewer.frame() == Seen(TEXT, b"end")


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([plain(TEXT, b"\xff")], 1007),
        ([plain(TEXT, b"ok", fin=False), plain(CONT, b"\xed\xa0\x80")], 1007),
        ([plain(BINARY, bytes(MAX_MESSAGE + 1))], 1009),
        ([plain(TEXT, b"x", rsv=1)], 1002),
        ([plain(3, b"x")], 1002),
        ([plain(CONT, b"x")], 1002),
        ([frame(TEXT, b"masked")], 1002),
        ([close(1006, mask=False)], 1002),
        ([plain(CLOSE)], 1000),
        ([close(1014, b"upstream", mask=False)], 1014),
        ([close(4999, mask=False)], 4999),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
async def test_how_a_backend_of_another_protocol_ends_reaches_the_viewer(
    start_relay: StartRelay, frames: list[bytes], code: int
) -> None:
    async with behind(start_relay, plain(TEXT, b"hi"), *frames) as viewer:
        assert await viewer.frame() == Seen(TEXT, b"hi")
        seen = await viewer.frame()
        assert seen is not None
        assert (seen.opcode, seen.code) == (CLOSE, code)


async def test_a_close_is_passed_on_though_the_backend_never_closes_its_socket(start_relay: StartRelay) -> None:
    over = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.send(plain(TEXT, b"hi"), close(1000, b"done", mask=False))
        await over.wait()

    server = await serve(script)
    async with server:
        relay = await start_relay(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with client(relay) as viewer:
            assert await viewer.frame() == Seen(TEXT, b"hi")
            assert await viewer.frame() == Seen(CLOSE, (1000).to_bytes(2, "big") + b"done")
        over.set()
