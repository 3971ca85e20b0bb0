"""A response of the backend on its way in: its slot and its breaker's verdict end with its body."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from bff_shared.errors import BackendTimeout
from bff_shared.upstream.call import Call
from bff_shared.upstream.concurrency_limit import ConcurrencyLimit
from bff_shared.upstream.decoding import Decoder
from bff_shared.upstream.resilience import Breaker, Outcome, Ticket
from bff_shared.upstream.translation import translate


@dataclass(frozen=True, slots=True)
class BackendResponse:
    """A whole response of the backend: its content decoded from any content coding."""

    status: int
    headers: httpx.Headers
    content: bytes
    seconds: float = field(compare=False)


class Reading:
    """A response that is being read: its status and headers, and by iteration its decoded content."""

    def __init__(self, call: Call, response: httpx.Response, limit: int, left: Callable[[], float | None]) -> None:
        """Take how many seconds are `left` to wait; raise Undecodable for a coding that the call did not ask for."""
        self.status, self.headers = response.status_code, response.headers
        self._stream, self._left = response.stream, left
        codings = [value for name, value in self.headers.raw if name.lower() == b"content-encoding"]
        self._decoder = Decoder(call.headers, codings, limit)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the content in pieces; raises UpstreamError and Undecodable.

        The deadline bounds the waits for the backend alone: how long the caller takes for a piece is its own affair.
        """
        pieces = aiter(self._stream)  # type: ignore[arg-type]  # a transport's stream is always async
        while (data := await self._next(pieces)) is not None:
            for content in self._decoder.feed(data):
                yield content
        self._decoder.end()

    async def _next(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        try:
            async with asyncio.timeout(self._left()) as limited:
                return await anext(pieces, None)
        except TimeoutError as error:
            if not limited.expired():
                raise
            if isinstance(self._stream, ResponseBody):
                self._stream.broke_off()
            raise BackendTimeout("the backend's response did not end within the deadline") from error


class Slot:
    """A call's slot, in one limit at a time; `release` gives it back, once."""

    def __init__(self, limit: ConcurrencyLimit, client: str) -> None:
        self._limit: ConcurrencyLimit | None = limit
        self._client = client
        self._timer: asyncio.TimerHandle | None = None

    def move_later(self, to: ConcurrencyLimit, seconds: float) -> None:
        """Take a slot of another limit in `seconds`, and again if there is none then."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self._move, to, seconds)

    def release(self) -> None:
        """Give the slot back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._limit is not None:
            self._limit.release(self._client)
            self._limit = None

    def _move(self, to: ConcurrencyLimit, seconds: float) -> None:
        if self._limit is None or self._limit is to:
            return
        if not to.try_acquire(self._client):
            self.move_later(to, seconds)
            return
        self._limit.release(self._client)
        self._limit = to


class Verdict:
    """What a call's outcome tells its breaker, once; a call that is given up tells nothing."""

    def __init__(self, breaker: Breaker, ticket: Ticket, clock: Callable[[], float], client: str) -> None:
        self._breaker: Breaker | None = breaker
        self._ticket, self._clock, self._client = ticket, clock, client

    def give(self, outcome: Outcome) -> None:
        """Tell the breaker, unless it was told before."""
        if self._breaker is not None:
            self._breaker.record(self._ticket, self._clock(), outcome, self._client)
            self._breaker = None


class ResponseBody(httpx.AsyncByteStream):
    """A response's body: gives its slot back once, when it is closed or dropped, and fails in our terms."""

    def __init__(self, inner: Any, slot: Slot, verdict: Verdict) -> None:
        self._inner, self._slot, self._verdict = inner, slot, verdict
        self._loop, self._inside = asyncio.get_running_loop(), True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes; raises UpstreamError."""
        try:
            async for part in self._inner:
                yield part
        except httpx.TransportError as error:
            self.broke_off()
            raise translate(error) from error
        self._verdict.give(Outcome.GOOD)

    def broke_off(self) -> None:
        """Take it that the backend did not finish its response."""
        self._verdict.give(Outcome.BROKEN)

    async def aclose(self) -> None:
        """Free slot and connection; a response that is not read to its end says nothing of the backend."""
        if self._inside:
            self._inside = False
            self._slot.release()
            await self._inner.aclose()

    def __del__(self) -> None:
        """Give the slot of a response back that was dropped without being closed."""
        if self._inside and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._slot.release)
