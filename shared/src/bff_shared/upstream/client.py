"""The one way to the backend: breaker, slots, retries, deadline and the translation of failures, around a transport.

A call passes these stations in this order: breaker (or BACKEND_CIRCUIT_OPEN) → limit of its kind (a slot, or BUSY) →
transport → retry within the budget, or the response → outcome recorded when its body has ended. Nothing is kept between
calls: no cookies, no redirects followed, no authentication, no proxies from the environment.
"""

import asyncio
import contextlib
import logging
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import httpx

from bff_shared.errors import (
    BackendMalformed,
    BackendTimeout,
    BackendTooLarge,
    BffError,
    Busy,
    ClientBusy,
    UpstreamError,
)
from bff_shared.health import CheckFailed
from bff_shared.http.context import current
from bff_shared.settings import Settings
from bff_shared.telemetry import tracing
from bff_shared.telemetry.metrics import Metrics
from bff_shared.upstream.call import SAFE, Call, Kind, credentials_and_ids
from bff_shared.upstream.circuits import PROBE_SECONDS, Circuits
from bff_shared.upstream.concurrency_limit import ConcurrencyLimit
from bff_shared.upstream.decoding import TooLarge, Undecodable
from bff_shared.upstream.resilience import Breaker, Outcome, RetryBudget
from bff_shared.upstream.response import BackendResponse, Reading, ResponseBody, Slot, Verdict
from bff_shared.upstream.retries import Retries
from bff_shared.upstream.translation import translate
from bff_shared.upstream.transport.http_transport import FailureStage, HttpTransport, Timings, stage

__all__ = ["MAX_BODY", "SAFE", "BackendResponse", "Call", "Kind", "Reading", "Upstream", "credentials_and_ids"]

log = logging.getLogger(__name__)
OVERLOADED = frozenset((502, 503, 504))
MAX_HEAD = 64 * 1024
MAX_BODY = 64 * 1024 * 1024
HIGH_WATER = 256 * 1024
NO_BODY = httpx.ByteStream(b"")
HEALTH_TARGET = b"/healthz"
UNREACHABLE = frozenset((502, 504))
"""What a gateway before the backend says of a backend that it cannot reach."""


