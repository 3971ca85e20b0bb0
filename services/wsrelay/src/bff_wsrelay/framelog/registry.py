"""The topics of a process: one per run and principal, ingested once, shared, kept for a while, then dropped. I/O.

A topic is read with one reader's credentials. Others whose data it is too (BFF_CACHE_SCOPE) watch it once the backend
has accepted their own; where it refuses the reader's, another one's take their place.

ingesting ──last viewer leaves──▶ ingesting on, read_unwatched_seconds ──▶ stopped ──┐
finished  ──last viewer leaves──▶ kept as it is ────────────────────────────────────┴──log_linger──▶ dropped
failed: no new viewer gets it; why it failed is remembered for read_failure_seconds, without the frames
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any

from bff_shared.access.credentials import Reader
from bff_shared.errors import Busy, ClientBusy, UpstreamError
from bff_shared.http.headers import Header
from bff_shared.lru import ByteLRU
from bff_shared.upstream.client import Upstream
from bff_wsrelay.framelog.entry import Entry
from bff_wsrelay.framelog.failure_cache import FailureCache, Key
from bff_wsrelay.framelog.failures import Failure, FailureReason
from bff_wsrelay.framelog.fair_semaphore import FairSemaphore
from bff_wsrelay.framelog.frame_log import FrameCache, FrameLog
from bff_wsrelay.framelog.ingest_resources import IngestResources
from bff_wsrelay.framelog.ingester import Ingester
from bff_wsrelay.framelog.log_budget import Ledger, LogUse
from bff_wsrelay.framelog.run_access import QUESTION_SECONDS, RunAccess
from bff_wsrelay.framelog.shared_store import SharedStore
from bff_wsrelay.framelog.topic import Topic
from bff_wsrelay.metrics import StreamMetrics
from bff_wsrelay.settings import RelaySettings
from bff_wsrelay.websocket.close_codes import TRY_AGAIN_LATER
from bff_wsrelay.websocket.connector import Connector

log = logging.getLogger(__name__)

CACHE_BYTES = 32 * 1024 * 1024
BOOK_BYTES, MAX_BOOK_BYTES = 256, 16 * 1024
"""A log that has grown by less for each address that watches it, or in all, is not held against the limits again."""


class Registry:
    """Hands out topics and runs their ingesters; `aclose` ends them."""

    def __init__(
        self,
        settings: RelaySettings,
        upstream: Upstream,
        connector: Connector,
        metrics: StreamMetrics,
        store: SharedStore | None = None,
    ) -> None:
        self._settings = settings
        slots = FairSemaphore(settings.read_max, min(settings.read_max, settings.read_max_per_client))
        ahead = FairSemaphore(settings.read_ahead_max, settings.read_ahead_max)
        secret = settings.digest_key.get_secret_value().encode() or secrets.token_bytes(32)
        self.access = RunAccess(settings, upstream, connector, secret)
        self._resources = IngestResources(
            settings, upstream, connector, metrics.counts, slots, ahead, FairSemaphore(1, 1), self.access.gate, store
        )
        self._entries: dict[Key, Entry] = {}
        self._ledger: Ledger[Key] = Ledger(settings.log_total_bytes, settings.log_client_bytes)
        self._failures = FailureCache(settings.read_failure_seconds)
        self._past_connects = 0
        self.cache: FrameCache = ByteLRU(CACHE_BYTES)
        self.on_refusal: list[Callable[[Reader, str, FailureReason], None]] = []
        """Called where the backend refuses one of several readers of a run."""
        metrics.topics.set_function(lambda: len(self._entries))
        metrics.log_bytes.set_function(lambda: self.size)
        metrics.waiting_ingesters.set_function(lambda: slots.waiting)
        metrics.held_ingesters.set_function(lambda: ahead.waiting)

    def __repr__(self) -> str:
        """Return the numbers of topics, of running ingesters and of remembered failures, and the bytes of all logs."""
        reading = sum(entry.task is not None and not entry.task.done() for entry in self._entries.values())
        return (
            f"<Registry topics={len(self._entries)} reading={reading} failures={len(self._failures)} bytes={self.size}>"
        )

    @property
    def size(self) -> int:
        """Bytes of all logs."""
        return sum(entry.topic.log.size for entry in self._entries.values())

    @property
    def connects(self) -> int:
        """Connections made to the backend's stream so far."""
        return self._past_connects + sum(entry.topic.connects for entry in self._entries.values())

    def describe(self, only: Container[int] | None = None) -> list[dict[str, Any]]:
        """Return what is known of each log, `only` of the topics with these `id`s where they are given."""
        return [
            {
                "run_id": topic.run_id,
                "epoch": topic.log.epoch,
                "state": topic.state,
                "frames": len(topic.log),
                "total": topic.log.total,
                "bytes": topic.log.size,
                "viewers": entry.viewers.total(),
                "connects": topic.connects,
            }
            for entry in self._entries.values()
            for topic in (entry.topic,)
            if only is None or id(topic) in only
        ]

    @contextlib.contextmanager
    def open(self, run_id: str, credentials: Sequence[Header], client: str) -> Iterator[Entry]:
        """Hold the topic of a run for one viewer as long as the context lasts.

        The first viewer starts the ingester. A run that failed a moment ago is not read again; `verify` says why.

        Args:
            run_id: the run's id, as the backend knows it.
            credentials: the headers that the backend judges.
            client: the viewer's address, for which the log's bytes and the ingester's work count.
        """
        reader = self.access.reader(credentials)
        key = (run_id, reader.principal)
        entry = self._entries.get(key) or self._failed_entry(key, reader) or self._new_entry(key, reader, client)
        if entry.timer is not None:
            entry.timer.cancel()
            entry.timer = None
        if not entry.viewers:
            entry.client = client
        entry.join(reader, client)
        self._book(entry)
        self._start_ingester(entry)
        try:
            yield entry
        finally:
            entry.leave(reader, client)
            if not entry.viewers:
                entry.client, entry.since = client, time.monotonic()
                self._last_viewer_left(entry)
            elif entry.client not in entry.viewers:
                entry.client = next(iter(entry.viewers))
            self._book(entry)

    async def verify(self, entry: Entry, reader: Reader | None = None) -> None:
        """Have the backend judge a reader's credentials, unless it did within `log_recheck_seconds`.

        A backend that cannot be asked does not keep out those whom it has accepted lately. Cancellation stops the
        waiting only: the question is shared with other viewers and goes on.

        Args:
            entry: what is to be watched.
            reader: who is to watch it; by default with whose credentials the run is read.

        Raises:
            Failure: the backend refuses the credentials, or the run cannot be played.
            UpstreamError: the backend cannot be asked, and has not accepted them for long.
            Busy: this process has no room for the question, so the answer is not known.
        """
        topic, reader = entry.topic, reader or entry.reader
        if reader is not None and reader != entry.reader and topic.failure is None:
            await self.access.require(reader, topic.run_id)
        if entry.ingester is not None and topic.failure is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(QUESTION_SECONDS):
                    await entry.ingester.detail_known.wait()
        if reason := topic.failure or (reader and entry.refused.get(reader.credential)):
            raise Failure(*reason)
        if time.monotonic() - topic.verified_at > self._settings.log_recheck_seconds and topic.detail is not None:
            try:
                await self._recheck(entry)
            except UpstreamError:
                if reader is not None and not self.access.may_stretch(reader, topic.run_id):
                    raise
            except (Failure, Busy):
                if reader == entry.reader:
                    raise

    async def aclose(self) -> None:
        """End all ingesters, waiting 5 s at most."""
        await self.access.gate.aclose()
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None]
        for entry in list(self._entries.values()):
            self._drop(entry)
        if tasks:
            await asyncio.wait(tasks, timeout=5)

    def _new_entry(self, key: Key, reader: Reader, client: str) -> Entry:
        topic = Topic(key[0], FrameLog("", self._settings.log_max_bytes, self.cache))
        entry = self._entries[key] = Entry(key, topic, reader, client=client, since=time.monotonic())
        return entry

    def _failed_entry(self, key: Key, reader: Reader) -> Entry | None:
        """Return what stands for a run that failed a moment ago, None for any other; a refusal is one reader's own."""
        now = time.monotonic()
        reason = self._failures.find(key, now) or self._failures.find((key[0], reader.credential), now)
        if reason is None:
            return None
        entry = Entry(key, Topic(key[0], FrameLog("", 0, self.cache)))
        entry.topic.fail(reason)
        return entry

    def _start_ingester(self, entry: Entry) -> None:
        """Start the ingester of a run that has none and has not been read to its end."""
        topic = entry.topic
        reader = entry.reader
        if entry.task is not None or topic.log.ended or topic.failure is not None or reader is None:
            return
        entry.ingester = Ingester(
            topic,
            reader,
            lambda: entry.client,
            self._resources,
            lambda: self._limit(entry),
            lambda reason: self._pass_on(entry, reader, reason),
        )
        task = entry.task = asyncio.create_task(entry.ingester.run(), name=f"read {topic.run_id!r}")
        task.add_done_callback(lambda _: self._ingester_done(entry, task))

    def _ingester_done(self, entry: Entry, task: asyncio.Task[None]) -> None:
        """Note that an ingester has ended; no new viewer gets a topic that failed."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an ingester ended with a defect", exc_info=error, extra={"run_id": entry.topic.run_id})
        if entry.task is not task:
            return
        if entry.topic.failure is not None:
            self._failures.remember(entry.failure_key, entry.topic.failure, entry.client, time.monotonic())
            self._drop(entry)
        elif entry.ingester is not None and entry.ingester.reader != entry.reader:  # it is another reader's turn
            entry.task = None
            if entry.viewers:
                self._start_ingester(entry)

    def _pass_on(self, entry: Entry, reader: Reader, reason: FailureReason) -> bool:
        """Let another reader take the place of one whom the backend refuses, if there is one, and tell who listens."""
        has_others = entry.pass_on(reader, reason)
        if has_others:
            for hook in self.on_refusal:
                hook(reader, entry.topic.run_id, reason)
        return has_others

    async def _recheck(self, entry: Entry) -> None:
        """Ask about the run again, once for all who want to know; read it anew if it was run anew.

        A question counts for the client that asks first; where that one has no room for it, the next one asks itself.
        """
        while entry.ingester is not None:
            is_own = entry.checking is None or entry.checking.done()
            if entry.checking is None or is_own:
                entry.checking = asyncio.create_task(
                    entry.ingester.fetch_detail(QUESTION_SECONDS), name="recheck a run"
                )
                entry.checking.add_done_callback(lambda task: self._rechecked(entry, task))
            checking = entry.checking
            await asyncio.wait((checking,))
            if checking.cancelled():
                return
            error = checking.exception()
            if is_own or not isinstance(error, ClientBusy):
                checking.result()
                return

    def _rechecked(self, entry: Entry, task: asyncio.Task[bool]) -> None:
        """Read a run from the beginning that was run anew."""
        if (
            not task.cancelled()
            and task.exception() is None
            and task.result()
            and self._entries.get(entry.key) is entry
        ):
            self._stop_ingester(entry)
            self._start_ingester(entry)

    def _last_viewer_left(self, entry: Entry) -> None:
        """Keep what nobody watches any more for a while; stop its ingester soon."""
        if self._entries.get(entry.key) is not entry:
            return
        if self._settings.log_linger == 0:
            self._drop(entry)
        elif entry.topic.log.ended or self._settings.read_unwatched_seconds >= self._settings.log_linger:
            self._drop_later(entry, self._settings.log_linger)
        else:
            entry.timer = asyncio.get_running_loop().call_later(
                self._settings.read_unwatched_seconds, self._stop_unwatched, entry
            )

    def _stop_unwatched(self, entry: Entry) -> None:
        if not entry.topic.log.ended:
            self._stop_ingester(entry)
            entry.topic.enter("waiting")
        self._drop_later(entry, max(0.0, self._settings.log_linger - self._settings.read_unwatched_seconds))

    def _drop_later(self, entry: Entry, seconds: float) -> None:
        entry.timer = asyncio.get_running_loop().call_later(seconds, self._drop, entry)

    def _stop_ingester(self, entry: Entry) -> None:
        """Cancel the ingester, if one runs."""
        task, entry.task = entry.task, None
        if task is not None:
            task.cancel()

    def _drop(self, entry: Entry) -> None:
        """Drop a topic from the registry; who still watches it keeps it."""
        if entry.timer is not None:
            entry.timer.cancel()
            entry.timer = None
        self._stop_ingester(entry)
        if entry.checking is not None:
            entry.checking.cancel()
        self._forget_entry(entry)

    def _limit(self, growing: Entry) -> None:
        """Make room for a log that grows. Raises Failure when there is none for it."""
        growth = growing.topic.log.size - growing.booked_bytes
        if 0 <= growth < min(BOOK_BYTES * len(growing.viewers), MAX_BOOK_BYTES):
            return
        if self._entries.get(growing.key) is not growing:
            return
        self._book(growing)
        eviction = self._ledger.judge(growing.key)
        busy = Failure("BUSY", "the relay holds as many runs as it can", TRY_AGAIN_LATER)
        for key in eviction.drop:
            entry = self._entries[key]
            self._resources.counts.logs_refused += bool(entry.viewers)
            self._drop(entry)
            entry.topic.fail(busy.reason)
        if eviction.refused:
            self._resources.counts.logs_refused += 1
            self._forget_entry(growing)
            raise busy

    def _book(self, entry: Entry) -> None:
        """Book the log's size for those who watch it, unless the topic has been dropped."""
        if self._entries.get(entry.key) is not entry:
            return
        size = entry.booked_bytes = entry.topic.log.size
        watchers = tuple(entry.viewers) or (entry.client,)
        self._ledger.book(LogUse(entry.key, size, watchers, bool(entry.viewers), entry.since))

    def _forget_entry(self, entry: Entry) -> None:
        """Remove a topic and its booked bytes."""
        if self._entries.get(entry.key) is entry:
            del self._entries[entry.key]
            self._ledger.remove(entry.key)
            self._past_connects += entry.topic.connects
