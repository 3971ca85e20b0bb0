"""The recordings of a process: one per run and credentials, read once, shared, kept for a while, then dropped. I/O.

being read ──its last viewer leaves──▶ read on for a moment ──▶ its reading stops ──┐
finished ──its last viewer leaves──▶ kept as it is ─────────────────────────────────┴──log_linger──▶ dropped
failed: nobody new gets it; why it failed is remembered for a moment, without the run
"""

import asyncio
import contextlib
import logging
import secrets
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from bff_shared.errors import ClientBusy, UpstreamError
from bff_shared.http.headers import Header
from bff_shared.upstream.client import Upstream
from bff_wsrelay.framelog.failures import Failure, FailureReason
from bff_wsrelay.framelog.fair_semaphore import FairSemaphore
from bff_wsrelay.framelog.frame_log import ByteLru, FrameLog
from bff_wsrelay.framelog.ingester import Equipment, Reader
from bff_wsrelay.framelog.log_budget import Held, Ledger
from bff_wsrelay.framelog.shared_store import Replicas, digest
from bff_wsrelay.framelog.topic import Recording
from bff_wsrelay.metrics import StreamMetrics
from bff_wsrelay.settings import RelaySettings
from bff_wsrelay.websocket.close_codes import TRY_AGAIN_LATER
from bff_wsrelay.websocket.connector import Dialer

log = logging.getLogger(__name__)

CACHE_BYTES = 32 * 1024 * 1024
IDENTIFY_SECONDS = 2.0
REFUSAL_SECONDS = 1.0
"""For so long a refusal that cost the backend one short answer is remembered."""
MAX_REMEMBERED = 1_000
"""Failed runs of each kind that are remembered at once."""
BOOK_BYTES, MAX_BOOK_BYTES = 256, 16 * 1024
"""A log that has grown by less for each address that watches it, or in all, is not held against the limits again."""
Key = tuple[str, str]
_CHEAP = frozenset(("UNAUTHORIZED", "FORBIDDEN", "RUN_NOT_FOUND"))


@dataclass(slots=True, eq=False)
class Kept:
    """A recording with what belongs to it here. Without a reader it is one that has failed a moment ago."""

    key: Key
    recording: Recording
    credentials: Sequence[Header] = ()
    reader: Reader | None = None
    task: asyncio.Task[None] | None = None
    checking: asyncio.Task[bool] | None = None
    viewers: Counter[str] = field(default_factory=Counter)
    """How many there are from each client address."""
    client: str = ""
    """The address that its reading counts for, and its bytes while nobody watches."""
    since: float = 0.0
    booked_bytes: int = 0
    timer: asyncio.TimerHandle | None = None


class Failures:
    """Why runs could not be played a moment ago, the oldest forgotten first. Pure.

    Refusals that cost the backend one short answer have a room of their own: however many there are, none makes a run
    forgotten that was read and could not be.
    """

    def __init__(self, seconds: float, limit: int = MAX_REMEMBERED) -> None:
        self._seconds, self._limit = seconds, limit
        self._cheap: OrderedDict[Key, tuple[float, FailureReason]] = OrderedDict()
        self._costly: OrderedDict[Key, tuple[float, FailureReason]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._cheap) + len(self._costly)

    def remember(self, key: Key, reason: FailureReason, now: float) -> None:
        """Remember a failure, unless another attempt may well succeed."""
        if reason.code == "BUSY" or not self._seconds:
            return
        is_cheap = reason.code in _CHEAP
        known = self._cheap if is_cheap else self._costly
        known[key] = (now + (min(self._seconds, REFUSAL_SECONDS) if is_cheap else self._seconds), reason)
        known.move_to_end(key)
        for each in (self._cheap, self._costly):
            while each and (len(each) > self._limit or next(iter(each.values()))[0] <= now):
                each.popitem(last=False)

    def find(self, key: Key, now: float) -> FailureReason | None:
        """Return why a run cannot be played, None where nobody knows or it is too long ago."""
        for known in (self._costly, self._cheap):
            until, reason = known.get(key, (now, None))
            if reason is not None and now < until:
                return reason
            known.pop(key, None)
        return None


