"""Priority limiter for calls to the backend: run details first, then metrics and orders, then equity curves.

Calls that all start at once all end late, because the backend divides its time among them. So each priority has a limit
of concurrent calls, admitted in order of arrival, and admits none while the priorities before it are crowded. No call
waits longer than its priority's `max_wait`: then it starts regardless. A call that takes longer than HUNG_SECONDS no
longer counts, since waiting for its end would help nobody. I/O of waiting only.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

CROWD: Final = 8
MAX_WAITING: Final = 1024
HUNG_SECONDS: Final = 1.0


@dataclass(slots=True)
class PriorityClass:
    """At most `width` calls at once; others wait for at most `max_wait` seconds."""

    width: int
    max_wait: float
    active: int = 0
    waiters: deque[asyncio.Future[None]] = field(default_factory=deque)


@dataclass(eq=False, slots=True)
class _Slot:
    priority: PriorityClass
    counted: bool = True


class PriorityLimiter:
    """Admits calls by priority, the first one first; from `crowd` calls in those before it, a priority waits."""

    def __init__(self, priorities: Sequence[PriorityClass], crowd: int = CROWD) -> None:
        self._priorities, self._crowd = priorities, crowd

    def __repr__(self) -> str:
        """Say how many calls each priority has under way, of how many, and how many wait."""
        states = (f"{each.active}/{each.width} +{len(each.waiters)}" for each in self._priorities)
        return f"<PriorityLimiter {', '.join(states)}>"

    @asynccontextmanager
    async def enter(self, number: int) -> AsyncIterator[None]:
        """Wait for admission at a priority, and count as one of its calls for as long as the block lasts."""
        priority = self._priorities[number]
        if (priority.waiters or not self._is_free(number)) and len(priority.waiters) < MAX_WAITING:
            await self._wait(priority)
        else:
            priority.active += 1
        slot = _Slot(priority)
        hanging = asyncio.get_running_loop().call_later(HUNG_SECONDS, self._leave, slot)
        try:
            yield
        finally:
            hanging.cancel()
            self._leave(slot)

    def _leave(self, slot: "_Slot") -> None:
        if slot.counted:
            slot.counted = False
            slot.priority.active -= 1
            self._admit()

    def _is_free(self, number: int) -> bool:
        priority = self._priorities[number]
        return (
            priority.active < priority.width and sum(other.active for other in self._priorities[:number]) < self._crowd
        )

    async def _wait(self, priority: PriorityClass) -> None:
        """Wait until `_admit` has counted this call in, or count it in when `max_wait` is over."""
        waiter = asyncio.get_running_loop().create_future()
        priority.waiters.append(waiter)
        try:
            async with asyncio.timeout(priority.max_wait):
                await waiter
        except TimeoutError:
            priority.active += waiter.cancelled()
        except BaseException:
            priority.active -= not waiter.cancelled()
            self._admit()
            raise

    def _admit(self) -> None:
        """Let those go whose turn it is."""
        for number, priority in enumerate(self._priorities):
            while priority.waiters and (priority.waiters[0].done() or self._is_free(number)):
                waiter = priority.waiters.popleft()
                if not waiter.done():
                    priority.active += 1
                    waiter.set_result(None)
