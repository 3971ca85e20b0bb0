"""How far runs are read ahead of their viewers while others are read too."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from bff_shared.lru import ByteLRU
from bff_wsrelay.framelog.fair_semaphore import FairSemaphore
from bff_wsrelay.framelog.frame_log import FrameLog
from bff_wsrelay.framelog.read_ahead import ReadAhead
from bff_wsrelay.framelog.replay_pass import SilenceTracker
from bff_wsrelay.framelog.topic import Listener, Topic
from bff_wsrelay.playback.pacer import Pacer
from tests.support.playback import Client, Relay, playing, watching
from tests.support.runs import Fate, RunBackend, assert_conserved, source

WAIT = 30
BEGUN = 50
"""Frames with which a run counts as begun to be read."""


@pytest.fixture(autouse=True)
def first_run_keeps_the_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bff_wsrelay.framelog.read_ahead.READING_FRAMES", BEGUN)
    monkeypatch.setattr("bff_wsrelay.framelog.ingester.READING_SECONDS", 1000.0)
    monkeypatch.setattr("bff_wsrelay.framelog.replay_pass.CAUGHT_UP_SECONDS", 1000.0)
    monkeypatch.setattr("bff_wsrelay.framelog.read_ahead.SLOT_SECONDS", 1000.0)
    monkeypatch.setattr("bff_wsrelay.framelog.read_ahead.AHEAD_SECONDS", 0.5)
    monkeypatch.setattr("bff_wsrelay.framelog.read_ahead.TARGET_SECONDS", 1.0)
    monkeypatch.setattr("bff_wsrelay.framelog.read_ahead.HOLD_SECONDS", 1000.0)


@asynccontextmanager
async def one_run_held(frames: int, speed: float, **options: Any) -> AsyncIterator[tuple[Relay, RunBackend, Client]]:
    """Play a run that is read no further than needed, because another that brings no more has the only slot."""
    first = Fate(stall_after=200)
    backend = RunBackend(source(300), lambda n: first if n == 0 else Fate(), more={"second": source(frames)})
    given = {"read_ahead_max": 1, "read_stall_seconds": 1000, "read_quiet_seconds": 1000, **options}
    async with playing(backend, **given) as relay, watching(relay.stream("?speed=0.1&autoplay=1")) as other:
        await other.until_type("frame")
        while frames_read(relay, "run") < 200:
            await asyncio.sleep(0.01)
        async with watching(relay.stream(f"?speed={speed}&autoplay=1", "second")) as client:
            await client.until_type("frame")
            client.messages[:] = client.frames
            async with asyncio.timeout(WAIT):
                while not relay.value("bff_stream_readings_held"):
                    await asyncio.sleep(0.01)
            yield relay, backend, client


def frames_read(relay: Relay, run: str) -> int:
    """Return how many frames of a run have been read."""
    (found,) = [log["frames"] for log in relay.app.state.registry.describe() if log["run_id"] == run]
    return int(found)


async def test_a_run_whose_viewers_have_enough_is_read_no_further_while_others_are_read() -> None:
    async with one_run_held(8_000, 0.1) as (relay, backend, client):
        read = frames_read(relay, "second")
        await client.until_type("frame")
        assert BEGUN <= frames_read(relay, "second") == read < 8_000
        assert backend.connections == 2


async def test_a_run_that_is_held_for_long_is_disconnected_until_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that hears nothing of its pings would end the connection."""
    monkeypatch.setattr("bff_wsrelay.framelog.read_ahead.HOLD_SECONDS", 0.05)
    async with one_run_held(8_000, 0.1) as (relay, backend, client):
        async with asyncio.timeout(WAIT):
            while backend.open > 1:
                await asyncio.sleep(0.01)
        await client.until_type("frame")
        await client.control(cmd="speed", val=300)
        await client.until_type("end")
        assert_conserved(client.frames, backend.more["second"])
        assert relay.value("bff_stream_upstream_breaks_total") == 0
        assert not [message for message in client.messages if message["t"] == "status"]


async def test_a_run_that_is_read_alone_is_read_to_its_end_at_once() -> None:
    backend = RunBackend(source(3_000))
    async with playing(backend, read_ahead_max=1) as relay, watching(relay.stream("?speed=0.1&autoplay=1")) as client:
        extent = await client.until_type("extent")
        assert extent["total"] == 3_000
        assert relay.value("bff_stream_readings_held") == 0


async def test_a_held_run_is_read_on_in_time_for_its_viewers() -> None:
    async with one_run_held(5_000, 60) as (_, backend, client):
        await client.until_type("end")
        assert_conserved(client.frames, backend.more["second"])
        assert not [message for message in client.messages if message["t"] == "status"]


async def test_a_seek_beyond_what_was_read_of_a_held_run_is_answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bff_wsrelay.framelog.read_ahead.LOOK_SECONDS", 1000.0)
    async with one_run_held(8_000, 0.1) as (relay, backend, client):
        assert frames_read(relay, "second") < 7_000
        await client.control(cmd="seek", pos=7_900)
        shown = await client.until(lambda message: message["t"] == "frame" and message["seq"] >= 7_900)
        assert shown["ts"] == backend.more["second"][7_900]["ts"]


@pytest.mark.parametrize("look", [4, 1_000])
def test_a_run_is_read_when_its_foremost_viewer_has_little_left_until_there_is_plenty(
    monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    monkeypatch.setattr("bff_wsrelay.framelog.read_ahead.LOOK_FRAMES", look)
    topic = Topic("run", FrameLog("e", 1 << 20, ByteLRU(1 << 20)))
    ahead, pacer = ReadAhead(topic, FairSemaphore(1, 1), lambda: ""), Pacer(topic.log, speed=1)
    topic.listeners.add(cast("Listener", pacer))

    def read_from(position: int) -> int:
        while ahead.may_read(position):
            position += 1
        return position

    assert read_from(0) == 30, "a second of playback"
    pacer.cursor = 15
    assert read_from(30) == 30, "half a second is left"
    pacer.cursor = 16
    assert read_from(30) == 46
    pacer.cursor = 2_000
    assert read_from(46) == 2_030, "one that has overtaken it"


def test_a_held_run_is_not_taken_for_one_that_has_ended() -> None:
    """Its heartbeats were received before it was held; the quiet since then is the relay's own."""
    silence = SilenceTracker(0.0, 0.0)
    silence.frame(1.0)
    silence.beat(1.5)
    silence.exclude(60.0)
    assert not silence.means_end(62.0, quiet=8.0)
    assert not silence.means_stall(62.0, patience=30.0)
    assert silence.means_end(70.0, quiet=8.0)
