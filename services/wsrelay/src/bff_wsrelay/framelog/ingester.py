"""The one reader of a run: asks what it is, reads its stream to the end, and again after whatever goes wrong. I/O."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from bff_shared.errors import BackendUnavailable, Busy, UpstreamError
from bff_shared.http.context import upstream_headers
from bff_shared.http.headers import Header
from bff_shared.upstream.client import Call, Upstream, credentials_and_ids
from bff_wsrelay.framelog.failures import REFUSED_STATUSES, Failure, FailureReason, failure_of_status
from bff_wsrelay.framelog.fair_semaphore import FairSemaphore
from bff_wsrelay.framelog.frame import Malformed, read, take
from bff_wsrelay.framelog.frame_log import Full
from bff_wsrelay.framelog.lease import Sharing
from bff_wsrelay.framelog.replay_pass import Breaks, Reading, Silence
from bff_wsrelay.framelog.run_info import curve_end, detail, falls_short
from bff_wsrelay.framelog.shared_store import Replicas
from bff_wsrelay.framelog.topic import Recording
from bff_wsrelay.metrics import Tally
from bff_wsrelay.settings import RelaySettings
from bff_wsrelay.websocket.backoff import Backoff
from bff_wsrelay.websocket.client import Link, LinkClosed, Message
from bff_wsrelay.websocket.close_codes import INTERNAL_ERROR
from bff_wsrelay.websocket.connector import Dialer, Refused, Unreachable

log = logging.getLogger(__name__)

SCHEDULE = (0.05, 0.25, 0.5, 1.0, 2.0, 4.0)
SLICE = 64
"""Frames taken before viewers get their turn."""
DETAIL_SECONDS = 10.0
READING_SECONDS = 5.0
"""A reading that takes longer keeps no other of its client address from beginning: a run may grow for hours."""
CAUGHT_UP_SECONDS = 1.0
"""Without a frame for so long, a run that is being read counts as read so far as it goes."""
ERRORS = 3
_READY = '{"t":"ready"}'
_PLAY = '{"t":"ctrl","cmd":"play"}'


class _StreamError(Exception):
    """The backend answered `play` with an error."""


@dataclass(frozen=True, slots=True)
class Equipment:
    """What all readers of a process share.

    Attributes:
        readings: bounds how many runs are read at once for one client address.
        turns: whose frames are taken next: one reader's at a time, so that however many read, everything else that the
            event loop has to do waits for one slice only, and each client address gets as much done as another.
    """

    settings: RelaySettings
    upstream: Upstream
    dialer: Dialer
    tally: Tally
    readings: FairSemaphore
    turns: FairSemaphore
    replicas: Replicas | None = None


class Reader:
    """Fills one recording on behalf of one set of credentials, which it keeps in memory only.

    `client` returns the address that its work counts for.
    """

    def __init__(
        self,
        recording: Recording,
        credentials: Sequence[Header],
        client: Callable[[], str],
        equipment: Equipment,
        on_growth: Callable[[], None],
    ) -> None:
        self._settings = equipment.settings
        self._sharing = Sharing(equipment.replicas, recording, credentials, self._settings.log_claim_seconds)
        self._recording, self._credentials, self._client = recording, list(credentials), client
        self._upstream, self._dialer, self._tally = equipment.upstream, equipment.dialer, equipment.tally
        self._readings, self._turns = equipment.readings, equipment.turns
        self._on_growth = on_growth
        self._path = f"/backtests/{quote(recording.run_id, safe='')}"
        self._backoff, self._breaks = Backoff(SCHEDULE), Breaks()
        self._reading: Reading | None = None
        self._slot_client = ""
        self._resting: asyncio.TimerHandle | None = None
        self._errors = self._left_out = 0
        self._doubted = -1
        self.identified = asyncio.Event()

    async def run(self) -> None:
        """Read until the run's end is known, or it cannot be had."""
        try:
            while not await self._attempt():
                pass
        except Failure as failure:
            self._recording.fail(failure.reason)
        except Full:
            self._recording.fail(FailureReason("TOO_LARGE", "the run is larger than the relay keeps", 1009))
        except Exception:
            # A defect: whoever watches is told to come back rather than left to wait for ever.
            log.exception("reading ended with a defect", extra={"run_id": self._recording.run_id})
            self._recording.fail(FailureReason("INTERNAL", "the relay failed to read the run", INTERNAL_ERROR))
        finally:
            self.identified.set()
            self._rest()
            await self._sharing.aclose()

    async def look(self, seconds: float = DETAIL_SECONDS) -> bool:
        """Ask the backend about the run, which also judges the credentials; tell whether it was run anew.

        The recording's log is then another one, which has to be read from the beginning. Raises Failure; for a while,
        UpstreamError, or Busy where this process has no room for the question.
        """
        headers = credentials_and_ids(self._credentials)
        call = Call("GET", self._path.encode(), headers, deadline=time.monotonic() + seconds)
        answer = await self._upstream.fetch(call, limit=1 << 20)
        if answer.status in REFUSED_STATUSES:
            raise failure_of_status(answer.status)
        if answer.status != HTTPStatus.OK:
            raise BackendUnavailable(f"the backend answered {answer.status}")
        try:
            body = read(answer.content)
        except Malformed:
            body = None
        known = self._recording.detail
        found = detail(self._recording.run_id, body) if known is None or isinstance(body, dict) else known
        is_anew = self._recording.identify(found, time.monotonic())
        self.identified.set()
        return is_anew

    async def _attempt(self) -> bool:
        """Make one pass; tell whether the run has ended. Waits after whatever went wrong."""
        try:
            return await self._attempt_now()
        except Busy as busy:
            # This process has no room for a question to the backend, which says nothing about the backend or the run.
            self._rest()
            delay = max(self._settings.read_poll_seconds, busy.retry_after or 0.0)
            self._recording.enter("waiting", retry_ms=round(delay * 1000))
            await asyncio.sleep(delay)
            return False

    async def _attempt_now(self) -> bool:
        """Do what `_attempt` does; raises Busy too."""
        recording = self._recording
        finished, known, self._reading = True, len(recording.log), None
        try:
            await self.look()
            finished = recording.detail is None or recording.detail.finished
            if finished and await self._borrow():
                return True
            await self._take_slot()
            if await self._pass(finished=finished):
                self._rest()
                await self._sharing.lend()
                return True
            if not finished:
                self._rest()
                await asyncio.sleep(self._settings.read_poll_seconds)
                return False
        except _StreamError as error:
            self._rest()
            await self._wait_until_ready(str(error), finished=finished)
            return False
        except (UpstreamError, Unreachable, LinkClosed, TimeoutError) as error:
            self._rest()
            self._tally.upstream_breaks += 1
            log.info("reading broke off", extra={"run_id": recording.run_id, "reason": str(error)})
            if finished and await self._is_hopeless():
                return True
        if len(recording.log) > known:
            self._backoff.reset()
        delay = self._backoff.next()
        recording.enter("reconnecting", attempt=self._backoff.attempt, retry_ms=round(delay * 1000))
        await asyncio.sleep(delay)
        return False

    async def _take_slot(self) -> None:
        """Wait until the client address may have another run read; `_rest` follows, by itself after a while."""
        client = self._slot_client = self._client()
        if not self._readings.is_free(client):
            self._recording.enter("waiting", retry_ms=round(self._settings.read_poll_seconds * 1000))
        await self._readings.acquire(client)
        self._resting = asyncio.get_running_loop().call_later(READING_SECONDS, self._rest)

    def _rest(self) -> None:
        """Let somebody else read."""
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
            self._readings.release(self._slot_client)

    async def _is_hopeless(self) -> bool:
        """Tell whether readings that break off at one frame have had the run whole. Raises Failure if they never will.

        The run's equity is the witness: where its last point is not later than the last frame, nothing was missing.
        """
        reading = self._reading
        if reading is None or not self._breaks.note(reading.position):
            return False
        end = await self._curve_end()
        if end is not None and not falls_short(reading.log.time_of(reading.position - 1), end, None):
            return self._over(reading, finished=True)
        raise Failure("STREAM_ERROR", "the backend always breaks this run off at the same frame", 4424)

    async def _borrow(self) -> bool:
        """Take the whole log from another relay that has read it with the same credentials, if there is one."""
        recording = self._recording
        if not await self._sharing.borrow():
            return False
        recording.feed(recording.log)
        recording.enter("finished")
        self._on_growth()
        return True

    async def _wait_until_ready(self, message: str, *, finished: bool) -> None:
        """Wait for a run that is not ready; give up one that never will be."""
        if "not found" in message.lower() and not len(self._recording.log):
            raise failure_of_status(404)
        if finished:
            self._errors += 1
            if self._errors >= ERRORS:
                raise Failure("STREAM_ERROR", "the backend cannot stream this run", 4424)
        self._recording.enter("waiting", retry_ms=round(self._settings.read_poll_seconds * 1000))
        await asyncio.sleep(self._settings.read_poll_seconds)

    async def _pass(self, *, finished: bool) -> bool:
        """Read the stream once from its first frame; tell whether it was the whole of a finished run."""
        headers = [*self._credentials, *upstream_headers()]
        try:
            link = await self._dialer.dial(f"{self._path}/ws", headers)
        except Refused as refused:
            if refused.status in REFUSED_STATUSES:
                raise failure_of_status(refused.status) from refused
            raise Unreachable("the backend refused the handshake") from refused
        self._recording.connects += 1
        try:
            await link.transmit(_READY)
            await link.transmit(_PLAY)
            return await self._follow(link, finished=finished)
        finally:
            link.transport.abort()

    async def _follow(self, link: Link, *, finished: bool) -> bool:
        self._reading = reading = Reading(self._recording.log)
        now = time.monotonic()
        silence, believed = Silence(now, now), -1
        while True:
            batch = await self._receive(link)
            for start in range(0, len(batch), SLICE):
                async with self._turns.slot(self._client()):
                    said_end = self._take(batch[start : start + SLICE], reading, silence)
                    await asyncio.sleep(0)
                if said_end or reading.is_complete:
                    return self._over(reading, finished=finished)
            now = time.monotonic()
            if reading.position and now - silence.frame_at > CAUGHT_UP_SECONDS:
                self._rest()
            # A run that begins late looks like one without frames, so it gets twice the time.
            quiet = self._settings.read_quiet_seconds * (1 if reading.position or reading.malformed else 2)
            if silence.means_end(now, quiet) and (finished or reading.position):
                if not finished or reading.position == believed:
                    return self._over(reading, finished=finished)
                await self._doubt(reading)
                believed = reading.position  # unless more has come while the backend was asked
            if silence.means_stall(now, self._settings.read_stall_seconds):
                raise TimeoutError("the backend fell silent")

    async def _doubt(self, reading: Reading) -> None:
        """Hold an end that nobody has said against what else is known of the run; raise TimeoutError if it falls short.

        A second reading that stops at the same frame is believed.
        """
        known, at = self._recording.detail, reading.position
        run_to = known.run_to if known is not None and at else None  # an empty run has dates too
        last = reading.log.time_of(at - 1) if at else -1
        if at != self._doubted and falls_short(last, await self._curve_end(), run_to):
            self._doubted = at
            raise TimeoutError("the backend stopped before the end of the run")

    async def _curve_end(self) -> int | None:
        headers = credentials_and_ids(self._credentials)
        deadline = time.monotonic() + DETAIL_SECONDS
        try:
            answer = await self._upstream.fetch(
                Call("GET", f"{self._path}/equity".encode(), headers, deadline=deadline)
            )
        except UpstreamError:
            return None
        return curve_end(answer.content) if answer.status == HTTPStatus.OK else None

    async def _receive(self, link: Link) -> list[Message]:
        pause = min(1.0, self._settings.read_quiet_seconds / 4, self._settings.read_stall_seconds / 4)
        try:
            async with asyncio.timeout(pause):
                return await link.receive()
        except TimeoutError:
            return []

    def _take(self, batch: Sequence[Message], reading: Reading, silence: Silence) -> bool:
        """Take some messages; tell whether the backend said that this was the end."""
        grown = said_end = False
        for text in batch:
            try:
                message = read(text)
                kind = message.get("t") if isinstance(message, dict) else None
                frame = take(message) if kind == "frame" else None
            except Malformed as error:
                self._leave_out(reading, str(error))
                silence.frame(time.monotonic())
                continue
            if frame is not None:
                grown = reading.take(frame) or grown
                silence.frame(time.monotonic())
            elif kind == "end":
                said_end = True
            else:
                self._heed(kind, message, silence)
        if grown:
            self._errors = 0
            self._recording.enter("live")
            self._recording.feed(reading.log)
            self._on_growth()
        return said_end

    def _leave_out(self, reading: Reading, reason: str) -> None:
        """Do without a frame that cannot be read."""
        recording = self._recording
        if not reading.malformed:
            extra = {"run_id": recording.run_id, "after_frame": reading.position - 1, "reason": reason}
            log.warning("a frame of the backend's cannot be read and is left out", extra=extra)
        reading.malformed += 1
        if reading.malformed > self._left_out:
            self._left_out = reading.malformed
            self._tally.malformed_frames += 1
        recording.left_out(reading.malformed)

    def _heed(self, kind: str | None, message: Any, silence: Silence) -> None:
        if kind == "hb":
            silence.beat(time.monotonic())
            return
        silence.heard_at = time.monotonic()
        if kind == "err" and message.get("code") == "RUN_NOT_FOUND":
            raise failure_of_status(404)
        if kind == "err" and message.get("code") != "VALIDATION":
            raise _StreamError(str(message.get("msg")))

    def _over(self, reading: Reading, *, finished: bool) -> bool:
        """Note that the pass is over; only one that began after the run had finished is known to be whole."""
        if finished and reading.malformed and not reading.position:
            raise Failure("STREAM_ERROR", "no frame of this run can be read", 4424)
        self._recording.left_out(reading.malformed, final=True)
        if finished:
            reading.close()
            self._recording.feed(reading.log)
            self._recording.enter("finished")
        return finished
