"""Clients of all kinds at once: charts, runs, proxied and legacy requests, POSTs, and viewers."""

import asyncio
import itertools
import math
import time
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

from tests.chaos.verdicts import WHOLE_CURVE, Kind, Outcome
from tests.chaos.viewer import Viewer
from tests.chaos.world import CHART_TIMEOUT, RUN_TIMEOUT, SILENCE, World, ask

CHART = Kind("chart", CHART_TIMEOUT)
RUN = Kind("run", RUN_TIMEOUT)
PROXIED = Kind("proxied", 3 * SILENCE, stream=True)
POST = Kind("post", 3 * SILENCE, stream=True)
LEGACY = Kind("legacy", math.inf, stream=True, patience=8.0)
"""Straight to the backend, so as slow as it is: without the services nobody limits that either."""
KINDS = (CHART, RUN, PROXIED, POST, LEGACY)

LEARN_S = 20.0

PAUSE_S = 0.05
"""Between two requests of one client: the machine that runs the tests is small."""

TOKEN_REQUESTS = 3
"""Requests made as one user; the next user finds nothing cached."""

SPEED = 160
"""How fast the run is played: 4,800 frames a second, so its month of minutes takes less than two seconds."""


def paths(world: World) -> dict[Kind, list[str]]:
    """Return what is asked for, by kind."""
    run, chart = world.run_id, "/api/v1/chart-data?symbol=AAPL"
    return {
        CHART: [
            f"{chart}&timeframe=1M&from=2024-11-01&to=2024-11-05",
            f"{chart}&timeframe=1M&from=2024-11-04&to=2024-11-08&target=400",
            f"{chart}&timeframe=1H&from=2024-10-01&to=2024-11-30",
            f"{chart}&timeframe=1D&from=2024-01-01&to=2024-06-30",
        ],
        RUN: [f"/api/v1/runs/{run}/complete", f"/api/v1/runs/{run}/complete?equity_points=300"],
        PROXIED: [f"/api/v1/backtests/{run}/orders", "/api/v1/bars/daily?symbol=AAPL&from=2024-10-01&to=2024-10-31"],
        POST: ["/api/v1/backtests"],
        LEGACY: [f"/backtests/{run}/orders"],
    }


def learn(world: World) -> None:
    """Ask for everything once while nothing is broken, and keep status and value as the truth."""
    refusal = httpx.post(f"{world.stack.origin}/api/v1/backtests", json={}, timeout=LEARN_S)
    for kind, asked in paths(world).items():
        for path in asked:
            truth = (refusal.status_code, refusal.json()) if kind is POST else (200, ask(world.stack.origin + path))
            world.answers[path] = truth
    curve = ask(f"{world.stack.origin}/api/v1/runs/{world.run_id}/complete?equity_points=0")["equity"]
    for path in paths(world)[RUN]:
        world.answers[path][1][WHOLE_CURVE] = curve


@dataclass(frozen=True, slots=True)
class Seen:
    """An outcome, and the monotonic second at which its request began."""

    begun: float
    outcome: Outcome


@dataclass
class Crowd:
    """`size` askers of each kind and as many viewers at a time, and all that they saw.

    `users` is how many there are behind the askers; without it each is somebody new, for whom nothing is cached.
    """

    world: World
    name: str
    size: int
    users: int | None = None
    seen: list[Seen] = field(default_factory=list)
    viewers: list[Viewer] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)
    _numbers: Any = field(default_factory=itertools.count)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        """Let them begin."""
        limits = httpx.Limits(max_connections=10 * self.size, keepalive_expiry=1.0)
        self._client = httpx.AsyncClient(base_url=self.world.origin, timeout=None, limits=limits)  # noqa: S113  `_ask` has one
        for kind, asked in paths(self.world).items():
            self._tasks += [asyncio.create_task(self._ask_on(kind, asked)) for _ in range(self.size)]
        self.add_viewers()
        return self

    async def __aexit__(self, *failure: object) -> None:
        """End what is still going on."""
        self._stopped.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    def add_viewers(self) -> None:
        """Let `size` more viewers play the run, each with credentials of its own but for every second one."""
        origin = self.world.origin.replace("http", "ws", 1)
        url = f"{origin}/api/v1/runs/{self.world.run_id}/stream?autoplay=1&speed={SPEED}"
        for number in range(self.size):
            user = f"{self.name}-viewer-{len(self.viewers) - number % 2}"
            viewer = Viewer(url, user)
            self.viewers.append(viewer)
            self._tasks.append(asyncio.create_task(viewer.watch()))

    async def asked(self, requests: int, since: float, within: float) -> bool:
        """Wait until so many requests of each limited kind, begun after `since`, are over; False: it took too long."""
        until = time.monotonic() + within
        while any(self._count(kind, since) < requests for kind in KINDS if kind is not LEGACY):
            if time.monotonic() > until:
                return False
            await asyncio.sleep(0.01)
        return True

    def _count(self, kind: Kind, since: float) -> int:
        return sum(seen.begun >= since for seen in self.seen if seen.outcome.kind is kind)

    async def well(self, within: float) -> bool:
        """Wait until the latest request of each kind, begun from now on, got what it asked for."""
        since, until = time.monotonic(), time.monotonic() + within
        while time.monotonic() < until:
            latest = {seen.outcome.kind: seen.outcome for seen in self.seen if seen.begun >= since}
            if len(latest) == len(KINDS) and all(o.status == self.world.answers[o.path][0] for o in latest.values()):
                return True
            await asyncio.sleep(0.01)
        return False

    async def watched(self, within: float) -> bool:
        """Wait until every viewer has seen the end."""
        until = time.monotonic() + within
        while not all(viewer.ended for viewer in self.viewers):
            if time.monotonic() > until:
                return False
            await asyncio.sleep(0.01)
        return True

    async def rest(self, within: float) -> None:
        """Let nobody begin another request, and wait for those under way."""
        self._stopped.set()
        await asyncio.wait(self._tasks, timeout=within)

    async def _ask_on(self, kind: Kind, asked: list[str]) -> None:
        user = ""
        for number, path in enumerate(itertools.cycle(asked)):
            if number % TOKEN_REQUESTS == 0:
                user = self._user()
            if self._stopped.is_set():
                return
            begun = time.monotonic()
            outcome = await self._ask(kind, path, user, f"{user}-{kind.name}-{number}")
            self.seen.append(Seen(begun, outcome))
            await asyncio.sleep(PAUSE_S)

    def _user(self) -> str:
        number = next(self._numbers)
        return f"{self.name}-{number if self.users is None else number % self.users}"

    async def _ask(self, kind: Kind, path: str, user: str, key: str) -> Outcome:
        assert self._client is not None
        begun = time.monotonic()
        headers = {"Authorization": f"Bearer {user}"}
        try:
            async with asyncio.timeout(kind.patience):
                if kind is POST:
                    self.keys.append(key)
                    answer = await self._client.post(path, json={}, headers={**headers, "Idempotency-Key": key})
                else:
                    answer = await self._client.get(path, headers=headers)
        except (httpx.HTTPError, TimeoutError) as error:
            return Outcome(kind, path, time.monotonic() - begun, error=type(error).__name__)
        return Outcome(kind, path, time.monotonic() - begun, answer.status_code, answer.content)
