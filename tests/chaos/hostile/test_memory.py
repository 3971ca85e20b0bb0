"""What one address makes the aggregator keep: responses that nobody reads, and a cache full of its own charts."""

import asyncio
import time
from collections import Counter

import httpx
import pytest
import redis

from tests.chaos.hostile.attacker import Attacker
from tests.chaos.hostile.harness import honest, unharmed
from tests.chaos.hostile.target import ADMIN_TOKEN, WAIT_S, Target, longest_run
from tests.chaos.strength import STRENGTH
from tests.support.http1 import read_head

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

MEBI = 1 << 20
READERS, CHARTS = (40, 80) if STRENGTH.is_full else (14, 20)
POD = 1024 * MEBI
"""What the aggregator may have in Kubernetes."""

TEN_YEARS = "/api/v1/chart-data?symbol={}&timeframe=1M&from_date=2015-01-01&to_date=2024-12-31&target_points=2000"
VICTIM = "/api/v1/chart-data?symbol=AAPL&timeframe=1H&from_date=2024-{:02}-01&to_date=2024-{:02}-28"


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


async def test_charts_of_one_address_push_nobody_elses_entries_out_and_no_key_that_is_no_cache(target: Target) -> None:
    for month in range(1, 13):
        (await asyncio.to_thread(target.get, VICTIM.format(month, month))).raise_for_status()
    (await asyncio.to_thread(purge, target)).raise_for_status()
    with redis.Redis(port=target.stack["redis"].port) as keys:
        before = {bytes(key) for key in keys.scan_iter(count=1000)}
        lasting = {key for key in before if keys.ttl(key) == -1}
        entries = {key for key in before if b"{chart:AAPL}" in key}
        assert entries
        async with honest(target) as witness:
            statuses: Counter[int] = Counter()
            async with Attacker(target, "mallory") as attacker:
                for number in range(CHARTS):
                    symbol = ("MSFT", "TSLA", "NVDA", "SPY")[number % 4]
                    headers = [(b"Cookie", b"visit=%d" % number), (b"X-Request-Timeout", b"20")]
                    statuses[(await attacker.request("GET", TEN_YEARS.format(symbol), headers)).status] += 1
        after = {bytes(key) for key in keys.scan_iter(count=1000)}
        evicted = keys.info("stats")["evicted_keys"]
    print(f"{statuses}, {evicted} evicted, {len(entries & after)} of {len(entries)} entries left")
    assert lasting <= after
    assert {key for key in before if key.endswith(b":generation")} <= after
    assert entries <= after
    assert evicted == 0
    await unharmed(target, witness)


async def warm(target: Target, path: str, user: str) -> httpx.Response:
    """Return a response whose parts may take longer than the first request for them may."""
    until = time.monotonic() + WAIT_S
    while True:
        answer = await asyncio.to_thread(target.get, path, user)
        if answer.status_code == 200 and not answer.json()["metadata"]["partial_data"]:
            return answer
        assert time.monotonic() < until, answer.text[:500]


def purge(target: Target) -> httpx.Response:
    """Have the admin purge a symbol, which leaves a mark."""
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    return httpx.delete(f"{target.origin}/api/v1/cache/chart-data?symbol=SPY", headers=headers, timeout=WAIT_S)
