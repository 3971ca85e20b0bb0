"""The one place that sends a request again: within the call's attempts, the retry budget and what a failure allows."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import httpx

from bff_shared.errors import BffError, CircuitOpen
from bff_shared.telemetry.metrics import Metrics
from bff_shared.upstream.call import Call
from bff_shared.upstream.resilience import RetryBudget, backoff
from bff_shared.upstream.transport.failures import FailureStage, failure_of


class Attempt(Protocol):
    """Sends a call's request once."""

    def __call__(self, call: Call, *, fresh: bool, repeatable: bool) -> Awaitable[httpx.Response]:
        """Send it over a new connection if it has to be `fresh`; `repeatable` says that it may be sent again after."""


class Retries:
    """Makes calls, each as often as it may be made.

    Args:
        attempt: sends a request once; raises BffError, caused by the transport's failure.
        budget: bounds the repeats of all calls together.
        most: how many requests a call is that says nothing of it.
        clock: monotonic seconds.
        draw: a number in [0, 1) for each pause.
    """

    def __init__(
        self,
        attempt: Attempt,
        budget: RetryBudget,
        most: int,
        metrics: Metrics,
        clock: Callable[[], float],
        draw: Callable[[], float],
    ) -> None:
        self._attempt, self._budget, self._most = attempt, budget, most
        self._metrics, self._clock, self._draw = metrics, clock, draw

    async def call(self, call: Call) -> httpx.Response:
        """Make a call and return its response, or raise the error of its last attempt; cancelled, repeat nothing."""
        self._budget.called(self._clock())
        most = call.attempts or self._most
        fresh = False
        for attempt in range(most):
            last = attempt == most - 1
            try:
                response = await self._attempt(call, fresh=fresh, repeatable=not last and call.is_repeatable)
                if last or response.status_code not in call.repeat_statuses or not self._budget.take(self._clock()):
                    return response
                await response.aclose()
                fresh = False
            except BffError as error:
                if last or not may_repeat(call, error) or not self._budget.take(self._clock()):
                    raise
                # The peer has closed a connection that was idle: no reason to wait, nor to try another idle one.
                fresh = error.__cause__ is not None and failure_of(error.__cause__).reused
            self._metrics.upstream_retries.inc()
            if call.on_repeat is not None:
                call.on_repeat()
            if not fresh:
                await asyncio.sleep(backoff(attempt, self._draw()))
        raise AssertionError("the last attempt returns or raises")


def may_repeat(call: Call, error: BffError) -> bool:
    """Tell whether a failed call may be made again: nothing of it can have had an effect, and there is time."""
    cause = error.__cause__
    if not error.retryable or isinstance(error, CircuitOpen) or not isinstance(cause, httpx.TransportError):
        return False
    if isinstance(cause, httpx.TimeoutException):
        return False
    reached = failure_of(cause).stage
    return reached is FailureStage.CONNECT or (reached is FailureStage.SENT and call.is_repeatable)
