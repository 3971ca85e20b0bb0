"""What goes wrong for one subscriber stays with it: others keep their frames, the failed one is closed with 1011."""

import asyncio
import json
import logging
from typing import Any

import pytest

from bff_wsrelay.spectator import Spectator
from tests.support.playback import Client, Relay, playing, watching
from tests.support.runs import Fate, RunBackend, source

PARTS = {"tick": "advance", "prepare": "peek", "grown": "grown", "hear": "obey"}
"""The turns of a subscriber, and the player's method that each of them calls."""


class Faulty:
    """A player one of whose methods raises."""

    def __init__(self, player: Any, method: str) -> None:
        self._player, self._method = player, method

    def __getattr__(self, name: str) -> Any:
        if name == self._method:
            raise TypeError(f"a defect in {name}")
        return getattr(self._player, name)


def subscribers(relay: Relay) -> list[Spectator]:
    found: set[Spectator] = relay.app.state.playback.spectators
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
        await bad.until(lambda message: message["t"] == "frame" and (part != "grown" or message["seq"] == 1999))
        (victim,) = (each for each in subscribers(relay) if each.player.speed == 120)
        with caplog.at_level(logging.ERROR):
            victim.player = Faulty(victim.player, PARTS[part])  # type: ignore[assignment]
            if part == "grown":
                victim.recording.feed(victim.recording.log)
            if part == "hear":
                await bad.control(cmd="pause")
            assert await bad.until_closed() == 1011
        assert bad.messages[-1] == {"t": "err", "code": "INTERNAL", "msg": "the relay failed to play the run"}
        (record,) = (each for each in caplog.records if each.levelno == logging.ERROR)
        assert (vars(record)["run_id"], vars(record)["request_id"]) == ("run", "the-victim")
        assert await frames_within(good, 1.0) >= 20
        async with asyncio.timeout(10):
            while len(subscribers(relay)) > 1:
                await asyncio.sleep(0.01)
