"""What goes wrong for one subscriber stays with it: others keep their frames, the failed one is closed with 1011."""

import asyncio
import json
import logging
import socket
from typing import Any

import pytest

from bff_wsrelay.playback.subscriber import Subscriber
from tests.support.playback import Client, Relay, playing, watching
from tests.support.rfc6455 import TEXT, Peer, frame
from tests.support.runs import Fate, RunBackend, source

PARTS = {
    "on_due": "advance",
    "prepare": "peek",
    "on_growth": "on_growth",
    "receive_message": "apply",
    "writing": "send_frame",
}
"""The turns of a subscriber, and the method of its pacer that each of them calls; of its sink where it writes."""


class Faulty:
    """A pacer or sink one of whose methods raises."""

    def __init__(self, whole: Any, method: str) -> None:
        self._whole, self._method = whole, method

    def __getattr__(self, name: str) -> Any:
        if name == self._method:
            raise TypeError(f"a defect in {name}")
        return getattr(self._whole, name)


def subscribers(relay: Relay) -> list[Subscriber]:
    found: set[Subscriber] = relay.app.state.playback.subscribers
    return sorted(found, key=lambda each: each.opened)


async def frames_within(client: Client, seconds: float) -> int:
    before = len(client.frames)
    try:
        async with asyncio.timeout(seconds):
            while True:
                client.messages.append(json.loads(await client.connection.recv()))
    except TimeoutError:
        return len(client.frames) - before


@pytest.mark.parametrize("part", PARTS)
async def test_a_subscriber_whose_turn_fails_is_closed_and_others_go_on(
    part: str, caplog: pytest.LogCaptureFixture
) -> None:
    backend = RunBackend(source(3000), lambda _: Fate(stall_after=2000), status="RUNNING", beat_seconds=1000)
    async with (
        playing(backend, read_stall_seconds=1000) as relay,
        watching(relay.stream("?speed=2")) as good,
        watching(relay.stream("?speed=120"), additional_headers={"X-Request-ID": "the-victim"}) as bad,
    ):
        await good.control(cmd="play")
        await good.until_type("frame")
        await bad.control(cmd="play")
        await bad.until(lambda message: message["t"] == "frame" and (part != "on_growth" or message["seq"] == 1999))
        (victim,) = (each for each in subscribers(relay) if each.pacer.speed == 120)
        with caplog.at_level(logging.ERROR):
            if part == "writing":
                victim._sink = Faulty(victim._sink, PARTS[part])
            else:
                victim.pacer = Faulty(victim.pacer, PARTS[part])  # type: ignore[assignment]
            if part == "on_growth":
                victim.topic.publish(victim.topic.log)
            if part == "receive_message":
                await bad.control(cmd="pause")
            assert await bad.until_closed() == 1011
        assert bad.messages[-1] == {"t": "err", "code": "INTERNAL", "msg": "the relay failed to play the run"}
        (record,) = (each for each in caplog.records if each.levelno == logging.ERROR)
        assert (vars(record)["run_id"], vars(record)["request_id"]) == ("run", "the-victim")
        assert await frames_within(good, 1.0) >= 20
        async with asyncio.timeout(30):
            while len(subscribers(relay)) > 1:
                await asyncio.sleep(0.01)


async def test_a_message_that_is_too_large_ends_the_connection_with_1009() -> None:
    async with playing(RunBackend(source(100)), stream_max_message=1024) as relay, watching(relay.stream()) as client:
        await client.connection.send(json.dumps({"t": "ctrl", "cmd": "pause", "note": "x" * 1024}))
        assert await client.until_closed() == 1009


async def test_an_echo_holds_the_known_fields_only() -> None:
    async with playing(RunBackend(source(100))) as relay, watching(relay.stream()) as client:
        for value in ({"a": [1] * 1000}, "x" * 1000):
            await client.control(cmd="pause", note="x" * 1000, val=value)
            assert await client.until_type("ctrl") == {"t": "ctrl", "cmd": "pause", "echo": True}
        await client.control(cmd="speed", val=2.5, note="x")
        assert await client.until_type("ctrl") == {"t": "ctrl", "cmd": "speed", "val": 2.5, "echo": True}


OWED = 128 * 1024
"""More than a transport's high-water mark and one answer; a flood is owed several times as much."""


@pytest.mark.slow
async def test_a_viewer_that_sends_and_does_not_read_is_read_no_more_and_loses_nothing() -> None:
    count = 40_000
    options: dict[str, Any] = {"stream_max_controls": 10_000, "stream_controls_per_client": 1_000_000}
    options |= {"stream_frames_per_second": 1_000_000, "stream_client_frames_per_second": 1_000_000}
    async with playing(RunBackend(source(100)), **options) as relay:
        with socket.socket() as narrow:
            narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            narrow.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
            narrow.connect(("127.0.0.1", relay.port))
            peer = await Peer.open(relay.stream(), sock=narrow)
            (viewer,) = subscribers(relay)
            flooding = asyncio.create_task(flood(peer, count))
            most, quiet = 0, 0
            while quiet < 20:
                await asyncio.sleep(0.05)
                obeyed = relay.app.state.playback.flush()["controls"]
                quiet = quiet + 1 if obeyed and viewer.describe()["buffered"] and most == obeyed else 0
                most = obeyed
                assert viewer.describe()["buffered"] < OWED
            assert not flooding.done(), "everything was read"
            echoes = 0
            async with asyncio.timeout(60):
                while echoes < count:
                    seen = await peer.frame()
                    assert seen is not None
                    echoes += b'"echo":true' in seen.payload
            await flooding
            peer.leave()


async def flood(peer: Peer, count: int) -> None:
    """Send so many controls, as fast as they are read but below what a viewer may say."""
    words = frame(TEXT, b'{"t":"ctrl","cmd":"pause"}') * 100
    for _ in range(0, count, 100):
        await peer.send(words)
        await asyncio.sleep(0.012)


async def test_messages_of_one_address_wait_when_there_are_too_many_of_them() -> None:
    async with playing(RunBackend(source(100)), stream_controls_per_client=50, stream_max_controls=1000) as relay:
        async with watching(relay.stream()) as one, watching(relay.stream()) as other:
            begun = asyncio.get_running_loop().time()
            for client in (one, other):
                for _ in range(80):
                    await client.connection.send('{"t":"ready"}')
                    await asyncio.sleep(0.001)
            for client in (one, other):
                for _ in range(80):
                    await client.until_type("ready_ack")
        assert asyncio.get_running_loop().time() - begun >= (160 - 100) / 50 - 0.1


async def test_counts_that_cannot_be_handed_over_once_are_handed_over_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bff_wsrelay.playback.endpoint.FLUSH_SECONDS", 0.01)
    async with playing(RunBackend(source(100))) as relay, watching(relay.stream()) as client:
        playback, failed = relay.app.state.playback, asyncio.Event()

        def broken() -> None:
            failed.set()
            raise ValueError("no")

        with monkeypatch.context() as patch:
            patch.setattr(playback, "flush", broken)
            async with asyncio.timeout(30):
                await failed.wait()
        await client.control(cmd="pause")
        await client.until_type("ctrl")
        registry = relay.app.state.service.metrics.registry
        async with asyncio.timeout(30):
            while not registry.get_sample_value("bff_stream_controls_total"):
                await asyncio.sleep(0.01)
