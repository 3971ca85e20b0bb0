"""Pages hear of changed flags by Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

A listener that is slow, or away for a moment, misses nothing: what it was not yet told adds up to one event.

Streams are limited in all and per client address, and none lasts for ever: so little is sent on one that a listener
which does not read could not be told from one that does.
"""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from bff_proxy.flags.state import FlagBoard
from bff_shared.errors import Busy
from bff_shared.http.headers import get
from bff_shared.limits import ConnectionLimiter, client_address
from bff_shared.settings import Network

Tell = Callable[[str, Sequence[str], float], bytes]
"""Makes an event of a revision, the keys that changed and the time in Unix seconds."""

STUCK_SECONDS = 10.0
RETRY_MS = (500, 2500)
FULL_RETRY_SECONDS = (5.0, 15.0)
_HEAD = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


def own_event(revision: str, keys: Sequence[str], _now: float) -> bytes:
    """Return the event of `/api/v1/flags/events`."""
    return _event("flags", revision, {"revision": revision, "keys": list(keys)})


def ofrep_event(revision: str, _keys: Sequence[str], now: float) -> bytes:
    """Return the event that OpenFeature's providers wait for."""
    data = {"type": "refetchEvaluation", "etag": f'"{revision}"', "lastModified": int(now)}
    return _event("message", revision, data)


def _event(name: str, revision: str, data: object) -> bytes:
    return f"id: {revision}\nevent: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


class Listener:
    """What one listener was not yet told."""

    def __init__(self) -> None:
        self.is_over = False
        self._keys: set[str] = set()
        self._news = asyncio.Event()

    def tell(self, keys: Sequence[str]) -> None:
        """Note changed keys."""
        self._keys.update(keys)
        self._news.set()

    def end(self) -> None:
        """Have the stream end."""
        self.is_over = True
        self._news.set()

    async def news(self, seconds: float) -> list[str]:
        """Return the keys that changed since the last call, none if nothing happens for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()
        keys, self._keys = sorted(self._keys), set()
        return keys


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How many streams there may be and for how long.

    limiter    of streams in all, and per client address
    trusted    networks of our own proxies, for the address
    heartbeat  seconds between two signs of life
    lifetime   seconds after which a stream ends; each lasts up to a fifth more or less, so that they end one by one
    """

    limiter: ConnectionLimiter
    trusted: tuple[Network, ...]
    heartbeat: float
    lifetime: float


class FlagEvents:
    """All event streams of this process; `close` ends them so that pages come back elsewhere."""

    def __init__(self, board: FlagBoard, limits: StreamLimits, clock: Callable[[], float] = time.time) -> None:
        self._board, self._limits, self._clock = board, limits, clock
        self._listeners: set[Listener] = set()
        self._closed = False

    def __len__(self) -> int:
        """Return how many streams are open."""
        return len(self._listeners)

    def close(self) -> None:
        """End all streams and open no more."""
        self._closed = True
        for listener in self._listeners:
            listener.end()

    async def serve(self, scope: Scope, receive: Receive, send: Send, tell: Tell, greets: bool) -> None:
        """Answer one request with a stream; raises Busy before it begins.

        `greets`: an event comes at once in any case, else only if `Last-Event-ID` is not the current revision.
        """
        if self._closed:
            raise Busy("no more event streams here at the moment; ask again, or poll", 2.0)
        if scope.get("method") == "HEAD":
            await send({"type": "http.response.start", "status": 200, "headers": list(_HEAD)})
            await send({"type": "http.response.body", "body": b""})
            return
        with self._slot(scope), self._listening() as listener:
            watcher = asyncio.create_task(_end_when_gone(receive, listener))
            try:
                await send({"type": "http.response.start", "status": 200, "headers": list(_HEAD)})
                await self._stream(scope, send, tell, greets, listener)
            finally:
                watcher.cancel()

    @contextlib.contextmanager
    def _slot(self, scope: Scope) -> Iterator[None]:
        """Hold one of the streams; raises Busy, and tells pages when to ask again, not all at the same moment."""
        peer = (scope.get("client") or (None,))[0]
        client = client_address(scope["headers"], peer, self._limits.trusted)
        try:
            self._limits.limiter.acquire(client)
        except Busy as error:
            error.retry_after = random.uniform(*FULL_RETRY_SECONDS)  # noqa: S311  spreads requests, no secret
            raise
        try:
            yield
        finally:
            self._limits.limiter.release(client)

    async def _stream(self, scope: Scope, send: Send, tell: Tell, greets: bool, listener: Listener) -> None:
        async def write(data: bytes, more: bool = True) -> None:
            async with asyncio.timeout(STUCK_SECONDS):
                await send({"type": "http.response.body", "body": data, "more_body": more})

        flags = self._board.now
        seen = (get(scope["headers"], b"last-event-id") or b"").decode("latin-1")
        retry = b"retry: %d\n\n" % random.randint(*RETRY_MS)  # noqa: S311  spreads reconnects, no secret
        first = tell(flags.revision, list(flags.flags), self._clock()) if greets or seen != flags.revision else b""
        with contextlib.suppress(TimeoutError):
            await write(retry + first)
            ends = time.monotonic() + self._limits.lifetime * random.uniform(0.8, 1.2)  # noqa: S311  spreads ends
            while not listener.is_over and (left := ends - time.monotonic()) > 0:
                keys = await listener.news(min(self._limits.heartbeat, left))
                if not listener.is_over:
                    await write(tell(self._board.now.revision, keys, self._clock()) if keys else b":\n\n")
            await write(b"", more=False)

    @contextlib.contextmanager
    def _listening(self) -> Iterator[Listener]:
        listener = Listener()
        self._listeners.add(listener)
        try:
            with self._board.heard(listener.tell):
                yield listener
        finally:
            self._listeners.discard(listener)


async def _end_when_gone(receive: Receive, listener: Listener) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    listener.end()
