"""A cap on concurrent work with a short, bounded queue: beyond it a caller is told at once that we are busy."""

import asyncio
import math
from collections import Counter, deque

from bff_shared.errors import Busy, ClientBusy


class ConcurrencyLimit:
    """At most `slots` callers inside and `queue` waiting for at most `queue_timeout` seconds, first come first served.

    One client has at most `share` of the slots and of the queue; others pass those of its calls that wait for that
    reason. Calls without a client ("") have no limit of their own.
    """

    def __init__(self, slots: int, queue: int, queue_timeout: float, share: float = 1.0) -> None:
        self._free, self._queue, self._queue_timeout = slots, queue, queue_timeout
        self._slots = slots
        self._per_client, self._queue_per_client = math.ceil(slots * share), math.ceil(queue * share)
        self._inside: Counter[str] = Counter()
        self._waiters: deque[tuple[asyncio.Future[None], str]] = deque()

    def __repr__(self) -> str:
        """Say how many slots are taken, and how many callers wait."""
        return f"<ConcurrencyLimit active={self.active}/{self._slots} waiting={self.waiting}>"

    @property
    def active(self) -> int:
        """How many are inside."""
        return self._slots - self._free

    @property
    def waiting(self) -> int:
        """How many wait outside."""
        return len(self._waiters)

    def try_acquire(self, client: str = "") -> bool:
        """Take a slot if there is one now; each entry needs one `release`."""
        if not self._free or not self._may_acquire(client):
            return False
        self._take(client)
        return True

    async def acquire(self, client: str = "") -> None:
        """Take a slot, which needs one `release`.

        Raises Busy when the queue is full or the wait too long, ClientBusy when that is so for this client only.
        """
        # A waiter that might enter has been let in by whoever left: nobody is overtaken.
        if self.try_acquire(client):
            return
        if len(self._waiters) >= self._queue:
            raise self._refusal("too many requests are waiting for the backend", client)
        if client and sum(1 for _, other in self._waiters if other == client) >= self._queue_per_client:
            raise ClientBusy("too many requests of this client are waiting for the backend", self._queue_timeout)
        waiter = asyncio.get_running_loop().create_future()
        entry = (waiter, client)
        self._waiters.append(entry)
        try:
            async with asyncio.timeout(self._queue_timeout):
                await waiter
        except BaseException as error:
            self._give_up(entry)
            if isinstance(error, TimeoutError):
                raise self._refusal("no slot for another call to the backend became free", client) from error
            raise

    def release(self, client: str = "") -> None:
        """Give a slot back; it goes to whoever has waited longest among those that may enter."""
        self._free += 1
        if client:
            self._inside[client] -= 1
            if not self._inside[client]:
                del self._inside[client]
        for entry in list(self._waiters):
            if not self._free:
                break
            waiter, other = entry
            if waiter.done():
                self._waiters.remove(entry)
            elif self._may_acquire(other):
                self._waiters.remove(entry)
                self._take(other)
                waiter.set_result(None)

    def _may_acquire(self, client: str) -> bool:
        return not client or self._inside[client] < self._per_client

    def _take(self, client: str) -> None:
        self._free -= 1
        if client:
            self._inside[client] += 1

    def _refusal(self, message: str, client: str) -> Busy:
        kind = Busy if self._may_acquire(client) else ClientBusy
        return kind(message, self._queue_timeout)

    def _give_up(self, entry: "tuple[asyncio.Future[None], str]") -> None:
        """Leave the queue; pass on a slot that was handed over in the very moment of giving up."""
        waiter, client = entry
        if entry in self._waiters:
            self._waiters.remove(entry)
        elif waiter.done() and not waiter.cancelled():
            self.release(client)
