"""An office behind one address: a hundred pages with ten streams each meet no limit."""

import asyncio
from collections import Counter

import pytest

from tests.chaos.hostile.attacker import Attacker, playback
from tests.chaos.hostile.target import WAIT_S, Target
from tests.support.http1 import Message, read_head
from tests.support.rfc6455 import CLOSE, PING, PONG, Peer, frame

pytestmark = pytest.mark.slow

PAGES, STREAMS = 100, 10
AT_ONCE = 10
ADDRESS = "127.0.0.3"
CHART = "/api/v1/chart-data?symbol=AAPL&timeframe=1H&from=2024-10-01&to=2024-11-30"
EVENTS = (b"Accept", b"text/event-stream")


class Office:
    """The pages of one address; what their streams closed with is in `closes`."""

    def __init__(self, connections: Attacker, run_id: str, tasks: asyncio.TaskGroup) -> None:
        self._connections, self._run_id, self._tasks = connections, run_id, tasks
        self.statuses: Counter[int] = Counter()
        self.closes: Counter[int] = Counter()
        self.playing = 0
        self.all_play = asyncio.Event()

    async def open_page(self) -> None:
        """Ask for a list, a run, a chart and the events of flags, and play ten streams at a frame a second."""
        office = self._connections
        reader, _ = await office.connect(office.head("GET", "/api/v1/flags/events", [EVENTS]))
        async with asyncio.timeout(WAIT_S):
            self.statuses[(await read_head(reader)).status] += 1
        for path in ("/api/v1/runs?limit=20", f"/api/v1/runs/{self._run_id}/complete?equity_points=300", CHART):
            self.statuses[(await office.request("GET", path)).status] += 1
        path = f"{playback(self._run_id)}?autoplay=1&speed=1&fps=1"
        for peer in await asyncio.gather(*(office.websocket(path) for _ in range(STREAMS))):
            if isinstance(peer, Message):
                self.statuses[peer.status] += 1
            else:
                self.statuses[101] += 1
                self._tasks.create_task(self._watch(peer))

    async def _watch(self, peer: Peer) -> None:
        is_playing = False
        while seen := await peer.frame():
            if seen.opcode == PING:
                await peer.send(frame(PONG, seen.payload))
            elif seen.opcode == CLOSE:
                self.closes[seen.code] += 1
                return
            elif not is_playing and b'"frame"' in seen.payload:
                is_playing = True
                self.playing += 1
                if self.playing == PAGES * STREAMS:
                    self.all_play.set()


@pytest.mark.timeout(300)
async def test_a_hundred_pages_with_ten_streams_each_from_one_address_meet_no_limit(target: Target) -> None:
    async with Attacker(target, "alice", ADDRESS) as connections, asyncio.TaskGroup() as tasks:
        office = Office(connections, target.run_id, tasks)
        for _ in range(PAGES // AT_ONCE):
            await asyncio.gather(*(office.open_page() for _ in range(AT_ONCE)))
        assert office.statuses == {200: 4 * PAGES, 101: STREAMS * PAGES}
        async with asyncio.timeout(60):
            await office.all_play.wait()
        # All at once, as after a deploy of the page, with everything else still open.
        again = await asyncio.gather(*(connections.request("GET", "/api/v1/flags") for _ in range(PAGES)))
        assert {answer.status for answer in again} == {200}
        assert office.closes == {}
        connections.drop_all()
