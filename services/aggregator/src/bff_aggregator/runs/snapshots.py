"""Looking at runs: one call for all who ask meanwhile; an older snapshot may stand in for a failure. I/O."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from bff_aggregator.backend.part import Part, State
from bff_aggregator.backend.refusal import BackendRefusal
from bff_aggregator.backend.run_calls import RunSource, describe
from bff_aggregator.cache.single_flight import BackgroundTasks, Flight, SingleFlight
from bff_aggregator.runs import revision
from bff_aggregator.runs.load_request import Request
from bff_aggregator.runs.revision import RunSnapshot
from bff_aggregator.runs.run_cache import RunCache
from bff_shared.errors import BffError, Internal, RunNotFound

log = logging.getLogger(__name__)
JOINABLE = 0.5
"""Seconds for which a look under way can be joined; for half of the time that it may take, it does not hang yet."""


class RunSnapshots:
    """Takes snapshots of runs; `aclose` ends what is under way.

    A look goes on in `background` when its request is over, and keeps what it sees.
    """

    def __init__(
        self, source: RunSource, cache: RunCache, background: BackgroundTasks, clock: Callable[[], float]
    ) -> None:
        self._source, self._cache, self._background, self._clock = source, cache, background, clock
        self._flights: SingleFlight[RunSnapshot] = SingleFlight(clock, JOINABLE)

    def __len__(self) -> int:
        """Return how many looks are under way."""
        return len(self._flights)

    async def aclose(self) -> None:
        """Cancel the looks under way, and wait until they have ended."""
        await self._flights.aclose()

    async def look(self, request: Request, fallback: RunSnapshot | None, not_before: float = 0.0) -> RunSnapshot:
        """Look at the run; if that fails for the backend's reasons, return the fallback, marked."""
        key = (request.user.principal, request.run_id)
        flight, begun = self._flights.join(key, request, lambda: self._sight(request), not_before)
        request.calls += begun
        try:
            await asyncio.wait((flight.task,), timeout=request.left())
            return flight.result()
        except RunNotFound:
            raise
        except BffError as error:
            if fallback is None:
                raise
            return replace(fallback, source="cache", error=describe(error))
        except BackendRefusal:
            raise
        except Exception:
            if fallback is None:
                raise
            log.exception("a look at a run failed", extra={"run_id": request.run_id})
            return replace(fallback, source="cache", error=describe(Internal("the service failed to look at the run")))
        finally:
            if flight.task.done() or not self._background.start(lambda: _ended(flight)):
                self._flights.release(flight, request)

    async def _sight(self, request: Request) -> RunSnapshot:
        """Look at the run now, and keep what is seen; a run that is gone or forbidden is forgotten."""
        try:
            run = await self._source.fetch_run(request.user, request.run_id)
        except (RunNotFound, BackendRefusal):
            await self._cache.forget(request.cached)
            raise
        # Another request may have seen it since this one looked at the cache: a later `since` would shut out its parts.
        before = self._cache.newest_snapshot(request.cached) or request.seen
        snapshot = revision.take_snapshot(run, before, self._clock())
        request.seen = snapshot
        self._cache.keep_snapshot(request.cached, snapshot)
        return snapshot

    async def confirm(self, request: Request, snapshot: RunSnapshot, parts: Sequence[Part]) -> RunSnapshot | None:
        """Return a snapshot from after the parts came, None if none is to be had. A run that is over needs none."""
        came = [part.at for part in parts if part.source == "backend" and part.state is State.OK]
        if snapshot.finished or not came:
            return snapshot
        try:
            return await self.look(request, None, max(came))
        except RunNotFound:
            raise
        except BffError:
            return None


async def _ended(flight: Flight[RunSnapshot]) -> None:
    """Wait for a look that its request does not wait for any more; it keeps what it sees by itself."""
    await asyncio.wait((flight.task,))
