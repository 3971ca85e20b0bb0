"""The one way to the backend: places, breaker, retries, deadline and the translation of failures, around a carrier.

A call passes these stations in this order: gate (a place, or BUSY) → breaker (or BACKEND_CIRCUIT_OPEN) → carrier →
outcome recorded → retry within the budget, or the answer. Nothing is kept between calls: no cookies, no redirects
followed, no authentication, no proxies from the environment.
"""

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from bff_shared import tracing
from bff_shared.carrier import Carrier, Stage, Timings, stage
from bff_shared.context import current, upstream_headers
from bff_shared.errors import (
    BackendMalformed,
    BackendTimeout,
    BackendUnavailable,
    BadRequest,
    BffError,
    Busy,
    CircuitOpen,
    UpstreamError,
)
from bff_shared.gate import Gate
from bff_shared.headers import Header
from bff_shared.health import CheckFailed
from bff_shared.metrics import Metrics
from bff_shared.resilience import Breaker, RetryBudget, backoff
from bff_shared.settings import Settings

SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
OVERLOADED = frozenset((502, 503, 504))
MAX_HEAD = 64 * 1024
MAX_BODY = 64 * 1024 * 1024
HIGH_WATER = 256 * 1024
NO_BODY = httpx.ByteStream(b"")


@dataclass(slots=True)
class Call:
    """One request to the backend.

    `target` is the raw path and query, `deadline` a monotonic time or none; `replay` tells whether it may be sent
    again after it may have reached the backend (never with a body, and never once a byte of an answer came).
    Calls of one `circuit` share a breaker, so that one kind of call that fails does not stop the others; there are as
    many as the services' code has names for.
    """

    method: str
    target: bytes
    headers: Sequence[Header] = ()
    body: httpx.AsyncByteStream | None = None
    deadline: float | None = None
    replay: bool | None = None
    circuit: str = ""

    def __post_init__(self) -> None:
        """Let safe methods (RFC 9110 section 9.2.1) be sent again unless the caller says otherwise."""
        if self.replay is None:
            self.replay = self.method in SAFE


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of the backend: its content decoded from any content coding."""

    status: int
    headers: httpx.Headers
    content: bytes
    seconds: float = field(compare=False)


class Upstream:
    """The client of one backend, one per process; `aclose` ends it."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._settings, self._metrics, self._clock, self._draw = settings, metrics, clock, draw
        self._url = httpx.URL(settings.backend_url)
        self._attempt = self._traced if tracing.is_wanted() else self._untraced
        self._host = (b"host", self._url.netloc)
        self._gate = Gate(settings.max_connections, settings.max_queue, settings.queue_timeout)
        self._budget = RetryBudget(settings.retry_budget)
        self._breakers: dict[str, Breaker] = {"": self._new_breaker()}
        self._carrier = Carrier(
            max_connections=settings.max_connections + 1,
            max_idle=settings.max_connections,
            idle_seconds=settings.keepalive_seconds,
            max_head_bytes=MAX_HEAD,
            high_water=HIGH_WATER,
            ssl_context=ssl.create_default_context() if self._url.scheme == "https" else None,
            clock=clock,
        )
        metrics.breaker_open.set_function(lambda: max(breaker.state.value for breaker in self._breakers.values()))
        metrics.upstream_active.set_function(lambda: self._gate.active)
        metrics.upstream_waiting.set_function(lambda: self._gate.waiting)

    async def open(self, call: Call) -> httpx.Response:
        """Make a call and return its answer with the body still to be read; the caller closes it.

        Raises an UpstreamError or Busy; so does reading the body, where the backend breaks off or falls silent.
        """
        await self._gate.enter()
        try:
            response = await self._guarded(call)
        except BaseException:
            self._gate.leave()
            raise
        response.stream = _Body(response.stream, self._gate.leave)
        return response

    async def fetch(self, call: Call, limit: int = MAX_BODY) -> Answer:
        """Make a call and return its whole answer, decoded, at most `limit` bytes; raise as `open` does."""
        begun = self._clock()
        response = await self.open(call)
        try:
            async with asyncio.timeout(self._left(call)):
                parts, size = [], 0
                async for part in response.aiter_bytes():
                    size += len(part)
                    if size > limit:
                        raise BackendMalformed("the backend's answer is larger than this service accepts")
                    parts.append(part)
        except TimeoutError as error:
            raise BackendTimeout("the backend's answer did not end within the deadline") from error
        except httpx.DecodingError as error:
            raise BackendMalformed("the backend's answer does not fit its content coding") from error
        finally:
            await response.aclose()
        return Answer(response.status_code, response.headers, b"".join(parts), self._clock() - begun)

    async def check(self) -> None:
        """Ask the backend how it is, past gate and breaker; raise CheckFailed if it does not say it is well."""
        try:
            response = await self._send(Call("GET", b"/healthz", deadline=self._clock() + 1.0))
        except BffError as error:
            raise CheckFailed(error.message) from error
        await response.aclose()
        if response.status_code != httpx.codes.OK:
            raise CheckFailed(f"the backend answered {response.status_code}")

    async def aclose(self) -> None:
        """Close every connection."""
        await self._carrier.aclose()

    async def _guarded(self, call: Call) -> httpx.Response:
        """Make a call under its breaker, which counts how the call went, not how often it was tried."""
        breaker = self._breakers.get(call.circuit) or self._breakers.setdefault(call.circuit, self._new_breaker())
        ticket = breaker.admit(self._clock())
        if ticket.wait > 0:
            self._metrics.upstream_calls.labels("circuit_open").inc()
            raise CircuitOpen("the backend failed too often; calls to it are paused", ticket.wait)
        try:
            response = await self._attempts(call)
        except BffError as error:
            breaker.record(ticket, self._clock(), failed=isinstance(error, UpstreamError))
            raise
        except BaseException:
            breaker.abandon(ticket)
            raise
        breaker.record(ticket, self._clock(), failed=response.status_code in OVERLOADED)
        return response

    async def _attempts(self, call: Call) -> httpx.Response:
        self._budget.called(self._clock())
        for attempt in range(self._settings.retries + 1):
            try:
                return await self._attempt(call)
            except BffError as error:
                last = attempt == self._settings.retries
                if last or not self._may_repeat(call, error) or not self._budget.take(self._clock()):
                    raise
            self._metrics.upstream_retries.inc()
            await asyncio.sleep(backoff(attempt, self._draw()))
        raise AssertionError("the last attempt returns or raises")

    async def _traced(self, call: Call) -> httpx.Response:
        with tracing.calling(call.method, self._settings.backend_url, call.target.decode("latin-1")) as span:
            response = await self._untraced(replace(call, headers=span.carry(call.headers)))
            span.status = response.status_code
            return response

    async def _untraced(self, call: Call) -> httpx.Response:
        begun = self._clock()
        try:
            response = await self._send(call)
        except BffError as error:
            self._metrics.upstream_calls.labels(error.code.lower()).inc()
            raise
        self._metrics.upstream_calls.labels(f"{response.status_code // 100}xx").inc()
        self._metrics.upstream_durations.observe(self._clock() - begun)
        return response

    def _new_breaker(self) -> Breaker:
        settings = self._settings
        window, least = settings.breaker_window, settings.breaker_min_calls
        return Breaker(window, least, settings.breaker_failure_share, settings.breaker_open_seconds)

    async def _send(self, call: Call) -> httpx.Response:
        """Hand one request to the carrier; raise its failures in our terms."""
        request = httpx.Request(
            call.method,
            self._url,
            headers=[self._host, *call.headers],
            stream=call.body or NO_BODY,
            extensions={"target": call.target, "timeout": self._timeouts(call)},
        )
        try:
            if call.deadline is None:
                response = await self._carrier.handle_async_request(request)
            else:
                async with asyncio.timeout(self._left(call)):
                    response = await self._carrier.handle_async_request(request)
        except TimeoutError as error:
            raise BackendTimeout("the backend did not answer within the deadline") from error
        except httpx.TransportError as error:
            raise translate(error) from error
        if context := current():
            timings: Timings = response.extensions["timings"]
            context.log["connect_ms"] = round(timings.connect * 1000, 2)
            context.log["first_byte_ms"] = round(timings.first_byte * 1000, 2)
        return response

    def _timeouts(self, call: Call) -> dict[str, float]:
        settings, left = self._settings, self._left(call)
        limit = left if left is not None else float("inf")
        return {
            "connect": min(settings.connect_timeout, limit),
            "first_byte": min(settings.first_byte_timeout, limit),
            "read": min(settings.idle_timeout, limit),
            "write": min(settings.idle_timeout, limit),
            "pool": settings.queue_timeout,
        }

    def _left(self, call: Call) -> float | None:
        return None if call.deadline is None else max(0.0, call.deadline - self._clock())

    def _may_repeat(self, call: Call, error: BffError) -> bool:
        """Tell whether a failed call may be made again: nothing of it can have had an effect, and there is time."""
        cause = error.__cause__
        if not error.retryable or isinstance(error, CircuitOpen) or not isinstance(cause, httpx.TransportError):
            return False
        if isinstance(cause, httpx.TimeoutException):
            return False
        reached = stage(cause)
        if reached is Stage.CONNECT:
            return True
        return reached is Stage.SENT and bool(call.replay) and call.body is None


