"""Measure how fast a change of a flag takes effect in open pages, and what it costs requests.

Usage: python -m bench.scenarios.flags [--help]

The whole stack behind nginx, two replicas of the proxy, pages that listen on both. A page's part is played in full: an
event comes, the flags are evaluated anew, and the time counts when the answer has the new value. Meanwhile 200 requests
a second go to everything that a page asks. Then a changed file, and a rollback that nobody asked for.
"""

import argparse
import asyncio
import contextlib
import json
import ssl
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
from bench.lib.figures import figure

from bff_tools import Stack, StackOptions

SHIPPED = Path(__file__).parents[2] / "deploy/flags/flags.json"
TOKEN = "bench"  # noqa: S105  of a stack on this machine that ends with this script
ADMIN = {"authorization": f"Bearer {TOKEN}", "x-changed-by": "bench"}
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Reading the machine's certificates takes longer than a round, and nothing here is encrypted."""

RATE, LANES = 200, 24
PAGES = 8
KEY = "chart_data"


class Page:
    """An open page: listens, and notes when it first had each value."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self.value: bool | None = None
        self.since = 0.0
        self.heard = 0.0
        self._news = asyncio.Event()

    async def reach(self, value: bool) -> None:
        """Wait until the page has a value."""
        while self.value is not value:
            self._news.clear()
            await self._news.wait()

    async def live(self) -> None:
        """Listen until cancelled."""
        async with self._client.stream("GET", "/api/v1/flags/events", timeout=None) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    self.heard = time.perf_counter()
                    await self._evaluate(json.loads(line[6:])["revision"])

    async def _evaluate(self, revision: str) -> None:
        query, context = {"flagConfigEtag": revision}, {"context": {"targetingKey": "bench"}}
        answer = await self._client.post("/ofrep/v1/evaluate/flags", params=query, json=context)
        value = next(found["value"] for found in answer.json()["flags"] if found["key"] == KEY)
        if value != self.value:
            self.value, self.since = value, time.perf_counter()
            self._news.set()


async def load(port: int, run_id: str, outcomes: Counter[str]) -> None:
    """Ask for everything that pages ask for, at a steady rate, until cancelled."""
    paths = (
        "/api/v1/flags",
        "/ofrep/v1/evaluate/flags",
        "/api/v1/chart-data?symbol=AAPL&timeframe=1D&from=2024-01-01&to=2024-03-31",
        "/api/v1/runs?limit=5",
        f"/api/v1/runs/{run_id}/status",
        "/backtests?limit=1",
    )
    async with asyncio.TaskGroup() as group:
        for n in range(LANES):
            group.create_task(requests_of(port, paths[n % len(paths)], n / RATE, outcomes))


async def requests_of(port: int, path: str, offset: float, outcomes: Counter[str]) -> None:
    """Ask for one path over one connection, each time when it is due, until cancelled."""
    method = "POST" if path.startswith("/ofrep") else "GET"
    request = f"{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-length: 0\r\n\r\n".encode()
    due = time.perf_counter() + offset
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while True:
                await asyncio.sleep(due - time.perf_counter())
                due += LANES / RATE
                writer.write(request)
                status = await answered(reader)
                outcomes["answered" if status < 400 else f"status {status}"] += 1
        except (OSError, asyncio.IncompleteReadError) as error:
            outcomes[type(error).__name__] += 1
        finally:
            writer.close()


async def answered(reader: asyncio.StreamReader) -> int:
    """Read a whole answer and return its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"transfer-encoding: chunked" in head:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readuntil(b"\r\n")
    else:
        await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0))
    return int(head[9:12])


async def flip(client: httpx.AsyncClient, pages: list[Page], value: bool) -> list[tuple[float, float]]:
    """Change the flag and return, for each page, the milliseconds to the event and to the new value."""
    begun = time.perf_counter()
    content = {"value": value, "reason": "measuring"}
    (await client.put(f"/api/v1/flags/{KEY}", json=content, headers=ADMIN)).raise_for_status()
    await reach(pages, value)
    return [((page.heard - begun) * 1e3, (page.since - begun) * 1e3) for page in pages]


async def reach(pages: list[Page], value: bool) -> None:
    """Wait until all pages have a value."""
    async with asyncio.timeout(30):
        await asyncio.gather(*(page.reach(value) for page in pages))