class Shelf:
    """Hands out recordings; `aclose` ends their readers."""

    def __init__(
        self,
        settings: RelaySettings,
        upstream: Upstream,
        dialer: Dialer,
        metrics: StreamMetrics,
        replicas: Replicas | None = None,
    ) -> None:
        self._settings = settings
        readings = FairSemaphore(sys.maxsize, settings.read_max_per_client)
        self._equipment = Equipment(settings, upstream, dialer, metrics.tally, readings, FairSemaphore(1, 1), replicas)
        self._secret = settings.digest_key.get_secret_value().encode() or secrets.token_bytes(32)
        self._kept: dict[Key, Kept] = {}
        self._ledger: Ledger[Key] = Ledger(settings.log_total_bytes, settings.log_client_bytes)
        self._failures = Failures(settings.read_failure_seconds)
        self._past_connects = 0
        self.cache = ByteLru(CACHE_BYTES)
        metrics.recordings.set_function(lambda: len(self._kept))
        metrics.log_bytes.set_function(lambda: self.size)
        metrics.readings_waiting.set_function(lambda: readings.waiting)

    @property
    def size(self) -> int:
        """Bytes of all logs."""
        return sum(kept.recording.log.size for kept in self._kept.values())

    @property
    def connects(self) -> int:
        """Connections made to the backend's stream so far."""
        return self._past_connects + sum(kept.recording.connects for kept in self._kept.values())

    def figures(self, only: Container[int] | None = None) -> list[dict[str, Any]]:
        """Return what is known of each log, `only` of the recordings with these `id`s where they are given."""
        return [
            {
                "run_id": recording.run_id,
                "epoch": recording.log.epoch,
                "state": recording.state,
                "frames": len(recording.log),
                "total": recording.log.total,
                "bytes": recording.log.size,
                "viewers": kept.viewers.total(),
                "connects": recording.connects,
            }
            for kept in self._kept.values()
            for recording in (kept.recording,)
            if only is None or id(recording) in only
        ]

    @contextlib.contextmanager
    def open(self, run_id: str, credentials: Sequence[Header], client: str) -> Iterator[Kept]:
        """Hold the recording of a run for a viewer at an address as long as the context lasts.

        The first one starts its reader. A run that failed a moment ago is not read again; `verify` says why.
        """
        key = (run_id, digest(self._secret, "", credentials))
        kept = self._kept.get(key) or self._failed(key) or self._start(key, credentials, client)
        if kept.timer is not None:
            kept.timer.cancel()
            kept.timer = None
        if not kept.viewers:
            kept.client = client
        kept.viewers[client] += 1
        self._book(kept)
        self._read(kept)
        try:
            yield kept
        finally:
            kept.viewers[client] -= 1
            if not kept.viewers[client]:
                del kept.viewers[client]
            if not kept.viewers:
                kept.client, kept.since = client, time.monotonic()
                self._leave(kept)
            elif kept.client not in kept.viewers:
                kept.client = next(iter(kept.viewers))
            self._book(kept)

    async def verify(self, kept: Kept) -> None:
        """Have the backend judge the credentials, unless it just did. Raises Failure when it refuses them.

        A backend that cannot be asked does not keep out those whom it let in when the log was begun. Raises Busy where
        it is this process that has no room for the question: then nobody knows.
        """
        recording = kept.recording
        if kept.reader is not None and recording.failure is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDENTIFY_SECONDS):
                    await kept.reader.identified.wait()
        if recording.failure is not None:
            raise Failure(*recording.failure)
        if time.monotonic() - recording.verified > self._settings.log_recheck_seconds and recording.detail is not None:
            with contextlib.suppress(UpstreamError):
                await self._recheck(kept)

    async def aclose(self) -> None:
        """End all readers."""
        tasks = [kept.task for kept in self._kept.values() if kept.task is not None]
        for kept in list(self._kept.values()):
            self._drop(kept)
        if tasks:
            await asyncio.wait(tasks, timeout=5)

    def _start(self, key: Key, credentials: Sequence[Header], client: str) -> Kept:
        recording = Recording(key[0], FrameLog("", self._settings.log_max_bytes, self.cache))
        kept = self._kept[key] = Kept(key, recording, list(credentials), client=client, since=time.monotonic())
        return kept

    def _failed(self, key: Key) -> Kept | None:
        """Return what stands for a run that failed a moment ago, None for any other."""
        reason = self._failures.find(key, time.monotonic())
        if reason is None:
            return None
        kept = Kept(key, Recording(key[0], FrameLog("", 0, self.cache)))
        kept.recording.fail(reason)
        return kept

    def _read(self, kept: Kept) -> None:
        """Start the reader of a run that is not being read, and has not been read to its end."""
        recording = kept.recording
        if kept.task is not None or recording.log.ended or recording.failure is not None:
            return
        kept.reader = Reader(
            recording, kept.credentials, lambda: kept.client, self._equipment, lambda: self._limit(kept)
        )
        task = kept.task = asyncio.create_task(kept.reader.run(), name=f"read {recording.run_id!r}")
        task.add_done_callback(lambda _: self._ended(kept, task))

    def _ended(self, kept: Kept, task: asyncio.Task[None]) -> None:
        """Take note that a reader is done; nobody new gets a recording that failed."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a reader ended with a defect", exc_info=error, extra={"run_id": kept.recording.run_id})
        if kept.task is task and kept.recording.failure is not None:
            self._failures.remember(kept.key, kept.recording.failure, time.monotonic())
            self._drop(kept)

    async def _recheck(self, kept: Kept) -> None:
        """Ask about the run again, once for all who want to know; read it anew if it was run anew.

        A question counts for the client that asks first; where that one has no room for it, the next one asks itself.
        """
        while kept.reader is not None:
            is_own = kept.checking is None or kept.checking.done()
            if kept.checking is None or is_own:
                kept.checking = asyncio.create_task(kept.reader.look(IDENTIFY_SECONDS), name="recheck a run")
                kept.checking.add_done_callback(lambda task: self._checked(kept, task))
            checking = kept.checking
            await asyncio.wait((checking,))
            if checking.cancelled():
                return
            error = checking.exception()
            if is_own or not isinstance(error, ClientBusy):
                checking.result()
                return

    def _checked(self, kept: Kept, task: asyncio.Task[bool]) -> None:
        """Read a run from the beginning that was run anew."""
        if not task.cancelled() and task.exception() is None and task.result() and self._kept.get(kept.key) is kept:
            self._halt(kept)
            self._read(kept)

    def _leave(self, kept: Kept) -> None:
        """Keep what nobody watches any more for a while; soon stop reading it, if it is still being read."""
        if self._kept.get(kept.key) is not kept:
            return
        if self._settings.log_linger == 0:
            self._drop(kept)
        elif kept.recording.log.ended or self._settings.read_unwatched_seconds >= self._settings.log_linger:
            self._later(kept, self._settings.log_linger)
        else:
            kept.timer = asyncio.get_running_loop().call_later(
                self._settings.read_unwatched_seconds, self._stop_reading, kept
            )

    def _stop_reading(self, kept: Kept) -> None:
        if not kept.recording.log.ended:
            self._halt(kept)
            kept.recording.enter("waiting")
        self._later(kept, max(0.0, self._settings.log_linger - self._settings.read_unwatched_seconds))

    def _later(self, kept: Kept, seconds: float) -> None:
        kept.timer = asyncio.get_running_loop().call_later(seconds, self._drop, kept)

    def _halt(self, kept: Kept) -> None:
        """Stop reading."""
        task, kept.task = kept.task, None
        if task is not None:
            task.cancel()

    def _drop(self, kept: Kept) -> None:
        """Forget a recording; who still watches it keeps it."""
        if kept.timer is not None:
            kept.timer.cancel()
            kept.timer = None
        self._halt(kept)
        if kept.checking is not None:
            kept.checking.cancel()
        self._drop_count(kept)

    def _limit(self, growing: Kept) -> None:
        """Make room for a log that grows. Raises Failure when there is none for it."""
        growth = growing.recording.log.size - growing.booked_bytes
        if 0 <= growth < min(BOOK_BYTES * len(growing.viewers), MAX_BOOK_BYTES):
            return
        if self._kept.get(growing.key) is not growing:
            return
        self._book(growing)
        verdict = self._ledger.judge(growing.key)
        busy = Failure("BUSY", "the relay holds as many runs as it can", TRY_AGAIN_LATER)
        for key in verdict.drop:
            kept = self._kept[key]
            self._drop(kept)
            kept.recording.fail(busy.reason)
        if verdict.refused:
            self._drop_count(growing)
            raise busy

    def _book(self, kept: Kept) -> None:
        """Have the size of a recording's log count for those who watch it, unless it has been dropped."""
        if self._kept.get(kept.key) is not kept:
            return
        size = kept.booked_bytes = kept.recording.log.size
        watchers = tuple(kept.viewers) or (kept.client,)
        self._ledger.book(Held(kept.key, size, watchers, bool(kept.viewers), kept.since))

    def _drop_count(self, kept: Kept) -> None:
        """Count a recording no more."""
        if self._kept.get(kept.key) is kept:
            del self._kept[kept.key]
            self._ledger.remove(kept.key)
            self._past_connects += kept.recording.connects
