"""One timer for all viewers of a process: whoever is due gets its turn, in the order of due times. I/O (a timer).

A task per frame would cost more than the frame. Lateness of one round never adds to the next: due times are absolute.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Protocol

log = logging.getLogger(__name__)
EARLY = 0.0005
"""A turn may come this much early, in seconds, rather than wake the loop twice; its member is told the due time."""


class Ticking(Protocol):
    """Something with a next due time."""

    scheduled: float

    def tick(self, now: float) -> float:
        """Do what is due at `now`, monotonic time, and return the next due time (infinity for none)."""

    def prepare(self) -> None:
        """Make ready what the next turn will need; called after everybody has had this one."""


class Ticker:
    """Give turns; `schedule` sets when somebody is due next, `forget` ends it.

    `flush` is called when all who were due have had their turn, to write what they decided to send.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, flush: Callable[[], None] = lambda: None) -> None:
        self._loop, self.flush = loop, flush
        self._heap: list[tuple[float, int, Ticking]] = []
        self._count = self._stale = 0
        self._timer: asyncio.TimerHandle | None = None
        self._armed = float("inf")

    def schedule(self, member: Ticking, due: float) -> None:
        """Give a member its turn at `due`, instead of when it was due before."""
        self.forget(member)
        member.scheduled = due
        if due == float("inf"):
            return
        self._count += 1
        heappush(self._heap, (due, self._count, member))
        if due < self._armed:
            self._arm(due)

    def forget(self, member: Ticking) -> None:
        """Give a member no more turns, and keep it no longer than the members that have some."""
        if member.scheduled == float("inf"):
            return
        member.scheduled = float("inf")
        self._stale += 1
        if 2 * self._stale > len(self._heap):
            self._heap[:] = [entry for entry in self._heap if entry[2].scheduled == entry[0]]
            heapify(self._heap)
            self._stale = 0

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
        self._heap.clear()

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = due
        self._timer = self._loop.call_at(due, self._round)

    def _round(self) -> None:
        heap, now = self._heap, time.monotonic()
        self._armed = float("inf")
        served = []
        while heap and heap[0][0] <= now + EARLY:
            due, _, member = heappop(heap)
            if member.scheduled != due:
                self._stale = max(0, self._stale - 1)
                continue
            try:
                following = max(member.tick(max(now, due)), due + EARLY)
            except Exception:
                log.exception("a viewer's turn failed")
                following = float("inf")
            member.scheduled = following
            if following != float("inf"):
                self._count += 1
                heappush(heap, (following, self._count, member))
            served.append(member)
        self.flush()
        for member in served:
            member.prepare()
        if heap:
            self._arm(heap[0][0])
