"""The playback door: `/api/v1/runs/{id}/stream` over WebSocket or as Server-Sent Events. I/O."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

import orjson
from starlette.types import Receive, Scope, Send

from bff_shared.context import current
from bff_shared.errors import BffError, InvalidRequest, RequestError
from bff_shared.headers import credentials, get
from bff_wsrelay.admission import Doors, refuse
from bff_wsrelay.closecodes import NO_STATUS, TRY_AGAIN_LATER, Close
from bff_wsrelay.frames import instant, stamp
from bff_wsrelay.outlet import Batch, Outlet, QueueOutlet, WireOutlet, empty
from bff_wsrelay.player import Player
from bff_wsrelay.protocol import DEFAULT_FPS, DEFAULT_SPEED, MOST_INDEX, RATES, SPEEDS, Refused, err, number, status
from bff_wsrelay.recording import Failure, Recording
from bff_wsrelay.settings import RelaySettings
from bff_wsrelay.shelf import Shelf
from bff_wsrelay.spectator import Spectator
from bff_wsrelay.tally import StreamMetrics
from bff_wsrelay.ticker import Ticker
from bff_wsrelay.wire import EXTENSION, Wire

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


@dataclass(frozen=True, slots=True)
class Wish:
    """What a viewer's address asks for."""

    speed: float = DEFAULT_SPEED
    fps: float = DEFAULT_FPS
    autoplay: bool = False
    epoch: str | None = None
    seq: int | None = None
    micros: int | None = None


def wish(query: bytes, last_event: str | None, *, autoplay: bool) -> Wish:
    """Read the query: `speed`, `fps`, `autoplay`, and `epoch`, `seq`, `ts` of the last frame seen.

    Last-Event-ID (`epoch:seq`), which a browser sends by itself, goes before. Raises InvalidRequest.
    """
    fields = {key: values[-1] for key, values in parse_qs(query.decode("latin-1")).items()}
    try:
        speed = number("speed", float(fields.get("speed", DEFAULT_SPEED)), *SPEEDS)
        fps = number("fps", float(fields.get("fps", DEFAULT_FPS)), *RATES)
        epoch, seq = fields.get("epoch"), fields.get("seq")
        if last_event and ":" in last_event:
            epoch, _, seq = last_event.partition(":")
        micros = instant(fields["ts"]) if "ts" in fields else None
        position = _seen(seq) if seq is not None else None
    except (ValueError, Refused) as error:
        raise InvalidRequest("the query asks for something impossible", {"query": str(error)}) from error
    wanted = fields.get("autoplay", "1" if autoplay else "0").lower() in {"1", "true", "yes"}
    return Wish(speed, fps, wanted, epoch, position, micros)


def _seen(seq: str) -> int:
    """Return the index of the last frame that a viewer has, -1 for none. Raises ValueError."""
    index = max(-1, int(seq))
    if index >= MOST_INDEX:
        raise ValueError("no run has so many frames")
    return index


def start_of(recording: Recording, asked: Wish) -> tuple[int, bool | None]:
    """Return where a viewer begins, and whether that is where it left off (None if it is new here)."""
    frames = recording.log
    if asked.epoch is None and asked.seq is None:
        return (frames.nearest(asked.micros) if asked.micros is not None and len(frames) else 0), None
    seq = asked.seq if asked.seq is not None else -1
    if asked.epoch is None or asked.epoch == frames.epoch:
        return (min(seq + 1, len(frames)) if frames.ended else seq + 1), True
    if asked.micros is not None:
        return frames.after(asked.micros), False
    return min(seq + 1, len(frames)), False


def hello(recording: Recording, player: Player, *, resumed: bool | None) -> bytes:
    """Return the first message: what is played, where the viewer stands, how fast it goes."""
    body = {"t": "hello", "epoch": recording.log.epoch, "seq": player.cursor - 1, **recording.extent}
    body |= {"fps": player.fps, "speed": player.speed}
    return orjson.dumps(body if resumed is None else {**body, "resumed": resumed})


