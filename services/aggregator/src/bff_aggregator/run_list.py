"""The list of runs with each finished run's key metrics, never slower than twice the plain list. I/O.

The metrics come from a cache of their own, or from the backend by a bounded number of calls at once. Those that are not
there in as much time as the list itself took are `pending`; their calls go on, and the next request finds them.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from bff_aggregator import sections
from bff_aggregator.flights import Errands, Flight, Flights
from bff_aggregator.packing import data_of
from bff_aggregator.parts import RunSource, User
from bff_aggregator.runcache import RunCache
from bff_aggregator.sections import Part, State
from bff_aggregator.vocabulary import FINISHED, Json
from bff_shared.errors import BackendTimeout

KEY_METRICS: Final = (
    "total_return",
    "cagr",
    "max_drawdown",
    "sharpe_ratio",
    "sortino_ratio",
    "win_rate",
    "total_trades",
)
ENTRY: Final = "metrics-of-list"
SHARE: Final = 0.8  # of the plain list's time: the rest is for putting the answer together
PENDING: Final = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the list: its runs with `metrics` and `metrics_state`, its other fields, and what it took."""

    items: list[Json]
    rest: Json
    calls: int

    @property
    def pending(self) -> int:
        """How many runs' metrics were still on their way."""
        return sum(item["metrics_state"] == "pending" for item in self.items)


class RunList:
    """Loads pages; `fanout` metrics are asked for at once. `aclose` ends what is under way."""

    def __init__(self, source: RunSource, cache: RunCache, fanout: int, clock: Callable[[], float] = time.time) -> None:
        """Take a clock in seconds since the Unix epoch."""
        self._source, self._cache, self._clock = source, cache, clock
        self._lists: Flights[tuple[list[Json], Json]] = Flights(clock)
        self._metrics: Flights[Part] = Flights(clock)
        self._fanout = asyncio.Semaphore(fanout)
        self._errands = Errands(PENDING)

    async def aclose(self) -> None:
        """End all calls."""
        await self._errands.aclose()
        await self._metrics.aclose()
        await self._lists.aclose()

    async def load(self, user: User, query: bytes, deadline: float) -> Page:
        """Return a page by the `deadline` (monotonic seconds); raise as `RunSource.list` does."""
        begun = time.monotonic()
        items, rest, calls = await self._plain(user, query, deadline)
        now = time.monotonic()
        until = min(deadline, now + SHARE * (now - begun))
        kept = await asyncio.gather(*(self._kept(user, item, until) for item in items))
        flights = {
            index: self._start(user, item)
            for index, (item, part) in enumerate(zip(items, kept, strict=True))
            if part is None and item["status"] in FINISHED
        }
        tasks = [flight.task for flight in flights.values() if flight is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=max(0.0, until - time.monotonic()))
        shown = []
        for index, (item, part) in enumerate(zip(items, kept, strict=True)):
            flight = flights.get(index)
            shown.append({**item, **_shown(item, part or _result(flight))})
        return Page(shown, rest, calls + len(tasks))

    async def _plain(self, user: User, query: bytes, deadline: float) -> tuple[list[Json], Json, int]:
        holder = object()
        flight, begun = self._lists.join((user.digest, query), holder, lambda: self._source.list(user, query))
        try:
            await asyncio.wait((flight.task,), timeout=max(0.0, deadline - time.monotonic()))
            if not flight.task.done():
                raise BackendTimeout("the backend did not answer within the deadline")
            return *flight.task.result(), int(begun)
        finally:
            self._lists.release(flight, holder)

    async def _kept(self, user: User, item: Json, until: float) -> Part | None:
        """Return a finished run's metrics if they are at hand."""
        if item["status"] not in FINISHED:
            return None
        try:
            async with asyncio.timeout_at(until):
                shelf = await self._cache.look(user, item["run_id"], (ENTRY,))
        except TimeoutError:
            return None
        part = shelf.parts.get(ENTRY)
        current = part is not None and part.revision == sections.revision_of(item)
        return part if current and part is not None and self._clock() < part.fresh_until else None

    def _start(self, user: User, item: Json) -> Flight[Part] | None:
        """Begin to ask for a run's metrics, or join who does; None if too many are under way."""
        if len(self._errands) >= PENDING:
            return None
        flight, begun = self._metrics.join((user.digest, item["run_id"]), self, lambda: self._fetch(user, item))
        if begun:
            self._errands.send(lambda: self._keep(user, item, flight))
        return flight

    async def _fetch(self, user: User, item: Json) -> Part:
        async with self._fanout:
            return await self._source.part(user, item["run_id"], "metrics")

    async def _keep(self, user: User, item: Json, flight: Flight[Part]) -> None:
        await asyncio.wait((flight.task,))
        part = flight.task.result()
        if part.final:
            shelf = await self._cache.look(user, item["run_id"], (ENTRY,))
            sighting = sections.sight(item, None, part.began)
            self._cache.keep_part(shelf, replace(part, data=_key_metrics(part)), sighting, ENTRY)


def _result(flight: Flight[Part] | None) -> Part | None:
    return flight.task.result() if flight is not None and flight.task.done() else None


def _key_metrics(part: Part) -> Json | None:
    metrics = data_of(part)
    return None if metrics is None else {name: metrics[name] for name in KEY_METRICS if metrics.get(name) is not None}


def _shown(item: Json, part: Part | None) -> Json:
    if item["status"] not in FINISHED:
        return {"metrics": None, "metrics_state": State.SKIPPED}
    if part is None:
        return {"metrics": None, "metrics_state": "pending"}
    return {"metrics": _key_metrics(part), "metrics_state": part.state}


def page_body(page: Page, load_time_ms: float) -> Json:
    """Return a page as it is answered."""
    metadata = {
        "load_time_ms": round(load_time_ms, 2),
        "backend_calls": page.calls,
        "metrics_pending": page.pending,
        "partial_data": any(item["metrics_state"] in {State.FAILED, State.TIMEOUT} for item in page.items),
    }
    return {"items": page.items, **page.rest, "metadata": metadata}
