"""What one address puts into the cache that all share: charts of ten years, as somebody new each time."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest
import redis

from tests.chaos.hostile.attacker import Attacker
from tests.chaos.hostile.harness import honest, nothing_moved
from tests.chaos.hostile.target import ADMIN_TOKEN, WAIT_S, Target, start_target
from tests.chaos.strength import STRENGTH

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

MEBI = 1 << 20
ALL_CHARTS, CHARTS = 100, 40 if STRENGTH.is_full else 4
"""So many fill Redis as delivered one and a third times; of fewer, so much less room: all of them take four minutes."""

REDIS_BYTES, CLIENT_BYTES = 256 * MEBI * CHARTS // ALL_CHARTS, 64 * MEBI * CHARTS // ALL_CHARTS
"""What Redis and a client's share of it are as delivered, for as many charts."""

TEN_YEARS = "/api/v1/chart-data?symbol={}&timeframe=1M&from_date=2015-01-01&to_date=2024-12-31&rth_only=false"
"""Outside of regular hours too, for which no hours stand in."""

MOST_S = 360.0
VICTIM = "/api/v1/chart-data?symbol=AAPL&timeframe=1H&from_date=2024-{:02}-01&to_date=2024-{:02}-28"


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """A stack as delivered, but for the room in its cache, and for the time that a chart may take on any machine."""
    own = {"BFF_CACHE_CLIENT_BYTES": str(CLIENT_BYTES), "BFF_CHART_TIMEOUT": str(WAIT_S)}
    made = start_target({"aggregator": own})
    with redis.Redis(port=made.stack["redis"].port) as keys:
        keys.config_set("maxmemory", REDIS_BYTES)
    yield made
    made.stack.stop()


async def test_charts_of_one_address_push_nobody_elses_entries_out_and_no_key_that_is_no_cache(target: Target) -> None:
    for month in range(1, 13):
        (await asyncio.to_thread(target.get, VICTIM.format(month, month))).raise_for_status()
    (await asyncio.to_thread(purge, target)).raise_for_status()
    with redis.Redis(port=target.stack["redis"].port) as keys:
        before = {bytes(key) for key in keys.scan_iter(count=1000)}
        lasting = {key for key in before if keys.ttl(key) == -1}
        entries = {key for key in before if b"{chart:AAPL}" in key}
        assert entries
        async with (
            honest(target) as witness,
            Attacker(target, "mallory") as attacker,
            asyncio.timeout(MOST_S),
        ):
            for number in range(CHARTS):
                path = TEN_YEARS.format(("MSFT", "TSLA", "NVDA", "SPY")[number % 4])
                while (await attacker.request("GET", path, [(b"Cookie", b"visit=%d" % number)])).status != 200:
                    await asyncio.sleep(0.1)  # what has come meanwhile is kept for the next request
        used = keys.info("memory")["used_memory"]
        after = {bytes(key) for key in keys.scan_iter(count=1000)}
        evicted = keys.info("stats")["evicted_keys"]
    left = f"{len(entries & after)} of {len(entries)} entries left"
    print(f"{used / MEBI:.0f} of {REDIS_BYTES / MEBI:.0f} MiB used, {evicted} evicted, {left}")
    assert lasting <= after
    assert {key for key in before if key.endswith(b":generation")} <= after
    assert entries <= after
    assert evicted == 0
    await nothing_moved(target, witness)


def purge(target: Target) -> httpx.Response:
    """Have the admin purge a symbol, which leaves a mark."""
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    return httpx.delete(f"{target.origin}/api/v1/cache/chart-data?symbol=SPY", headers=headers, timeout=WAIT_S)
