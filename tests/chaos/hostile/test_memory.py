"""What one address makes the aggregator keep: responses that nobody reads."""

import asyncio
import time
from collections import Counter

import httpx
import pytest

from tests.chaos.hostile.attacker import Attacker
from tests.chaos.hostile.harness import honest, unharmed
from tests.chaos.hostile.target import WAIT_S, Target, longest_run
from tests.chaos.strength import STRENGTH
from tests.support.http1 import read_head

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

MEBI = 1 << 20
READERS = 40 if STRENGTH.is_full else 14
POD = 1024 * MEBI
"""What the aggregator may have in Kubernetes."""


async def test_forty_readers_that_read_nothing_pin_no_more_than_their_address_may(target: Target) -> None:
    run_id, user = await asyncio.to_thread(longest_run, target)
    path = f"/api/v1/runs/{run_id}/complete?equity_points=0&orders_offset="
    size = len((await warm(target, f"{path}0", user)).content)
    statuses: Counter[int] = Counter()
    async with honest(target) as witness:
        async with Attacker(target, user) as attacker:

            async def reader(number: int) -> None:
                streams = await attacker.connect(attacker.head("GET", f"{path}{number}"), receive_bytes=4096)
                async with asyncio.timeout(60):
                    statuses[(await read_head(streams[0])).status] += 1

            reading = [asyncio.create_task(reader(number)) for number in range(READERS)]
            most, until = 0, time.monotonic() + STRENGTH.attack_s
            while time.monotonic() < until or not all(task.done() for task in reading):
                most = max(most, await asyncio.to_thread(target.memory, "aggregator"))
                await asyncio.sleep(0.1)
            await asyncio.gather(*reading)
            held = target.metric("aggregator", "bff_response_bytes_in_flight")
        print(f"{size >> 20} MiB each, {held / MEBI:.0f} MiB in flight, memory at most {most >> 20} MiB, {statuses}")
    assert set(statuses) <= {200, 503}
    assert held <= 128 * MEBI
    assert most < POD // 2
    await unharmed(target, witness)


async def warm(target: Target, path: str, user: str) -> httpx.Response:
    """Return a response whose parts may take longer than the first request for them may."""
    until = time.monotonic() + WAIT_S
    while True:
        answer = await asyncio.to_thread(target.get, path, user)
        if answer.status_code == 200 and not answer.json()["metadata"]["partial_data"]:
            return answer
        assert time.monotonic() < until, answer.text[:500]
