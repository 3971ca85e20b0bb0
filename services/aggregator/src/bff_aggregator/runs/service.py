"""A run bundle: its parts requested concurrently under one deadline, and all of one revision. I/O."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from bff_aggregator.backend.part import ASKED, PARTS, RUN, Part, State, failed_part, skipped_part
from bff_aggregator.backend.run_calls import RunSource, describe
from bff_aggregator.cache.lease import Leases
from bff_aggregator.cache.single_flight import BackgroundTasks, Flight, SingleFlight
from bff_aggregator.runs.load_request import Request
from bff_aggregator.runs.metrics import RunMetrics
from bff_aggregator.runs.revision import RunBundle, RunSnapshot
from bff_aggregator.runs.run_cache import RunCache
from bff_aggregator.runs.snapshots import RunSnapshots
from bff_shared.access.credentials import Reader
from bff_shared.access.gate import AccessGate
from bff_shared.errors import BackendTimeout

log = logging.getLogger(__name__)
LEAD = 0.01
MARGIN = 0.04
ROUNDS = 4
LATE = 256
BEHIND = 0.02
UNAUTHORIZED = 401
PART_JOINABLE = 5.0
"""Seconds for which a call under way can be joined; for half of the time that it may take, it does not hang yet."""


class RunService:
    """Loads runs through the cache. One per process; `aclose` ends what is under way.

    The detail is asked for first and has a head start of 10 ms: an answer within it saves the parts from being asked
    for in vain (no such run, no permission) or too early (a run that is just ending). After that all are asked at once.
    """

    def __init__(
        self,
        source: RunSource,
        cache: RunCache,
        leases: Leases,
        metrics: RunMetrics,
        gate: AccessGate,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take a clock in seconds since the Unix epoch."""
        self._source, self._cache, self._leases, self._metrics, self._clock = source, cache, leases, metrics, clock
        # A part that has come is there for everybody from then on, though it is kept only with the last one.
        self._flights: SingleFlight[Part] = SingleFlight(clock, PART_JOINABLE, lambda part: part.final)
        self._background = BackgroundTasks(LATE)
        self._snapshots = RunSnapshots(source, cache, gate, self._background, clock)

    def __repr__(self) -> str:
        """Say how much is under way."""
        looks, later = len(self._snapshots), len(self._background)
        return f"<RunService {looks} looks, {len(self._flights)} parts under way, {later} tasks behind them>"

    async def aclose(self) -> None:
        """End all calls, errands and writes."""
        await self._background.aclose()
        await self._cache.aclose()
        await self._flights.aclose()
        await self._snapshots.aclose()

    async def load(
        self,
        user: Reader,
        run_id: str,
        wanted: Sequence[str],
        deadline: float,
        on_snapshot: Callable[[RunSnapshot], None] | None = None,
    ) -> RunBundle:
        """Return a run with the `wanted` parts by the `deadline` (monotonic seconds), whatever became of them.

        `on_snapshot` is told what the first look at the run has shown, which is long before its parts have come.
        Raises RunNotFound, BackendRefusal, or an UpstreamError or Busy where even the run's detail failed to come.
        """
        cached = await self._cache.look(user, run_id)
        margin = min(MARGIN, max(0.0, deadline - time.monotonic()) / 10)
        asked = [name for name in ASKED if name in wanted]
        request = Request(user, run_id, cached, asked, deadline - margin, cached.snapshot)
        if not user.shares or self._snapshots.is_open(request):
            self._acquire(request)
        try:
            snapshot, parts = await self._consistent(request, on_snapshot)
        finally:
            for flight in request.held:
                self._flights.release(flight, request)
            if request.acquiring and not self._background.start(lambda: self._wind_up(request, BEHIND)):
                await self._give_back(request)
        shown = {name: skipped_part(name) for name in PARTS} | {part.name: part for part in parts}
        bundle = RunBundle(snapshot, shown, request.calls)
        self._metrics.parts.labels(RUN, State.STALE if snapshot.error else State.OK, snapshot.source).inc()
        for part in parts:
            self._metrics.parts.labels(part.name, part.state, part.source).inc()
        if log.isEnabledFor(logging.DEBUG):
            states = {part.name: f"{part.state} from {part.source}" for part in parts}
            log.debug("run loaded", extra={"run_id": run_id, "parts": states, "backend_calls": request.calls})
        return bundle

    def _acquire(self, request: Request) -> None:
        """Begin to claim the parts that are missing; the look at the run need not wait for this, the parts do."""
        if missing := self._missing(request):
            request.acquiring = asyncio.create_task(self._leases.take(request.cached.scope, missing, request))

    def _missing(self, request: Request) -> list[str]:
        """Return the wanted parts that are not at hand, as far as can be told before the run is looked at."""
        known, now = request.seen, self._clock()
        parts = {
            name: request.cached.parts.get(name) if known is None else request.cached.part(name, known.revision)
            for name in request.wanted
        }
        return [name for name, part in parts.items() if part is None or now >= part.fresh_until]

    async def _wind_up(self, request: Request, pause: float) -> None:
        """Write what was kept to Redis once the answer is out, and let other processes go on."""
        try:
            await asyncio.sleep(pause)
            await self._cache.write(request.cached)
        finally:
            await self._give_back(request)

    async def _give_back(self, request: Request) -> None:
        """Give back what the request has claimed, which has to be known for that."""
        await request.theirs()
        await self._leases.give_back(request.cached.scope, request)

    async def _consistent(
        self, request: Request, on_snapshot: Callable[[RunSnapshot], None] | None
    ) -> tuple[RunSnapshot, list[Part]]:
        """Return a snapshot and parts of its revision, begun anew whenever the run has moved on meanwhile."""
        snapshot = await self._first_snapshot(request)
        if request.acquiring is None and request.user.shares:  # nobody claims what he may not read
            self._acquire(request)
        if on_snapshot is not None:
            on_snapshot(snapshot)
        for _ in range(ROUNDS):
            parts = await self._collect(request, snapshot)
            later = await self._snapshots.confirm(request, snapshot, parts)
            if later is None:
                break
            if later.revision == snapshot.revision:
                for part in parts:
                    self._keep(request, part, snapshot)
                return snapshot, parts
            self._metrics.restarts.inc()
            snapshot = later
        return snapshot, [_doubtful(part) for part in parts]

    async def _first_snapshot(self, request: Request) -> RunSnapshot:
        """Return a snapshot that is fresh, or a new one; parts are asked for early where that is no waste."""
        known, recent = request.cached.snapshot, self._snapshots.recent(request)
        if recent is not None:
            return recent
        if known is not None and not known.finished:
            return await self._snapshots.look(request, known)
        task = asyncio.create_task(self._snapshots.look(request, known))
        task.add_done_callback(_retrieve)
        try:
            if not (await asyncio.wait((task,), timeout=LEAD))[0]:
                await asyncio.wait((task, request.acquiring or task), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                self._ask_early(request, known, await request.theirs())
            return await task
        finally:
            task.cancel()

    def _ask_early(self, request: Request, known: RunSnapshot | None, theirs: set[str]) -> None:
        """Begin the calls for parts that are not at hand, before it is known whether they will count."""
        for name in request.wanted:
            part = None if known is None else request.cached.part(name, known.revision)
            if name not in theirs and (part is None or self._clock() >= part.fresh_until):
                self._start(request, name, 0.0)

    async def _collect(self, request: Request, snapshot: RunSnapshot) -> list[Part]:
        """Return the wanted parts of the snapshot's revision, from the cache or from the backend."""
        now, parts = self._clock(), dict[str, Part]()
        for name in request.wanted:
            known = request.cached.part(name, snapshot.revision)
            if known is not None and now < known.fresh_until:
                parts[name] = known
        missing = [name for name in request.wanted if name not in parts]
        if missing:
            brought = await asyncio.gather(*(self._bring(request, name, snapshot) for name in missing))
            parts |= {part.name: part for part in brought}
        return [parts[name] for name in request.wanted]

    async def _bring(self, request: Request, name: str, snapshot: RunSnapshot) -> Part:
        known = request.cached.part(name, snapshot.revision)
        if snapshot.error is not None and not snapshot.finished:
            part = failed_part(name, State.FAILED, snapshot.error, 0.0, 0.0)
        else:
            part = await self._fetch(request, name, snapshot)
            if part.refused:
                part = await self._on_refusal(request, part, snapshot)
            if snapshot.finished:  # It needs no confirmation, and whoever comes from now on shall find it.
                self._keep(request, part, snapshot)
        return part if part.final or part.refused or known is None else known.stale(part.error)

    async def _on_refusal(self, request: Request, part: Part, snapshot: RunSnapshot) -> Part:
        """Take note of a part that the backend refuses; read it alone where it was refused to another reader."""
        if part.name not in request.begun:
            flight = self._start(request, part.name, snapshot.earliest(), alone=True)
            part = await self._landed(request, flight, snapshot)
        if part.refused == UNAUTHORIZED:
            self._snapshots.note_refused(request)
        return part

    async def _fetch(self, request: Request, name: str, snapshot: RunSnapshot) -> Part:
        """Return a part from another process that is reading it, or from the backend.

        One that is too late is kept for the next request when it comes.
        """
        following = None
        try:
            if name in await request.theirs():
                following = asyncio.create_task(self._from_others(request, name, snapshot))
                # Whoever reads it may have ended without a word, so the second half of the time is for both ways.
                await asyncio.wait((following,), timeout=request.left() / 2)
                if following.done() and (part := following.result()) is not None:
                    return part
            flight = self._start(request, name, snapshot.earliest())
            ways: list[asyncio.Task[Part] | asyncio.Task[Part | None]] = [flight.task]
            ways += [following] if following is not None and not following.done() else []
            await asyncio.wait(ways, timeout=request.left(), return_when=asyncio.FIRST_COMPLETED)
            if following is not None and following.done() and (part := following.result()) is not None:
                return part
            return await self._landed(request, flight, snapshot)
        finally:
            if following is not None:
                following.cancel()

    async def _from_others(self, request: Request, name: str, snapshot: RunSnapshot) -> Part | None:
        """Return a part that another process was reading, None if nothing came of it."""
        await self._leases.follow(request.cached.scope, name, request.deadline)
        cached = await self._cache.look(request.user, request.run_id, (name,))
        part = cached.part(name, snapshot.revision)
        return part if part is not None and self._clock() < part.fresh_until else None

    async def _landed(self, request: Request, flight: Flight[Part], snapshot: RunSnapshot) -> Part:
        """Return the part of a flight; one that misses the deadline is reported as late, and waited for without it."""
        await asyncio.wait((flight.task,), timeout=request.left())
        if flight.task.done():
            return flight.task.result()
        follower = replace(request, held=[])
        flight.holders.add(follower)
        self._leases.share(request.cached.scope, flight.keys[0][2], follower)
        if not self._background.start(lambda: self._follow(follower, flight, snapshot)):
            self._flights.release(flight, follower)
            await self._leases.give_back(request.cached.scope, follower)
        error = BackendTimeout("the backend did not answer within the deadline")
        return failed_part(flight.keys[0][2], State.TIMEOUT, describe(error), flight.began, self._clock())

    def _start(self, request: Request, name: str, not_before: float, *, alone: bool = False) -> Flight[Part]:
        """Return the call that the request has for a part, or join or begin one; it is held until the request ends.

        Before the backend has accepted its reader, or `alone`, it is joined by nobody with other credentials.
        """
        user, run_id = request.user, request.run_id
        for held in request.held:
            if held.keys[0][2] == name and held.began >= not_before and not alone:
                return held
        key = (user.principal if self._snapshots.is_open(request) and not alone else user.credential, run_id, name)
        flight, begun = self._flights.join(
            key, request, lambda: self._source.fetch_part(user, run_id, name), not_before
        )
        request.calls += begun
        if begun or alone:
            request.begun.add(name)
        request.held.append(flight)
        return flight

    def _keep(self, request: Request, part: Part, snapshot: RunSnapshot) -> None:
        """Keep a part that has just come from the backend."""
        if not part.final or part.source != "backend":
            return
        try:
            self._cache.keep_part(request.cached, part, snapshot)
        except Exception:  # what cannot be kept can be answered with all the same
            log.exception("a part of a run could not be kept", extra={"run_id": request.run_id, "part": part.name})

    async def _follow(self, request: Request, flight: Flight[Part], snapshot: RunSnapshot) -> None:
        """Wait for a part that missed its request's deadline, and keep it if it still belongs to the revision."""
        try:
            await asyncio.wait((flight.task,))
            part = flight.task.result()
            request.deadline = time.monotonic() + 1.0
            later = await self._snapshots.confirm(request, snapshot, [part])
            if later is not None and later.revision == snapshot.revision:
                self._keep(request, part, snapshot)
                self._metrics.late.labels(part.name).inc(part.final)
        finally:
            self._flights.release(flight, request)
            await self._wind_up(request, 0.0)


def _retrieve(task: asyncio.Task[RunSnapshot]) -> None:
    """Take note of a failure that the request, gone before, does not wait for any more."""
    if not task.cancelled():
        task.exception()


def _doubtful(part: Part) -> Part:
    """Return a part unless it came from the backend while the run may have moved on."""
    if part.source != "backend" or part.state is not State.OK:
        return part
    error = BackendTimeout("the run's state could not be read again after this part")
    return failed_part(part.name, State.TIMEOUT, describe(error), part.began, part.at)
