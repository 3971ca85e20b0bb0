"""How open connections end with the process: each is sent away to come back, spread over time. I/O (timers)."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Protocol

MIN_RETRY, MAX_RETRY = 0.2, 1.2
"""Seconds after which a drained client may come back, drawn for each."""


class Drainable(Protocol):
    """Something that a drain can end."""

    def drain(self, retry_ms: int) -> None:
        """Tell the client to come back in about `retry_ms`, and close with 1012. Must not wait."""


class Drain:
    """The open connections of a process; `run` drains them over `spread` seconds.

    `draw` returns a random number from 0 to 1.
    """

    def __init__(self, spread: float, draw: Callable[[], float] = random.random) -> None:
        self._spread, self._draw = spread, draw
        self._open: set[Drainable] = set()
        self.started = False

    def __repr__(self) -> str:
        """Return the number of open connections and whether the drain has started."""
        return f"<Drain open={len(self._open)} started={self.started}>"

    @contextlib.contextmanager
    def covering(self, connection: Drainable) -> Iterator[None]:
        """Drain a connection if the drain starts while the context is open, at once if it has started already."""
        self._open.add(connection)
        try:
            if self.started:
                connection.drain(self._retry_ms())
            yield
        finally:
            self._open.discard(connection)

    async def run(self) -> None:
        """Drain every open connection, over `spread` seconds so that clients do not return all at once.

        Once cancelled, those not drained yet stay open; nobody is admitted any more either way.
        """
        self.started = True
        loop, connections = asyncio.get_running_loop(), list(self._open)
        begun, share = loop.time(), self._spread / max(1, len(connections))
        for number, connection in enumerate(connections):
            await asyncio.sleep(begun + share * (number + self._draw()) - loop.time())
            if connection in self._open:
                connection.drain(self._retry_ms())

    def _retry_ms(self) -> int:
        return round(1000 * (MIN_RETRY + (MAX_RETRY - MIN_RETRY) * self._draw()))
