"""What a viewer sends, as frames on real sockets: counted, parsed in turns, bounded in memory, at both endpoints."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import pytest
from websockets.asyncio.client import connect
from websockets.frames import Frame

from bff_wsrelay.websocket.inbound import LATE_BYTES, MOST_SLICE, SLICE, TURN_FRAMES
from bff_wsrelay.websocket.rfc6455 import StrictServerProtocol
from bff_wsrelay.websocket.server import WRITER_EXTENSION, FrameWriter, WebSocketProtocol
from bff_wsrelay.websocket.traffic import SETTLE_FRAMES, TrafficLimits, TrafficMeter
from tests.support.playback import Relay, playing
from tests.support.rfc6455 import BINARY, CLOSE, CONT, PING, PONG, TEXT, Peer, Seen, close, frame
from tests.support.runs import RunBackend, source
from tests.support.serving import serving

SMALLEST = 6
"""Bytes of an empty masked frame."""

KIBI, MEBI = 1024, 1024 * 1024
PATHS = {"playback": "/api/v1/runs/run/stream", "passthrough": "/api/v1/backtests/run/ws"}
KINDS = {
    "pings": ([], frame(PING)),
    "pongs": ([], frame(PONG)),
    "fragments": ([frame(TEXT, fin=False)], frame(CONT, fin=False)),
}


async def eventually(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.005)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[Frame]:
    """All frames that servers of this process parse from now on."""
    frames: list[Frame] = []
    original = StrictServerProtocol.recv_frame

    def note(self: StrictServerProtocol, one: Frame) -> None:
        frames.append(one)
        original(self, one)

    monkeypatch.setattr(StrictServerProtocol, "recv_frame", note)
    return frames


@asynccontextmanager
async def peer_at(relay: Relay, path: str) -> AsyncIterator[Peer]:
    peer = await Peer.open(f"ws://127.0.0.1:{relay.port}{path}")
    try:
        yield peer
    finally:
        peer.leave()


async def send_whatever_is_taken(peer: Peer, *frames: bytes) -> None:
    """Send frames to a server that may leave or read no further."""
    try:
        async with asyncio.timeout(2):
            await peer.send(*frames)
    except (TimeoutError, ConnectionError):
        pass


async def close_of(peer: Peer) -> int:
    """Return the code that the other side closes with, after whatever comes before it."""
    while (seen := await peer.frame()) is not None:
        if seen.opcode == CLOSE:
            return seen.code
    return 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
async def test_frames_of_every_kind_count_and_too_many_end_the_connection_with_1008(
    path: str, kind: str, parsed: list[Frame]
) -> None:
    first, each = KINDS[kind]
    async with playing(RunBackend(source(50))) as relay, peer_at(relay, path) as peer:
        await send_whatever_is_taken(peer, *first, each * 50_000)
        assert await close_of(peer) == 1008
        limit = 2 * 500
        assert len(parsed) <= limit + TURN_FRAMES + SETTLE_FRAMES + MOST_SLICE // SMALLEST
        assert relay.app.state.service.metrics.registry.get_sample_value(
            "bff_websocket_refused_total", {"limit": "frames"}
        )


class Quiet:
    """An app that accepts, keeps every event, and does what a script does with the writer."""

    def __init__(self, script: Callable[[FrameWriter], Any] | None = None) -> None:
        self.script = script
        self.events: list[dict[str, Any]] = []
        self.accepted, self.gate = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.wire: FrameWriter | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket":
            return
        await receive()
        await self.gate.wait()
        self.wire = scope["extensions"][WRITER_EXTENSION]
        await send({"type": "websocket.accept"})
        self.accepted.set()
        if self.script is not None:
            self.script(self.wire)
        while not self.events or self.events[-1]["type"] != "websocket.disconnect":
            self.events.append(await receive())

    @property
    def texts(self) -> list[str]:
        return [event["text"] for event in self.events if "text" in event]


@asynccontextmanager
async def quiet(app: Quiet, limits: TrafficLimits | None = None, **options: Any) -> AsyncIterator[str]:
    traffic = TrafficMeter(limits or TrafficLimits())
    async with serving(app, ws=partial(WebSocketProtocol, traffic=traffic), **options) as url:
        yield url
    assert traffic.unfinished == 0


async def test_a_flood_is_parsed_in_turns_between_which_everybody_else_runs(parsed: list[Frame]) -> None:
    count = 40_000
    counts = [0]

    async def watch() -> None:
        while True:
            counts.append(len(parsed))
            await asyncio.sleep(0)

    async with quiet(Quiet()) as url:
        peer = await Peer.open(url)
        watching = asyncio.create_task(watch())
        await peer.send(frame(PONG) * count)
        await eventually(lambda: len(parsed) == count)
        watching.cancel()
        peer.leave()
    most = max(later - earlier for earlier, later in itertools.pairwise(counts))
    assert most <= 2 * (TURN_FRAMES + SLICE // SMALLEST + 1)  # a turn, and a first one within the same round


async def test_little_is_parsed_after_our_close_and_nothing_after_a_refusal(parsed: list[Frame]) -> None:
    async with quiet(Quiet(lambda writer: writer.close(4404, "no such run"))) as url:
        peer = await Peer.open(url)
        await send_whatever_is_taken(peer, frame(PONG) * 100_000)
        assert await close_of(peer) == 4404
        peer.leave()
    assert len(parsed) <= LATE_BYTES // SMALLEST


async def test_our_close_is_answered_and_the_connection_ends_at_once() -> None:
    app = Quiet(lambda writer: writer.close(4404, "no such run"))
    async with quiet(app) as url, connect(url, compression=None, proxy=None, close_timeout=60) as client:
        async with asyncio.timeout(30):
            await client.wait_closed()
        assert client.close_code == 4404


async def test_what_comes_before_the_handshake_is_answered_waits_for_the_answer(parsed: list[Frame]) -> None:
    app = Quiet()
    app.gate.clear()
    async with quiet(app) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1].strip("/")))
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        writer.write(b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(frame(PING, b"early") + frame(TEXT, b"too soon"))
        await asyncio.sleep(0.05)
        assert parsed == []
        app.gate.set()
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        peer = Peer(reader, writer, mask=True)
        assert await peer.frame() == Seen(PONG, b"early")
        await eventually(lambda: app.texts == ["too soon"])
        peer.leave()


@pytest.mark.parametrize(
    "limits",
    [TrafficLimits(client_frames_per_second=2000), TrafficLimits(client_bytes_per_second=100 * KIBI)],
    ids=["frames", "bytes"],
)
async def test_above_its_clients_allowance_a_viewer_waits_and_everything_arrives_in_order(
    limits: TrafficLimits,
) -> None:
    app, texts = Quiet(), [f"{number:0100d}" for number in range(5000)]
    async with quiet(app, limits) as url:
        peer = await Peer.open(url)
        sending = asyncio.create_task(peer.send(*(frame(TEXT, text.encode()) for text in texts)))
        begun = asyncio.get_running_loop().time()
        await eventually(lambda: len(app.texts) == 5000)
        assert asyncio.get_running_loop().time() - begun > 0.3
        await sending
        peer.leave()
    assert app.texts == texts


@pytest.mark.parametrize(("path", "limit"), [(PATHS["playback"], 64 * KIBI), (PATHS["passthrough"], MEBI)], ids=PATHS)
async def test_a_message_above_the_endpoints_limit_is_refused_before_it_has_come(path: str, limit: int) -> None:
    async with playing(RunBackend(source(50)), door_max_message=MEBI) as relay:
        async with peer_at(relay, path) as peer:
            await peer.send(frame(BINARY, bytes(limit + 1))[:14])  # the head alone
            assert await close_of(peer) == 1009
        async with peer_at(relay, path) as peer:
            await peer.send(frame(BINARY, bytes(limit - 1), fin=False), frame(CONT, bytes(100))[:6])
            assert await close_of(peer) == 1009


async def test_messages_that_never_end_are_bounded_for_all_connections_of_a_client() -> None:
    half = frame(BINARY, bytes(MEBI))[: MEBI // 2]
    async with playing(RunBackend(source(50)), stream_client_unfinished_bytes=MEBI) as relay:
        registry = relay.app.state.service.metrics.registry
        limit = 16 * MEBI + 8 * KIBI  # one message of the largest size fits

        def held() -> float:
            return relay.value("bff_websocket_unfinished_bytes")

        peers = [await Peer.open(f"ws://127.0.0.1:{relay.port}{PATHS['passthrough']}") for _ in range(40)]
        for peer in peers:
            await peer.send(half)
        await eventually(
            lambda: registry.get_sample_value("bff_websocket_refused_total", {"limit": "client_unfinished"}) == 40 - 32
        )
        assert limit - MEBI < held() <= limit
        async with peer_at(relay, PATHS["passthrough"]) as late:
            await late.send(half)
            assert await close_of(late) == 1008
        for peer in peers:
            peer.leave()
        await eventually(lambda: held() == 0)


async def test_a_fragmented_message_counts_while_it_comes() -> None:
    limits = TrafficLimits(client_unfinished_bytes=100 * KIBI)
    async with quiet(Quiet(), limits) as url:
        peer = await Peer.open(url)
        await peer.send(frame(BINARY, bytes(10 * KIBI), fin=False), *[frame(CONT, bytes(10 * KIBI), fin=False)] * 12)
        assert await close_of(peer) == 1008
        peer.leave()


FRAGMENT = frame(CONT, b"x", fin=False)


@pytest.mark.parametrize(
    "begun",
    [frame(TEXT, b"x", fin=False), frame(TEXT, b"x", fin=False) + FRAGMENT, frame(TEXT, b"", fin=False),
     frame(TEXT, b"xy")[:-1], frame(TEXT, b"xy")[:1]],
    ids=["a fragment", "fragments", "an empty fragment", "half a frame", "half a head"],
)  # fmt: skip
async def test_a_message_that_does_not_end_is_closed_after_a_time(begun: bytes) -> None:
    async with quiet(Quiet(), TrafficLimits(message_seconds=0.1)) as url:
        peer = await Peer.open(url)
        await peer.send(begun)
        assert await close_of(peer) == 1008
        peer.leave()


async def test_fragments_and_pings_that_go_on_make_no_message_last_longer() -> None:
    async with quiet(Quiet(), TrafficLimits(message_seconds=0.2)) as url:
        peer = await Peer.open(url)
        await peer.send(frame(TEXT, b"x", fin=False))

        async def go_on() -> None:
            while True:
                await peer.send(FRAGMENT, frame(PING, b""))
                await asyncio.sleep(0.02)

        going = asyncio.create_task(go_on())
        assert await close_of(peer) == 1008
        going.cancel()
        await asyncio.wait((going,))
        peer.leave()


async def test_each_message_has_a_time_of_its_own() -> None:
    app = Quiet()
    async with quiet(app, TrafficLimits(message_seconds=1)) as url:
        peer = await Peer.open(url)
        first, *_ = pieces = [frame(TEXT, b"x", fin=False), frame(CONT, b"y") + frame(TEXT, b"x", fin=False)]
        await peer.send(first)
        for number in range(1, 16):  # one message after the other, of which never none is begun
            await asyncio.sleep(0.1)
            await peer.send(pieces[1])
            async with asyncio.timeout(30):
                while len(app.texts) < number:
                    await asyncio.sleep(0.01)
        await peer.send(frame(CONT, b"y"))
        await eventually(lambda: len(app.texts) == 16)
        peer.leave()


async def test_pongs_that_nobody_reads_are_not_piled_up_and_the_last_ping_is_answered() -> None:
    app, count = Quiet(), 100_000
    async with quiet(app) as url:
        peer = await Peer.open(url)
        await app.accepted.wait()
        reading = cast("asyncio.Transport", peer.writer.transport)
        reading.pause_reading()
        writer = app.wire
        assert writer is not None
        most = 0
        for start in range(0, count, 1000):
            await peer.send(*(frame(PING, f"{number:0125d}".encode()) for number in range(start, start + 1000)))
            most = max(most, writer.get_buffered())
        await peer.send(frame(TEXT, b"the end"))
        await eventually(lambda: app.texts == ["the end"])
        assert max(most, writer.get_buffered()) <= 64 * KIBI + MOST_SLICE
        reading.resume_reading()
        numbers: list[int] = []
        while not numbers or numbers[-1] != count - 1:
            seen = await peer.frame()
            assert seen is not None
            assert seen.opcode == PONG
            numbers.append(int(seen.payload))
        assert numbers == sorted(set(numbers))
        assert len(numbers) < count
        peer.leave()


async def test_a_refusal_arrives_though_more_is_on_its_way() -> None:
    limits = TrafficLimits(frames_per_second=100)
    app = Quiet()
    async with quiet(app, limits) as url:
        peer = await Peer.open(url)
        await send_whatever_is_taken(peer, frame(PONG) * 200_000)
        assert await close_of(peer) == 1008
        peer.leave()
        await eventually(lambda: bool(app.events))
    assert app.events == [{"type": "websocket.disconnect", "code": 1008, "reason": "too many frames"}]


async def test_an_honest_close_amid_traffic_is_clean(parsed: list[Frame]) -> None:
    app = Quiet()
    async with quiet(app, TrafficLimits(frames_per_second=500)) as url:
        peer = await Peer.open(url)
        await peer.send(*(frame(PING, bytes([number])) for number in range(100)), close(1000))
        seen = await peer.rest()
        assert [one.opcode for one in seen] == [PONG] * 100 + [CLOSE]
        assert seen[-1].code == 1000
        peer.leave()
    assert len(parsed) == 101
