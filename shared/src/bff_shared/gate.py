"""A cap on concurrent work with a short, bounded queue: beyond it a caller is told at once that we are busy."""

import asyncio
from collections import deque

from bff_shared.errors import Busy


class Gate:
    """At most `places` callers inside and `queue` waiting for at most `patience` seconds, first come first served."""

    def __init__(self, places: int, queue: int, patience: float) -> None:
        self._free, self._queue, self._patience = places, queue, patience
        self._places = places
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def active(self) -> int:
        """How many are inside."""
        return self._places - self._free

    @property
    def waiting(self) -> int:
        """How many wait outside."""
        return len(self._waiters)

    async def enter(self) -> None:
        """Take a place; raise Busy when the queue is full or the wait too long. Each entry needs one `leave`."""
        if self._free and not self._waiters:
            self._free -= 1
            return
        if len(self._waiters) >= self._queue:
            raise Busy("too many requests are waiting for the backend", self._patience)
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(self._patience):
                await waiter
        except BaseException as error:
            self._give_up(waiter)
            if isinstance(error, TimeoutError):
                raise Busy("no place for another call to the backend became free", self._patience) from error
            raise

    def leave(self) -> None:
        """Give the place to whoever has waited longest."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1

    def _give_up(self, waiter: asyncio.Future[None]) -> None:
        """Leave the queue; pass on a place that was handed over in the very moment of giving up."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        elif waiter.done() and not waiter.cancelled():
            self.leave()
