"""An office behind one address: users of their own, with pages of their own runs, meet no limit and notice nobody."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from tests.chaos.hostile.attacker import Attacker, playback
from tests.chaos.hostile.harness import BACKENDS_OWN, blame, differences, honest, percentile
from tests.chaos.hostile.target import TOKENS, WAIT_S, Target, days
from tests.chaos.strength import STRENGTH
from tests.support.http1 import Message, read_head
from tests.support.rfc6455 import CLOSE, PING, PONG, Peer, frame

pytestmark = [pytest.mark.slow, pytest.mark.timing, pytest.mark.timeout(400)]

PAGES, AT_ONCE = (100, 5) if STRENGTH.is_full else (20, 2)
STREAMS = 10
ADDRESS = "127.0.0.3"
RUNS = 8 if STRENGTH.is_full else 1
"""Runs of each of the backend's users that are played; a cookie makes a user of each page."""

SYMBOLS = ("AAPL", "MSFT", "NVDA", "SPY", "TSLA")
ASKED_S, ALL_PLAY_S = 120.0, 200.0
"""Deadlines against a hang; that a page is refused nothing is judged, not how long a busy machine takes."""

EVERY_S = 1.0
"""Between two frames of a stream."""

CHART = "/api/v1/chart-data?symbol={}&timeframe=1H&from=2024-10-01&to=2024-11-30"
EVENTS = (b"Accept", b"text/event-stream")
LATE = 504
"""A response that took longer than a request may; what it was made of is kept, so a page asks again."""


@dataclass(frozen=True)
class Page:
    """One user's page: its connections, the cookie that they carry, and what it shows."""

    connections: Attacker
    cookie: tuple[bytes, bytes]
    run_id: str
    symbol: str

    def requests(self) -> Iterator[str]:
        """Return what it asks for when it is opened."""
        yield "/api/v1/runs?limit=20"
        yield f"/api/v1/runs/{self.run_id}/complete?equity_points=300"
        yield CHART.format(self.symbol)


@dataclass
class Office:
    """The pages of one address, and what they have met."""

    pages: int
    statuses: Counter[int] = field(default_factory=Counter)
    late: int = 0
    frames: list[list[float]] = field(default_factory=list)
    """When the frames of each stream came."""
    first_frame: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def open(self, page: Page, tasks: asyncio.TaskGroup) -> None:
        """Ask for the events of flags, a list, a run and a chart, and play ten streams at a frame a second.

        `tasks` are where the streams are watched.
        """
        events = page.connections.head("GET", "/api/v1/flags/events", [EVENTS, page.cookie])
        reader, _ = await page.connections.connect(events)
        async with asyncio.timeout(WAIT_S):
            self.statuses[(await read_head(reader)).status] += 1
        for path in page.requests():
            await self._ask(page, path)
        path = f"{playback(page.run_id)}?autoplay=1&speed=1&fps={1 / EVERY_S:g}"
        for peer in await asyncio.gather(*(page.connections.websocket(path, [page.cookie]) for _ in range(STREAMS))):
            self.statuses[peer.status if isinstance(peer, Message) else 101] += 1
            if isinstance(peer, Peer):
                tasks.create_task(self._watch(peer))

    async def all_play(self) -> None:
        """Wait until each stream has had a frame."""
        async with asyncio.timeout(ALL_PLAY_S):
            for _ in range(STREAMS * self.pages):
                await self.first_frame.acquire()

    def pauses(self, since: float, until: float) -> list[float]:
        """Return how long each stream had no frame, each time, within a while in which all played."""
        within = [[since, *(at for at in times if since < at <= until), until] for times in self.frames]
        return [later - at for times in within for at, later in itertools.pairwise(times)]

    async def _ask(self, page: Page, path: str) -> None:
        async with asyncio.timeout(ASKED_S):
            while (status := (await page.connections.request("GET", path, [page.cookie])).status) == LATE:
                self.late += 1
        self.statuses[status] += 1

    async def _watch(self, peer: Peer) -> None:
        times: list[float] = []
        self.frames.append(times)
        while seen := await peer.frame():
            if seen.opcode == PING:
                await peer.send(frame(PONG, seen.payload))
            elif seen.opcode == CLOSE:
                raise AssertionError(f"a stream was closed with {seen.code}")
            elif b'"frame"' in seen.payload:
                times.append(time.monotonic())
                if len(times) == 1:
                    self.first_frame.release()


def runs_of(target: Target, user: str) -> list[str]:
    """Return the shortest runs of a user that can be played."""
    items = target.get("/api/v1/backtests?limit=500", user).raise_for_status().json()["items"]
    done = sorted((run for run in items if run["status"] == "DONE"), key=days)
    whole = [run for run in done if target.get(f"/api/v1/backtests/{run['run_id']}/equity", user).status_code == 200]
    return [str(run["run_id"]) for run in whole[:RUNS]]


async def test_pages_of_many_users_with_ten_streams_each_from_one_address_meet_no_limit(target: Target) -> None:
    runs = {user: await asyncio.to_thread(runs_of, target, user) for user in TOKENS}
    office = Office(PAGES)
    async with honest(target) as witness, AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        own = {user: await stack.enter_async_context(Attacker(target, user, ADDRESS)) for user in TOKENS}
        pages = []
        for number, user in zip(range(PAGES), itertools.cycle(TOKENS)):
            run_id = runs[user][number // len(TOKENS) % len(runs[user])]
            pages.append(Page(own[user], (b"Cookie", b"user=%d" % number), run_id, SYMBOLS[number % len(SYMBOLS)]))
        for begun in range(0, PAGES, AT_ONCE):
            await asyncio.gather(*(office.open(page, tasks) for page in pages[begun : begun + AT_ONCE]))
        await office.all_play()
        playing_since = time.monotonic()
        await asyncio.sleep(STRENGTH.attack_s)
        playing_until = time.monotonic()
        # All at once, as after a deploy of the page, with everything else still open.
        again = await asyncio.gather(*(p.connections.request("GET", "/api/v1/flags", [p.cookie]) for p in pages))
        logs = await asyncio.to_thread(target.metric, "wsrelay", "bff_stream_log_bytes")
        for connections in own.values():
            connections.drop_all()
    pauses = office.pauses(playing_since, playing_until)
    pause = percentile(pauses)
    streams = f"p99 of {len(pauses)} pauses {pause:.2f} s"
    print(f"{dict(office.statuses)}, {office.late} late; {streams}; logs {logs / 1e6:.0f} MB")
    assert office.statuses == {200: 4 * PAGES, 101: STREAMS * PAGES}
    assert {answer.status for answer in again} == {200}
    allowed = max(EVERY_S + STRENGTH.gap_s, STRENGTH.p99_times * EVERY_S) + witness.machine_s
    late = [f"p99 of a stream's pauses is {pause:.2f} s"] if pause > allowed else []
    now = await asyncio.to_thread(target.snapshot)
    moved = differences(witness.before, now, lasting=False)
    blame(witness, witness.harm() + moved, witness.delay(BACKENDS_OWN) + late)
