"""What a viewer sees while its backend breaks, stalls and comes back: a pause, and nothing lost or twice."""

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Request, Response

from bff_wsrelay.passthrough.session import SessionLimits
from bff_wsrelay.websocket.connector import ConnectionOptions, Connector
from tests.support.passthrough import StartBackend, StartRelay

READY, PLAY = {"t": "ready"}, {"t": "ctrl", "cmd": "play"}
SPEED = {"t": "ctrl", "cmd": "speed", "val": 60}
FRAMES = [
    {"t": "frame", "ts": f"2025-01-02T{14 + n // 60}:{n % 60:02d}:00Z", "orders": [{"order_id": f"o{n}"}]}
    for n in range(120)
]


class Player:
    """A newer backend that dies after so many frames, once for each number, and then plays to the end."""

    def __init__(self, *deaths: int, code: int | None = None) -> None:
        self.deaths = list(deaths)
        self.code = code
        self.heard: list[list[Any]] = []

    async def __call__(self, backend: ServerConnection) -> None:
        heard: list[Any] = []
        self.heard.append(heard)
        async for text in backend:
            message = json.loads(text)
            heard.append(message)
            if message["t"] == "ready":
                await backend.send('{"t": "ready_ack"}')
            elif message["t"] == "ctrl":
                await backend.send(json.dumps({**message, "echo": True}))
            if message == PLAY and READY in heard:
                await self.play(backend)

    async def play(self, backend: ServerConnection) -> None:
        limit = self.deaths.pop(0) if self.deaths else None
        for frame in FRAMES[:limit]:
            await backend.send(json.dumps(frame))
        if limit is None:
            await backend.send('{"t": "end"}')
        elif self.code is None:
            backend.transport.abort()
        else:
            await backend.close(self.code)


def kinds(messages: list[Any]) -> list[Any]:
    return [message.get("state", message["t"]) for message in messages if message["t"] != "frame"]


def is_end(message: Any) -> bool:
    return bool(message == {"t": "end"})


@pytest.mark.parametrize("code", [None, 1001, 1011, 1012, 1013])
async def test_every_frame_arrives_once_through_breaks(
    start_relay: StartRelay, start_backend: StartBackend, code: int | None
) -> None:
    player = Player(50, 20, 50, 90, 119, code=code)
    relay = await start_relay((await start_backend(player)).url)
    async with relay.watch() as viewer:
        await viewer.sends(READY, SPEED, PLAY)
        heard = await viewer.receives_until(is_end)
        text = relay.metrics.render().decode()
        assert "bff_door_viewers 1.0" in text
        assert "bff_door_breaks_total 5.0" in text
    assert [message for message in heard if message["t"] == "frame"] == FRAMES
    assert kinds(heard) == ["ready_ack", "ctrl", "ctrl", *["reconnecting", "live"] * 5, "end"]
    assert player.heard == [[READY, SPEED, PLAY]] * 6


async def test_a_status_says_attempt_and_delay(start_relay: StartRelay, start_backend: StartBackend) -> None:
    backend = await start_backend(Player())
    relay = await start_relay(backend.url, schedule=(0.001, 0.002, 0.004))
    async with relay.watch() as viewer:
        await viewer.sends(SPEED)
        await viewer.receives()
        await backend.stop()
        lost = await viewer.receives(4)
        await backend.start()
        back = await viewer.receives_until(lambda message: message["state"] == "live")
        await viewer.sends(SPEED)
        await viewer.receives()
        backend.kill()
        again = await viewer.receives(2)
    assert [(one["state"], one["attempt"], one["retry_ms"]) for one in lost] == [
        ("reconnecting", 1, 1),
        ("reconnecting", 2, 2),
        ("reconnecting", 3, 4),
        ("reconnecting", 4, 4),
    ]
    assert back[-1] == {"t": "status", "state": "live", "attempt": back[-1]["attempt"], "retry_ms": 0}
    assert [(one["state"], one["attempt"]) for one in again] == [("reconnecting", 1), ("live", 1)]


