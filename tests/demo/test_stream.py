import asyncio
import json
from collections.abc import Callable, Iterator
from functools import partial

import httpx
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket

from bff_demo.options import Options
from bff_demo.server import DemoServer

Find = Callable[..., str]
PLAY, PAUSE = '{"t":"ctrl","cmd":"play"}', '{"t":"ctrl","cmd":"pause"}'
PLAY_ECHO, PAUSE_ECHO = '{"t": "ctrl", "cmd": "play", "echo": true}', '{"t": "ctrl", "cmd": "pause", "echo": true}'
MONTH = 21 * 390

# A client that leaves in the middle of a run has stopped reading, so it would wait in vain for the answer to its close.
connect = partial(open_socket, close_timeout=0.05)


@pytest.fixture
def month(find_run: Find) -> str:
    """A run of 21 sessions; more than the socket buffers of both sides hold."""
    return find_run("MSFT", "2025-03-01", "2025-03-31")


@pytest.fixture(scope="module")
def quick() -> Iterator[DemoServer]:
    with DemoServer(Options(heartbeat_seconds=0.05)) as server:
        yield server


async def receive(socket: ClientConnection) -> str:
    async with asyncio.timeout(20):
        return str(await socket.recv(decode=True))


async def frames(socket: ClientConnection, count: int) -> list[str]:
    received: list[str] = []
    while len(received) < count:
        text = await receive(socket)
        if text != '{"t": "hb"}':
            received.append(text)
    return received


def events(client: httpx.Client, run: str) -> list[str]:
    return client.get(f"/backtests/{run}/stream", params={"speed": "60"}).text.split("\n\n")


async def test_conversation_goes_as_transcribed(demo: DemoServer, month: str) -> None:
    async with connect(f"{demo.ws_url}/backtests/{month}/ws") as socket:
        for said in ("not json", '{"t":"hello"}', '{"t":"ctrl","cmd":"dance"}'):
            await socket.send(said)
            assert json.loads(await receive(socket))["code"] == "VALIDATION"
        await socket.send('{"t":"ctrl","cmd":"speed","val":60}')
        assert await receive(socket) == '{"t": "ctrl", "cmd": "speed", "val": 60, "echo": true}'
        await socket.send(PLAY)
        assert await receive(socket) == PLAY_ECHO
        assert json.loads(await receive(socket))["ts"] == "2025-03-03T14:30:00Z"


async def test_whole_run_arrives_once_without_an_end(demo: DemoServer, client: httpx.Client, month: str) -> None:
    async with connect(f"{demo.ws_url}/backtests/{month}/ws") as socket:
        await socket.send(PLAY)
        texts = (await frames(socket, MONTH + 1))[1:]
        stamps = [json.loads(text)["ts"] for text in texts]
        assert len(set(stamps)) == MONTH
        assert stamps == sorted(stamps)
        # Nothing but the echo follows the last frame.
        await socket.send('{"t":"ctrl","cmd":"speed","val":1}')
        assert (await frames(socket, 1)) == ['{"t": "ctrl", "cmd": "speed", "val": 1, "echo": true}']
    assert [f"event: frame\ndata: {text}" for text in texts] == events(client, month)[:-2]


async def test_seek_has_no_effect(demo: DemoServer, month: str) -> None:
    async with connect(f"{demo.ws_url}/backtests/{month}/ws") as socket:
        await socket.send('{"t":"ctrl","cmd":"seek","pos":5000}')
        await socket.send(PLAY)
        assert json.loads((await frames(socket, 3))[2])["ts"] == "2025-03-03T14:30:00Z"


async def test_play_while_playing_is_only_echoed(demo: DemoServer, month: str) -> None:
    async with connect(f"{demo.ws_url}/backtests/{month}/ws") as socket:
        await socket.send(PLAY)
        await socket.send(PLAY)
        texts = await frames(socket, MONTH + 2)
        assert texts.count(PLAY_ECHO) == 2
        assert len({json.loads(text)["ts"] for text in texts if text != PLAY_ECHO}) == MONTH


async def test_play_after_pause_starts_from_the_first_frame(demo: DemoServer, month: str) -> None:
    async with connect(f"{demo.ws_url}/backtests/{month}/ws", max_queue=16) as socket:
        await socket.send(PLAY)
        first = (await frames(socket, 2))[1]
        await socket.send(PAUSE)
        received = 1
        while await receive(socket) != PAUSE_ECHO:
            received += 1
        assert received < MONTH
        await socket.send('{"t":"ctrl","cmd":"speed","val":2}')
        assert (await frames(socket, 1)) == ['{"t": "ctrl", "cmd": "speed", "val": 2, "echo": true}']
        await socket.send(PLAY)
        assert await frames(socket, 2) == [PLAY_ECHO, first]


