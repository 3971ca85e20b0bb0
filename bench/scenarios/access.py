"""Count what the backend is spared where cached data is shared: `BFF_CACHE_SCOPE`, one after the other.

Usage: python -m bench.scenarios.access [--requests 2000] [--scopes shared]

50 users work through a day of eight hours, each in visits of 20 requests, for each of which they have a new token: the
list of runs, a run's page, the run whole again, and its symbol's chart panned and zoomed, two seconds apart (`visit`).
The backend lets everybody read everything. The calls and bytes that it answers are held against those of a page without
the BFF, which asks for each run's metrics itself. The clock by which entries and verdicts age is the scenario's.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from urllib.parse import urlsplit

import httpx
from bench.lib.figures import figure

from bff_aggregator.app import create_app
from bff_aggregator.settings import AggregatorSettings
from bff_demo.options import Options
from bff_demo.server import DemoServer

USERS, VISIT = 50, 20
PAUSE_SECONDS, DAY_SECONDS = 2.0, 8 * 3600.0
BEGIN = 1_767_600_000.0
SCOPES = ("credentials", "identity", "shared")
GOAL = 95.0
SEED = 1


@dataclass
class Backend:
    """Counts what passes between the aggregator and the backend."""

    url: str
    calls: int = 0
    sent: int = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on."""
        to = urlsplit(self.url)
        back, forth = await asyncio.open_connection(to.hostname, to.port)

        async def requests() -> None:
            while data := await reader.read(65_536):
                self.calls += data.startswith(b"GET ")
                forth.write(data)
            forth.close()

        async def responses() -> None:
            while data := await back.read(65_536):
                self.sent += len(data)
                writer.write(data)
                await writer.drain()
            writer.close()

        with contextlib.suppress(asyncio.CancelledError):  # the scenario is over
            await asyncio.gather(requests(), responses(), return_exceptions=True)


@asynccontextmanager
async def counting(url: str) -> AsyncIterator[tuple[Backend, str]]:
    """Serve a backend with its calls counted."""
    backend = Backend(url)
    server = await asyncio.start_server(backend.connected, "127.0.0.1", 0)
    async with server:
        yield backend, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@dataclass(frozen=True)
class Step:
    """One request to the BFF, and the calls of a page that does without."""

    path: str
    direct: tuple[str, ...]


def token(user: int, number: int) -> str:
    """Return the number-th token of a user."""
    claims = json.dumps({"sub": f"user-{user}", "jti": number}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).rstrip(b'=').decode()}.x"


def visit(draw: random.Random, user: int, runs: list[dict[str, str]]) -> Iterator[Step]:
    """Return the requests of one visit; a user works on one run all day, and many on the first ones."""
    run = runs[min(int(random.Random(user).expovariate(0.4)), len(runs) - 1)]  # noqa: S311  repeatable, no secret
    run_id, symbol = run["run_id"], run["symbol"]
    parts = tuple(f"/backtests/{run_id}{part}" for part in ("", "/metrics", "/equity", "/orders"))
    metrics = tuple(f"/backtests/{other['run_id']}/metrics" for other in runs)
    yield Step("/api/v1/runs?limit=20", ("/backtests?limit=20", *metrics))
    first, days = date.fromisoformat(run["run_from"]), 60
    hours = f"/bars/hour?symbol={symbol}&from={first}&to={first + timedelta(days=days)}&rth_only=true"
    yield Step(f"/api/v1/runs/{run_id}/view?timeframe=1H", (*parts, hours))
    yield Step(f"/api/v1/runs/{run_id}/complete", parts)
    for _ in range(VISIT - 3):
        first += timedelta(days=draw.choice((-14, -7, 7, 14)))
        first = min(max(first, date(2024, 1, 2)), date(2025, 10, 1))
        days = draw.choice((30, 60, 90))
        window = f"symbol={symbol}&from={first}&to={first + timedelta(days=days)}"
        yield Step(f"/api/v1/chart-data?timeframe=1H&{window}", (f"/bars/hour?{window}&rth_only=true",))


def day(requests: int, runs: list[dict[str, str]]) -> list[tuple[float, str, Step]]:
    """Return a day's requests in the order of their times (Unix seconds), each with its token."""
    draw, found = random.Random(SEED), list[tuple[float, str, Step]]()  # noqa: S311  repeatable, no secret
    for number in range(requests // VISIT):
        at, mine = BEGIN + draw.uniform(0, DAY_SECONDS), token(number % USERS, number)
        found += [
            (at + PAUSE_SECONDS * place, mine, step) for place, step in enumerate(visit(draw, number % USERS, runs))
        ]
    return sorted(found, key=lambda one: one[0])


async def directly(url: str, todo: list[tuple[float, str, Step]]) -> Backend:
    """Return what a page without the BFF costs; each different call is made once and counted as often as it is made."""
    sizes: dict[str, int] = {}
    found = Backend(url)
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        for _, _, step in todo:
            for path in step.direct:
                if path not in sizes:
                    sizes[path] = len((await client.get(path)).content)
                found.calls += 1
                found.sent += sizes[path]
    return found


async def through(url: str, scope: str, todo: list[tuple[float, str, Step]]) -> Backend:
    """Return what the same requests cost the backend through an aggregator."""
    clock = BEGIN
    async with counting(url) as (backend, counted):
        settings = AggregatorSettings(
            backend_url=counted, cache_scope=scope, chart_timeout=60, run_timeout=60, digest_key="k"
        )
        app = create_app(settings, lambda: clock)
        transport = httpx.ASGITransport(app)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://b") as bff:
            for at, mine, step in todo:
                clock = at
                response = await bff.get(step.path, headers={"authorization": f"Bearer {mine}"}, timeout=60)
                if response.status_code != 200:
                    raise SystemExit(f"{step.path}: {response.status_code} {response.text[:200]}")
    return backend


async def main(requests: int, scopes: Sequence[str]) -> None:
    """Print calls and bytes by scope."""
    with DemoServer(Options()) as demo:
        async with httpx.AsyncClient(base_url=demo.url, timeout=60) as client:
            runs = (await client.get("/backtests?limit=20")).json()["items"]
        runs = [run for run in runs if run["status"] == "DONE"]
        todo = day(requests, runs)
        direct = await directly(demo.url, todo)
        print(f"{len(todo)} requests of {USERS} users: {direct.calls} direct calls, {direct.sent / 1e6:.1f} MB")
        print("| scope | calls | bytes, MB | fewer calls | fewer bytes |\n|---|---|---|---|---|")
        for scope in scopes:
            found = await through(demo.url, scope, todo)
            calls, sent = 100 * (1 - found.calls / direct.calls), 100 * (1 - found.sent / direct.sent)
            print(f"| {scope} | {found.calls} | {found.sent / 1e6:.1f} | {calls:.1f} % | {sent:.1f} % |", flush=True)
            goal = None if scope == "credentials" else GOAL
            figure(f"calls spared with scope {scope}", calls, "%", better="higher", goal=goal)
            figure(f"bytes spared with scope {scope}", sent, "%", better="higher")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--scopes", nargs="+", default=SCOPES, choices=SCOPES)
    chosen = parser.parse_args()
    asyncio.run(main(chosen.requests, chosen.scopes))
