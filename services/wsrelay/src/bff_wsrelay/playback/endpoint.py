"""The playback door: `/api/v1/runs/{id}/stream` over WebSocket or as Server-Sent Events. I/O.

The backend judges run and credentials before anything is promised: a handshake that it refuses (401, 403) is refused
with that status, an event stream of a run that cannot be played gets its status and no event. Over WebSocket every
other refusal is accepted and closed at once with its final code, because a page learns no status of a handshake.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from bff_shared.errors import BffError, Busy, RequestError, RunNotFound
from bff_shared.http.context import current
from bff_shared.http.headers import Header, credentials, get
from bff_shared.http.ids import is_run_id
from bff_wsrelay.admission.limits import RETRY_AFTER, Admission
from bff_wsrelay.admission.refusal import refuse
from bff_wsrelay.framelog.failures import Failure, FailureReason, http_error, is_refused_early
from bff_wsrelay.framelog.frame import stamp
from bff_wsrelay.framelog.registry import Kept, Shelf
from bff_wsrelay.framelog.shared_store import digest
from bff_wsrelay.framelog.topic import Recording
from bff_wsrelay.metrics import StreamMetrics
from bff_wsrelay.playback.http_connection import connection_of
from bff_wsrelay.playback.messages import err, status
from bff_wsrelay.playback.pacer import Player
from bff_wsrelay.playback.query import Wish, hello, start_of, wish
from bff_wsrelay.playback.scheduler import Ticker
from bff_wsrelay.playback.sinks import HEADERS, Batch, EventSink, Outlet, WireOutlet
from bff_wsrelay.playback.subscriber import Spectator
from bff_wsrelay.settings import RelaySettings
from bff_wsrelay.websocket.close_codes import NO_STATUS, Close
from bff_wsrelay.websocket.server import EXTENSION, Wire

log = logging.getLogger("bff.stream")
PATH = "/api/v1/runs/{run_id}/stream"
FLUSH_SECONDS = 1.0
EVENT_STREAM = "text/event-stream"
UNSENT = 8 * 1024
"""Bytes that the kernel may hold unsent for a viewer: what is there already cannot be coalesced any more."""


class UpgradeRequired(RequestError):
    """The resource is a stream: WebSocket, or `Accept: text/event-stream` (RFC 9110 section 15.5.22)."""

    code, status = "UPGRADE_REQUIRED", 426

    def headers(self) -> dict[str, str]:
        """Name the protocol."""
        return {"upgrade": "websocket", "connection": "upgrade"}


class _Pending:
    """A handshake that waits for a verdict; a drain ends the wait."""

    def __init__(self, deadline: asyncio.Timeout) -> None:
        self._deadline = deadline
        self.is_drained = False

    def drain(self, retry_ms: int) -> None:
        """Let the deadline pass now."""
        del retry_ms  # the refusal says when to come back
        self.is_drained = True
        if not self._deadline.expired():
            self._deadline.reschedule(0)


class _Readable:
    """Waits until a recording has frames, or is known to have none."""

    def __init__(self, recording: Recording) -> None:
        self._recording, self._news = recording, asyncio.Event()

    async def wait(self) -> None:
        """Wait while a finished run's first frame is still to come."""
        recording, news = self._recording, self._news
        recording.watchers.add(self)
        try:
            while self._is_open():
                recording.hungry.add(self)
                await news.wait()
                news.clear()
        finally:
            recording.watchers.discard(self)
            recording.hungry.discard(self)

    def _is_open(self) -> bool:
        recording = self._recording
        is_finished = recording.detail is not None and recording.detail.finished
        return is_finished and recording.failure is None and not len(recording.log) and not recording.log.ended

    def grown(self) -> None:
        """Look again."""
        self._news.set()

    changed = informed = grown


@dataclass(frozen=True, slots=True)
class _Visit:
    """An admitted viewer: what it watches, how, from where; `failure` is why that is impossible."""

    kept: Kept
    asked: Wish
    address: str
    failure: FailureReason | None

    @property
    def recording(self) -> Recording:
        return self.kept.recording


