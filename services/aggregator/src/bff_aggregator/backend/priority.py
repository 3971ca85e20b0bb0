"""Which calls go first when there are many: looks before small parts, small parts before curves. I/O of waiting only.

Calls that all go at once all end late: the backend deals its time out to each of them. So a lane lets so many of its
calls go at once, in the order in which they came, and none while the lanes before it are crowded. Nobody waits for
longer than the lane's patience: the order is a favour to the others, not a condition. And a call that takes longer than
a second does not count any more: it hangs, and waiting for its end would help nobody.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

CROWD: Final = 8
QUEUE: Final = 1024
HANGS: Final = 1.0


@dataclass(slots=True)
class Lane:
    """At most `width` calls at once; others wait for `patience` seconds at most."""

    width: int
    patience: float
    active: int = 0
    waiters: deque[asyncio.Future[None]] = field(default_factory=deque)


@dataclass(eq=False, slots=True)
class _Place:
    lane: Lane
    counted: bool = True


class Lanes:
    """Lanes in the order of their importance; from `crowd` calls in those before it, a lane waits."""

    def __init__(self, lanes: Sequence[Lane], crowd: int = CROWD) -> None:
        self._lanes, self._crowd = lanes, crowd

    @asynccontextmanager
    async def enter(self, number: int) -> AsyncIterator[None]:
        """Wait for a turn in a lane, and be in it for as long as the block lasts."""
        lane = self._lanes[number]
        if (lane.waiters or not self._is_free(number)) and len(lane.waiters) < QUEUE:
            await self._wait(lane)
        else:
            lane.active += 1
        place = _Place(lane)
        hanging = asyncio.get_running_loop().call_later(HANGS, self._leave, place)
        try:
            yield
        finally:
            hanging.cancel()
            self._leave(place)

    def _leave(self, place: "_Place") -> None:
        if place.counted:
            place.counted = False
            place.lane.active -= 1
            self._admit()

    def _is_free(self, number: int) -> bool:
        lane = self._lanes[number]
        return lane.active < lane.width and sum(other.active for other in self._lanes[:number]) < self._crowd

    async def _wait(self, lane: Lane) -> None:
        """Wait until `_admit` has counted this call in, or count it in when the lane's patience is over."""
        waiter = asyncio.get_running_loop().create_future()
        lane.waiters.append(waiter)
        try:
            async with asyncio.timeout(lane.patience):
                await waiter
        except TimeoutError:
            lane.active += waiter.cancelled()
        except BaseException:
            lane.active -= not waiter.cancelled()
            self._admit()
            raise

    def _admit(self) -> None:
        """Let those go whose turn it is."""
        for number, lane in enumerate(self._lanes):
            while lane.waiters and (lane.waiters[0].done() or self._is_free(number)):
                waiter = lane.waiters.popleft()
                if not waiter.done():
                    lane.active += 1
                    waiter.set_result(None)
