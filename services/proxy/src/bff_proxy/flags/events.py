"""Publishes changed flags to pages by Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

A subscriber that is slow, or away for a moment, misses nothing: changes not yet sent to it add up to one event.

Streams are limited in all and per client address, and none lasts for ever: so little is sent on one that a subscriber
which does not read could not be told from one that does.
"""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import Counter
from starlette.types import Receive, Scope, Send

from bff_proxy.flags.store import FlagStore
from bff_shared.errors import Busy, ClientBusy
from bff_shared.http.headers import get
from bff_shared.limits import ConnectionLimiter, client_address
from bff_shared.settings import Network

EventFormat = Callable[[str, Sequence[str], float], bytes]
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


class Subscriber:
    """The changes that one stream has not sent yet."""

    def __init__(self) -> None:
        self.is_over = False
        self._keys: set[str] = set()
        self._changed = asyncio.Event()

    def publish(self, keys: Sequence[str]) -> None:
        """Note changed keys."""
        self._keys.update(keys)
        self._changed.set()

    def end(self) -> None:
        """Have the stream end."""
        self.is_over = True
        self._changed.set()

    async def changes(self, seconds: float) -> list[str]:
        """Return the keys that changed since the last call, none if nothing happens for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        self._changed.clear()
        keys, self._keys = sorted(self._keys), set()
        return keys


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How many streams there may be and for how long.

    limiter    of streams in all, and per client address
    refused    counts who finds none free, by whose limit it was
    trusted    networks of our own proxies, for the address
    heartbeat  seconds between two signs of life
    lifetime   seconds after which a stream ends; each lasts up to a fifth more or less, so that they end one by one
    """

    limiter: ConnectionLimiter
    refused: Counter
    trusted: tuple[Network, ...]
    heartbeat: float
    lifetime: float


class FlagEvents:
    """All event streams of this process; `close` ends them so that pages come back elsewhere."""

    def __init__(self, flag_store: FlagStore, limits: StreamLimits, clock: Callable[[], float] = time.time) -> None:
        self._flag_store, self._limits, self._clock = flag_store, limits, clock
        self._subscribers: set[Subscriber] = set()
        self._closed = False

    def __repr__(self) -> str:
        """Say how many streams are open, and whether more may be."""
        return f"<FlagEvents subscribers={len(self._subscribers)} closed={self._closed}>"

    def __len__(self) -> int:
        """Return how many streams are open."""
        return len(self._subscribers)

    def close(self) -> None:
        """End all streams and open no more."""
        self._closed = True
        for subscriber in self._subscribers:
            subscriber.end()

    async def serve(self, scope: Scope, receive: Receive, send: Send, encode: EventFormat, initial: bool) -> None:
        """Answer one request with a stream; raises Busy before it begins.

        `initial`: an event comes at once in any case, else only if `Last-Event-ID` is not the current revision.
        """
        if self._closed:
            raise Busy("no more event streams here at the moment; ask again, or poll", 2.0)
        if scope.get("method") == "HEAD":
            await send({"type": "http.response.start", "status": 200, "headers": list(_HEAD)})
            await send({"type": "http.response.body", "body": b""})
            return
        with self._slot(scope), self._subscribed() as subscriber:
            watcher = asyncio.create_task(_end_when_gone(receive, subscriber))
            try:
                await send({"type": "http.response.start", "status": 200, "headers": list(_HEAD)})
                await self._stream(scope, send, encode, initial, subscriber)
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
            self._limits.refused.labels("client" if isinstance(error, ClientBusy) else "process").inc()
            error.retry_after = random.uniform(*FULL_RETRY_SECONDS)  # noqa: S311  spreads requests, no secret
            raise
        try:
            yield
        finally:
            self._limits.limiter.release(client)

    async def _stream(
        self, scope: Scope, send: Send, encode: EventFormat, initial: bool, subscriber: Subscriber
    ) -> None:
        async def write(data: bytes, more: bool = True) -> None:
            async with asyncio.timeout(STUCK_SECONDS):
                await send({"type": "http.response.body", "body": data, "more_body": more})

        flags = self._flag_store.current
        seen = (get(scope["headers"], b"last-event-id") or b"").decode("latin-1")
        retry = b"retry: %d\n\n" % random.randint(*RETRY_MS)  # noqa: S311  spreads reconnects, no secret
        first = encode(flags.revision, list(flags.flags), self._clock()) if initial or seen != flags.revision else b""
        with contextlib.suppress(TimeoutError):
            await write(retry + first)
            ends = time.monotonic() + self._limits.lifetime * random.uniform(0.8, 1.2)  # noqa: S311  spreads ends
            while not subscriber.is_over and (left := ends - time.monotonic()) > 0:
                keys = await subscriber.changes(min(self._limits.heartbeat, left))
                if not subscriber.is_over:
                    await write(encode(self._flag_store.current.revision, keys, self._clock()) if keys else b":\n\n")
            await write(b"", more=False)

    @contextlib.contextmanager
    def _subscribed(self) -> Iterator[Subscriber]:
        subscriber = Subscriber()
        self._subscribers.add(subscriber)
        try:
            with self._flag_store.subscribe(subscriber.publish):
                yield subscriber
        finally:
            self._subscribers.discard(subscriber)


async def _end_when_gone(receive: Receive, subscriber: Subscriber) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    subscriber.end()
