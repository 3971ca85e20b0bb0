"""One timer for all subscribers of a process: each runs when it is due, in the order of due times. I/O (a timer).

A task per frame would cost more than the frame. Lateness of one round never adds to the next: due times are absolute.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)
EARLY = 0.0005
"""A turn may come this much early, in seconds, rather than wake the loop twice; its member gets the due time."""


class Fallible(Protocol):
    """Something that ends by itself when one of its turns raises."""

    def on_failure(self, error: Exception) -> None:
        """Log `error` with what it belongs to, and end this member; others must notice nothing."""


class Schedulable(Fallible, Protocol):
    """Something with a next due time."""

    due_at: float

    def on_due(self, now: float) -> float:
        """Do what is due at `now`, monotonic time, and return the next due time (infinity for none)."""

    def prepare(self) -> None:
        """Prepare the next turn; called after every member that was due has run."""


def run_turn(member: Fallible, turn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """Run a member's turn and return its result, None if it raised: the one place that contains a member's failure.

    Whoever gives a member a turn (the timer, its log, its own messages) goes on with the next member.
    """
    try:
        return turn(*args, **kwargs)
    except Exception as error:  # noqa: BLE001  the member logs it, with what it belongs to
        try:
            member.on_failure(error)
        except Exception:
            # Ending it failed too; its connection's own end will remove it.
            log.exception("a member that failed could not be ended")
        return None


class Scheduler:
    """Runs members when they are due: `schedule` sets when, `cancel` ends it.

    `clock` is that of the loop's timers, in seconds.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop, self._clock = loop, clock
        self._heap: list[tuple[float, int, Schedulable]] = []
        self._count = self._stale = 0
        self._timer: asyncio.TimerHandle | None = None
        self._armed = float("inf")

    def __repr__(self) -> str:
        """Return how many members are due, and when the timer fires, in seconds of the loop's clock."""
        return f"<Scheduler members={len(self._heap) - self._stale} next={self._armed:.3f}>"

    def schedule(self, member: Schedulable, due: float) -> None:
        """Run a member at `due`, monotonic seconds, instead of when it was due before."""
        self.cancel(member)
        member.due_at = due
        if due == float("inf"):
            return
        self._count += 1
        heappush(self._heap, (due, self._count, member))
        if due < self._armed:
            self._arm(due)

    def cancel(self, member: Schedulable) -> None:
        """Run a member no more; its entry is removed before stale entries outnumber the others."""
        if member.due_at == float("inf"):
            return
        member.due_at = float("inf")
        self._stale += 1
        if 2 * self._stale > len(self._heap):
            self._heap[:] = [entry for entry in self._heap if entry[2].due_at == entry[0]]
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
        self._armed = float("inf")
        try:
            served = self._serve(self._clock())
            for member in served:
                run_turn(member, member.prepare)
        finally:
            if self._heap:
                self._arm(self._heap[0][0])

    def _serve(self, now: float) -> list[Schedulable]:
        """Run each member that is due, and return them."""
        heap, served = self._heap, []
        while heap and heap[0][0] <= now + EARLY:
            due, _, member = heappop(heap)
            if member.due_at != due:
                self._stale = max(0, self._stale - 1)
                continue
            following = run_turn(member, member.on_due, max(now, due))
            if following is None or following == float("inf"):
                member.due_at = float("inf")
            else:
                member.due_at = following = max(following, due + EARLY)
                self._count += 1
                heappush(heap, (following, self._count, member))
            served.append(member)
        return served
