"""A backend that sends too much, or what nobody can read: who uses something else of it notices nothing."""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.chaos.hostile.attacker import Attacker, playback
from tests.chaos.hostile.front import FRAMES, MALFORMED_AT
from tests.chaos.hostile.harness import BACKENDS_OWN, honest, unharmed
from tests.chaos.hostile.target import Target, start_target
from tests.chaos.strength import STRENGTH
from tests.support.http1 import Message, read_head
from tests.support.rfc6455 import CLOSE, PING, PONG, Peer, frame

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[3]
MEBI = 1 << 20
GOOD, MALFORMED = 20, 5
MADE_S = 60.0
PLAY_S = 90.0
"""By when a run that takes 20 s on a machine of its own is over on any."""


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
    await make(target, f"/backtests/{name}-0")
    async with honest(target) as witness, Attacker(target, "mallory") as attacker:
        with target.peak("aggregator") as peak:
            usual, until, statuses = peak(), time.monotonic() + STRENGTH.attack_s, Counter[int]()
            most = usual + 96 * MEBI
            async with asyncio.timeout(MADE_S):
                # 504 where it did not arrive in time.
                while (time.monotonic() < until or not statuses[502]) and peak() < most:
                    path = f"/api/v1/runs/{name}-{statuses.total()}/complete"
                    statuses[(await attacker.request("GET", path)).status] += 1
            print(f"{statuses}, memory {usual >> 20} → at most {peak() >> 20} MiB")
        assert peak() < most
        assert set(statuses) <= {502, 504}
    await unharmed(target, witness, BACKENDS_OWN)


async def make(target: Target, path: str) -> None:
    """Have the backend make a response, which takes it longer the first time than a run may."""
    backend = urlsplit(target.stack.backend_url)
    reader, writer = await asyncio.open_connection(backend.hostname, backend.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    async with asyncio.timeout(MADE_S):
        assert (await read_head(reader)).status == 200
    writer.transport.abort()


async def test_odd_values_cost_only_the_part_or_row_that_holds_them(target: Target) -> None:
    runs, one, view = "/api/v1/runs?symbol=ODD", "/api/v1/runs/odd-1/complete", "/api/v1/runs/odd-1/view"
    chart = "/api/v1/chart-data?symbol=ODD&timeframe=1M&from_date=2024-01-01&to_date=2024-01-05"
    statuses = set()
    async with honest(target) as witness:
        until = time.monotonic() + STRENGTH.attack_s
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
    assert [bar["volume"] for bar in bars.json()["bars"]] == [100, None]
    assert b"INTERNAL" not in whole.content + lines.content
    await unharmed(target, witness, BACKENDS_OWN)


async def test_one_malformed_run_among_twenty_good_ones_costs_their_viewers_no_frame(target: Target) -> None:
    """A malformed run is played without its malformed frames, and disturbs nobody.

    At 74dc254 its own viewers are closed with 1011, which is why this fails there; those of the good runs lose nothing.
    """
    async with Attacker(target, "trent", "127.0.0.3") as users, Attacker(target, "mallory") as attacker:
        good = [await users.websocket(f"{playback(f'good-{n}')}?autoplay=1&speed=1") for n in range(GOOD)]
        watching = [asyncio.create_task(seqs_to_the_end(peer)) for peer in good]
        async with honest(target) as witness:  # whose usual is a machine that plays the good ones
            for number in range(MALFORMED):
                bad = await attacker.websocket(f"{playback(f'malformed-{number}')}?autoplay=1&speed=20")
                watching.append(asyncio.create_task(seqs_to_the_end(bad)))
            await asyncio.sleep(STRENGTH.attack_s)
        seen = await asyncio.gather(*watching)
    assert [each == list(range(FRAMES)) for each in seen[:GOOD]] == [True] * GOOD, "each frame, once, alone, in order"
    readable = FRAMES - len(MALFORMED_AT)
    assert [each[-1] + 1 for each in seen[GOOD:]] == [readable] * MALFORMED, "what can be read of a run is played"
    await unharmed(target, witness)


async def seqs_to_the_end(peer: Peer | Message) -> list[int]:
    """Return the `seq` of each frame of a run until its end. No frame may be coalesced for a slow connection."""
    assert isinstance(peer, Peer), peer.body
    found: list[int] = []
    async with asyncio.timeout(PLAY_S):
        while (seen := await peer.frame()) is not None:
            assert seen.opcode != CLOSE, (seen.code, len(found))
            if seen.opcode == PING:
                await peer.send(frame(PONG, seen.payload))
                continue
            message = json.loads(seen.payload)
            if message["t"] == "end":
                return found
            if message["t"] == "frame":
                assert message["dropped"] == 0, message
                found.append(message["seq"])
    raise AssertionError("the connection ended before the run")
