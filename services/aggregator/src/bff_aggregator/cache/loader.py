"""Read-through loading: single flight per missing key, stale-while-revalidate, stale-if-error, early refresh.

No request waits longer than its deadline, whoever makes what it waits for. A flight belongs to no request: it goes on
when the one that began it is gone.
"""

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bff_aggregator.cache.entry import Entry, FillResult, Scope, State, make_entry
from bff_aggregator.cache.metrics import CacheMetrics
from bff_aggregator.cache.store import Lease, PurgeEpoch, Store
from bff_shared.errors import BackendTimeout, BffError, Busy, Internal, UpstreamError

log = logging.getLogger(__name__)
LEASE_SECONDS = 10.0
FOLLOW = 1.0
POLL = 0.01
LONGEST_POLL = 0.05
FLIGHT = 30.0
RESERVE = 0.02
SHARE_DELAY_SECONDS = 0.1
MAX_REFRESHES = 64
PASSING = (UpstreamError, Busy, Internal)
"""Failures that say nothing of a key's value, so that a stale entry may stand in."""

Outcome = Entry | Exception
Fill = Callable[[Sequence[str]], Awaitable[Mapping[str, FillResult | Exception]]]
"""Makes the values of keys, all or each with its error; an exception that it raises is that of all its keys."""


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
class _Flight:
    """Keys being looked up in Redis, then made, together.

    `looked` is set when Redis has answered and `found` is filled, `done` when `made` has the outcomes of the others.
    """

    keys: tuple[str, ...]
    looked: asyncio.Future[None]
    done: asyncio.Future[None]
    found: dict[str, Entry] = field(default_factory=dict)
    made: dict[str, Outcome] = field(default_factory=dict)

    def settle(self) -> None:
        """Let everybody go who still waits."""
        for future in (self.looked, self.done):
            if not future.done():
                future.set_result(None)


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
        self._store, self._metrics, self._expected = store, metrics, expected
        self._clock, self._monotonic, self._draw = clock, monotonic, draw
        self._flights: dict[tuple[Scope, str], _Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers, self._idle = 0, asyncio.Event()
        self._idle.set()
        store.on_purge(self._forget)

    async def load(self, scope: Scope, keys: Sequence[str], fill: Fill, deadline: float) -> Loaded:
        """Return the entries of keys, made by `fill` where the cache has none.

        Raises what `fill` gave for a key that nothing stale can stand in for, and BackendTimeout at the deadline
        (monotonic seconds). Only what is `PASSING` is ever answered with stale entries; a defect of ours is Internal.
        """
        loaded = Loaded({})
        kept = self._store.get_local(scope, keys)
        self._use(scope, kept, "memory", loaded, fill)
        missing = [key for key in keys if key not in loaded.entries]
        if missing:
            await self._await(scope, missing, kept, fill, deadline, loaded)
        found = {"namespace": scope.namespace, "subject": scope.subject, "hits": loaded.hits, "made": loaded.made}
        log.debug("cache entries loaded", extra={**found, "stale": loaded.stale})
        return loaded

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """While this context is open, postpone writes to Redis, for at most SHARE_DELAY_SECONDS."""
        self._answers += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._answers -= 1
            if not self._answers:
                self._idle.set()

    async def aclose(self) -> None:
        """Cancel the flights, and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _use(
        self,
        scope: Scope,
        found: Mapping[str, Entry],
        layer: str,
        loaded: Loaded,
        fill: Fill,
        in_redis: Container[str] | None = None,
    ) -> None:
        """Take what a layer has that may be served; have made anew what is due for it.

        What is stale in memory is not served before Redis was asked (`in_redis` is what it has), which may have it
        fresh; what Redis does not have either is being made already.
        """
        now, stale, early = self._clock(), [], []
        for key, item in found.items():
            state = item.state(now)
            if state is State.FRESH:
                loaded.entries[key] = item
                if item.refresh_is_due(now, self._draw()):
                    early.append(key)
            elif state is State.REVALIDATE and in_redis is not None:
                loaded.entries[key] = item
                stale.append(key)
        used = sum(key in loaded.entries for key in found)
        loaded.hits += used
        loaded.stale += len(stale)
        if used:
            self._metrics.hits.labels(scope.namespace, layer).inc(used)
        due = [key for key in stale if in_redis is not None and key in in_redis]
        for keys, reason in ((due, "stale"), (early, "early")):
            if keys:
                self._refresh(scope, keys, fill, reason)
        if stale:
            self._metrics.stale.labels(scope.namespace, "revalidate").inc(len(stale))

    def _refresh(self, scope: Scope, keys: Sequence[str], fill: Fill, reason: str) -> None:
        """Make keys anew in the background, unless that is under way or too much is."""
        idle = [key for key in keys if (scope, key) not in self._flights]
        if idle and len(self._tasks) < MAX_REFRESHES:
            self._metrics.refreshes.labels(scope.namespace, reason).inc(len(idle))
            self._begin(scope, idle, fill, refresh=True)

    async def _await(
        self, scope: Scope, keys: Sequence[str], kept: Mapping[str, Entry], fill: Fill, deadline: float, loaded: Loaded
    ) -> None:
        """Add the entries of missing keys to `loaded`: join the flights there are, begin one for the rest.

        A flight that was joined may run out of its time when this request still has some: then one is begun for it.
        """
        until = deadline - RESERVE
        joined = {key for key in keys if (scope, key) in self._flights}
        known, made = await self._fetch(scope, keys, kept, fill, until, loaded)
        late = [key for key in keys if key in joined and isinstance(made.get(key), BackendTimeout)]
        if late and self._monotonic() < until:
            newer, again = await self._fetch(scope, late, known, fill, until, loaded)
            known, made = {**known, **newer}, {**made, **again}
        for key in keys:
            if key not in loaded.entries:
                self._settle(scope, key, made.get(key), known.get(key), loaded)

    async def _fetch(
        self, scope: Scope, keys: Sequence[str], kept: Mapping[str, Entry], fill: Fill, until: float, loaded: Loaded
    ) -> tuple[dict[str, Entry], dict[str, Outcome]]:
        """Take what Redis has; return what else is known of the keys, stale, and what has come of making them."""
        flights = {flight for key in keys if (flight := self._flights.get((scope, key)))}
        rest = [key for key in keys if (scope, key) not in self._flights]
        if len(rest) < len(keys):
            self._metrics.coalesced.labels(scope.namespace, "process").inc(len(keys) - len(rest))
        if rest:
            flights.add(self._begin(scope, rest, fill, refresh=False))
        await self._wait([flight.looked for flight in flights], until)
        wanted = set(keys)
        found = {key: item for flight in flights for key, item in flight.found.items() if key in wanted}
        known = {key: newest([kept.get(key), found.get(key)]) for key in {**kept, **found} if key in wanted}
        self._use(scope, known, "redis", loaded, fill, found)
        if wanted <= loaded.entries.keys():
            return known, {}
        await self._wait([flight.done for flight in flights], until)
        return known, {key: what for flight in flights if flight.done.done() for key, what in flight.made.items()}

    async def _wait(self, futures: Sequence[asyncio.Future[None]], until: float) -> None:
        await asyncio.wait(futures, timeout=max(0.0, until - self._monotonic()))

    def _settle(self, scope: Scope, key: str, outcome: Outcome | None, known: Entry | None, loaded: Loaded) -> None:
        """Add one outcome to `loaded`: a new entry, a stale one in its place, or raise."""
        if isinstance(outcome, Entry):
            loaded.entries[key] = outcome
            loaded.made += 1
            return
        error = outcome or BackendTimeout("the backend did not answer within the deadline")
        if known is None or not isinstance(error, PASSING) or self._clock() >= known.usable_until:
            raise error.with_traceback(None)
        self._metrics.stale.labels(scope.namespace, "error").inc()
        loaded.entries[key] = known
        loaded.stale += 1
        loaded.error = error

    def _begin(self, scope: Scope, keys: Sequence[str], fill: Fill, *, refresh: bool) -> _Flight:
        loop = asyncio.get_running_loop()
        flight = _Flight(tuple(keys), loop.create_future(), loop.create_future())
        for key in keys:
            self._flights[scope, key] = flight
        task = asyncio.create_task(self._fly(scope, flight, fill, refresh=refresh), name="cache-flight")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return flight

    async def _fly(self, scope: Scope, flight: _Flight, fill: Fill, *, refresh: bool) -> None:
        """Look a flight's keys up, make the others, tell those who wait, and only then what costs time: share, drop."""
        token = secrets.token_bytes(16)
        lease = Lease(frozenset(), {}, self._store.epoch())
        made: dict[str, Entry] = {}
        try:
            async with asyncio.timeout(FLIGHT):
                keys = flight.keys if refresh else await self._look(scope, flight, lease.epoch)
                if keys:
                    lease = await self._store.acquire(scope, keys, token, LEASE_SECONDS, lease.epoch)
                    made, flight.made = await self._outcomes(scope, keys, lease, fill)
        except TimeoutError:
            flight.made = dict.fromkeys(flight.keys, BackendTimeout("the backend did not answer in time"))
        except Exception as error:  # noqa: BLE001  logged there; whoever waits must not take it for a time-out
            flight.made = dict.fromkeys(flight.keys, self._failure(error, scope))
        finally:
            self._end(scope, flight)
        try:
            await self._tidy_up(scope, flight, lease, made, token)
        except Exception:  # every one who waited has an outcome already
            log.exception("cache entries could not be shared", extra={"namespace": scope.namespace})

    async def _tidy_up(
        self, scope: Scope, flight: _Flight, lease: Lease, made: Mapping[str, Entry], token: bytes
    ) -> None:
        """Share what was made, drop what is denied, and give the lease back."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SHARE_DELAY_SECONDS):
                await self._idle.wait()
        await self._store.put_shared(scope, made, lease.epoch)
        denied = [key for key, what in flight.made.items() if not isinstance(what, (Entry, *PASSING))]
        await self._store.delete(scope, denied)
        await self._store.release(scope, lease, token)

    async def _look(self, scope: Scope, flight: _Flight, epoch: PurgeEpoch) -> list[str]:
        """Look keys up in Redis; return those that have to be made all the same."""
        flight.found, _ = await self._store.get_shared(scope, flight.keys, epoch)
        flight.looked.set_result(None)
        now, usable = self._clock(), (State.FRESH, State.REVALIDATE)
        return [key for key in flight.keys if key not in flight.found or flight.found[key].state(now) not in usable]

    async def _outcomes(
        self, scope: Scope, keys: Sequence[str], lease: Lease, fill: Fill
    ) -> tuple[dict[str, Entry], dict[str, Outcome]]:
        """Make what is ours to make and follow the others who make the rest; return what was made here, and all."""
        ours = [key for key in keys if key in lease.mine and key not in lease.made]
        theirs = [key for key in keys if key not in lease.mine and key not in lease.made]
        followed: dict[str, Entry] = {}
        if theirs:
            self._metrics.coalesced.labels(scope.namespace, "elsewhere").inc(len(theirs))
            made, followed = await asyncio.gather(
                self._make(scope, ours, fill), self._follow(scope, theirs, lease.epoch)
            )
            made |= await self._make(scope, [key for key in theirs if key not in followed], fill)
        else:
            made = await self._make(scope, ours, fill)
        new = {key: what for key, what in made.items() if isinstance(what, Entry)}
        self._store.put_local(scope, new, lease.epoch)
        return new, {**lease.made, **followed, **made}

    async def _make(self, scope: Scope, keys: Sequence[str], fill: Fill) -> dict[str, Outcome]:
        """Have keys made; whatever goes wrong is the outcome of the keys that it concerns."""
        if not keys:
            return {}
        self._metrics.misses.labels(scope.namespace).inc(len(keys))
        begun = self._monotonic()
        try:
            made = await fill(keys)
        except Exception as error:  # noqa: BLE001  every waiter gets it, whatever it is
            return dict.fromkeys(keys, self._failure(error, scope))
        cost = self._monotonic() - begun
        self._metrics.fill_seconds.labels(scope.namespace).observe(cost)
        now = self._clock()
        failures = {id(item): item for item in made.values() if isinstance(item, Exception)}
        told = {
            known: self._failure(item, scope) for known, item in failures.items()
        }  # many keys may share one failure
        outcomes: dict[str, Outcome] = {}
        for key, item in made.items():
            outcomes[key] = (
                make_entry(item, now, cost, self._draw()) if isinstance(item, FillResult) else told[id(item)]
            )
        size = sum(len(item.value) for item in made.values() if isinstance(item, FillResult))
        self._metrics.filled_bytes.labels(scope.namespace).inc(size)
        return outcomes

    async def _follow(self, scope: Scope, keys: Sequence[str], epoch: PurgeEpoch) -> dict[str, Entry]:
        """Wait, a bounded time, for entries that another process makes; return those that came."""
        found: dict[str, Entry] = {}
        until, pause = self._monotonic() + FOLLOW, POLL
        while len(found) < len(keys) and self._monotonic() < until:
            await asyncio.sleep(pause)
            pause = min(LONGEST_POLL, pause * 1.5)
            waiting = [key for key in keys if key not in found]
            # A lease ends after its entry is written: a key without a lease has its entry by now, or gets none.
            leased = await self._store.leased(scope, waiting)
            looked, _ = await self._store.get_shared(scope, waiting, epoch)
            now = self._clock()
            found |= {key: item for key, item in looked.items() if item.state(now) is State.FRESH}
            if not leased:
                break
        return found

    def _end(self, scope: Scope, flight: _Flight) -> None:
        """Let those who wait go on, and nobody join any more."""
        flight.settle()
        for key in flight.keys:
            if self._flights.get((scope, key)) is flight:
                del self._flights[scope, key]

    def _forget(self, namespace: str, subject: str) -> None:
        """Let no request join a flight that began before a purge."""
        for scope, key in list(self._flights):
            if scope.namespace == namespace and scope.subject == subject:
                del self._flights[scope, key]

    def _failure(self, error: Exception, scope: Scope) -> Exception:
        """Return an expected error as it is; log any other one, and return Internal in its place."""
        if isinstance(error, self._expected):
            return error
        log.error("making cache entries failed", exc_info=error, extra={"namespace": scope.namespace})
        return Internal("the service failed to make a cache entry")


def newest(items: Sequence[Entry | None]) -> Entry:
    """Return the one that was made last, of at least one entry."""
    return max((item for item in items if item is not None), key=lambda item: item.made)
