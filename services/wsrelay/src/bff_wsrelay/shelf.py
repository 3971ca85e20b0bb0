"""The recordings of a process: one per run and credentials, read once, shared, kept for a while, then dropped. I/O."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bff_shared.errors import BffError
from bff_shared.headers import Header
from bff_shared.upstream import Upstream
from bff_wsrelay.closecodes import TRY_AGAIN_LATER
from bff_wsrelay.dial import Dialer
from bff_wsrelay.log import ByteLru, FrameLog
from bff_wsrelay.reader import Reader
from bff_wsrelay.recording import Failure, Recording
from bff_wsrelay.replicas import Replicas, digest
from bff_wsrelay.settings import RelaySettings
from bff_wsrelay.tally import StreamMetrics

CACHE_BYTES = 32 * 1024 * 1024
IDENTIFY_SECONDS = 2.0
Key = tuple[str, str]


@dataclass(slots=True)
class Kept:
    """A recording with what belongs to it here."""

    recording: Recording
    reader: Reader
    task: asyncio.Task[None]
    viewers: int = 0
    left: float = 0.0
    timer: asyncio.TimerHandle | None = None


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
        self._replicas = replicas
        self._settings, self._upstream, self._dialer, self._metrics = settings, upstream, dialer, metrics
        self._secret = settings.digest_key.get_secret_value().encode() or secrets.token_bytes(32)
        self._kept: dict[Key, Kept] = {}
        self._past_connects = 0
        self.cache = ByteLru(CACHE_BYTES)
        metrics.recordings.set_function(lambda: len(self._kept))
        metrics.log_bytes.set_function(lambda: self.size)

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
                "viewers": kept.viewers,
                "connects": recording.connects,
            }
            for kept in self._kept.values()
            for recording in (kept.recording,)
            if only is None or id(recording) in only
        ]

    @contextlib.contextmanager
    def open(self, run_id: str, credentials: Sequence[Header]) -> Iterator[Kept]:
        """Hold the recording of a run for a viewer as long as the context lasts; the first one starts its reader."""
        key = (run_id, digest(self._secret, "", credentials))
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = self._start(run_id, credentials)
        if kept.timer is not None:
            kept.timer.cancel()
            kept.timer = None
        kept.viewers += 1
        try:
            yield kept
        finally:
            kept.viewers -= 1
            kept.left = time.monotonic()
            if not kept.viewers:
                self._release(key, kept)

    async def verify(self, kept: Kept) -> None:
        """Have the backend judge the credentials, unless it just did. Raises Failure when it refuses them.

        A backend that cannot be asked does not keep out those whom it let in when the log was begun.
        """
        recording = kept.recording
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IDENTIFY_SECONDS):
                await kept.reader.identified.wait()
        if recording.failure is not None:
            raise Failure(*recording.failure)
        if time.monotonic() - recording.verified > self._settings.log_recheck_seconds and recording.detail is not None:
            with contextlib.suppress(BffError):
                await kept.reader.look(IDENTIFY_SECONDS)

    async def aclose(self) -> None:
        """End all readers."""
        tasks = [kept.task for kept in self._kept.values()]
        for kept in list(self._kept.values()):
            self._stop(kept)
        self._kept.clear()
        if tasks:
            await asyncio.wait(tasks, timeout=5)

    def _start(self, run_id: str, credentials: Sequence[Header]) -> Kept:
        recording = Recording(run_id, FrameLog("", self._settings.log_max_bytes, self.cache))
        reader = Reader(
            recording,
            credentials,
            self._upstream,
            self._dialer,
            self._settings,
            lambda: self._limit(recording),
            self._broke,
            self._replicas,
        )
        return Kept(recording, reader, asyncio.create_task(reader.run(), name=f"read {run_id}"))

    def _broke(self) -> None:
        self._metrics.tally.upstream_breaks += 1

    def _release(self, key: Key, kept: Kept) -> None:
        if kept.recording.failure is not None or self._settings.log_linger == 0:
            self._drop(key, kept)
            return
        loop = asyncio.get_running_loop()
        kept.timer = loop.call_later(self._settings.log_linger, self._drop, key, kept)

    def _drop(self, key: Key, kept: Kept) -> None:
        if not kept.viewers and self._kept.get(key) is kept:
            del self._kept[key]
            self._stop(kept)

    def _stop(self, kept: Kept) -> None:
        if kept.timer is not None:
            kept.timer.cancel()
        self._past_connects += kept.recording.connects
        kept.recording.connects = 0
        kept.task.cancel()

    def _limit(self, growing: Recording) -> None:
        """Make room for a log that grows: drop what nobody watches, the longest unwatched first."""
        excess = self.size - self._settings.log_total_bytes
        if excess <= 0:
            return
        idle = sorted((kept.left, key) for key, kept in self._kept.items() if not kept.viewers)
        for _, key in idle:
            kept = self._kept[key]
            if kept.recording is not growing and excess > 0:
                excess -= kept.recording.log.size
                self._drop(key, kept)
        if excess > 0:
            raise Failure("BUSY", "the relay holds as many runs as it can", TRY_AGAIN_LATER)