def p(values: list[float], percent: int) -> float:
    """Return a percentile, by rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def say(what: str, values: list[float]) -> None:
    """Print one row."""
    row = f"p50 {p(values, 50):6.1f}   p99 {p(values, 99):6.1f}   max {max(values):6.1f} ms"
    print(f"  {what:<46} {row}   ({len(values)} measured)")


def asking(origin: str) -> httpx.AsyncClient:
    """Return a client of an origin."""
    return httpx.AsyncClient(base_url=origin, timeout=10, verify=NO_TLS)


@contextlib.asynccontextmanager
async def pages_of(origin: str) -> AsyncIterator[tuple[httpx.AsyncClient, list[Page]]]:
    """Open pages, spread over the replicas by nginx; yields a client for changes and the pages."""
    limits = httpx.Limits(max_connections=256, max_keepalive_connections=256)
    async with (
        httpx.AsyncClient(base_url=origin, timeout=10, limits=limits, verify=NO_TLS) as client,
        contextlib.AsyncExitStack() as stack,
    ):
        own = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=origin, timeout=10, verify=NO_TLS))
            for _ in range(PAGES)
        ]
        pages = [Page(one) for one in own]
        tasks = [asyncio.create_task(page.live()) for page in pages]
        await reach(pages, True)
        try:
            yield client, pages
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def flips(stack: Stack, number: int) -> None:
    """Print how long flips take while there is load, and what became of the requests."""
    async with pages_of(stack.origin) as (client, pages):
        run_id = (await client.get("/api/v1/runs", params={"limit": 1})).json()["items"][0]["run_id"]
        outcomes: Counter[str] = Counter()
        loading = asyncio.create_task(load(stack.origin_port, run_id, outcomes))
        await asyncio.sleep(1.0)
        begun, took = time.perf_counter(), []
        for n in range(number):
            took += await flip(client, pages, value=bool(n % 2))
            await asyncio.sleep(0.1)
        seconds = time.perf_counter() - begun
        before = outcomes.total()
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        say("change to event in a page", [event for event, _ in took])
        effects = [effect for _, effect in took]
        say("change to new value in a page", effects)
        figure("flag to its new value in a page, p99", p(effects, 99), "ms", goal=2000)
        failed = {name: count for name, count in outcomes.items() if name != "answered"}
        rate = before / (seconds + 1.0)
        print(f"  meanwhile {before} requests, {rate:.0f} a second; failed: {failed or 0}")
        figure("requests that fail while a flag flips", sum(failed.values()), "requests", goal=0)
        await without_word(stack, client, pages)


async def without_word(stack: Stack, client: httpx.AsyncClient, pages: list[Page]) -> None:
    """Print how long it takes where the replicas are not told, and have to look."""
    import redis

    took = []
    with redis.Redis.from_url(stack.redis_url) as server:
        for n in range(10):
            server.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            took += await flip(client, pages, value=bool(n % 2))
            await asyncio.sleep(1.2)
    say("the same, pub/sub connections cut before each", [effect for _, effect in took])


async def edits(stack: Stack, file: Path) -> None:
    """Print how long a changed file takes to be the pages' flags."""
    async with pages_of(stack.origin) as (client, pages):
        (await client.delete(f"/api/v1/flags/{KEY}", headers=ADMIN)).raise_for_status()
        content, took = json.loads(SHIPPED.read_bytes()), []
        for n in range(10):
            value = bool(n % 2)
            content["flags"][KEY]["defaultVariant"] = "on" if value else "off"
            begun = time.perf_counter()
            await asyncio.to_thread(file.write_text, json.dumps(content))
            await reach(pages, value)
            took += [(page.since - begun) * 1e3 for page in pages]
        say("file written to new value in a page", took)


async def trip(stack: Stack) -> None:
    """Print how long the automatic rollback takes from the first failure, with 40 charts a second that all fail."""
    async with (
        pages_of(stack.origin) as (client, pages),
        asking(stack.backend_url) as backend,
    ):
        await asyncio.sleep(6.0)
        day, asked = date(2024, 1, 2), 0
        (await backend.put("/__faults", json={"path_prefix": "/bars", "error_status": 500})).raise_for_status()
        begun = time.perf_counter()
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            off = group.create_task(pages[0].reach(value=False))
            while not off.done():
                query = {"symbol": "MSFT", "timeframe": "1M", "from": str(day), "to": str(day)}
                await client.get("/api/v1/chart-data", params=query)
                day, asked = day + timedelta(days=1), asked + 1
                await asyncio.sleep(0.025)
        seconds = time.perf_counter() - begun
        flags: dict[str, Any] = {found["key"]: found for found in (await client.get("/api/v1/flags")).json()["flags"]}
        print(f"  automatic rollback: {seconds:.1f} s and {asked} charts after the first failure")
        figure("automatic rollback after the first failure", seconds, "s")
        print(f"    {flags[KEY]['reason']} (source {flags[KEY]['source']})")
        await backend.delete("/__faults")
        begun = time.perf_counter()
        await flip(client, pages, value=True)
        print(f"    turned on again by hand: {(time.perf_counter() - begun) * 1e3:.0f} ms until all pages have it")
        await asyncio.sleep(3.0)
        state = {page.value for page in pages}
        print(f"    three seconds later it is {'on' if state == {True} else 'off'}")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=2)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "flags.json"
        file.write_bytes(SHIPPED.read_bytes())
        common = {"BFF_ADMIN_TOKEN": TOKEN, "BFF_FLAGS_FILE": str(file), "BFF_LOG_LEVEL": "WARNING"}
        judged = {**common, "BFF_ROLLBACK_ENABLED": "true", "BFF_ROLLBACK_WINDOW": "10"}
        judged["BFF_ROLLBACK_MIN_CLIENTS"] = "1"  # all of it comes from this machine
        for n in range(chosen.rounds):
            with Stack(StackOptions(environment={"*": common}, replicas={"proxy": 2})) as stack:
                print(f"round {n + 1}: {PAGES} pages on two replicas, {chosen.flips} flips")
                asyncio.run(flips(stack, chosen.flips))
                asyncio.run(edits(stack, file))
        with Stack(StackOptions(environment={"*": judged}, replicas={"proxy": 2}, demo_args=["--faults"])) as stack:
            asyncio.run(trip(stack))


if __name__ == "__main__":
    main()