async def test_what_the_viewer_says_during_an_outage_is_answered_after_it(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    player = Player()
    backend = await start_backend(player)
    relay = await start_relay(backend.url)
    async with relay.watch() as viewer:
        await viewer.sends(READY, SPEED)
        await viewer.receives(2)
        await backend.stop()
        await viewer.receives()
        await viewer.sends({"t": "hb"}, PLAY)
        await backend.start()
        heard = await viewer.receives_until(is_end)
    assert player.heard[-1] == [READY, SPEED, PLAY]
    assert [message for message in heard if message["t"] == "frame"] == FRAMES
    assert [message for message in heard if message["t"] == "ctrl"] == [{**PLAY, "echo": True}]


async def test_a_viewer_that_comes_while_the_backend_is_away_waits_inside(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    backend = await start_backend(Player())
    await backend.stop()
    relay = await start_relay(backend.url)
    async with relay.watch() as viewer:
        assert (await viewer.receives())[0]["state"] == "reconnecting"
        await viewer.sends(READY, PLAY)
        await backend.start()
        heard = await viewer.receives_until(is_end)
    assert [message for message in heard if message["t"] == "frame"] == FRAMES


async def test_a_backend_too_slow_to_answer_the_handshake_does_not_keep_the_viewer_out(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    released = asyncio.Event()

    async def stand_still(_connection: ServerConnection, _request: Request) -> None:
        await released.wait()

    backend = await start_backend(Player(), process_request=stand_still)
    relay = await start_relay(backend.url, limits=SessionLimits(admit=0.05))
    async with relay.watch() as viewer:
        await viewer.sends(READY, PLAY)
        released.set()
        heard = await viewer.receives_until(is_end)
    assert [message for message in heard if message["t"] == "frame"] == FRAMES


async def test_a_viewer_that_offers_subprotocols_waits_outside(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    backend = await start_backend(Player(), subprotocols=["v1"])
    await backend.stop()
    relay = await start_relay(backend.url)
    opening = asyncio.create_task(relay.watch(subprotocols=["v1"]).__aenter__())
    await asyncio.wait([opening], timeout=0.05)
    assert not opening.done()
    await backend.start()
    async with asyncio.timeout(30):
        viewer = await opening
    assert viewer.connection.subprotocol == "v1"
    await viewer.connection.close()


async def test_a_subprotocol_that_cannot_be_agreed_in_time_is_answered_502(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    backend = await start_backend(Player())
    await backend.stop()
    relay = await start_relay(backend.url, limits=SessionLimits(negotiate=0.05))
    with pytest.raises(InvalidStatus) as caught:
        await relay.watch(subprotocols=["v1"]).__aenter__()
    body = json.loads(caught.value.response.body)
    assert (caught.value.response.status_code, body["error"]["code"]) == (502, "BACKEND_UNAVAILABLE")


async def test_a_viewer_that_waits_outside_a_draining_relay_is_answered_503(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    backend = await start_backend(Player())
    await backend.stop()
    relay = await start_relay(backend.url)
    opening = asyncio.create_task(relay.watch(subprotocols=["v1"]).__aenter__())
    async with asyncio.timeout(30):
        while not relay.admission.connections:
            await asyncio.sleep(0.005)
        await relay.admission.drain.run()
        with pytest.raises(InvalidStatus) as caught:
            await opening
    answer = caught.value.response
    assert (answer.status_code, json.loads(answer.body)["error"]["code"]) == (503, "BUSY")
    assert int(answer.headers["Retry-After"]) >= 1


async def test_a_defect_before_the_handshake_is_answered_is_a_500_in_the_canonical_shape(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise LookupError("of ours")

    monkeypatch.setattr(Connector, "connect", fail)
    relay = await start_relay("http://127.0.0.1:9")
    with pytest.raises(InvalidStatus) as caught:
        await relay.watch().__aenter__()
    answer = caught.value.response
    assert (answer.status_code, json.loads(answer.body)["error"]["code"]) == (500, "INTERNAL")


@pytest.mark.parametrize(("status", "code"), [(401, 4401), (403, 4403), (404, 4404)])
async def test_credentials_refused_on_redialling_close_the_viewer(
    start_relay: StartRelay, start_backend: StartBackend, status: int, code: int
) -> None:
    answers = [None, 503, 500, 429, status]

    def judge(_connection: ServerConnection, _request: Request) -> Response | None:
        answer = answers.pop(0)
        return None if answer is None else Response(answer, "", Headers([("Content-Length", "0")]), b"")

    relay = await start_relay((await start_backend(Player(5), process_request=judge)).url)
    async with relay.watch() as viewer:
        await viewer.sends(READY, PLAY)
        assert (await viewer.ends())[0] == code
    assert answers == []


async def test_a_gateway_without_a_backend_is_a_backend_that_is_away(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    answers = [502, 503, 504, None]

    def judge(_connection: ServerConnection, _request: Request) -> Response | None:
        answer = answers.pop(0)
        return None if answer is None else Response(answer, "", Headers([("Content-Length", "0")]), b"")

    relay = await start_relay((await start_backend(Player(), process_request=judge)).url)
    async with relay.watch() as viewer:
        assert kinds(await viewer.receives(4)) == ["reconnecting", "reconnecting", "reconnecting", "live"]


async def test_a_backend_that_stays_away_ends_the_wait_with_1013(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    backend = await start_backend(Player())
    await backend.stop()
    relay = await start_relay(backend.url, limits=SessionLimits(reconnect=0.05))
    async with relay.watch() as viewer:
        assert (await viewer.ends())[0] == 1013


async def test_a_viewer_that_sends_too_much_during_an_outage_gets_busy(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    player = Player()
    backend = await start_backend(player)
    await backend.stop()
    relay = await start_relay(backend.url, limits=SessionLimits(max_held=2))
    async with relay.watch() as viewer:
        await viewer.sends(READY, SPEED, SPEED)
        heard = await viewer.receives_until(lambda message: message["t"] == "err")
        assert heard[-1]["code"] == "BUSY"
        await backend.start()
        await viewer.receives_until(lambda message: message["t"] == "ctrl")
    assert player.heard == [[READY, SPEED]]


async def test_words_of_another_protocol_too_many_for_an_absent_backend_end_in_1013(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    backend = await start_backend(Player())
    await backend.stop()
    relay = await start_relay(backend.url, limits=SessionLimits(max_held=1), schedule=(30.0,))
    async with relay.watch() as viewer:
        await viewer.sends("one", "two")
        assert (await viewer.ends())[0] == 1013


async def test_a_backend_that_falls_silent_is_asked_and_then_replaced(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    released = asyncio.Event()
    connections: list[ServerConnection] = []

    async def script(backend: ServerConnection) -> None:
        connections.append(backend)
        if len(connections) == 1:
            backend.transport.pause_reading()
        else:
            await backend.send('{"t": "hb"}')
        await released.wait()

    options = ConnectionOptions(ping_interval=0.05, ping_timeout=0.5)
    relay = await start_relay((await start_backend(script)).url, options=options)
    async with relay.watch() as viewer:
        assert kinds(await viewer.receives(3)) == ["reconnecting", "live", "hb"]
        connections[0].transport.abort()
        released.set()


async def test_a_silent_backend_that_answers_pings_is_left_alone(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    options = ConnectionOptions(ping_interval=0.1, ping_timeout=1.0)

    async def script(backend: ServerConnection) -> None:
        for _ in range(4):
            await (await backend.ping())
        await asyncio.sleep(1.5 * (options.ping_interval + options.ping_timeout))  # longer than silence is borne
        await backend.send('{"t": "hb"}')
        await backend.wait_closed()

    backend = await start_backend(script)
    relay = await start_relay(backend.url, options=options)
    async with relay.watch() as viewer:
        assert await viewer.receives() == [{"t": "hb"}]
    assert backend.served == 1


async def test_draining_viewers_are_told_to_come_back(start_relay: StartRelay, start_backend: StartBackend) -> None:
    backend = await start_backend(Player())
    relay = await start_relay(backend.url, stream_drain_spread=0.01)
    async with relay.watch() as viewer:
        await viewer.sends(SPEED)
        await viewer.receives()
        await relay.admission.drain.run()
        [told] = await viewer.receives()
        assert (told["t"], told["state"]) == ("status", "draining")
        assert 200 <= told["retry_ms"] <= 1200
        assert (await viewer.ends())[0] == 1012
    with pytest.raises(InvalidStatus) as caught:
        await relay.watch().__aenter__()
    assert caught.value.response.status_code == 503
    assert "Retry-After" in caught.value.response.headers
