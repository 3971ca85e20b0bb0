"""Turns at something that only so many may use at once, shared out fairly between client addresses. I/O (futures)."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bff_shared.limits import FairShare


class FairSemaphore:
    """At most `total` holders at a time, at most `per_client` of them for one client, fewer beside others; more wait.

    What one client may hold of what others leave is said by `FairShare`. A free slot goes to the clients that wait in
    turn, whatever number of requests each has waiting; those of one client are served in the order in which they came.
    Cancellation while waiting takes no slot.
    """

    def __init__(self, total: int, per_client: int) -> None:
        self._total, self._share = total, FairShare(total, per_client)
        self._held: Counter[str] = Counter()
        self._active = 0
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def active(self) -> int:
        """How many slots are held."""
        return self._active

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return sum(not future.done() for queue in self._waiting.values() for future in queue)

    def is_free(self, client: str) -> bool:
        """Tell whether a client need not wait for a slot."""
        return client not in self._waiting and self._may_take(client)

    async def acquire(self, client: str) -> None:
        """Take a slot, waiting for one; each needs one `release`. Cancellation takes none."""
        if self.is_free(client):
            self._take(client)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(future)
        try:
            await future
        except asyncio.CancelledError:
            if not future.cancelled():  # the slot was handed over in the same moment
                self.release(client)
            raise

    def release(self, client: str) -> None:
        """Give a slot back."""
        self._held[client] -= 1
        self._active -= 1
        if not self._held[client]:
            del self._held[client]
        if self._waiting:
            self._hand_over()

    @asynccontextmanager
    async def slot(self, client: str) -> AsyncIterator[None]:
        """Hold a slot as long as the context lasts; entering waits for one."""
        await self.acquire(client)
        try:
            yield
        finally:
            self.release(client)

    def _may_take(self, client: str) -> bool:
        return self._share.allows(self._held.get(client, 0), self._total - self._active)

    def _take(self, client: str) -> None:
        self._held[client] += 1
        self._active += 1

    def _hand_over(self) -> None:
        """Give what is free to those who wait, one for each client in turn."""
        for client in list(self._waiting):
            if self._active >= self._total:
                return
            queue = self._waiting[client]
            while queue and queue[0].done():
                queue.popleft()
            if queue and self._may_take(client):
                self._take(client)
                queue.popleft().set_result(None)
                self._waiting.move_to_end(client)
            if not queue:
                del self._waiting[client]


class TimedSlot:
    """One slot of a semaphore, released by itself `seconds` after it was taken, so that it never blocks others."""

    def __init__(self, semaphore: FairSemaphore, seconds: float) -> None:
        self._semaphore, self._seconds = semaphore, seconds
        self._client = ""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_held(self) -> bool:
        """Return whether the slot is held now."""
        return self._timer is not None

    def is_free(self, client: str) -> bool:
        """Return whether a client need not wait for it."""
        return self._semaphore.is_free(client)

    async def acquire(self, client: str) -> None:
        """Take a slot for a client, waiting for one. Cancellation takes none."""
        await self._semaphore.acquire(client)
        self._client = client
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self.release)

    def release(self) -> None:
        """Give the slot back, if it is held."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._semaphore.release(self._client)
