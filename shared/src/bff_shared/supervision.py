"""Tasks that go on for as long as their owner: an exception that nobody expected is logged, and they begin anew."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0


async def keep_running(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` until cancelled; after an exception again, after a pause. Returns when `work` does.

    Pauses double from 0.5 s to 30 s, and each is drawn between half of that and all of it, as the relay's reconnects
    are: replicas that failed together do not come back together, and a defect is never repeated at once. Work that
    went on for longer than 30 s begins with 0.5 s again.
    """
    pause = FIRST_PAUSE_SECONDS
    while True:
        begun = time.monotonic()
        try:
            await work()
        except Exception:
            log.exception("a background task failed and begins anew", extra={"task_name": name})
        else:
            return
        if time.monotonic() - begun > LONGEST_PAUSE_SECONDS:
            pause = FIRST_PAUSE_SECONDS
        await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311  spreads the load, no secret
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
