"""How far a run is read ahead of its viewers while others are read as well. I/O (futures).

    needed ──a minute ahead of every viewer──▶ spare ──a slot is free──▶ read to its end
       ▲                                        │ held: nothing is received
       └── a viewer has less than AHEAD_SECONDS ┴── HOLD_SECONDS ──▶ disconnected, and connected again by either way

So the backend streams few runs at full speed, however many are watched, and has time for other requests. A run that is
read alone is read to its end at once.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable

from bff_wsrelay.framelog.fair_semaphore import FairSemaphore, TimedSlot
from bff_wsrelay.framelog.replay_pass import SilenceTracker
from bff_wsrelay.framelog.topic import Topic

READING_FRAMES = 20_000
"""A run of which so many frames are read has begun. Fewer fit into the sockets' buffers: the backend has made them."""
SLOW_RATE = 300.0
"""So has one that brings fewer frames a second: it does not keep the backend busy."""
AHEAD_SECONDS, TARGET_SECONDS = 10.0, 60.0
"""Of each viewer's playback at its speed: a run that has less than the first is read until it has the second."""
SLOT_SECONDS = 60.0
"""A run that was not read to its end by then waits for its turn again."""
LOOK_SECONDS, LOOK_FRAMES = 1.0, 1_000
"""The most between two looks at how far the viewers have come; one that has nothing left to show is noticed at once."""
HOLD_SECONDS = 10.0
"""How long a connection is held: its pings are not answered meanwhile, for which backends end it after 20 s."""


def is_begun(position: int, seconds: float, *, is_caught_up: bool) -> bool:
    """Return whether a run of which so many frames were read in so many seconds keeps no other from being begun."""
    return position > 0 and (is_caught_up or position >= READING_FRAMES or position < SLOW_RATE * (seconds - 1))


class FarAhead(Exception):
    """The connection was held for so long that it is given up: the viewers have enough, and others are being read."""


class ReadAhead:
    """Decides when an ingester may go on reading its run.

    `slots` bound how many runs are read further than needed, `client` returns the address that the reading counts for.
    """

    def __init__(self, topic: Topic, slots: FairSemaphore, client: Callable[[], str]) -> None:
        self._topic, self._client, self._slot = topic, client, TimedSlot(slots, SLOT_SECONDS)
        self._acquiring: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._needed, self._is_filling = 0.0, False

    def __repr__(self) -> str:
        """Return up to which frame the run is needed, and whether a slot is held or waited for."""
        waits = self._acquiring is not None
        return f"<ReadAhead needed={self._needed:.0f} slot={self._slot.is_held} waits={waits}>"

    def may_read(self, position: int) -> bool:
        """Return whether frames from this index on may be read now."""
        if self._slot.is_held or position < self._needed:
            return True
        if not self._is_filling:
            self._is_filling = position < self._topic.needed_until(AHEAD_SECONDS)
        if self._is_filling:
            self._needed = min(self._topic.needed_until(TARGET_SECONDS), position + LOOK_FRAMES)
            self._is_filling = position < self._needed
        return self._is_filling

    async def keep_pace(self, position: int, silence: SilenceTracker, hold: Callable[[], None]) -> None:
        """Wait until frames from this index on may be read, having called `hold`: nothing is to be received meanwhile.

        A run that is read so far as it goes need not wait. Raises FarAhead when that takes too long.
        """
        began = time.monotonic()
        if silence.is_caught_up(began) or self.may_read(position):
            return
        hold()
        if not await self.wait(position, HOLD_SECONDS):
            raise FarAhead
        silence.exclude(time.monotonic() - began)

    async def wait(self, position: int, seconds: float | None = None) -> bool:
        """Wait until frames from this index on may be read, `seconds` at most; return whether they may.

        Cancellation keeps the place in the queue for a slot, until `release`.
        """
        if self._acquiring is None:
            self._acquiring = asyncio.create_task(self._slot.acquire(self._client()), name="wait to read ahead")
            self._acquiring.add_done_callback(lambda _: self._woken.set())
        self._topic.on_starved = self._woken.set
        try:
            async with asyncio.timeout(seconds):
                while not self.may_read(position):
                    self._woken.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_SECONDS):
                            await self._woken.wait()
        except TimeoutError:
            return False
        finally:
            self._topic.on_starved = None
        self._leave_queue()
        return True

    def release(self) -> None:
        """Give the slot back, or the place in the queue for one."""
        self._leave_queue()
        self._slot.release()

    def _leave_queue(self) -> None:
        if self._acquiring is not None:
            self._acquiring.cancel()
            self._acquiring = None
