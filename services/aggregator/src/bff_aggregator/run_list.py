"""The list of runs with each finished run's key metrics, never slower than twice the plain list. I/O.

The metrics come from a cache of their own, or from the backend by a bounded number of calls at once. Those that are not
there in as much time as the list itself took are `pending`; their calls go on, and the next request finds them.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import orjson

from bff_aggregator import sections
from bff_aggregator.flights import Errands, Flight, Flights
from bff_aggregator.packing import data_of
from bff_aggregator.parts import RunSource, User, describe
from bff_aggregator.runcache import RunCache
from bff_aggregator.sections import Part, State
from bff_aggregator.sources import Refused
from bff_aggregator.vocabulary import FINISHED, Json
from bff_shared.errors import BackendTimeout, UpstreamError

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
SHARE: Final = 0.5  # of the plain list's time: the rest is for putting the answer together
FRESH: Final = 1.0
PENDING: Final = 1000
JOINABLE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the list: its runs with `metrics` and `metrics_state`, its other fields, and what it took.

    `error` is why it is not the newest one.
    """

    items: list[Json]
    rest: Json
    calls: int = 0
    error: Json | None = None

    @property
    def pending(self) -> int:
        """How many runs' metrics were still on their way."""
        return sum(item["metrics_state"] == "pending" for item in self.items)


class RunList:
    """Loads pages; `fanout` metrics are asked for at once. `aclose` ends what is under way."""

    def __init__(self, source: RunSource, cache: RunCache, fanout: int, clock: Callable[[], float] = time.time) -> None:
        """Take a clock in seconds since the Unix epoch."""
        self._source, self._cache, self._clock = source, cache, clock
        self._lists: Flights[Page] = Flights(clock, JOINABLE)
        self._metrics: Flights[Part] = Flights(clock)
        self._fanout = asyncio.Semaphore(fanout)
        self._errands = Errands(PENDING)

    async def aclose(self) -> None:
        """End all calls."""
        await self._errands.aclose()
        await self._metrics.aclose()
        await self._lists.aclose()

    async def load(self, user: User, query: str, deadline: float) -> Page:
        """Return a page by the `deadline` (monotonic seconds); raise as `RunSource.list` does."""
        begun = time.monotonic()
        plain = await self._plain(user, query, deadline)
        now = time.monotonic()
        until = min(deadline, now + SHARE * (now - begun))
        kept = [self._kept(user, item) for item in plain.items]
        missing = [item for item, part in zip(plain.items, kept, strict=True) if part is None and _is_over(item)]
        flights = {item["run_id"]: flight for item in missing if (flight := self._start(user, item)) is not None}
        if flights:
            tasks = [flight.task for flight in flights.values()]
            await asyncio.wait(tasks, timeout=max(0.0, until - time.monotonic()))
        shown = [
            {**item, **_shown(item, part or _result(flights.get(item["run_id"])))}
            for item, part in zip(plain.items, kept, strict=True)
        ]
        return replace(plain, items=shown, calls=plain.calls + len(flights))

    async def _plain(self, user: User, query: str, deadline: float) -> Page:
        """Return the page as the backend has it, or a kept one: for a second, and when the backend fails."""
        kept = self._cache.page(user, query)
        if kept is not None and self._clock() < kept.fresh_until:
            return Page(*orjson.loads(kept.value))
        holder = object()
        flight, begun = self._lists.join((user.digest, query), holder, lambda: self._ask(user, query))
        try:
            await asyncio.wait((flight.task,), timeout=max(0.0, deadline - time.monotonic()))
            if not flight.task.done():
                raise BackendTimeout("the backend did not answer within the deadline")
            return replace(flight.task.result(), calls=int(begun))
        except UpstreamError as error:
            if kept is None:
                raise
            items, rest = orjson.loads(kept.value)
            return Page(items, rest, int(begun), describe(error))
        finally:
            self._lists.release(flight, holder)

    async def _ask(self, user: User, query: str) -> Page:
        try:
            items, rest = await self._source.list(user, query)
        except Refused:
            await self._cache.forget_page(user, query)
            raise
        self._cache.keep_page(user, query, orjson.dumps([items, rest]), FRESH)
        return Page(items, rest)

    def _kept(self, user: User, item: Json) -> Part | None:
        """Return a finished run's metrics if they are in memory."""
        if not _is_over(item):
            return None
        part = self._cache.peek(user, item["run_id"], ENTRY)
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
        """Return a run's metrics from the shared cache, or from the backend."""
        shelf = await self._cache.look(user, item["run_id"], (ENTRY,))
        kept = shelf.part(ENTRY, sections.revision_of(item))
        if kept is not None and self._clock() < kept.fresh_until:
            return kept
        async with self._fanout:
            return await self._source.part(user, item["run_id"], "metrics")

    async def _keep(self, user: User, item: Json, flight: Flight[Part]) -> None:
        await asyncio.wait((flight.task,))
        part = flight.task.result()
        if part.final and part.source == "backend":
            shelf = await self._cache.look(user, item["run_id"], (ENTRY,))
            sighting = sections.sight(item, None, part.began)
            self._cache.keep_part(shelf, replace(part, data=_key_metrics(part)), sighting, ENTRY)


def _is_over(item: Json) -> bool:
    return item["status"] in FINISHED


def _result(flight: Flight[Part] | None) -> Part | None:
    return flight.task.result() if flight is not None and flight.task.done() else None


def _key_metrics(part: Part) -> Json | None:
    metrics = data_of(part)
    return None if metrics is None else {name: metrics[name] for name in KEY_METRICS if metrics.get(name) is not None}


def _shown(item: Json, part: Part | None) -> Json:
    if not _is_over(item):
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
        "stale": page.error is not None,
        "partial_data": any(item["metrics_state"] in {State.FAILED, State.TIMEOUT} for item in page.items),
    }
    return {"items": page.items, **page.rest, "metadata": metadata}
