"""A backend that sends too much, or what nobody can read: who uses something else of it notices nothing."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.hostile.attacker import Attacker, playback
from tests.chaos.hostile.harness import BACKENDS_OWN, honest, unharmed
from tests.chaos.hostile.target import Target, start_target
from tests.support.http1 import Message
from tests.support.rfc6455 import CLOSE, PING, PONG, Peer, frame

pytestmark = [pytest.mark.timing, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[3]
MEBI = 1 << 20
ATTACK_S = 6.0
GOOD, MALFORMED, FRAMES_S = 20, 5, 30
PLAY_S = 15.0


@contextmanager
def in_front() -> Iterator[dict[str, Any]]:
    """Yield options of a stack whose backend stands behind a hostile one, which is ended afterwards."""
    started: list[subprocess.Popen[str]] = []

    def through(port: int) -> int:
        command = [sys.executable, "-m", "tests.chaos.hostile.front", str(port)]
        process = subprocess.Popen(  # noqa: S603  our own module
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        assert process.stdout
        return int(process.stdout.readline())

    try:
        yield {"through": {"backend": through}}
    finally:
        for process in started:
            process.communicate()


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """A stack as delivered behind which a backend is hostile now and then."""
    with in_front() as options:
        made = start_target(**options)
        yield made
        made.stack.stop()


@pytest.mark.parametrize("name", ["bomb-500000000", "bombs-1500000000"])
async def test_bodies_that_unpack_to_far_too_much_cost_neither_memory_nor_time(target: Target, name: str) -> None:
    async with honest(target) as witness, Attacker(target, "mallory") as attacker:
        until, most = time.monotonic() + ATTACK_S, 0
        for number in range(1000):
            answer = await attacker.request("GET", f"/api/v1/runs/{name}-{number}/complete")
            # 504 where the backend itself was still making the bomb at the deadline.
            assert answer.status in {502, 504}, answer.body
            most = max(most, target.memory("aggregator"))
            if time.monotonic() > until:
                break
        assert most < witness.before.memory["aggregator"] + 96 * MEBI
    await unharmed(target, witness, BACKENDS_OWN)


async def test_odd_values_cost_only_the_part_or_row_that_holds_them(target: Target) -> None:
    runs, one, view = "/api/v1/runs?symbol=ODD", "/api/v1/runs/odd-1/complete", "/api/v1/runs/odd-1/view"
    chart = "/api/v1/chart-data?symbol=ODD&timeframe=1M&from_date=2024-01-01&to_date=2024-01-05"
    statuses = set()
    async with honest(target) as witness:
        until = time.monotonic() + ATTACK_S
        while time.monotonic() < until:
            page, whole, lines, bars = await asyncio.gather(
                *(asyncio.to_thread(target.get, path, "mallory") for path in (runs, one, view, chart))
            )
            statuses |= {answer.status_code for answer in (page, whole, lines, bars)}
    assert statuses == {200}
    items = [item["run_id"] for item in page.json()["items"]]
    assert items[:5] == [f"row-{number}" for number in range(5)]
    assert whole.json()["run"]["run_id"] == "odd-1"
    assert "2" in [order["order_id"] for order in whole.json()["orders"] or [{"order_id": "2"}]]
    assert len(bars.json()["bars"]) == 1
    assert b"INTERNAL" not in whole.content + lines.content
    await unharmed(target, witness, BACKENDS_OWN)


async def test_one_malformed_run_among_twenty_good_ones_costs_their_viewers_no_frame(target: Target) -> None:
    async with Attacker(target, "trent", "127.0.0.3") as users, Attacker(target, "mallory") as attacker:
        good = [await users.websocket(f"{playback(f'good-{n}')}?autoplay=1&speed=1") for n in range(GOOD)]
        watching = [asyncio.create_task(frames(peer, PLAY_S)) for peer in good]
        async with honest(target) as witness:  # whose usual is a machine that plays the good ones
            for number in range(MALFORMED):
                bad = await attacker.websocket(f"{playback(f'malformed-{number}')}?autoplay=1&speed=20")
                watching.append(asyncio.create_task(frames(bad, ATTACK_S)))
            counts = await asyncio.gather(*watching)
            await asyncio.sleep(max(0.0, witness.began + ATTACK_S - time.monotonic()))
    assert min(counts[:GOOD]) >= 0.95 * FRAMES_S * PLAY_S, counts
    assert min(counts[GOOD:]) > 0, "what can be read of a malformed run is played"
    await unharmed(target, witness, BACKENDS_OWN)


async def frames(peer: Peer | Message, seconds: float) -> int:
    """Return how many frames of a run arrive in so many seconds from the first one, which is not counted."""
    assert isinstance(peer, Peer), peer.body
    count, until = -1, time.monotonic() + 30
    while time.monotonic() < until and (seen := await peer.frame()) is not None:
        assert seen.opcode != CLOSE, (seen.code, count)
        if seen.opcode == PING:
            await peer.send(frame(PONG, seen.payload))
        elif b'"frame"' in seen.payload:
            count += 1
            until = until if count else time.monotonic() + seconds
        elif b'"t":"end"' in seen.payload:
            break
    return count