class Upstream:
    """The client of one backend, one per process; `aclose` ends it.

    Args:
        settings: the backend's URL, the limits, timeouts, and what breakers and retries go by.
        metrics: where calls are counted.
        clock: monotonic seconds.
        draw: a number in [0, 1) for each pause before a retry.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._settings, self._metrics, self._clock = settings, metrics, clock
        self._url = httpx.URL(settings.backend_url)
        self._host = (b"host", self._url.netloc)
        sizes = {
            Kind.SHORT: settings.max_connections,
            Kind.UPLOAD: settings.max_uploads,
            Kind.STREAM: settings.max_streams,
        }
        queue, queue_timeout, share = settings.max_queue, settings.queue_timeout, settings.client_share
        self._limits = {kind: ConcurrencyLimit(size, queue, queue_timeout, share) for kind, size in sizes.items()}
        self._circuits = Circuits(self._new_breaker, self._responds, metrics, clock)
        attempt = self._traced if tracing.is_wanted() else self._counted
        budget = RetryBudget(settings.retry_budget)
        self._retries = Retries(attempt, budget, settings.retries + 1, metrics, clock, draw)
        self._transport = HttpTransport(
            max_connections=sum(sizes.values()) + 10,  # health checks and probes pass the limits by
            max_idle=settings.max_connections,
            idle_seconds=settings.keepalive_seconds,
            max_head_bytes=MAX_HEAD,
            high_water=HIGH_WATER,
            ssl_context=ssl.create_default_context() if self._url.scheme == "https" else None,
            clock=clock,
        )
        limits = self._limits
        metrics.upstream_active.set_function(lambda: sum(limit.active for limit in limits.values()))
        metrics.upstream_waiting.set_function(lambda: sum(limit.waiting for limit in limits.values()))
        metrics.upstream_uploads.set_function(lambda: limits[Kind.UPLOAD].active)
        metrics.upstream_streams.set_function(lambda: limits[Kind.STREAM].active)

    def __repr__(self) -> str:
        """Say which backend it is, which slots are taken, how the circuits and the connections stand."""
        limits = " ".join(f"{kind.value}={limit.active}+{limit.waiting}" for kind, limit in self._limits.items())
        return f"<Upstream {self._url.netloc.decode()} {limits} {self._circuits!r} {self._transport!r}>"

    async def open(self, call: Call) -> httpx.Response:
        """Make a call and return its response with the body still to be read; the caller closes it.

        Cancellation frees the slot and closes the connection; it tells the breaker nothing.

        Raises:
            CircuitOpen: the circuit's breaker is open.
            Busy: no slot of the call's kind became free; ClientBusy, none for its client.
            UpstreamError: the backend cannot be reached, broke off or fell silent; reading the body raises it as well.
            BadRequest: the call is no valid HTTP/1.1 request.
        """
        breaker = self._circuits.breaker(call.circuit)
        ticket = await self._circuits.admit(breaker)
        slot = await self._acquire(call)
        try:
            if not breaker.is_current(ticket):  # It opened while this call waited for its slot.
                ticket = await self._circuits.admit(breaker)
            return await self._call(call, slot, Verdict(breaker, ticket, self._clock, call.client or ""))
        except BaseException:
            slot.release()
            raise

    async def fetch(self, call: Call, limit: int = MAX_BODY) -> BackendResponse:
        """Make a call and return its whole response, decoded, at most `limit` bytes; raise as `reading` does."""
        begun = self._clock()
        async with self.reading(call, limit) as reading:
            content = b"".join([part async for part in reading])
            return BackendResponse(reading.status, reading.headers, content, self._clock() - begun)

    @contextlib.asynccontextmanager
    async def reading(self, call: Call, limit: int = MAX_BODY) -> AsyncIterator[Reading]:
        """Make a call and yield its response to be read, decoded, while it arrives: within its deadline and `limit`.

        Only codings that the call's `Accept-Encoding` names are decoded, one at most, and never beyond `limit` bytes.

        Raises:
            BffError: as `open` does.
            BackendMalformed: the response cannot be decoded; BackendTooLarge: it is larger than `limit`.
            BackendTimeout: it did not end within the call's deadline.
        """
        response = await self.open(call)
        try:
            yield Reading(call, response, limit, lambda: call.left(self._clock()))
        except Undecodable as error:
            malformed = BackendTooLarge if isinstance(error, TooLarge) else BackendMalformed
            raise malformed(str(error)) from error
        finally:
            await response.aclose()

    async def check(self) -> None:
        """Ask the backend how it is, past limit and breaker; raise CheckFailed if it does not say it is well."""
        try:
            status = await self._health()
        except BffError as error:
            raise CheckFailed(error.message) from error
        if status != httpx.codes.OK:
            raise CheckFailed(f"the backend answered {status}")

    async def aclose(self) -> None:
        """Close every connection; calls under way fail."""
        self._circuits.close()
        await self._transport.aclose()

    async def _health(self) -> int:
        """Return the status of the backend's own health check, asked without a body or credentials."""
        response = await self._send(Call("GET", HEALTH_TARGET, deadline=self._clock() + PROBE_SECONDS))
        await response.aclose()
        return response.status_code

    async def _responds(self) -> bool:
        return await self._health() not in UNREACHABLE

    async def _acquire(self, call: Call) -> Slot:
        client = call.client or ""
        try:
            await self._limits[call.kind].acquire(client)
        except Busy as error:
            limit = "client" if isinstance(error, ClientBusy) else "all"
            self._metrics.upstream_refused.labels(call.kind.value, limit).inc()
            raise
        return Slot(self._limits[call.kind], client)

    async def _call(self, call: Call, slot: Slot, verdict: Verdict) -> httpx.Response:
        try:
            response = await self._retries.call(call)
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
        response.stream = ResponseBody(response.stream, slot, verdict)
        return response

    async def _traced(self, call: Call, *, fresh: bool, repeatable: bool) -> httpx.Response:
        with tracing.calling(call.method, self._settings.backend_url, call.target.decode("latin-1")) as span:
            carried = replace(call, headers=span.carry(call.headers))
            response = await self._counted(carried, fresh=fresh, repeatable=repeatable)
            span.status = response.status_code
            return response

    async def _counted(self, call: Call, *, fresh: bool, repeatable: bool) -> httpx.Response:
        begun = self._clock()
        try:
            response = await self._send(call, fresh=fresh, repeatable=repeatable)
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
        left = call.left(self._clock())
        request = httpx.Request(
            call.method,
            self._url,
            headers=[self._host, *call.headers],
            stream=call.body or NO_BODY,
            extensions={
                "target": call.target,
                "timeout": self._timeouts(left),
                "fresh": fresh,
                "repeatable": repeatable,
            },
        )
        try:
            if left is None:
                response = await self._transport.handle_async_request(request)
            else:
                async with asyncio.timeout(left):
                    response = await self._transport.handle_async_request(request)
        except TimeoutError as error:
            _debug(call, "no response within the deadline")
            raise BackendTimeout("the backend did not answer within the deadline") from error
        except httpx.TransportError as error:
            _debug(call, "the request failed", reason=str(error), stage=stage(error).value)
            raise translate(error) from error
        timings: Timings = response.extensions["timings"]
        if context := current():
            context.log["connect_ms"] = round(timings.connect * 1000, 2)
            context.log["first_byte_ms"] = round(timings.first_byte * 1000, 2)
        _debug(call, "the backend responded", status=response.status_code, reused=response.extensions["reused"])
        return response

    def _timeouts(self, left: float | None) -> dict[str, float]:
        settings = self._settings
        limit = left if left is not None else float("inf")
        return {
            "connect": min(settings.connect_timeout, limit),
            "first_byte": min(settings.first_byte_timeout, limit),
            "read": min(settings.idle_timeout, limit),
            "write": min(settings.idle_timeout, limit),
            "pool": settings.queue_timeout,
        }


def _debug(call: Call, message: str, **found: object) -> None:
    """Log what went to the backend and what came of it; the query may hold what is nobody's business."""
    if log.isEnabledFor(logging.DEBUG):
        path = call.target.partition(b"?")[0].decode("latin-1")
        log.debug(message, extra={"method": call.method, "path": path, "circuit": call.circuit, **found})
