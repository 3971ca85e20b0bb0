"""Turns for long readings that nobody waits for yet, a few at a time, until somebody does. No I/O."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from bff_shared.errors import Busy


class BackgroundTurns:
    """At most `slots` readings in the background at once, first come, first served; `hurry` lets one pass the others.

    A backend whose whole attention a reading takes has some left for what users wait for.
    """

    def __init__(self, slots: int, timeout: float) -> None:
        """Take how many have a turn at once, and the seconds that one waits for its own at most."""
        self._free, self._timeout = slots, timeout
        self._waiting: dict[Hashable, asyncio.Future[bool]] = {}
        """By key; True hands over a slot, False lets the reading begin without one."""

    def __repr__(self) -> str:
        """Say how many slots are free, and how many wait."""
        return f"<BackgroundTurns free={self._free} waiting={len(self._waiting)}>"

    @asynccontextmanager
    async def turn(self, key: Hashable) -> AsyncIterator[None]:
        """Wait for the turn of what has this key, and hold it. Cancelled while it waits, it takes none.

        Raises:
            Busy: no turn has come in time.
        """
        has_slot = await self._acquire(key)
        try:
            yield
        finally:
            if has_slot:
                self._release()

    def hurry(self, key: Hashable) -> None:
        """Let what has this key begin now: somebody waits for it."""
        waiter = self._waiting.get(key)
        if waiter is not None and not waiter.done():
            waiter.set_result(False)

    async def _acquire(self, key: Hashable) -> bool:
        if self._free:
            self._free -= 1
            return True
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[key] = waiter
        try:
            async with asyncio.timeout(self._timeout):
                return await waiter
        except TimeoutError as error:
            self._give_up(waiter)
            raise Busy("too many runs are being read", self._timeout) from error
        except asyncio.CancelledError:
            self._give_up(waiter)
            raise
        finally:
            self._waiting.pop(key, None)

    def _give_up(self, waiter: asyncio.Future[bool]) -> None:
        """Pass on a slot that was handed over in the very moment of giving up."""
        if waiter.done() and not waiter.cancelled() and waiter.result():
            self._release()

    def _release(self) -> None:
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_result(True)
                return
        self._free += 1
