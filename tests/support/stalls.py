"""How long the machine kept those waiting who wanted to run: what a measurement of time adds to what it allows.

    with Stalls() as stalls:
        ...
    assert took < DEADLINE_S + stalls.lost(begun, ended)

A thread sleeps TICK_S again and again and notes by how much it overslept. A process whose interpreter is busy elsewhere
counts as well: whoever measures in it is late by as much.
"""

import threading
import time
from types import TracebackType
from typing import Self

TICK_S = 0.01
NOTED_S = 0.005
"""Oversleeping by less is how any machine sleeps."""

STOOD_STILL_S = 0.5
"""A stall so long may break more than times: handshakes, leases, deadlines of the product."""

JOIN_S = 10.0


class Unsteady(AssertionError):
    """A time was too long, or something failed while the machine stood still: tests/conftest.py measures again."""


class Stalls:
    """What was overslept, and when, while the context lasted."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, float]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stalls", daemon=True)

    def __enter__(self) -> Self:
        """Begin to measure."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self._ended.set()
        self._thread.join(JOIN_S)

    def _watch(self) -> None:
        slept = time.monotonic()
        ended = False
        while not ended:
            ended = self._ended.wait(TICK_S)
            woke = time.monotonic()
            self.note(slept + TICK_S, woke)
            slept = woke

    def note(self, since: float, until: float) -> None:
        """Add a stall between two monotonic seconds, unless it is too short to be one."""
        if until - since >= NOTED_S:
            self._seen.append((since, until))

    @property
    def seen(self) -> list[tuple[float, float]]:
        """The stalls: between which monotonic seconds each was."""
        return list(self._seen)

    def lost(self, since: float, until: float) -> float:
        """Return how many of the seconds between two monotonic ones were lost."""
        return sum(_within(since, until, *stall) for stall in self.seen)

    def longest(self, since: float, until: float) -> float:
        """Return the seconds of the longest stall between two monotonic ones; 0 if there was none."""
        return max((_within(since, until, *stall) for stall in self.seen), default=0.0)


def _within(since: float, until: float, begun: float, ended: float) -> float:
    return max(0.0, min(until, ended) - max(since, begun))
