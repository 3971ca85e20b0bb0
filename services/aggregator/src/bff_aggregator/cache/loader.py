"""Read-through loading: single flight per missing key, stale-while-revalidate, stale-if-error, early refresh.

A key that memory has fresh is served from there. For any other Redis is asked, which may have it fresh by another
process, and for what it does not have either `LeasedFill` is. Both go on when the request that began them is gone, and
are joined by every other request that misses the same key meanwhile. No request waits longer than its deadline.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from bff_aggregator.cache.entry import Entry, Scope, State
from bff_aggregator.cache.leased_fill import PASSING, Clocks, Fill, LeasedFill, Outcome
from bff_aggregator.cache.metrics import CacheMetrics
from bff_aggregator.cache.single_flight import Flight, SingleFlight
from bff_aggregator.cache.store import Store
from bff_shared.errors import BackendTimeout, BffError
from bff_shared.turns import PIECE

T = TypeVar("T")
log = logging.getLogger(__name__)
RESERVE = 0.02
"""Seconds of a request's time that are left for what it makes of the entries."""
MAX_REFRESHES = 64


@dataclass(slots=True)
class Loaded:
    """The entries of all keys that were asked for.

    `hits` of them were found good, `made` were made for this request, by it or by another that it joined; `stale` are
    past their freshness, and `error` is the failure that they stand in for, if there was one.
    """

    entries: dict[str, Entry]
    hits: int = 0
    made: int = 0
    stale: int = 0
    error: Exception | None = None


@dataclass(eq=False, slots=True)
class _Request:
    """One call of `load`: `known` is the newest that any layer has of its keys, `joined` those another had begun."""

    scope: Scope
    keys: Sequence[str]
    fill: Fill
    until: float
    known: dict[str, Entry]
    loaded: Loaded = field(default_factory=lambda: Loaded({}))
    joined: set[str] = field(default_factory=set)

    def missing(self) -> list[str]:
        """Return the keys that have no entry yet."""
        return [key for key in self.keys if key not in self.loaded.entries]


