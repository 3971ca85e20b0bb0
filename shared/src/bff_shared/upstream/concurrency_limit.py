"""A cap on concurrent work with a short, bounded queue: what comes free goes to the client that holds fewest."""

import asyncio
import math
from collections import Counter, OrderedDict, deque

from bff_shared.errors import Busy, ClientBusy
from bff_shared.limits import FairShare

Waiter = asyncio.Future[bool]
"""True once it has a slot, False if it had to leave the queue to a client with fewer calls in it."""


class ConcurrencyLimit:
    """At most `slots` callers inside and `queue` waiting for at most `queue_timeout` seconds; max-min fair to clients.

    A client alone has at most `share` of the slots and of the queue, beside others less (`FairShare`). A slot that
    comes free goes to the waiting client that has the fewest, to clients with as many by turns, and of one client to
    the call that came first. In a full queue the client with the most calls gives way to one that has fewer. So a
    client that asks for little waits for one slot to come free, however many others ask for all they can get.

    Calls without a client ("") have no limit of their own.
    """

    def __init__(self, slots: int, queue: int, queue_timeout: float, share: float = 1.0) -> None:
        self._free, self._queue, self._queue_timeout = slots, queue, queue_timeout
        self._slots, self._queue_per_client = slots, math.ceil(queue * share)
        self._share = FairShare(slots, math.ceil(slots * share))
        self._held: Counter[str] = Counter()
        self._waiters: OrderedDict[str, deque[Waiter]] = OrderedDict()
        """Of each client that waits, its calls; the clients in the order of their turns."""
        self._waiting = 0

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
        return self._waiting

    def try_acquire(self, client: str = "") -> bool:
        """Take a slot if there is one now; each entry needs one `release`."""
        if not self._may_acquire(client):
            return False
        self._take(client)
        return True

    async def acquire(self, client: str = "") -> None:
        """Take a slot, which needs one `release`. Cancelled while it waits, it takes none.

        Raises Busy when the queue is full or the wait too long, ClientBusy when that is so for this client only.
        """
        # A waiter that might enter has been let in by whoever left: nobody is overtaken who may have this slot.
        if self.try_acquire(client):
            return
        self._make_room(client)
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(client, deque()).append(waiter)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._queue_timeout):
                has_slot = await waiter
        except BaseException as error:
            self._give_up(client, waiter)
            if isinstance(error, TimeoutError):
                raise self._refusal("no slot for another call to the backend became free", client) from error
            raise
        if not has_slot:
            raise ClientBusy("too many requests of this client are waiting for the backend", self._queue_timeout)

    def release(self, client: str = "") -> None:
        """Give a slot back; it goes to the waiting client that has the fewest."""
        self._free += 1
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]
        while self._free and self._waiters:
            # `min` returns the first of those with as many: the one whose turn is the longest ago.
            fewest = min(self._waiters, key=self._held_by)
            if not self._may_acquire(fewest):
                return  # then nobody may, who all have as many or more
            waiter = self._waiters[fewest].popleft()
            self._left(fewest)
            if not waiter.done():
                self._take(fewest)
                waiter.set_result(True)

    def _held_by(self, client: str) -> int:
        return self._held[client] if client else 0

    def _may_acquire(self, client: str) -> bool:
        return self._share.allows(self._held_by(client), self._free)

    def _take(self, client: str) -> None:
        self._free -= 1
        self._held[client] += 1
        if client in self._waiters:
            self._waiters.move_to_end(client)

    def _make_room(self, client: str) -> None:
        """Have room for one more in the queue, or raise Busy."""
        own = len(self._waiters.get(client, ()))
        if client and own >= self._queue_per_client:
            raise self._refusal("too many requests of this client are waiting for the backend", client)
        if self._waiting < self._queue:
            return
        most = max(self._waiters, key=lambda other: len(self._waiters[other]), default="")
        if not most or len(self._waiters[most]) <= own + 1:
            raise self._refusal("too many requests are waiting for the backend", client)
        waiter = self._waiters[most].pop()
        self._left(most)
        if not waiter.done():
            waiter.set_result(False)

    def _left(self, client: str) -> None:
        """Note that one call of a client has been taken out of the queue."""
        self._waiting -= 1
        if not self._waiters[client]:
            del self._waiters[client]

    def _refusal(self, message: str, client: str) -> Busy:
        """Return the error for a client that gets no slot; that it holds more than an equal share is its own affair."""
        has_its_share = client and (self._free or self._held[client] * len(self._held) > self._slots)
        return (ClientBusy if has_its_share else Busy)(message, self._queue_timeout)

    def _give_up(self, client: str, waiter: Waiter) -> None:
        """Leave the queue; pass on a slot that was handed over in the very moment of giving up."""
        if client in self._waiters and waiter in self._waiters[client]:
            self._waiters[client].remove(waiter)
            self._left(client)
        elif waiter.done() and not waiter.cancelled() and waiter.result():
            self.release(client)
