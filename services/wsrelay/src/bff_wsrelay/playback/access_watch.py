"""Has streams under way judged again and again: a credential that is revoked ends those that it opened. I/O."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterator
from typing import Protocol

from bff_shared.access.credentials import Reader
from bff_shared.access.verdicts import DUE_SHARE
from bff_shared.errors import BffError
from bff_wsrelay.framelog.failures import Failure, FailureReason
from bff_wsrelay.framelog.run_access import RunAccess
from bff_wsrelay.websocket.close_codes import TRY_AGAIN_LATER

log = logging.getLogger(__name__)
AGAIN_SECONDS = 5.0
"""After a question that the backend could not answer."""
SPREAD = 0.2
"""Part of the time between two questions by which they are drawn apart, so that not all are asked at once."""
UNCONFIRMED = FailureReason("BUSY", "the backend could not be asked about these credentials for long", TRY_AGAIN_LATER)
Watched = tuple[Reader, str]
"""Who watches which run."""


class Guarded(Protocol):
    """A stream that can be ended."""

    def fail(self, reason: FailureReason) -> None:
        """Say why the stream ends, and close it. Must not wait."""


class AccessWatch:
    """Asks about each credential and run that is watched, once for all streams of them, while there are any.

    Args:
        access: has the backend asked.
        draw: a number in [0, 1).
    """

    def __init__(
        self,
        access: RunAccess,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._access, self._draw = access, draw
        self._streams: dict[Watched, set[Guarded]] = {}
        self._tasks: dict[Watched, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        """Return the number of pairs of credential and run that are watched."""
        return f"<AccessWatch {len(self._tasks)} readers>"

    @contextlib.contextmanager
    def covering(self, reader: Reader, run_id: str, stream: Guarded) -> Iterator[None]:
        """End a stream when its reader is refused while the context is open."""
        key = (reader, run_id)
        self._streams.setdefault(key, set()).add(stream)
        if key not in self._tasks:
            self._tasks[key] = asyncio.create_task(self._watch(key), name="judge streams again")
        try:
            yield
        finally:
            streams = self._streams[key]
            streams.discard(stream)
            if not streams:
                del self._streams[key]
                self._tasks.pop(key).cancel()

    def end(self, reader: Reader, run_id: str, reason: FailureReason) -> None:
        """End all streams of a reader and a run."""
        for stream in list(self._streams.get((reader, run_id), ())):
            stream.fail(reason)

    async def _watch(self, key: Watched) -> None:
        """Ask until the reader is refused, well before each verdict lapses; a defect on the way ends no stream."""
        pause = self._pause()
        while True:
            await asyncio.sleep(pause)
            try:
                reason, pause = await self._judge(*key)
            except Exception:
                log.exception("a stream's credentials could not be judged", extra={"run_id": key[1]})
                continue
            if reason is not None:
                self.end(*key, reason)
                return

    async def _judge(self, reader: Reader, run_id: str) -> tuple[FailureReason | None, float]:
        """Return why the streams end, if they do, and after how many seconds to ask again."""
        try:
            is_stretched = await self._access.renew(reader, run_id)
        except Failure as failure:
            return failure.reason, 0.0
        except BffError:
            return UNCONFIRMED, 0.0
        return None, min(AGAIN_SECONDS, self._pause()) if is_stretched else self._pause()

    def _pause(self) -> float:
        return self._access.gate.verdicts.periods.good * DUE_SHARE * (1.0 - SPREAD * self._draw())