class Playback:
    """The door as an ASGI app; the router puts `run_id` into `path_params`."""

    def __init__(self, settings: RelaySettings, admission: Admission, shelf: Shelf, metrics: StreamMetrics) -> None:
        self._settings, self._admission, self._shelf, self._metrics = settings, admission, shelf, metrics
        self._ticker: Ticker | None = None
        self._connects = 0
        self._batch = Batch()
        self._secret = secrets.token_bytes(32)
        self.spectators: set[Spectator] = set()
        metrics.viewers.set_function(lambda: len(self.spectators))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Give viewers their turns as long as the context lasts."""
        self._ticker = Ticker(asyncio.get_running_loop(), self._batch.flush)
        flusher = asyncio.create_task(self._flush(), name="flush stream metrics")
        try:
            yield
        finally:
            flusher.cancel()
            self._ticker.close()
            self._metrics.flush()

    def flush(self) -> Mapping[str, int]:
        """Hand all counts over to the metrics and return them, summed since the start."""
        tally = self._metrics.tally
        tally.upstream_connects += self._shelf.connects - self._connects
        self._connects = self._shelf.connects
        for reason, count in self._admission.take_refusals().items():
            self._metrics.refused.labels(reason).inc(count)
        self._metrics.flush()
        return self._metrics.totals

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                self.flush()
            except Exception:
                # Counts that cannot be handed over now are handed over next time; the task must not end.
                log.exception("handing over the counts failed")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one viewer until it leaves."""
        if request := current():
            request.route = PATH
        with contextlib.ExitStack() as held:
            try:
                is_event_stream = self._wants_events(scope)
                last = get(scope["headers"], b"last-event-id")
                asked = wish(scope["query_string"], last.decode("latin-1") if last else None, autoplay=is_event_stream)
                if scope.get("method") == "HEAD":
                    self._admission.require_origin(scope)
                    await _send_head(send)
                    return
                address = held.enter_context(self._admission.admit(scope))
                kept = held.enter_context(self._shelf.open(_run_id(scope), credentials(scope["headers"]), address))
                failure = await self._verdict(kept, address, is_event_stream=is_event_stream)
                if failure is not None and (is_event_stream or is_refused_early(failure)):
                    self._ended(None, failure.close, address, kept.recording.run_id)
                    raise http_error(failure)
            except BffError as error:
                await refuse(scope, receive, send, error)
                return
            serve = self._serve_events if is_event_stream else self._serve_socket
            await serve(scope, receive, send, _Visit(kept, asked, address, failure))

    def _wants_events(self, scope: Scope) -> bool:
        if scope["type"] == "websocket":
            return False
        accept = get(scope["headers"], b"accept") or b""
        if EVENT_STREAM not in accept.decode("latin-1").lower():
            raise UpgradeRequired("this is a stream: use WebSocket, or accept text/event-stream")
        return True

    async def _verdict(self, kept: Kept, address: str, *, is_event_stream: bool) -> FailureReason | None:
        """Return why the run cannot be played, None if it can or nobody can say within the deadline.

        An event stream waits for the first frame too: once it has begun it has no status any more. Raises Busy when too
        many handshakes wait, or the process is told to stop.
        """
        deadline = asyncio.timeout(self._settings.stream_verify_seconds)
        pending = _Pending(deadline)
        try:
            async with deadline:
                with self._admission.pending(address), self._admission.drain.covering(pending):
                    return await self._judge(kept, is_event_stream=is_event_stream)
        except TimeoutError as error:
            if pending.is_drained:
                raise Busy("the relay restarts", RETRY_AFTER) from error
        return kept.recording.failure

    async def _judge(self, kept: Kept, *, is_event_stream: bool) -> FailureReason | None:
        try:
            await self._shelf.verify(kept)
        except Failure as failure:
            return failure.reason
        if is_event_stream:
            await _Readable(kept.recording).wait()
        return kept.recording.failure

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send, visit: _Visit) -> None:
        if (await receive())["type"] != "websocket.connect":
            return
        wire: Wire = scope["extensions"][EXTENSION]
        wire.limit_message(self._settings.stream_max_message)
        await send({"type": "websocket.accept"})
        wire.limit_unsent(UNSENT)
        outlet = WireOutlet(wire, self._shelf.cache, self._batch)
        if visit.failure is not None:
            outlet.say(err(visit.failure.code, visit.failure.message), "error")
            outlet.close(Close(visit.failure.close, visit.failure.message))
            self._ended(None, visit.failure.close, visit.address, visit.recording.run_id)
            return
        with self._seated(visit, outlet, credentials(scope["headers"])) as spectator:
            spectator.left = await self._listen(receive, spectator, outlet, visit.address)

    async def _listen(self, receive: Receive, spectator: Spectator, outlet: WireOutlet, address: str) -> Close:
        """Obey a viewer's messages until its connection ends, and return how it did.

        No more is read while the viewer does not take what it was answered, nor above its address's allowance.
        """
        while True:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                return Close(event.get("code") or NO_STATUS, event.get("reason") or "")
            message = event.get("text") or event.get("bytes") or ""
            while not self._admission.controls.take(address, now := time.monotonic()):  # noqa: ASYNC110  time fills it
                await asyncio.sleep(self._admission.controls.wait(address, now))
            spectator.hear(message)
            await outlet.drain()

    async def _serve_events(self, scope: Scope, receive: Receive, send: Send, visit: _Visit) -> None:
        del receive  # the connection says when the client is gone
        connection = connection_of(scope)
        connection.unbuffered(UNSENT)
        sink = EventSink(connection, self._settings.stream_stuck_seconds)
        await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
        with self._seated(visit, sink, credentials(scope["headers"])) as spectator:
            await sink.deliver(send)
            spectator.left = sink.closed or Close(NO_STATUS)

    @contextlib.contextmanager
    def _seated(self, visit: _Visit, outlet: Outlet, known: Sequence[Header]) -> Iterator[Spectator]:
        """Let a viewer watch as long as the context lasts; whatever the process is told meanwhile ends it."""
        spectator = self._seat(visit.recording, outlet, visit.asked)
        spectator.owner = self.owner(known)
        try:
            with self._admission.drain.covering(spectator):
                yield spectator
        finally:
            spectator.detach()
            self.spectators.discard(spectator)
            code = (spectator.closed or spectator.left).code
            self._ended(spectator, code, visit.address, visit.recording.run_id)

    def owner(self, known: Sequence[Header]) -> str:
        """Return what stands for credentials in this process, to tell whose a stream is."""
        return digest(self._secret, "", known)

    def _seat(self, recording: Recording, outlet: Outlet, asked: Wish) -> Spectator:
        start, resumed = start_of(recording, asked)
        player = Player(recording.log, cursor=start, speed=asked.speed, fps=asked.fps)
        now = time.monotonic()
        if resumed is False and asked.micros is not None:
            player.switch(recording.log, asked.micros, now)  # which waits where the log has not come so far
        assert self._ticker is not None  # noqa: S101  requests come only while the app runs
        spectator = Spectator(recording, player, outlet, self._ticker, self._settings, self._metrics)
        if asked.epoch is not None and not recording.log.epoch:
            spectator.claimed = asked.epoch, asked.micros
        outlet.say(hello(recording, player, resumed=resumed), "hello")
        if resumed is False and recording.log.epoch:
            after = stamp(asked.micros) if asked.micros is not None else _time(recording, start)
            outlet.say(status("epoch", epoch=recording.log.epoch, ts=after, reason="unknown"), "status")
        self._metrics.tally.resumes += resumed is True
        if asked.autoplay:
            player.play(now)
        self.spectators.add(spectator)
        spectator.attach()
        return spectator

    def _ended(self, spectator: Spectator | None, code: int, address: str, run_id: str) -> None:
        """Write the connection's one line."""
        self._metrics.ended(code, address)
        figures = spectator.figures() if spectator else {"run_id": run_id}
        log.info("stream ended", extra={"client": address, "close_code": code, **figures})


def _time(recording: Recording, start: int) -> str | None:
    """Return the time after which a viewer goes on that begins at an index."""
    return stamp(recording.log.time_of(start - 1)) if 0 < start <= len(recording.log) else None


def _run_id(scope: Scope) -> str:
    """Return the run's id. Raises RunNotFound for what is none: it would lead elsewhere on the backend."""
    run_id: str = scope["path_params"]["run_id"]
    if not is_run_id(run_id):
        raise RunNotFound("run not found")
    return run_id


async def _send_head(send: Send) -> None:
    """Answer HEAD: the headers of an event stream, without asking the backend or taking a place."""
    await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
    await send({"type": "http.response.body", "body": b""})
