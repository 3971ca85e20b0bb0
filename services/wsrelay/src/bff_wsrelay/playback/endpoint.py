"""The playback endpoint: `/api/v1/runs/{id}/stream` over WebSocket or as Server-Sent Events. I/O.

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

from bff_shared.access.credentials import Reader
from bff_shared.backend_keys import is_run_id
from bff_shared.errors import BffError, RunNotFound
from bff_shared.http.context import current
from bff_shared.http.headers import Header, credentials, get
from bff_wsrelay.admission.limits import Admission
from bff_wsrelay.admission.refusal import UpgradeRequired, refuse
from bff_wsrelay.framelog.entry import Entry
from bff_wsrelay.framelog.failures import FailureReason, http_error, is_refused_early
from bff_wsrelay.framelog.frame import format_time
from bff_wsrelay.framelog.registry import Registry
from bff_wsrelay.framelog.shared_store import credentials_digest
from bff_wsrelay.framelog.topic import Topic
from bff_wsrelay.metrics import StreamMetrics
from bff_wsrelay.playback.access_watch import AccessWatch
from bff_wsrelay.playback.http_connection import connection_of
from bff_wsrelay.playback.messages import error_message, status_message
from bff_wsrelay.playback.pacer import Pacer
from bff_wsrelay.playback.query import StreamQuery, hello_message, parse_query, start_position
from bff_wsrelay.playback.scheduler import Scheduler
from bff_wsrelay.playback.sinks import EVENT_STREAM_HEADERS, EventStreamSink, Sink, WebSocketSink
from bff_wsrelay.playback.subscriber import Subscriber
from bff_wsrelay.playback.verdict import Verdict
from bff_wsrelay.settings import RelaySettings
from bff_wsrelay.websocket.close_codes import ABNORMAL, NO_STATUS, Close
from bff_wsrelay.websocket.server import WRITER_EXTENSION, FrameWriter

log = logging.getLogger("bff.stream")
PLAYBACK_PATH = "/api/v1/runs/{run_id}/stream"
FLUSH_SECONDS = 1.0
EVENT_STREAM = "text/event-stream"
UNSENT = 8 * 1024
"""Bytes that the kernel may hold unsent for a viewer: what is there already cannot be coalesced any more."""


@dataclass(frozen=True, slots=True)
class _Admitted:
    """An admitted client: what it watches, how, from where; `failure` is why the run cannot be played."""

    entry: Entry
    reader: Reader
    query: StreamQuery
    address: str
    failure: FailureReason | None

    @property
    def topic(self) -> Topic:
        return self.entry.topic


class PlaybackEndpoint:
    """The endpoint as an ASGI app; the router puts `run_id` into `path_params`."""

    def __init__(
        self, settings: RelaySettings, admission: Admission, registry: Registry, metrics: StreamMetrics
    ) -> None:
        self._settings, self._admission, self._registry, self._metrics = settings, admission, registry, metrics
        self._watch = AccessWatch(registry.access)
        registry.on_refusal.append(self._watch.end)
        self._verdict = Verdict(registry, admission, settings.stream_verify_seconds)
        self._scheduler: Scheduler | None = None
        self._connects = 0
        self._secret = secrets.token_bytes(32)
        self.subscribers: set[Subscriber] = set()
        metrics.viewers.set_function(lambda: len(self.subscribers))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the scheduler and the flushing of metrics while the context is open."""
        self._scheduler = Scheduler(asyncio.get_running_loop())
        flusher = asyncio.create_task(self._flush(), name="flush stream metrics")
        try:
            yield
        finally:
            flusher.cancel()
            self._scheduler.close()
            self._metrics.flush()

    def flush(self) -> Mapping[str, int]:
        """Hand all counts over to the metrics and return them, summed since the start."""
        counts = self._metrics.counts
        counts.upstream_connects += self._registry.connects - self._connects
        self._connects = self._registry.connects
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
            request.route = PLAYBACK_PATH
        with contextlib.ExitStack() as stack:
            try:
                is_event_stream = self._wants_events(scope)
                last = get(scope["headers"], b"last-event-id")
                query = parse_query(
                    scope["query_string"], last.decode("latin-1") if last else None, autoplay=is_event_stream
                )
                if scope.get("method") == "HEAD":
                    self._admission.require_origin(scope)
                    await _send_head(send)
                    return
                address = stack.enter_context(self._admission.admit(scope))
                known = credentials(scope["headers"])
                reader = self._registry.access.reader(known)
                entry = stack.enter_context(self._registry.open(_run_id(scope), known, address))
                connection = connection_of(scope) if is_event_stream else None
                failure = await self._verdict.wait(
                    entry, reader, address, needs_frame=is_event_stream, connection=connection
                )
                if connection is not None and connection.lost.is_set():
                    self._log_end(None, ABNORMAL, address, entry.topic.run_id)
                    return
                if failure is not None and (is_event_stream or is_refused_early(failure)):
                    self._log_end(None, failure.close, address, entry.topic.run_id)
                    raise http_error(failure)
            except BffError as error:
                await refuse(scope, receive, send, error)
                return
            serve = self._serve_events if is_event_stream else self._serve_socket
            await serve(scope, receive, send, _Admitted(entry, reader, query, address, failure))

    def _wants_events(self, scope: Scope) -> bool:
        if scope["type"] == "websocket":
            return False
        accept = get(scope["headers"], b"accept") or b""
        if EVENT_STREAM not in accept.decode("latin-1").lower():
            raise UpgradeRequired("this is a stream: use WebSocket, or accept text/event-stream")
        return True

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send, admitted: _Admitted) -> None:
        if (await receive())["type"] != "websocket.connect":
            return
        writer: FrameWriter = scope["extensions"][WRITER_EXTENSION]
        writer.limit_message(self._settings.stream_max_message)
        await send({"type": "websocket.accept"})
        writer.limit_unsent(UNSENT)
        sink = WebSocketSink(writer, self._registry.cache)
        if admitted.failure is not None:
            sink.send(error_message(admitted.failure.code, admitted.failure.message), "error")
            sink.close(Close(admitted.failure.close, admitted.failure.message))
            self._log_end(None, admitted.failure.close, admitted.address, admitted.topic.run_id)
            return
        with self._subscribed(admitted, sink, credentials(scope["headers"])) as subscriber:
            subscriber.left = await self._receive_messages(receive, subscriber, sink, admitted.address)

    async def _receive_messages(
        self, receive: Receive, subscriber: Subscriber, sink: WebSocketSink, address: str
    ) -> Close:
        """Handle a client's messages until its connection ends, and return how it ended.

        Reading pauses while the client does not take what it is sent, and above its address's rate limit.
        """
        while True:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                return Close(event.get("code") or NO_STATUS, event.get("reason") or "")
            message = event.get("text") or event.get("bytes") or ""
            while not self._admission.controls.take(address, now := time.monotonic()):  # noqa: ASYNC110  time fills it
                await asyncio.sleep(self._admission.controls.wait(address, now))
            subscriber.receive_message(message)
            await sink.drain()

    async def _serve_events(self, scope: Scope, receive: Receive, send: Send, admitted: _Admitted) -> None:
        del receive  # the connection says when the client is gone
        connection = connection_of(scope)
        connection.unbuffered(UNSENT)
        sink = EventStreamSink(connection, self._settings.stream_stuck_seconds)
        await send({"type": "http.response.start", "status": 200, "headers": list(EVENT_STREAM_HEADERS)})
        with self._subscribed(admitted, sink, credentials(scope["headers"])) as subscriber:
            await sink.deliver(send)
            subscriber.left = sink.closed or Close(NO_STATUS)

    @contextlib.contextmanager
    def _subscribed(self, admitted: _Admitted, sink: Sink, known: Sequence[Header]) -> Iterator[Subscriber]:
        """Subscribe a client while the context is open; a drain ends it."""
        subscriber = self._subscribe(admitted.topic, sink, admitted.query)
        subscriber.principal = self.principal(known)
        try:
            watched = self._watch.covering(admitted.reader, admitted.topic.run_id, subscriber)
            with self._admission.drain.covering(subscriber), watched:
                yield subscriber
        finally:
            subscriber.unsubscribe()
            self.subscribers.discard(subscriber)
            code = (subscriber.closed or subscriber.left).code
            self._log_end(subscriber, code, admitted.address, admitted.topic.run_id)

    def principal(self, known: Sequence[Header]) -> str:
        """Return a digest of credentials, valid in this process only, that tells whose a stream is."""
        return credentials_digest(self._secret, "", known)

    def _subscribe(self, topic: Topic, sink: Sink, query: StreamQuery) -> Subscriber:
        start, resumed = start_position(topic, query)
        pacer = Pacer(topic.log, cursor=start, speed=query.speed, fps=query.fps)
        now = time.monotonic()
        if resumed is False and query.micros is not None:
            pacer.switch(topic.log, query.micros, now)  # which waits where the log has not come so far
        assert self._scheduler is not None  # noqa: S101  requests come only while the app runs
        subscriber = Subscriber(topic, pacer, sink, self._scheduler, self._settings, self._metrics, bar=query.bar)
        if query.epoch is not None and not topic.log.epoch:
            subscriber.resume_from = query.epoch, query.micros
        sink.send(hello_message(topic, pacer, resumed=resumed, bar=query.bar), "hello")
        if resumed is False and topic.log.epoch:
            after = format_time(query.micros) if query.micros is not None else _time(topic, start)
            sink.send(status_message("epoch", epoch=topic.log.epoch, ts=after, reason="unknown"), "status")
        self._metrics.counts.resumes += resumed is True
        if query.autoplay:
            pacer.play(now)
        self.subscribers.add(subscriber)
        subscriber.subscribe()
        log.debug("stream began", extra={"run_id": topic.run_id, "position": start, "resumed": resumed})
        return subscriber

    def _log_end(self, subscriber: Subscriber | None, code: int, address: str, run_id: str) -> None:
        """Count the end of a stream and write its log line."""
        self._metrics.ended(code, address)
        counts = subscriber.describe() if subscriber else {"run_id": run_id}
        log.info("stream ended", extra={"client": address, "close_code": code, **counts})


def _time(topic: Topic, start: int) -> str | None:
    """Return the time after which a viewer goes on that begins at an index."""
    return format_time(topic.log.time_of(start - 1)) if 0 < start <= len(topic.log) else None


def _run_id(scope: Scope) -> str:
    """Return the run's id. Raises RunNotFound for what is none: it would lead elsewhere on the backend."""
    run_id: str = scope["path_params"]["run_id"]
    if not is_run_id(run_id):
        raise RunNotFound("run not found")
    return run_id


async def _send_head(send: Send) -> None:
    """Respond to HEAD: an event stream's headers, without asking the backend or counting a connection."""
    await send({"type": "http.response.start", "status": 200, "headers": list(EVENT_STREAM_HEADERS)})
    await send({"type": "http.response.body", "body": b""})
