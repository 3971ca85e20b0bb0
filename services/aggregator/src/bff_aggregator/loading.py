"""Values from the cache, or made: one flight per missing key, stale answers where they are allowed, early refresh.

No request waits longer than its deadline, whoever makes what it waits for. A flight belongs to no request: it goes on
when the one that began it is gone.
"""

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from bff_aggregator import entries
from bff_aggregator.cache_metrics import CacheMetrics
from bff_aggregator.entries import Entry, Made, Scope, State
from bff_aggregator.store import Claim, Found, Store, Ticket
from bff_shared.errors import BackendTimeout, Busy, UpstreamError

LEASE = 10.0
FOLLOW = 1.0
POLL = 0.01
LONGEST_POLL = 0.05
FLIGHT = 30.0
RESERVE = 0.02
MAX_REFRESHES = 64

Outcome = Entry | Exception
Fill = Callable[[Sequence[str]], Awaitable[Mapping[str, Made | Exception]]]
"""Makes the values of keys, all or each with its error; an exception that it raises is that of all its keys."""


@dataclass(slots=True)
class Loaded:
    """The entries of all keys that were asked for.

    `hits` of them were found good, `made` were made for this request, by it or by another; `stale` are past their
    freshness; `errors` is what made the backend's failure known where a stale entry stood in for it.
    """

    entries: dict[str, Entry]
    hits: int = 0
    made: int = 0
    stale: int = 0
    led: bool = False
    error: Exception | None = None


@dataclass(eq=False, slots=True)
class _Flight:
    """Keys being made together; `outcomes` is set once, for all of them."""

    keys: tuple[str, ...]
    outcomes: "asyncio.Future[Mapping[str, Outcome]]"


