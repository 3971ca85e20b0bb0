"""The ingester of a run: reads the backend's stream into the frame log, and again after every failure. I/O."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from bff_shared import foreign_json
from bff_shared.access.credentials import Reader
from bff_shared.access.refusal import Refusal
from bff_shared.errors import Busy, UpstreamError
from bff_wsrelay.framelog.end_check import PAUSE_SECONDS, EndCheck
from bff_wsrelay.framelog.failures import (
    Failure,
    FailureReason,
    failure_of_status,
    refusal_of,
    resource_of,
    unstreamable,
)
from bff_wsrelay.framelog.fair_semaphore import TimedSlot
from bff_wsrelay.framelog.frame import parse_frame
from bff_wsrelay.framelog.frame_log import LogFull
from bff_wsrelay.framelog.ingest_resources import IngestResources
from bff_wsrelay.framelog.lease import Lease
from bff_wsrelay.framelog.read_ahead import FarAhead, ReadAhead, is_begun
from bff_wsrelay.framelog.replay_pass import BreakCounter, ReplayPass, SilenceTracker
from bff_wsrelay.framelog.run_client import RunClient, is_broken_off
from bff_wsrelay.framelog.run_info import read_detail
from bff_wsrelay.framelog.topic import Topic
from bff_wsrelay.websocket import Message
from bff_wsrelay.websocket.backoff import SCHEDULE, Backoff
from bff_wsrelay.websocket.client import UpstreamClosed, UpstreamConnection
from bff_wsrelay.websocket.close_codes import INTERNAL_ERROR
from bff_wsrelay.websocket.connector import Unreachable

log = logging.getLogger(__name__)

REPLAY_SCHEDULE = (0.05, 0.25, 0.5, *SCHEDULE)
"""Three quick attempts, then as ever: most breaks are over at once, and all viewers share one connection."""
FRAMES_A_TURN = 64
"""Frames taken before viewers get their turn."""
DETAIL_SECONDS = 10.0
READING_SECONDS = 15.0
"""A pass that takes longer keeps no other run from being read: a run may grow for hours."""
ERRORS = 3


class _StreamError(Exception):
    """The backend answered `play` with an error."""


class Ingester:
    """Fills one topic on behalf of one reader, whose credentials it keeps in memory only.

    `client` returns the address that its work counts for. `on_refusal` is told why the reader may not read the run, and
    returns whether somebody else goes on with the topic.
    """

    def __init__(
        self,
        topic: Topic,
        reader: Reader,
        client: Callable[[], str],
        resources: IngestResources,
        on_growth: Callable[[], None],
        on_refusal: Callable[[FailureReason], bool],
    ) -> None:
        self._settings = resources.settings
        self._lease = Lease(resources.store, topic, reader.owner, self._settings.log_claim_seconds)
        self._topic, self._client, self._counts = topic, client, resources.counts
        self.reader, self._gate, self._on_refusal = reader, resources.gate, on_refusal
        self._run = RunClient(topic.run_id, reader.credentials, resources.upstream, resources.connector)
        self._slot, self._turns = TimedSlot(resources.slots, READING_SECONDS), resources.turns
        self._ahead = ReadAhead(topic, resources.ahead, client)
        self._on_growth, self._end = on_growth, EndCheck(self._run)
        self._backoff, self._breaks = Backoff(REPLAY_SCHEDULE), BreakCounter()
        self._replay: ReplayPass | None = None
        self._errors = self._max_malformed = 0
        self.detail_known = asyncio.Event()

    def __repr__(self) -> str:
        """Return the topic, whether a slot is held, and how far the present pass has come."""
        position = self._replay.position if self._replay is not None else None
        return f"<Ingester of {self._topic!r} slot={self._slot.is_held} position={position}>"

    async def run(self) -> None:
        """Read until the run's end is known, or it is certain that it cannot be read; the topic says which.

        Raises nothing. Cancellation ends the connection to the backend, releases slot and lease, and leaves the frames
        read so far in the log, from which another ingester goes on.
        """
        try:
            while True:
                try:
                    if await self._attempt():
                        break
                except Busy as busy:
                    await self._wait_for_room(busy)
        except Failure as failure:
            self._gate.note(self.reader.credential, resource_of(self._topic.run_id), failure)
            if refusal_of(failure) is Refusal.NOTHING or not self._on_refusal(failure.reason):
                self._topic.fail(failure.reason)
        except LogFull:
            self._topic.fail(FailureReason("TOO_LARGE", "the run is larger than the relay keeps", 1009))
        except Exception:
            # A defect: viewers are closed with a code to come back, rather than left to wait for ever.
            log.exception("ingesting ended with an unexpected error", extra={"run_id": self._topic.run_id})
            self._topic.fail(FailureReason("INTERNAL", "the relay failed to read the run", INTERNAL_ERROR))
        finally:
            self.detail_known.set()
            self._slot.release()
            self._ahead.release()
            await self._lease.aclose()

    async def fetch_detail(self, seconds: float = DETAIL_SECONDS) -> bool:
        """Ask the backend about the run, which also judges the credentials.

        Args:
            seconds: longest wait for the response.

        Returns:
            Whether it was run anew: the topic's log is then another one, to be read from the beginning.

        Raises:
            Failure: the backend refuses the credentials or the user, or there is no such run.
            UpstreamError: the backend cannot be asked now.
            Busy: this process has no room for the question.
        """
        resource, asked = resource_of(self._topic.run_id), self._gate.now()
        try:
            body = await self._run.fetch_detail(seconds)
        except Failure as failure:
            self._gate.note(self.reader.credential, resource, failure)
            raise
        self._gate.accepted(self.reader.credential, resource, asked)
        known = self._topic.detail
        found = read_detail(self._topic.run_id, body) if known is None or isinstance(body, dict) else known
        is_anew = self._topic.set_detail(found, time.monotonic())
        if is_anew:
            self._end.reset()
        self.detail_known.set()
        return is_anew

    async def _wait_for_room(self, busy: Busy) -> None:
        """Wait as long as this process has no room for a question, which says nothing about the backend or the run."""
        self._slot.release()
        delay = max(self._settings.read_poll_seconds, busy.retry_after or 0.0)
        self._topic.enter("waiting", retry_ms=round(delay * 1000))
        await asyncio.sleep(delay)

    async def _attempt(self) -> bool:
        """Make one pass; return whether the run has ended. Waits after whatever went wrong. Raises Busy, Failure."""
        topic = self._topic
        finished, known, self._replay = True, len(topic.log), None
        try:
            await self.fetch_detail()
            finished = topic.detail is None or topic.detail.finished
            if finished and await self._fetch_shared():
                return True
            await self._take_slot()
            log.debug("the run is read", extra={"run_id": topic.run_id, "known_frames": known})
            if await self._replay_once(finished=finished):
                log.debug("the run was read to its end", extra={"run_id": topic.run_id, "frames": len(topic.log)})
                self._slot.release()
                await self._lease.offer()
                return True
            if not finished:
                self._slot.release()
                await asyncio.sleep(self._settings.read_poll_seconds)
                return False
        except FarAhead:
            await self._ahead.wait(len(topic.log))
            return False
        except _StreamError as error:
            self._slot.release()
            await self._wait_until_ready(str(error), finished=finished)
            return False
        except (UpstreamError, Unreachable, UpstreamClosed, TimeoutError) as error:
            self._slot.release()
            self._counts.upstream_breaks += 1
            log.info("the backend's stream broke off", extra={"run_id": topic.run_id, "reason": str(error)})
            if finished and await self._is_hopeless(error):
                return True
        if len(topic.log) > known:
            self._backoff.reset()
        delay = self._backoff.next()
        topic.enter("reconnecting", attempt=self._backoff.attempt, retry_ms=round(delay * 1000))
        await asyncio.sleep(delay)
        return False

    async def _take_slot(self) -> None:
        """Wait until the client address may have another run read."""
        client = self._client()
        if not self._slot.is_free(client):
            self._topic.enter("waiting", retry_ms=round(self._settings.read_poll_seconds * 1000))
        await self._slot.acquire(client)

    async def _is_hopeless(self, error: Exception) -> bool:
        """Return whether passes that break off at one frame were complete. Raises Failure if none ever will be.

        The run's equity is the witness: where its last point is not later than the last frame, nothing was missing.
        """
        replay = self._replay
        if replay is None or not (replay.position or is_broken_off(error)) or not self._breaks.note(replay.position):
            return False
        if replay.position and await self._end.is_whole(replay.last_time):
            return self._finish_pass(replay, finished=True)
        where = "at the same frame" if replay.position else "before its first frame"
        raise Failure("STREAM_ERROR", f"the backend always breaks this run off {where}", 4424)

    async def _fetch_shared(self) -> bool:
        """Take the whole log from another relay that has read it with the same credentials, if there is one."""
        topic = self._topic
        if not await self._lease.fetch_or_acquire():
            return False
        topic.publish(topic.log)
        topic.enter("finished")
        self._on_growth()
        return True

    async def _wait_until_ready(self, message: str, *, finished: bool) -> None:
        """Wait for a run that is not ready; give up one that never will be."""
        if "not found" in message.lower() and not len(self._topic.log):
            raise failure_of_status(404)
        if finished:
            self._errors += 1
            if self._errors >= ERRORS:
                raise unstreamable(message)
        self._topic.enter("waiting", retry_ms=round(self._settings.read_poll_seconds * 1000))
        await asyncio.sleep(self._settings.read_poll_seconds)

    async def _replay_once(self, *, finished: bool) -> bool:
        """Read the stream once from its first frame; return whether it was the whole of a finished run."""
        connection = await self._run.open_stream()
        self._topic.connects += 1
        try:
            return await self._read_frames(connection, finished=finished)
        finally:
            self._end.end_pass()
            connection.transport.abort()

    def _is_last(self, replay: ReplayPass) -> bool:
        return self._end.is_last(replay.last_time, replay.position, self._topic.detail)

    async def _read_frames(self, connection: UpstreamConnection, *, finished: bool) -> bool:
        self._replay = replay = ReplayPass(self._topic.log)
        began = time.monotonic()
        silence, checked_at = SilenceTracker(began, began), -1
        self._end.begin_pass()
        while True:
            if not self._slot.is_held:
                await self._ahead.keep_pace(replay.position, silence, connection.hold)
            batch = await self._receive(connection)
            for start in range(0, len(batch), FRAMES_A_TURN):
                async with self._turns.slot(self._client()):
                    is_end = self._ingest(batch[start : start + FRAMES_A_TURN], replay, silence)
                    await asyncio.sleep(0)
                if is_end or replay.is_complete:
                    return self._finish_pass(replay, finished=finished)
            now = time.monotonic()
            self._release_slots(replay.position, now - began, is_caught_up=silence.is_caught_up(now))
            if finished and now - silence.frame_at > PAUSE_SECONDS and self._is_last(replay):
                return self._finish_pass(replay, finished=True)
            # A run that begins late looks like one without frames, so it gets twice the time.
            quiet = self._settings.read_quiet_seconds * (1 if replay.position or replay.malformed else 2)
            if silence.means_end(now, quiet) and (finished or replay.position):
                if not finished or replay.position == checked_at:
                    return self._finish_pass(replay, finished=finished)
                await self._end.require_whole(replay.last_time, replay.position, self._topic.detail)
                checked_at = replay.position  # unless more has come while the backend was asked
            if silence.means_stall(now, self._settings.read_stall_seconds):
                raise TimeoutError("the backend fell silent")

    def _release_slots(self, position: int, seconds: float, *, is_caught_up: bool) -> None:
        if is_caught_up:
            self._ahead.release()
        if is_begun(position, seconds, is_caught_up=is_caught_up):
            self._slot.release()

    async def _receive(self, connection: UpstreamConnection) -> list[Message]:
        pause = min(PAUSE_SECONDS / 2, self._settings.read_quiet_seconds / 4, self._settings.read_stall_seconds / 4)
        try:
            async with asyncio.timeout(pause):
                return await connection.receive()
        except TimeoutError:
            return []

    def _ingest(self, batch: Sequence[Message], replay: ReplayPass, silence: SilenceTracker) -> bool:
        """Take some messages; return whether the backend said that this was the end."""
        grown = is_end = False
        for text in batch:
            try:
                message = foreign_json.loads(text)
                kind = message.get("t") if isinstance(message, dict) else None
                frame = parse_frame(message) if kind == "frame" else None
            except foreign_json.MalformedJson as error:
                self._skip_malformed(replay, str(error))
                silence.frame(time.monotonic())
                continue
            if frame is not None:
                grown = replay.take(frame) or grown
                silence.frame(time.monotonic())
            elif kind == "end":
                is_end = True
            else:
                self._handle_other(kind, message, silence)
        if grown:
            self._errors = 0
            self._topic.enter("live")
            self._topic.publish(replay.log)
            self._on_growth()
        return is_end

    def _skip_malformed(self, replay: ReplayPass, reason: str) -> None:
        """Leave out a malformed frame."""
        topic = self._topic
        if not replay.malformed:
            extra = {"run_id": topic.run_id, "after_frame": replay.position - 1, "reason": reason}
            log.warning("a frame of the backend's cannot be read and is left out", extra=extra)
        replay.malformed += 1
        if replay.malformed > self._max_malformed:
            self._max_malformed = replay.malformed
            self._counts.malformed_frames += 1
        topic.note_malformed(replay.malformed)

    def _handle_other(self, kind: str | None, message: Any, silence: SilenceTracker) -> None:
        if kind == "hb":
            silence.beat(time.monotonic())
            return
        silence.received_at = time.monotonic()
        if kind == "err" and message.get("code") == "RUN_NOT_FOUND":
            raise failure_of_status(404)
        if kind == "err" and message.get("code") != "VALIDATION":
            raise _StreamError(message.get("msg") or "")

    def _finish_pass(self, replay: ReplayPass, *, finished: bool) -> bool:
        """Note that the pass is over; only one that began after the run had finished is known to be whole."""
        if finished and replay.malformed and not replay.position:
            raise Failure("STREAM_ERROR", "no frame of this run can be read", 4424)
        self._topic.note_malformed(replay.malformed, final=True)
        if finished:
            replay.close()
            self._topic.publish(replay.log)
            self._topic.enter("finished")
        return finished
