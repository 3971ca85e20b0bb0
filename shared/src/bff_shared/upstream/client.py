"""The one way to the backend: breaker, slots, retries, deadline and the translation of failures, around a transport.

A call passes these stations in this order: breaker (or BACKEND_CIRCUIT_OPEN) → limit of its kind (a slot, or BUSY) →
transport → retry within the budget, or the response → outcome recorded when its body has ended. Nothing is kept between
calls: no cookies, no redirects followed, no authentication, no proxies from the environment.
"""

import asyncio
import contextlib
import contextvars
import logging
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import httpx

from bff_shared.errors import (
    BackendMalformed,
    BackendTimeout,
    BackendUnavailable,
    BadRequest,
    BffError,
    Busy,
    CircuitOpen,
    ClientBusy,
    UpstreamError,
)
from bff_shared.health import CheckFailed
from bff_shared.http.context import current, upstream_headers
from bff_shared.http.headers import Header
from bff_shared.settings import Settings
from bff_shared.telemetry import tracing
from bff_shared.telemetry.metrics import Metrics
from bff_shared.upstream.concurrency_limit import ConcurrencyLimit
from bff_shared.upstream.decoding import Decoder, Undecodable
from bff_shared.upstream.resilience import Breaker, Outcome, RetryBudget, Ticket, backoff
from bff_shared.upstream.transport.http_transport import FailureStage, HttpTransport, Timings, reused, stage

log = logging.getLogger(__name__)
SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
OVERLOADED = frozenset((502, 503, 504))
MAX_HEAD = 64 * 1024
MAX_BODY = 64 * 1024 * 1024
HIGH_WATER = 256 * 1024
NO_BODY = httpx.ByteStream(b"")
HEALTH_TARGET = b"/healthz"
PROBE_SECONDS = 1.0
UNREACHABLE = frozenset((502, 504))
"""What a gateway before the backend says of a backend that it cannot reach."""


class Kind(Enum):
    """What a call takes while it lasts; each kind has a number of slots of its own."""

    SHORT = "short"
    UPLOAD = "upload"
    """Its request's body is still on its way from the client."""
    STREAM = "stream"
    """Its response lasts: an event stream, or whatever takes longer than `BFF_LONG_SECONDS`."""


@dataclass(slots=True)
class Call:
    """One request to the backend.

    `target` is the raw path and query, `deadline` a monotonic time or none: the service's own. A deadline that a client
    sets is for whoever waits for the call, since running out of it says nothing of the backend.

    `replay` tells whether it may be sent again after it may have reached the backend (never with a body, and never once
    a byte of a response came), `repeat_statuses` which responses are a reason to; `on_repeat` is called each time.
    `attempts` bounds all requests of the call together, the replacement of a stale connection included; by default they
    are 1 + `BFF_RETRIES`.

    Calls of one `circuit` share a breaker, so that one kind of call that fails does not stop the others; there are as
    many as the services' code has names for. `client` is the address that the call counts for, by default that of the
    request being handled. `uploaded` tells whether a body that is streamed has been read to its end.
    """

    method: str
    target: bytes
    headers: Sequence[Header] = ()
    body: httpx.AsyncByteStream | None = None
    deadline: float | None = None
    replay: bool | None = None
    circuit: str = ""
    kind: Kind = Kind.SHORT
    client: str | None = None
    attempts: int | None = None
    repeat_statuses: Collection[int] = ()
    on_repeat: Callable[[], None] | None = None
    uploaded: Callable[[], bool] = field(default=lambda: True)

    def __post_init__(self) -> None:
        """Let safe methods (RFC 9110 section 9.2.1) be sent again unless the caller says otherwise."""
        if self.replay is None:
            self.replay = self.method in SAFE
        if self.client is None:
            context = current()
            self.client = context.client if context else ""