class Loader:
    """Loads keys of a store; `aclose` ends the flights."""

    def __init__(
        self,
        store: Store,
        metrics: CacheMetrics,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._store, self._metrics = store, metrics
        self._clock, self._monotonic, self._draw = clock, monotonic, draw
        self._flights: dict[tuple[Scope, str], _Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        store.on_purge(self._forget)

    async def load(self, scope: Scope, keys: Sequence[str], fill: Fill, deadline: float) -> Loaded:
        """Return the entries of keys, made by `fill` where the cache has none.

        Raises what `fill` gave for a key that nothing stale can stand in for, and BackendTimeout at the deadline
        (monotonic seconds). Only an UpstreamError or Busy is ever answered with stale entries.
        """
        found = await self._store.get(scope, keys)
        now = self._clock()
        loaded = Loaded({})
        missing, due = [], []
        for key in keys:
            item = found.entries.get(key)
            state = State.GONE if item is None else item.state(now)
            if item is None or state in {State.GONE, State.IF_ERROR}:
                missing.append(key)
                continue
            loaded.entries[key] = item
            if state is State.REVALIDATE or item.refresh_is_due(now, self._draw()):
                due.append(key)
            loaded.stale += state is State.REVALIDATE
        self._count(scope, found, loaded, due)
        if due:
            self._refresh(scope, due, fill, found.ticket)
        if missing:
            await self._await(scope, missing, found, fill, deadline, loaded)
        return loaded

    async def aclose(self) -> None:
        """Cancel the flights, and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _count(self, scope: Scope, found: Found, loaded: Loaded, due: Sequence[str]) -> None:
        loaded.hits = len(loaded.entries)
        for layer in ("memory", "redis"):
            count = sum(found.layers[key] == layer for key in loaded.entries)
            if count:
                self._metrics.hits.labels(scope.namespace, layer).inc(count)
        if loaded.stale:
            self._metrics.stale.labels(scope.namespace, "revalidate").inc(loaded.stale)
        early = len(due) - loaded.stale
        if early:
            self._metrics.refreshes.labels(scope.namespace, "early").inc(early)
        if len(due) > early:
            self._metrics.refreshes.labels(scope.namespace, "stale").inc(loaded.stale)

    def _refresh(self, scope: Scope, keys: Sequence[str], fill: Fill, ticket: Ticket) -> None:
        """Make keys anew in the background, unless that is under way or too much is."""
        idle = [key for key in keys if (scope, key) not in self._flights]
        if idle and len(self._tasks) < MAX_REFRESHES:
            self._begin(scope, idle, fill, ticket)

    async def _await(
        self, scope: Scope, keys: Sequence[str], found: Found, fill: Fill, deadline: float, loaded: Loaded
    ) -> None:
        """Add the entries of missing keys to `loaded`: join the flights there are, begin one for the rest."""
        flights = {flight for key in keys if (flight := self._flights.get((scope, key)))}
        joined = [key for key in keys if (scope, key) in self._flights]
        rest = [key for key in keys if (scope, key) not in self._flights]
        if rest:
            loaded.led = True
            self._metrics.misses.labels(scope.namespace).inc(len(rest))
            flights.add(self._begin(scope, rest, fill, found.ticket))
        if joined:
            self._metrics.coalesced.labels(scope.namespace, "process").inc(len(joined))
        left = max(0.0, deadline - self._monotonic() - RESERVE)
        await asyncio.wait([flight.outcomes for flight in flights], timeout=left)
        outcomes: dict[str, Outcome] = {}
        for flight in flights:
            if flight.outcomes.done() and not flight.outcomes.cancelled():
                outcomes.update(flight.outcomes.result())
        late = BackendTimeout("the backend did not answer within the deadline")
        for key in keys:
            self._settle(scope, key, outcomes.get(key, late), found, loaded)

    def _settle(self, scope: Scope, key: str, outcome: Outcome, found: Found, loaded: Loaded) -> None:
        """Add one outcome to `loaded`: a new entry, a stale one in its place, or raise."""
        if isinstance(outcome, Entry):
            loaded.entries[key] = outcome
            loaded.made += 1
            return
        stale = found.entries.get(key)
        if stale is None or not isinstance(outcome, (UpstreamError, Busy)) or self._clock() >= stale.keep_until:
            raise outcome.with_traceback(None)
        self._metrics.stale.labels(scope.namespace, "error").inc()
        loaded.entries[key] = stale
        loaded.stale += 1
        loaded.error = outcome

    def _begin(self, scope: Scope, keys: Sequence[str], fill: Fill, ticket: Ticket) -> _Flight:
        flight = _Flight(tuple(keys), asyncio.get_running_loop().create_future())
        for key in keys:
            self._flights[scope, key] = flight
        task = asyncio.create_task(self._fly(scope, flight, fill, ticket), name="cache-flight")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return flight

    async def _fly(self, scope: Scope, flight: _Flight, fill: Fill, ticket: Ticket) -> None:
        """Make a flight's keys, tell those who wait, and only then what costs time: share, drop, release."""
        token = secrets.token_bytes(16)
        claim = Claim(frozenset(), {}, ticket)
        made: dict[str, Entry] = {}
        try:
            async with asyncio.timeout(FLIGHT):
                claim = await self._store.claim(scope, flight.keys, token, LEASE, ticket)
                made, outcomes = await self._outcomes(scope, flight.keys, claim, fill)
        except TimeoutError:
            outcomes = dict.fromkeys(flight.keys, BackendTimeout("the backend did not answer in time"))
        except asyncio.CancelledError:
            flight.outcomes.cancel()
            raise
        finally:
            self._end(scope, flight)
        flight.outcomes.set_result(outcomes)
        await self._store.share(scope, made, claim.ticket)
        denied = [key for key, what in outcomes.items() if not isinstance(what, (Entry, UpstreamError, Busy))]
        await self._store.drop(scope, denied)
        await self._store.release(scope, claim, token)

    async def _outcomes(
        self, scope: Scope, keys: Sequence[str], claim: Claim, fill: Fill
    ) -> tuple[dict[str, Entry], dict[str, Outcome]]:
        """Make what is ours to make and follow the others who make the rest; return what was made here, and all."""
        ours = [key for key in keys if key in claim.mine and key not in claim.made]
        theirs = [key for key in keys if key not in claim.mine and key not in claim.made]
        followed: dict[str, Entry] = {}
        if theirs:
            self._metrics.coalesced.labels(scope.namespace, "elsewhere").inc(len(theirs))
            made, followed = await asyncio.gather(self._make(scope, ours, fill), self._follow(scope, theirs))
            made |= await self._make(scope, [key for key in theirs if key not in followed], fill)
        else:
            made = await self._make(scope, ours, fill)
        new = {key: what for key, what in made.items() if isinstance(what, Entry)}
        self._store.keep(scope, new, claim.ticket)
        return new, {**claim.made, **followed, **made}

    async def _make(self, scope: Scope, keys: Sequence[str], fill: Fill) -> dict[str, Outcome]:
        """Have keys made; whatever goes wrong is the outcome of the keys that it concerns."""
        if not keys:
            return {}
        begun = self._monotonic()
        try:
            made = await fill(keys)
        except Exception as error:  # noqa: BLE001  every waiter gets it, whatever it is
            return dict.fromkeys(keys, error)
        cost = self._monotonic() - begun
        self._metrics.fill_seconds.labels(scope.namespace).observe(cost)
        now = self._clock()
        outcomes: dict[str, Outcome] = {}
        for key, item in made.items():
            outcomes[key] = entries.entry(item, now, cost, self._draw()) if isinstance(item, Made) else item
        size = sum(len(item.value) for item in made.values() if isinstance(item, Made))
        self._metrics.filled_bytes.labels(scope.namespace).inc(size)
        return outcomes

    async def _follow(self, scope: Scope, keys: Sequence[str]) -> dict[str, Entry]:
        """Wait, a bounded time, for entries that another process makes; return those that came."""
        found: dict[str, Entry] = {}
        until, pause = self._monotonic() + FOLLOW, POLL
        while len(found) < len(keys) and self._monotonic() < until:
            await asyncio.sleep(pause)
            pause = min(LONGEST_POLL, pause * 1.5)
            waiting = [key for key in keys if key not in found]
            # A claim ends after its entry is written: a key that nobody claims has its entry by now, or gets none.
            claimed = await self._store.claimed(scope, waiting)
            now, looked = self._clock(), (await self._store.get(scope, waiting)).entries
            found |= {key: item for key, item in looked.items() if item.state(now) is State.FRESH}
            if not claimed:
                break
        return found

    def _end(self, scope: Scope, flight: _Flight) -> None:
        for key in flight.keys:
            if self._flights.get((scope, key)) is flight:
                del self._flights[scope, key]

    def _forget(self, namespace: str, subject: str) -> None:
        """Let no request join a flight that began before a purge."""
        for scope, key in list(self._flights):
            if scope.namespace == namespace and scope.subject == subject:
                del self._flights[scope, key]
