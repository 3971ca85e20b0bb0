"""The breakers of one backend, one for each circuit, and the probes that close them again."""

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable

from bff_shared.errors import BffError, CircuitOpen, UpstreamError
from bff_shared.telemetry.metrics import Metrics
from bff_shared.upstream.resilience import Breaker, Ticket

log = logging.getLogger(__name__)
PROBE_SECONDS = 1.0


class Circuits:
    """Lets calls through, or says for how long the backend is left alone.

    Args:
        new_breaker: makes the breaker of a circuit that was not met before.
        probe: asks the backend once whether it responds at all, within PROBE_SECONDS; raises UpstreamError where it
            does not, and any other BffError where that could not be found out.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        new_breaker: Callable[[], Breaker],
        probe: Callable[[], Awaitable[bool]],
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self._new_breaker, self._ask, self._metrics, self._clock = new_breaker, probe, metrics, clock
        self._breakers: dict[str, Breaker] = {"": new_breaker()}
        self._probes: set[asyncio.Task[None]] = set()
        metrics.breaker_open.set_function(lambda: max(breaker.state.value for breaker in self._breakers.values()))

    def __repr__(self) -> str:
        """Say which circuits are not closed."""
        states = {name: breaker.state.name.lower() for name, breaker in self._breakers.items() if breaker.state.value}
        return f"<Circuits {len(self._breakers)} not_closed={states}>"

    def breaker(self, circuit: str) -> Breaker:
        """Return the breaker of a circuit."""
        return self._breakers.get(circuit) or self._breakers.setdefault(circuit, self._new_breaker())

    async def admit(self, breaker: Breaker) -> Ticket:
        """Return the breaker's ticket for a call.

        The call that comes first after a breaker's pause waits for the probe, which goes on without it if it is
        cancelled.

        Raises:
            CircuitOpen: the call may not be made now.
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
                raise self._open(PROBE_SECONDS)
        if ticket.wait > 0:
            raise self._open(ticket.wait)
        return ticket

    def close(self) -> None:
        """Cancel the probes under way."""
        for probe in self._probes:
            probe.cancel()

    def _open(self, wait: float) -> CircuitOpen:
        self._metrics.upstream_calls.labels("circuit_open").inc()
        return CircuitOpen("the backend failed too often; calls to it are paused", wait)

    async def _probe(self, breaker: Breaker, ticket: Ticket) -> None:
        responded: bool | None = None
        try:
            responded = await self._ask()
        except UpstreamError:
            responded = False
        except BffError as error:
            log.warning("a probe of the backend ended undecided", extra={"reason": error.message})
        finally:
            breaker.probed(ticket, self._clock(), responded=responded)
            log.debug("the backend was probed", extra={"responded": responded, "breaker": repr(breaker)})