class _Body(httpx.AsyncByteStream):
    """An answer's body that gives its place back once, when it ends or is closed, and fails in our terms."""

    def __init__(self, inner: Any, leave: Callable[[], None]) -> None:
        self._inner, self._leave, self._inside = inner, leave, True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._inner:
                yield part
        except httpx.TransportError as error:
            raise translate(error) from error

    async def aclose(self) -> None:
        if self._inside:
            self._inside = False
            self._leave()
            await self._inner.aclose()


def translate(error: httpx.TransportError) -> BffError:
    """Return the error of ours that a carrier's failure amounts to."""
    if isinstance(error, httpx.PoolTimeout):
        return Busy("no connection to the backend became free")
    if isinstance(error, httpx.ConnectTimeout):
        return BackendTimeout("the backend did not accept a connection in time")
    if isinstance(error, httpx.TimeoutException):
        return BackendTimeout("the backend took too long to answer")
    if isinstance(error, httpx.ConnectError):
        return BackendUnavailable("the backend cannot be reached")
    if isinstance(error, httpx.LocalProtocolError):
        return BadRequest("the request is not valid HTTP")
    if isinstance(error, httpx.RemoteProtocolError) and stage(error) is Stage.ANSWERED:
        return BackendMalformed("the backend's answer is not valid HTTP, or broke off")
    return BackendUnavailable("the connection to the backend broke")


def credentials_and_ids(credentials: Sequence[Header]) -> list[Header]:
    """Return the headers of a call that a service makes itself, on behalf of a user."""
    return [*credentials, (b"accept", b"application/json"), (b"accept-encoding", b"identity"), *upstream_headers()]
