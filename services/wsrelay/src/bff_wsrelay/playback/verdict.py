"""The backend's verdict on a run and on who asks for it, for which a handshake waits before it is answered. I/O."""

import asyncio
import contextlib
from math import inf

from bff_shared.access.credentials import Reader
from bff_shared.errors import Busy
from bff_wsrelay.admission.limits import RETRY_AFTER, Admission
from bff_wsrelay.framelog.entry import Entry
from bff_wsrelay.framelog.failures import Failure, FailureReason
from bff_wsrelay.framelog.registry import Registry
from bff_wsrelay.framelog.topic import Topic
from bff_wsrelay.playback.http_connection import HttpConnection


class Verdict:
    """Has the backend judge handshakes, for `seconds` each at most."""

    def __init__(self, registry: Registry, admission: Admission, seconds: float) -> None:
        self._registry, self._admission, self._seconds = registry, admission, seconds

    async def wait(
        self,
        entry: Entry,
        reader: Reader,
        address: str,
        *,
        needs_frame: bool,
        connection: HttpConnection | None = None,
    ) -> FailureReason | None:
        """Wait until the backend has judged run and credentials.

        Args:
            entry: what the handshake is for.
            reader: who is to watch it.
            address: the client's, whose waiting handshakes are limited together.
            needs_frame: wait for the first frame of a finished run too: a response whose body has begun has no status
                any more.
            connection: the client's, where it tells when the client is gone; nobody waits any longer then.

        Returns:
            Why the run cannot be played; None if it can, or if that is not known in time.

        Raises:
            Busy: too many handshakes wait, or the process drains.

        Cancellation ends the wait only; the topic and its ingester are shared.
        """
        deadline = asyncio.timeout(self._seconds)
        pending = _Pending(deadline)
        try:
            async with deadline:
                leaving = connection.telling(pending.end) if connection is not None else contextlib.nullcontext()
                with leaving, self._admission.pending(address), self._admission.drain.covering(pending):
                    return await self._judge(entry, reader, needs_frame=needs_frame)
        except TimeoutError as error:
            if pending.is_drained:
                raise Busy("the relay restarts", RETRY_AFTER) from error
        return entry.topic.failure

    async def _judge(self, entry: Entry, reader: Reader, *, needs_frame: bool) -> FailureReason | None:
        try:
            await self._registry.verify(entry, reader)
        except Failure as failure:
            return failure.reason
        if needs_frame:
            await _FirstFrame(entry.topic).wait()
        return entry.topic.failure


class _Pending:
    """A handshake that waits for the backend's verdict; a drain ends the wait."""

    def __init__(self, deadline: asyncio.Timeout) -> None:
        self._deadline = deadline
        self.is_drained = False

    def drain(self, retry_ms: int) -> None:
        """End the wait for the process's sake."""
        del retry_ms  # the refusal says when to come back
        self.is_drained = True
        self.end()

    def end(self) -> None:
        """Let the deadline pass now."""
        if not self._deadline.expired():
            self._deadline.reschedule(0)


class _FirstFrame:
    """Waits until a topic has frames, or is known to have none."""

    def __init__(self, topic: Topic) -> None:
        self._topic, self._news = topic, asyncio.Event()

    async def wait(self) -> None:
        """Wait while a finished run's first frame is still to come."""
        topic, news = self._topic, self._news
        topic.listeners.add(self)
        try:
            while self._is_open():
                topic.starve(self)
                await news.wait()
                news.clear()
        finally:
            topic.listeners.discard(self)
            topic.starved.discard(self)

    def _is_open(self) -> bool:
        topic = self._topic
        is_finished = topic.detail is not None and topic.detail.finished
        return is_finished and topic.failure is None and not len(topic.log) and not topic.log.ended

    def on_growth(self) -> None:
        """Look again."""
        self._news.set()

    on_epoch = on_state = on_growth

    def needed_until(self, seconds: float) -> float:
        """Return that anything is needed."""
        del seconds
        return inf