@dataclass(frozen=True, slots=True)
class BackendResponse:
    """A whole response of the backend: its content decoded from any content coding."""

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
        sizes = {
            Kind.SHORT: settings.max_connections,
            Kind.UPLOAD: settings.max_uploads,
            Kind.STREAM: settings.max_streams,
        }
        queue, queue_timeout, share = settings.max_queue, settings.queue_timeout, settings.client_share
        self._limits = {kind: ConcurrencyLimit(size, queue, queue_timeout, share) for kind, size in sizes.items()}
        self._probes: set[asyncio.Task[None]] = set()
        self._budget = RetryBudget(settings.retry_budget)
        self._breakers: dict[str, Breaker] = {"": self._new_breaker()}
        self._transport = HttpTransport(
            max_connections=sum(sizes.values()) + 10,  # health checks and probes pass the limits by
            max_idle=settings.max_connections,
            idle_seconds=settings.keepalive_seconds,
            max_head_bytes=MAX_HEAD,
            high_water=HIGH_WATER,
            ssl_context=ssl.create_default_context() if self._url.scheme == "https" else None,
            clock=clock,
        )
        metrics.breaker_open.set_function(lambda: max(breaker.state.value for breaker in self._breakers.values()))
        limits = self._limits
        metrics.upstream_active.set_function(lambda: sum(limit.active for limit in limits.values()))
        metrics.upstream_waiting.set_function(lambda: sum(limit.waiting for limit in limits.values()))
        metrics.upstream_uploads.set_function(lambda: limits[Kind.UPLOAD].active)
        metrics.upstream_streams.set_function(lambda: limits[Kind.STREAM].active)

    async def open(self, call: Call) -> httpx.Response:
        """Make a call and return its response with the body still to be read; the caller closes it.

        Raises an UpstreamError or Busy; so does reading the body, where the backend breaks off or falls silent.
        """
        breaker = self._breakers.get(call.circuit) or self._breakers.setdefault(call.circuit, self._new_breaker())
        ticket = await self._admit(breaker)
        slot = await self._acquire(call)
        try:
            if not breaker.is_current(ticket):  # It opened while this call waited for its slot.
                ticket = await self._admit(breaker)
            return await self._call(call, slot, _Verdict(breaker, ticket, self._clock, call.client or ""))
        except BaseException:
            slot.release()
            raise

    async def fetch(self, call: Call, limit: int = MAX_BODY) -> BackendResponse:
        """Make a call and return its whole response, decoded, at most `limit` bytes; raise as `open` does."""
        begun = self._clock()
        async with self.reading(call, limit) as reading:
            content = b"".join([part async for part in reading])
            return BackendResponse(reading.status, reading.headers, content, self._clock() - begun)

    @contextlib.asynccontextmanager
    async def reading(self, call: Call, limit: int = MAX_BODY) -> "AsyncIterator[Reading]":
        """Make a call and yield its response to be read, decoded, while it arrives: within its deadline and `limit`.

        Only codings that the call's `Accept-Encoding` names are decoded, one at most, and never beyond `limit` bytes.
        Raises as `open` does, BackendMalformed for what cannot be decoded, and BackendTimeout past the deadline.
        """
        response = await self.open(call)
        try:
            yield Reading(call, response, limit, lambda: self._left(call))
        except Undecodable as error:
            raise BackendMalformed(str(error)) from error
        finally:
            await response.aclose()

    async def check(self) -> None:
        """Ask the backend how it is, past limit and breaker; raise CheckFailed if it does not say it is well."""
        try:
            response = await self._send(Call("GET", b"/healthz", deadline=self._clock() + 1.0))
        except BffError as error:
            raise CheckFailed(error.message) from error
        await response.aclose()
        if response.status_code != httpx.codes.OK:
            raise CheckFailed(f"the backend answered {response.status_code}")

    async def aclose(self) -> None:
        """Close every connection."""
        for probe in self._probes:
            probe.cancel()
        await self._transport.aclose()

    async def _admit(self, breaker: Breaker) -> Ticket:
        """Return the breaker's ticket for a call; raise CircuitOpen unless the call may be made.

        The call that comes first after a breaker's pause waits for the probe, which goes on without it if need be.
        """
        ticket = breaker.admit(self._clock())
        if ticket.probe:
            # In a context of its own: the probe is nobody's request.
            probe = asyncio.create_task(self._probe(breaker, ticket), context=contextvars.Context())
            self._probes.add(probe)
            probe.add_done_callback(self._probes.discard)
            await asyncio.wait((probe,))
            ticket = breaker.admit(self._clock())
            if ticket.probe:  # This probe ended undecided; the next caller has the next one.
                breaker.probed(ticket, self._clock(), responded=None)
                raise self._circuit_open(PROBE_SECONDS)
        if ticket.wait > 0:
            raise self._circuit_open(ticket.wait)
        return ticket

    def _circuit_open(self, wait: float) -> CircuitOpen:
        self._metrics.upstream_calls.labels("circuit_open").inc()
        return CircuitOpen("the backend failed too often; calls to it are paused", wait)

    async def _probe(self, breaker: Breaker, ticket: Ticket) -> None:
        """Find out whether the backend responds at all, by a request of our own without a body or credentials."""
        responded: bool | None = None
        try:
            response = await self._send(Call("GET", HEALTH_TARGET, deadline=self._clock() + PROBE_SECONDS))
            await response.aclose()
            responded = response.status_code not in UNREACHABLE
        except UpstreamError:
            responded = False
        except BffError as error:
            log.warning("a probe of the backend ended undecided", extra={"reason": error.message})
        finally:
            breaker.probed(ticket, self._clock(), responded=responded)

    async def _acquire(self, call: Call) -> "_Slot":
        client = call.client or ""
        try:
            await self._limits[call.kind].acquire(client)
        except Busy as error:
            limit = "client" if isinstance(error, ClientBusy) else "all"
            self._metrics.upstream_refused.labels(call.kind.value, limit).inc()
            raise
        return _Slot(self._limits[call.kind], client)

    async def _call(self, call: Call, slot: "_Slot", verdict: "_Verdict") -> httpx.Response:
        try:
            response = await self._attempts(call)
        except UpstreamError as error:
            cause = error.__cause__
            reached = stage(cause) if isinstance(cause, httpx.TransportError) else FailureStage.SENT
            if reached is FailureStage.CONNECT:
                verdict.give(Outcome.UNREACHABLE)
            elif call.uploaded():
                verdict.give(Outcome.BROKEN)
            raise
        if response.status_code in OVERLOADED:
            verdict.give(Outcome.OVERLOADED)
        elif call.kind is Kind.STREAM:
            verdict.give(Outcome.GOOD)  # How long a stream lasts says nothing of whether the backend is well.
        else:
            slot.move_later(self._limits[Kind.STREAM], self._settings.long_seconds)
        response.stream = _Body(response.stream, slot, verdict)
        return response

    async def _attempts(self, call: Call) -> httpx.Response:
        """Make the call, and again as often as it may be: the one place that repeats requests."""
        self._budget.called(self._clock())
        most = call.attempts or self._settings.retries + 1
        fresh = False
        for attempt in range(most):
            last = attempt == most - 1
            try:
                response = await self._attempt(call, fresh, last)
                if last or response.status_code not in call.repeat_statuses or not self._budget.take(self._clock()):
                    return response
                await response.aclose()
                fresh = False
            except BffError as error:
                if last or not self._may_repeat(call, error) or not self._budget.take(self._clock()):
                    raise
                # The peer has closed a connection that was idle: no reason to wait, nor to try another idle one.
                fresh = error.__cause__ is not None and reused(error.__cause__)
            self._metrics.upstream_retries.inc()
            if call.on_repeat is not None:
                call.on_repeat()
            if not fresh:
                await asyncio.sleep(backoff(attempt, self._draw()))
        raise AssertionError("the last attempt returns or raises")

    async def _traced(self, call: Call, fresh: bool, last: bool) -> httpx.Response:
        with tracing.calling(call.method, self._settings.backend_url, call.target.decode("latin-1")) as span:
            response = await self._untraced(replace(call, headers=span.carry(call.headers)), fresh, last)
            span.status = response.status_code
            return response

    async def _untraced(self, call: Call, fresh: bool, last: bool) -> httpx.Response:
        begun = self._clock()
        try:
            response = await self._send(call, fresh=fresh, repeatable=not last and self._is_repeatable(call))
        except BffError as error:
            self._metrics.upstream_calls.labels(error.code.lower()).inc()
            raise
        self._metrics.upstream_calls.labels(f"{response.status_code // 100}xx").inc()
        self._metrics.upstream_durations.observe(self._clock() - begun)
        return response

    def _new_breaker(self) -> Breaker:
        settings = self._settings
        window, least = settings.breaker_window, settings.breaker_min_calls
        share, pause = settings.breaker_failure_share, settings.breaker_open_seconds
        return Breaker(window, least, share, pause, PROBE_SECONDS)

    async def _send(self, call: Call, *, fresh: bool = False, repeatable: bool = False) -> httpx.Response:
        """Hand one request to the transport; raise its failures in our terms."""
        request = httpx.Request(
            call.method,
            self._url,
            headers=[self._host, *call.headers],
            stream=call.body or NO_BODY,
            extensions={
                "target": call.target,
                "timeout": self._timeouts(call),
                "fresh": fresh,
                "repeatable": repeatable,
            },
        )
        try:
            if call.deadline is None:
                response = await self._transport.handle_async_request(request)
            else:
                async with asyncio.timeout(self._left(call)):
                    response = await self._transport.handle_async_request(request)
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

    def _is_repeatable(self, call: Call) -> bool:
        """Tell whether the call may be made again after its bytes may have reached the backend."""
        return bool(call.replay) and call.body is None

    def _may_repeat(self, call: Call, error: BffError) -> bool:
        """Tell whether a failed call may be made again: nothing of it can have had an effect, and there is time."""
        cause = error.__cause__
        if not error.retryable or isinstance(error, CircuitOpen) or not isinstance(cause, httpx.TransportError):
            return False
        if isinstance(cause, httpx.TimeoutException):
            return False
        reached = stage(cause)
        if reached is FailureStage.CONNECT:
            return True
        return reached is FailureStage.SENT and self._is_repeatable(call)


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
            if isinstance(self._stream, _Body):
                self._stream.broke_off()
            raise BackendTimeout("the backend's response did not end within the deadline") from error