class Playback:
    """The door as an ASGI app; the router puts `run_id` into `path_params`."""

    def __init__(self, settings: RelaySettings, doors: Doors, shelf: Shelf, metrics: StreamMetrics) -> None:
        self._settings, self._doors, self._shelf, self._metrics = settings, doors, shelf, metrics
        self._ticker: Ticker | None = None
        self._connects = self._refused = 0
        self._batch = Batch()
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
        tally.refused += self._doors.refused - self._refused
        self._refused = self._doors.refused
        self._metrics.flush()
        return self._metrics.totals

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            self.flush()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one viewer until it leaves."""
        if request := current():
            request.route = PATH
        try:
            events = self._wants_events(scope)
            last = get(scope["headers"], b"last-event-id")
            asked = wish(scope["query_string"], last.decode("latin-1") if last else None, autoplay=events)
            place = self._doors.admit(scope)
        except BffError as error:
            await refuse(scope, receive, send, error)
            return
        serve = self._serve_events if events else self._serve_socket
        with place as address:
            await serve(scope, receive, send, asked, address)

    def _wants_events(self, scope: Scope) -> bool:
        if scope["type"] == "websocket":
            return False
        accept = get(scope["headers"], b"accept") or b""
        if EVENT_STREAM not in accept.decode("latin-1").lower():
            raise UpgradeRequired("this is a stream: use WebSocket, or accept text/event-stream")
        return True

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send, asked: Wish, address: str) -> None:
        if (await receive())["type"] != "websocket.connect":
            return
        await send({"type": "websocket.accept"})
        wire: Wire | None = scope.get("extensions", {}).get(EXTENSION)
        if wire is not None:
            wire.limit_unsent(UNSENT)
            await self._watch(
                scope,
                WireOutlet(wire, self._shelf.cache, self._batch),
                asked,
                address,
                _messages(receive, self._settings),
            )
            return

        async def deliver(payload: bytes) -> None:
            await send({"type": "websocket.send", "text": payload.decode()})

        outlet = QueueOutlet(lambda payload, _event, _id: payload)
        async with asyncio.TaskGroup() as group:
            sender = group.create_task(_send_all(outlet, deliver, send))
            await self._watch(scope, outlet, asked, address, _messages(receive, self._settings))
            if outlet.closed is None:
                sender.cancel()

    async def _serve_events(self, scope: Scope, receive: Receive, send: Send, asked: Wish, address: str) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
        headers.append((b"x-accel-buffering", b"no"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})

        async def deliver(payload: bytes) -> None:
            await send({"type": "http.response.body", "body": payload, "more_body": True})

        outlet = QueueOutlet(_event)
        async with asyncio.TaskGroup() as group:
            sender = group.create_task(empty(outlet, deliver))
            watching = group.create_task(self._watch(scope, outlet, asked, address, _until_gone(receive)))
            sender.add_done_callback(lambda _: watching.cancel())
            with contextlib.suppress(asyncio.CancelledError):
                await watching
            if outlet.closed is None:
                sender.cancel()
        with contextlib.suppress(OSError):
            await send({"type": "http.response.body", "body": b""})

    async def _watch(
        self, scope: Scope, outlet: Outlet, asked: Wish, address: str, messages: AsyncIterator[str | bytes | Close]
    ) -> None:
        """Open the recording and let the viewer watch it; its connection is closed when this returns."""
        run_id = scope["path_params"]["run_id"]
        with self._shelf.open(run_id, credentials(scope["headers"])) as kept:
            try:
                await self._shelf.verify(kept)
            except Failure as failure:
                outlet.say(err(failure.code, failure.message), "error")
                outlet.close(Close(failure.close, failure.message))
                self._ended(None, failure.close, address, run_id)
                return
            spectator = self._seat(kept.recording, outlet, asked)
            code = NO_STATUS
            try:
                with self._doors.attended(spectator):
                    async for message in messages:
                        if isinstance(message, Close):
                            code = message.code
                            break
                        spectator.hear(message)
            finally:
                spectator.detach()
                self.spectators.discard(spectator)
                self._ended(spectator, spectator.closed.code if spectator.closed else code, address, run_id)

    def _seat(self, recording: Recording, outlet: Outlet, asked: Wish) -> Spectator:
        start, resumed = start_of(recording, asked)
        player = Player(recording.log, cursor=start, speed=asked.speed, fps=asked.fps)
        now = time.monotonic()
        if resumed is False and asked.micros is not None:
            player.switch(recording.log, asked.micros, now)  # which waits where the log has not come so far
        assert self._ticker is not None  # noqa: S101  requests come only while the app runs
        spectator = Spectator(recording, player, outlet, self._ticker, self._settings, self._metrics)
        outlet.say(hello(recording, player, resumed=resumed), "hello")
        if resumed is False:
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


async def _messages(receive: Receive, settings: RelaySettings) -> AsyncIterator[str | bytes | Close]:
    """Yield a WebSocket's messages, last its close."""
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            yield Close(event.get("code") or NO_STATUS, event.get("reason") or "")
            return
        message = event.get("text") or event.get("bytes") or ""
        if len(message) > settings.stream_max_message:
            yield b"{"
            continue
        yield message


async def _until_gone(receive: Receive) -> AsyncIterator[str | bytes | Close]:
    """Yield the end of an HTTP request whose client went away."""
    while (await receive())["type"] != "http.disconnect":
        pass
    yield Close(NO_STATUS)


async def _send_all(outlet: QueueOutlet, deliver: Callable[[bytes], Awaitable[None]], send: Send) -> None:
    """Send what is queued for a WebSocket, and its close."""
    try:
        await empty(outlet, deliver)
        close = outlet.closed or Close(TRY_AGAIN_LATER)
        await send({"type": "websocket.close", "code": close.code, "reason": close.reason})
    except OSError:
        return


def _event(payload: bytes, event: str, name: str) -> bytes:
    """Return an event of an event stream (WHATWG HTML section 9.2.5); a heartbeat is a comment."""
    if event == "hb":
        return b": hb\n\n"
    head = f"event: {event}\n" if event else ""
    mark = f"id: {name}\n" if name else ""
    return (mark + head).encode() + b"data: " + payload + b"\n\n"