class Loader:
    """Loads keys of a store; `aclose` ends the flights."""

    def __init__(
        self,
        store: Store,
        metrics: CacheMetrics,
        *,
        expected: tuple[type[Exception], ...] = (BffError,),
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Take the exceptions by which a fill reports a failure; any other one is a defect of ours."""
        self._store, self._metrics = store, metrics
        self._clocks = Clocks(clock, monotonic, draw)
        self._filler = LeasedFill(store, metrics, self._clocks, expected)
        self.answering = self._filler.answering
        self._lookups: SingleFlight[dict[str, Entry]] = SingleFlight(clock)
        self._fills: SingleFlight[dict[str, Outcome]] = SingleFlight(clock)
        store.on_purge(self._forget)

    def __repr__(self) -> str:
        """Say how much is under way."""
        return f"<Loader {len(self._lookups)} look-ups and {len(self._fills)} fills under way>"

    async def load(self, scope: Scope, keys: Sequence[str], fill: Fill, deadline: float) -> Loaded:
        """Return the entries of keys, made by `fill` where the cache has none.

        Raises what `fill` gave for a key that nothing stale can stand in for, and BackendTimeout at the deadline
        (monotonic seconds). Only what is `PASSING` is ever answered with stale entries; a defect of ours is Internal.
        Cancelling it leaves what it began to go on for others.
        """
        request = _Request(scope, keys, fill, deadline - RESERVE, self._store.get_local(scope, keys))
        # What is stale in memory waits for Redis, which may have it fresh, unless it is being made anew already.
        self._serve(request, "memory", keys, self._being_made(scope, request.known))
        if request.missing():
            if len(keys) > PIECE:
                await asyncio.sleep(0)  # all that follows takes as long again
            await self._look_up(request)
        if missing := request.missing():
            joined = self._being_made(scope, missing)
            outcomes = await self._fill(request, missing)
            # A flight that was joined may run out of its time when this request still has some.
            late = [key for key in joined if isinstance(outcomes.get(key), BackendTimeout)]
            if late and self._clocks.monotonic() < request.until:
                outcomes |= await self._fill(request, late)
            for key in missing:
                self._settle(request, key, outcomes.get(key))
        loaded = request.loaded
        if log.isEnabledFor(logging.DEBUG):
            found = {"namespace": scope.namespace, "subject": scope.subject, "hits": loaded.hits, "made": loaded.made}
            log.debug("cache entries loaded", extra={**found, "stale": loaded.stale})
        return loaded

    async def aclose(self) -> None:
        """Cancel the flights, and wait until they have ended."""
        await self._lookups.aclose()
        await self._fills.aclose()
        await self._filler.aclose()

    def _being_made(self, scope: Scope, keys: Iterable[str]) -> set[str]:
        """Return those of the keys that are being made now."""
        return {key for key in keys if self._fills.get((scope, key))}

    def _serve(self, request: _Request, layer: str, keys: Iterable[str], may_be_stale: Container[str]) -> None:
        """Take what is known of keys and good. Have made anew what is stale, or drawn for it early."""
        now, used, stale, early = self._clocks.unix(), 0, [], []
        for key in keys:
            item = request.known.get(key)
            state = State.GONE if item is None else item.state(now)
            if item is None or not (state is State.FRESH or (state is State.REVALIDATE and key in may_be_stale)):
                continue
            request.loaded.entries[key] = item
            used += 1
            if state is State.REVALIDATE:
                stale.append(key)
            elif item.refresh_is_due(now, self._clocks.draw()):
                early.append(key)
        request.loaded.hits += used
        request.loaded.stale += len(stale)
        if used:
            self._metrics.hits.labels(request.scope.namespace, layer).inc(used)
        if stale:
            self._metrics.stale.labels(request.scope.namespace, "revalidate").inc(len(stale))
        self._refresh(request, stale, "stale")
        self._refresh(request, early, "early")

    def _refresh(self, request: _Request, keys: Sequence[str], reason: str) -> None:
        """Make keys anew in the background, unless that is under way or too much is."""
        idle = [key for key in keys if not self._fills.get((request.scope, key))]
        if idle and len(self._fills) < MAX_REFRESHES:
            self._metrics.refreshes.labels(request.scope.namespace, reason).inc(len(idle))
            self._begin_fill(request, idle)

    async def _look_up(self, request: _Request) -> None:
        """Ask Redis for what is missing and not being made; then serve what is known, stale or not."""
        missing = request.missing()
        being_made = self._being_made(request.scope, missing)
        keys = [key for key in missing if key not in being_made]
        from_redis = set[str]()
        for found in await self._join(request, keys, self._lookups, self._begin_look_up):
            for key, item in found.items():
                known = request.known.get(key)
                if known is None or item.made >= known.made:
                    request.known[key] = item
                    from_redis.add(key)
        self._serve(request, "memory", [key for key in missing if key not in from_redis], missing)
        self._serve(request, "redis", [key for key in missing if key in from_redis], missing)

    async def _fill(self, request: _Request, keys: Sequence[str]) -> dict[str, Outcome]:
        """Return what has come in time of making keys."""
        landed = await self._join(request, keys, self._fills, self._begin_fill)
        return {key: outcome for outcomes in landed for key, outcome in outcomes.items()}

    async def _join(
        self,
        request: _Request,
        keys: Sequence[str],
        flights: SingleFlight[T],
        begin: Callable[[_Request, Sequence[str]], Flight[T]],
    ) -> list[T]:
        """Join the flights of keys, begin one for the rest; return the results of those that land in time."""
        under_way = {key: flight for key in keys if (flight := flights.get((request.scope, key)))}
        rest = [key for key in keys if key not in under_way]
        if new := under_way.keys() - request.joined:
            request.joined |= new
            self._metrics.coalesced.labels(request.scope.namespace, "process").inc(len(new))
        wanted = {id(flight): flight for flight in [*under_way.values(), *([begin(request, rest)] if rest else [])]}
        tasks = [flight.task for flight in wanted.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=max(0.0, request.until - self._clocks.monotonic()))
        return [task.result() for task in tasks if task.done() and not task.cancelled()]

    def _begin_look_up(self, request: _Request, keys: Sequence[str]) -> Flight[dict[str, Entry]]:
        scope = request.scope
        return self._lookups.begin([(scope, key) for key in keys], lambda: self._ask_redis(scope, keys))

    def _begin_fill(self, request: _Request, keys: Sequence[str]) -> Flight[dict[str, Outcome]]:
        scope, fill = request.scope, request.fill
        return self._fills.begin([(scope, key) for key in keys], lambda: self._filler.run(scope, keys, fill))

    async def _ask_redis(self, scope: Scope, keys: Sequence[str]) -> dict[str, Entry]:
        try:
            found, _ = await self._store.get_shared(scope, keys, self._store.epoch())
        except Exception:  # a defect in reading what is shared costs a call of the backend's, not the response
            log.exception("shared cache entries could not be read", extra={"namespace": scope.namespace})
            return {}
        return found

    def _forget(self, namespace: str, subject: str) -> None:
        """Let no request join a flight that began before a purge."""
        for flights in (self._lookups, self._fills):
            flights.forget(lambda key: (key[0].namespace, key[0].subject) == (namespace, subject))

    def _settle(self, request: _Request, key: str, outcome: Outcome | None) -> None:
        """Add one outcome: a new entry, a stale one in its place, or raise."""
        loaded, known = request.loaded, request.known.get(key)
        if isinstance(outcome, Entry):
            loaded.entries[key] = outcome
            loaded.made += 1
            return
        error = outcome or BackendTimeout("the backend did not answer within the deadline")
        if known is None or not isinstance(error, PASSING) or self._clocks.unix() >= known.usable_until:
            raise error.with_traceback(None)
        self._metrics.stale.labels(request.scope.namespace, "error").inc()
        loaded.entries[key] = known
        loaded.stale += 1
        loaded.error = error
