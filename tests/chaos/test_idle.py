"""Ten thousand connections to nginx that ask for nothing, or never to the end: the others notice nothing.

`make chaos` runs it: the connections take 20,000 open files, half of them nginx's.
"""

import asyncio
import resource
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.chaos.hostile.clients import Held, Told
from tests.chaos.strength import STRENGTH
from tests.chaos.world import World, open_files, resident, world

SPARE = 500
WANTED = 10_000
SECONDS = 5.0
HEADER_TIMEOUT_S = 15.0
"""After which nginx answers 408 to a request whose header does not end (client_header_timeout)."""

OTHERS = 40
"""Files that nginx may open meanwhile for the healthy."""

MOST_BYTES = 8_192
KEPT = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"
HALF = b"GET /api/v1/chart-data?symbol=AAPL HTTP/1.1\r\nHost: a\r\nX-A: "
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not STRENGTH.is_full, reason="part of make chaos"),
]


@pytest.fixture(scope="module")
def whole() -> Iterator[World]:
    with world() as made:
        yield made


def workers(parent: int) -> list[int]:
    """Return nginx's processes."""
    return [parent, *map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())]


async def latencies(whole: World) -> list[float]:
    """Return what healthy requests to each of the services take for some seconds, in milliseconds."""
    took = []
    async with httpx.AsyncClient(
        base_url=whole.stack.origin, timeout=10, headers={"Authorization": "Bearer a"}
    ) as http:
        paths = [
            f"/api/v1/backtests/{whole.run_id}/orders",
            "/api/v1/chart-data?symbol=AAPL&timeframe=1D&from=2024-01-01&to=2024-06-30",
            "/api/v1/flags",
        ]
        for path in paths:
            assert (await http.get(path)).status_code == 200
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            for path in paths:
                begun = time.perf_counter()
                assert (await http.get(path)).status_code == 200
                took.append((time.perf_counter() - begun) * 1e3)
    return took


def shown(took: list[float]) -> str:
    ordered = sorted(took)
    return f"p50 {statistics.median(took):.1f} ms, p99 {ordered[int(len(ordered) * 0.99)]:.1f} ms"


def megabytes(grown: int) -> str:
    return f"{grown / 2**20:+.1f} MiB"


@dataclass
class Nginx:
    """Memory and open files of nginx's processes."""

    pids: list[int]

    @property
    def files(self) -> int:
        return sum(map(open_files, self.pids))

    @property
    def bytes(self) -> int:
        return sum(map(resident, self.pids))

    async def holds(self, most: int, within: float) -> None:
        """Wait until it has no more than so many files open."""
        until = time.monotonic() + within
        while self.files > most:
            assert time.monotonic() < until, f"{self.files} files are open, {most} were expected"
            await asyncio.sleep(0.05)


@pytest.mark.timeout(300)
async def test_ten_thousand_idle_connections_cost_little_and_are_given_back(whole: World) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    count = min(WANTED, limit - SPARE)
    parent = whole.stack["nginx"].pid
    assert parent is not None
    nginx = Nginx(workers(parent))
    held = Held(lambda _: iter([HALF] * (count // 2) + [KEPT] * (count // 2)), Told())
    before, memory, files = await latencies(whole), nginx.bytes, nginx.files
    begun = time.monotonic()
    try:
        await asyncio.to_thread(held.begin, whole)
        opened, more, grown = time.monotonic() - begun, nginx.files - files, nginx.bytes - memory
        meanwhile = await latencies(whole)
        await nginx.holds(files + count // 2 + OTHERS, HEADER_TIMEOUT_S + 15)
        unfinished, kept = time.monotonic() - begun, nginx.files - files
    finally:
        await asyncio.to_thread(held.end, whole)
    await nginx.holds(files + OTHERS, 15)
    after = shown(await latencies(whole))
    print(f"\n{count:,} connections opened in {opened:.1f} s: nginx holds {more:,} files more and {megabytes(grown)}")
    print(f"after {unfinished:.0f} s, without the unfinished requests: {kept:,} files more")
    print(f"after all left: {nginx.files - files} files more and {megabytes(nginx.bytes - memory)}")
    print(f"healthy requests before: {shown(before)}; meanwhile: {shown(meanwhile)}; after: {after}")
    assert more >= count * 0.99
    assert grown / count < MOST_BYTES
    assert kept >= count // 2
