"""Looking at runs: one call for all who ask meanwhile; an older snapshot may stand in for a failure. I/O.

A look is also the question whether its reader may read the run: the backend's verdict on a run's detail is that on its
parts. So a look is made with the reader's own credentials and joined by nobody else.
"""

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
from bff_shared.access.gate import AccessGate
from bff_shared.access.verdicts import DUE_SHARE, Standing
from bff_shared.errors import BffError, Internal, RunNotFound

log = logging.getLogger(__name__)
JOINABLE = 0.5
"""Seconds for which a look under way can be joined; for half of the time that it may take, it does not hang yet."""


class RunSnapshots:
    """Takes snapshots of runs; `aclose` ends what is under way.

    A look goes on in `background` when its request is over, and keeps what it sees.
    """

    def __init__(
        self,
        source: RunSource,
        cache: RunCache,
        gate: AccessGate,
        background: BackgroundTasks,
        clock: Callable[[], float],
    ) -> None:
        self._source, self._cache, self._background, self._clock = source, cache, background, clock
        self._gate = gate
        self._flights: SingleFlight[RunSnapshot] = SingleFlight(clock, JOINABLE)

    def __len__(self) -> int:
        """Return how many looks are under way."""
        return len(self._flights)

    async def aclose(self) -> None:
        """Cancel the looks under way, and wait until they have ended."""
        await self._flights.aclose()

    def is_open(self, request: Request) -> bool:
        """Tell whether the reader may read the run without another question."""
        return self._gate.is_open(request.user.credential, _resource(request))

    def recent(self, request: Request) -> RunSnapshot | None:
        """Return the cached snapshot where it is fresh and its reader may read it; look ahead where it soon is not."""
        known, user = request.cached.snapshot, request.user
        if known is None:
            return None
        if not user.shares:  # then it was read with these very credentials
            self._gate.accepted(user.credential, _resource(request), request.cached.asked)
        age, lifetime = self._clock() - known.at, revision.snapshot_lifetime(known)
        standing = self._gate.standing(user.credential, _resource(request))
        if age >= lifetime or standing not in {Standing.GOOD, Standing.DUE}:
            return None
        if standing is Standing.DUE or (known.finished and age >= lifetime * DUE_SHARE):
            self._look_ahead(request)
        return replace(known, source="cache")

    def _look_ahead(self, request: Request) -> None:
        """Look at the run in the background, so that the next request need not wait for that."""
        ahead = replace(request, held=[], acquiring=None)
        flight, _ = self._join(ahead, 0.0)
        if not self._background.start(lambda: _ended(flight)):
            self._flights.release(flight, ahead)

    def _join(self, request: Request, not_before: float) -> tuple[Flight[RunSnapshot], bool]:
        key = (request.user.credential, request.run_id)
        return self._flights.join(key, request, lambda: self._sight(request), not_before)

    async def look(self, request: Request, fallback: RunSnapshot | None, not_before: float = 0.0) -> RunSnapshot:
        """Look at the run; if that fails for the backend's reasons, return the fallback, marked.

        There is no fallback for whom the backend has not accepted lately.
        """
        flight, begun = self._join(request, not_before)
        request.calls += begun
        try:
            await asyncio.wait((flight.task,), timeout=request.left())
            return flight.result()
        except RunNotFound:
            raise
        except BffError as error:
            if fallback is None or not self._may_stretch(request):
                raise
            return replace(fallback, source="cache", error=describe(error))
        except BackendRefusal:
            raise
        except Exception:
            if fallback is None or not self._may_stretch(request):
                raise
            log.exception("a look at a run failed", extra={"run_id": request.run_id})
            return replace(fallback, source="cache", error=describe(Internal("the service failed to look at the run")))
        finally:
            if flight.task.done() or not self._background.start(lambda: _ended(flight)):
                self._flights.release(flight, request)

    async def _sight(self, request: Request) -> RunSnapshot:
        """Look at the run now, and keep what is seen; a run that is gone or forbidden is forgotten.

        What is shared stays for the others, whom the backend judges by their own credentials.
        """
        user, asked = request.user, self._clock()
        try:
            run = await self._source.fetch_run(user, request.run_id)
        except (RunNotFound, BackendRefusal) as error:
            self._gate.note(user.credential, _resource(request), error)
            if not user.shares:
                await self._cache.forget(request.cached)
            raise
        self._gate.accepted(user.credential, _resource(request), asked)
        # Another request may have seen it since this one looked at the cache: a later `since` would shut out its parts.
        before = self._cache.newest_snapshot(request.cached) or request.seen
        snapshot = revision.take_snapshot(run, before, self._clock())
        request.seen = snapshot
        self._cache.keep_snapshot(request.cached, snapshot, asked)
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

    def _may_stretch(self, request: Request) -> bool:
        return self._gate.may_stretch(request.user.credential, _resource(request))

    def note_refused(self, request: Request) -> None:
        """Note that the backend does not know the reader's credentials any more, as the call for a part has shown."""
        self._gate.verdicts.refuse(request.user.credential, None, self._clock())


def _resource(request: Request) -> str:
    return f"run:{request.run_id}"


async def _ended(flight: Flight[RunSnapshot]) -> None:
    """Wait for a look that its request does not wait for any more; it keeps what it sees by itself."""
    await asyncio.wait((flight.task,))