async def test_each_connection_has_its_own_player(demo: DemoServer, month: str) -> None:
    url = f"{demo.ws_url}/backtests/{month}/ws"
    async with connect(url) as one, connect(url) as other:
        await one.send(PLAY)
        await frames(one, 100)
        await other.send(PAUSE)
        assert await receive(other) == PAUSE_ECHO
        await other.send(PLAY)
        assert json.loads((await frames(other, 2))[1])["ts"] == "2025-03-03T14:30:00Z"


async def test_slow_reader_holds_the_player_back(demo: DemoServer, find_run: Find) -> None:
    run = find_run("AAPL", "2024-01-01", "2025-12-31")
    async with connect(f"{demo.ws_url}/backtests/{run}/ws", max_queue=1, compression=None) as socket:
        await socket.send(PLAY)
        assert await receive(socket) == PLAY_ECHO
        await socket.send(PAUSE)
        rest = 0
        while await receive(socket) != PAUSE_ECHO:
            rest += 1
        # Without backpressure all 194,700 frames would have been queued before the pause was read.
        assert rest < 150_000


async def test_unknown_run_is_told_after_play_and_the_socket_stays_open(demo: DemoServer) -> None:
    async with connect(f"{demo.ws_url}/backtests/nope/ws") as socket:
        for _ in range(2):
            await socket.send(PLAY)
            assert await frames(socket, 2) == [
                PLAY_ECHO,
                '{"t": "err", "code": "STREAM_ERROR", "msg": "run not found: nope"}',
            ]


async def test_run_without_artifacts_is_a_stream_error(demo: DemoServer, find_run: Find) -> None:
    async with connect(f"{demo.ws_url}/backtests/{find_run('MSFT', '2025-06-01', '2025-06-30')}/ws") as socket:
        await socket.send(PLAY)
        assert json.loads((await frames(socket, 2))[1])["code"] == "STREAM_ERROR"


async def test_heartbeats_come_while_idle_and_while_playing(quick: DemoServer, month: str) -> None:
    async with connect(f"{quick.ws_url}/backtests/{month}/ws", max_queue=16) as socket:
        assert [await receive(socket) for _ in range(3)] == ['{"t": "hb"}'] * 3
        await socket.send(PLAY)
        beats = frames_seen = 0
        while frames_seen < MONTH:
            text = await receive(socket)
            beats += text == '{"t": "hb"}'
            frames_seen += '"frame"' in text
            if frames_seen % 2000 == 0:
                await asyncio.sleep(0.05)
        assert beats


async def test_loop_stands_still_while_a_run_is_loaded(month: str) -> None:
    with DemoServer(Options(heartbeat_seconds=0.02, load_delay=0.5)) as slow:
        async with connect(f"{slow.ws_url}/backtests/{month}/ws") as socket:
            assert await receive(socket) == '{"t": "hb"}'
            await socket.send(PLAY)
            while await receive(socket) != PLAY_ECHO:
                pass
            before_first_frame = []
            while '"frame"' not in (text := await receive(socket)):
                before_first_frame.append(text)
        # 25 heartbeats would fit into the delay.
        assert len(before_first_frame) < 5


async def test_newer_protocol_wants_ready_and_sends_end(month: str) -> None:
    with DemoServer(Options(protocol="newer")) as newer:
        async with connect(f"{newer.ws_url}/backtests/{month}/ws") as socket:
            await socket.send(PLAY)
            await socket.send('{"t":"ready"}')
            assert await receive(socket) == '{"t": "ready_ack"}'
            await socket.send(PLAY)
            assert await receive(socket) == PLAY_ECHO
            texts = await frames(socket, MONTH + 1)
            assert texts[-1] == '{"t": "end"}'
            assert json.loads(texts[0])["total_frames"] == MONTH
            assert list(json.loads(texts[0])["metrics"]) == ["total_return", "max_drawdown"]


async def test_stopping_the_backend_closes_open_sockets(month: str) -> None:
    with DemoServer() as demo:
        async with connect(f"{demo.ws_url}/backtests/{month}/ws") as socket:
            await socket.send('{"t":"ctrl","cmd":"speed","val":1}')
            await receive(socket)
            await asyncio.to_thread(demo.stop)
            async with asyncio.timeout(30):
                await socket.wait_closed()
            assert socket.close_code == 1012


def test_events_end_with_end(client: httpx.Client, month: str) -> None:
    found = events(client, month)
    assert found[0].startswith('event: frame\ndata: {"t": "frame", "ts": "2025-03-03T14:30:00Z", "ohlc": {"o": ')
    assert found[-2:] == ['event: end\ndata: {"t": "end"}', ""]
    assert len(found) == MONTH + 2


def test_events_of_an_unknown_run_are_one_error(client: httpx.Client) -> None:
    answer = client.get("/backtests/nope/stream")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text == ('event: error\ndata: {"t": "err", "code": "STREAM_ERROR", "msg": "run not found: nope"}\n\n')


def test_events_want_a_number_as_speed(client: httpx.Client, month: str) -> None:
    assert client.get(f"/backtests/{month}/stream", params={"speed": "fast"}).status_code == 422