class _Slot:
    """A call's slot, in one limit at a time; `release` gives it back, once."""

    def __init__(self, limit: ConcurrencyLimit, client: str) -> None:
        self._limit: ConcurrencyLimit | None = limit
        self._client = client
        self._timer: asyncio.TimerHandle | None = None

    def move_later(self, to: ConcurrencyLimit, seconds: float) -> None:
        """Take a slot of another limit in `seconds`, and again if there is none then."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self._move, to, seconds)

    def release(self) -> None:
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


class _Verdict:
    """What a call's outcome tells its breaker, once; a call that is given up tells nothing."""

    def __init__(self, breaker: Breaker, ticket: Ticket, clock: Callable[[], float], client: str) -> None:
        self._breaker: Breaker | None = breaker
        self._ticket, self._clock, self._client = ticket, clock, client

    def give(self, outcome: Outcome) -> None:
        if self._breaker is not None:
            self._breaker.record(self._ticket, self._clock(), outcome, self._client)
            self._breaker = None


class _Body(httpx.AsyncByteStream):
    """A response's body: gives its slot back once, when it is closed or dropped, and fails in our terms."""

    def __init__(self, inner: Any, slot: _Slot, verdict: _Verdict) -> None:
        self._inner, self._slot, self._verdict = inner, slot, verdict
        self._loop, self._inside = asyncio.get_running_loop(), True

    async def __aiter__(self) -> AsyncIterator[bytes]:
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
        if self._inside:
            self._inside = False
            self._slot.release()
            await self._inner.aclose()

    def __del__(self) -> None:
        """Give the slot of a response back that was dropped without being closed."""
        if self._inside and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._slot.release)


def translate(error: httpx.TransportError) -> BffError:
    """Return the error of ours that a transport's failure amounts to."""
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
    if isinstance(error, httpx.RemoteProtocolError) and stage(error) is FailureStage.RESPONDED:
        return BackendMalformed("the backend's response is not valid HTTP, or broke off")
    return BackendUnavailable("the connection to the backend broke")


def credentials_and_ids(credentials: Sequence[Header]) -> list[Header]:
    """Return the headers of a call that a service makes itself, on behalf of a user."""
    return [*credentials, (b"accept", b"application/json"), (b"accept-encoding", b"identity"), *upstream_headers()]
