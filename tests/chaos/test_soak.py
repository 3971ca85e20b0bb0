"""Steady mixed load for as long as SOAK says, in seconds (`make soak`): no error, and nothing grows."""

import asyncio
import os
import time
from dataclasses import dataclass, field

import numpy as np
import pytest

from tests.chaos.crowd import Crowd, learn
from tests.chaos.strength import STRENGTH
from tests.chaos.trial import memory
from tests.chaos.verdicts import lateness, violation
from tests.chaos.world import World, open_files, world
from tests.support.runs import assert_conserved

pytestmark = pytest.mark.slow

SECONDS = float(os.environ.get("SOAK", "0"))
SAMPLE_S = 2.0
SIZE, USERS = 3, 20
GROWTH = 2 * 1024 * 1024
"""Bytes a minute that memory may seem to grow by: what an allocator's noise makes of a flat line."""

FILES = 1.0
"""Open files a minute."""


@dataclass
class Samples:
    """Memory and open files of each process over time."""

    at: list[float] = field(default_factory=list)
    bytes: dict[str, list[int]] = field(default_factory=dict)
    files: dict[str, list[int]] = field(default_factory=dict)

    def take(self, running: World) -> None:
        """Add what is now."""
        self.at.append(time.monotonic())
        for name, size in memory(running).items():
            self.bytes.setdefault(name, []).append(size)
            self.files.setdefault(name, []).append(open_files(running.stack[name].pid or 0))


def slope(at: list[float], values: list[int]) -> float:
    """Return by how much the later half of the values grows a minute (least squares)."""
    half = len(at) // 2
    return float(np.polyfit(np.array(at[half:]), np.array(values[half:]), 1)[0]) * 60


async def _load(running: World, samples: Samples) -> Crowd:
    async with Crowd(running, "soak", SIZE, USERS) as crowd:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            if all(viewer.ended for viewer in crowd.viewers):
                _check_viewers(running, crowd)
                crowd.viewers.clear()
                crowd.add_viewers()
            samples.take(running)
            await asyncio.sleep(SAMPLE_S)
        await crowd.rest(60)
    return crowd


def _check_viewers(running: World, crowd: Crowd) -> None:
    for viewer in crowd.viewers:
        assert not viewer.closes
        assert_conserved(viewer.frames, running.frames)


@pytest.mark.timeout(SECONDS + 180)
@pytest.mark.skipif(not SECONDS, reason="a long measurement: make soak")
async def test_steady_load_grows_nothing_and_fails_nobody() -> None:
    samples = Samples()
    with world() as running:
        learn(running)
        crowd = await _load(running, samples)
    wrong = [
        violation(seen.outcome, "none", running.answers[seen.outcome.path])
        or lateness(seen.outcome, "none", STRENGTH.slack_s)
        for seen in crowd.seen
    ]
    grown = {name: slope(samples.at, values) for name, values in samples.bytes.items()}
    files = {name: slope(samples.at, values) for name, values in samples.files.items()}
    print(f"\n{len(crowd.seen):,} requests in {SECONDS:g} s")
    for name, values in samples.bytes.items():
        print(
            f"{name:11} {values[0] / 2**20:6.1f} → {values[-1] / 2**20:6.1f} MiB, {grown[name] / 2**10:+8.1f} KiB/min;"
            f" {samples.files[name][-1]} files, {files[name]:+.2f}/min"
        )
    assert not any(wrong), [text for text in wrong if text][:5]
    assert all(each < GROWTH for each in grown.values())
    assert all(each < FILES for each in files.values())
