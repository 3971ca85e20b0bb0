"""Making missing entries under a lease, one process at a time; they are shared once the response is out. I/O."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bff_aggregator.cache.entry import Entry, FillResult, Scope, State, make_entry
from bff_aggregator.cache.lease import LEASE_SECONDS, polls
from bff_aggregator.cache.metrics import CacheMetrics
from bff_aggregator.cache.single_flight import BackgroundTasks
from bff_aggregator.cache.store import Lease, PurgeEpoch, Store
from bff_shared.errors import BackendTimeout, Busy, Internal, UpstreamError
from bff_shared.turns import in_pieces

log = logging.getLogger(__name__)
FOLLOW_SECONDS: Final = 1.0
FILL_SECONDS: Final = 30.0
SHARE_DELAY_SECONDS = 0.1
WRITERS: Final = 1024
PASSING: Final = (UpstreamError, Busy, Internal)
"""Failures that say nothing of a key's value, so that a stale entry may stand in."""

Outcome = Entry | Exception
Fill = Callable[[Sequence[str]], Awaitable[Mapping[str, FillResult | Exception]]]
"""Makes the values of keys, all or each with its error; an exception that it raises is that of all its keys."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """Unix seconds, monotonic seconds, and draws from [0, 1)."""

    unix: Callable[[], float]
    monotonic: Callable[[], float]
    draw: Callable[[], float]


class LeasedFill:
    """Makes entries of a store; `aclose` ends what is still to be shared.

    `expected` are the exceptions by which a fill reports a failure; any other one is a defect of ours.
    """

    def __init__(
        self, store: Store, metrics: CacheMetrics, clocks: Clocks, expected: tuple[type[Exception], ...]
    ) -> None:
        self._store, self._metrics, self._clocks, self._expected = store, metrics, clocks, expected
        self._writes = BackgroundTasks(WRITERS)
        self._answers, self._idle = 0, asyncio.Event()
        self._idle.set()

    async def aclose(self) -> None:
        """End what is still to be shared."""
        await self._writes.aclose()

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

    async def run(self, scope: Scope, keys: Sequence[str], fill: Fill) -> dict[str, Outcome]:
        """Return what has come of making `keys`, by this process or by another that holds their lease.

        Never raises: a failure is the outcome of the keys that it concerns, and of all of them after FILL_SECONDS.
        When it is cancelled the lease ends by itself.
        """
        token = secrets.token_bytes(16)
        lease = Lease(frozenset(), {}, self._store.epoch())
        made: dict[str, Outcome] = {}
        outcomes: dict[str, Outcome] = {}
        try:
            async with asyncio.timeout(FILL_SECONDS):
                lease = await self._store.acquire(scope, keys, token, LEASE_SECONDS, lease.epoch)
                made, outcomes = await self._under_lease(scope, keys, lease, fill)
        except TimeoutError:
            outcomes = dict.fromkeys(keys, BackendTimeout("the backend did not answer in time"))
        except Exception as error:  # noqa: BLE001  logged there; whoever waits must not take it for a time-out
            outcomes = dict.fromkeys(keys, self._failure(error, scope))
        if not self._writes.start(lambda: self._share(scope, outcomes, made, lease, token)):
            await self._share(scope, outcomes, made, lease, token)
        return outcomes

    async def _under_lease(
        self, scope: Scope, keys: Sequence[str], lease: Lease, fill: Fill
    ) -> tuple[dict[str, Outcome], dict[str, Outcome]]:
        """Make what is ours to make and follow who makes the rest; return what was made here, and all outcomes."""
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
        async for piece in in_pieces(_entries(made).items()):
            self._store.put_local(scope, dict(piece), lease.epoch)
        return made, {**lease.made, **followed, **made}

    async def _make(self, scope: Scope, keys: Sequence[str], fill: Fill) -> dict[str, Outcome]:
        """Have keys made; whatever goes wrong is the outcome of the keys that it concerns."""
        if not keys:
            return {}
        self._metrics.misses.labels(scope.namespace).inc(len(keys))
        begun = self._clocks.monotonic()
        try:
            made = await fill(keys)
        except Exception as error:  # noqa: BLE001  every waiter gets it, whatever it is
            return dict.fromkeys(keys, self._failure(error, scope))
        cost, now = self._clocks.monotonic() - begun, self._clocks.unix()
        results = {key: item for key, item in made.items() if isinstance(item, FillResult)}
        self._metrics.fill_seconds.labels(scope.namespace).observe(cost)
        self._metrics.filled_bytes.labels(scope.namespace).inc(sum(len(item.value) for item in results.values()))
        outcomes: dict[str, Outcome] = {}
        async for piece in in_pieces(results.items()):
            outcomes |= {key: make_entry(item, now, cost, self._clocks.draw()) for key, item in piece}
        return outcomes | self._failures(made, scope)

    async def _follow(self, scope: Scope, keys: Sequence[str], epoch: PurgeEpoch) -> dict[str, Entry]:
        """Wait, a bounded time, for entries that another process makes; return those that came."""
        found: dict[str, Entry] = {}
        async for _ in polls(self._clocks.monotonic() + FOLLOW_SECONDS, self._clocks.monotonic):
            waiting = [key for key in keys if key not in found]
            # A lease ends after its entry is written: a key without a lease has its entry by now, or gets none.
            leased = await self._store.leased(scope, waiting)
            looked, _ = await self._store.get_shared(scope, waiting, epoch)
            now = self._clocks.unix()
            found |= {key: item for key, item in looked.items() if item.state(now) is State.FRESH}
            if not leased or len(found) == len(keys):
                break
        return found

    async def _share(
        self,
        scope: Scope,
        outcomes: Mapping[str, Outcome],
        made: Mapping[str, Outcome],
        lease: Lease,
        token: bytes,
    ) -> None:
        """Write what was made to Redis, drop what is denied, and give the lease back."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SHARE_DELAY_SECONDS):
                await self._idle.wait()
        await self._store.put_shared(scope, _entries(made), lease.epoch)
        denied = [key for key, what in outcomes.items() if not isinstance(what, (Entry, *PASSING))]
        await self._store.delete(scope, denied)
        await self._store.release(scope, lease, token)

    def _failures(self, made: Mapping[str, FillResult | Exception], scope: Scope) -> dict[str, Outcome]:
        """Return the failures among what a fill made; many keys may share one, which is logged once."""
        failed = {key: item for key, item in made.items() if isinstance(item, Exception)}
        shown = {id(item): self._failure(item, scope) for item in {id(item): item for item in failed.values()}.values()}
        return {key: shown[id(item)] for key, item in failed.items()}

    def _failure(self, error: Exception, scope: Scope) -> Exception:
        """Return an expected error as it is; log any other one, and return Internal in its place."""
        if isinstance(error, self._expected):
            return error
        log.error("making cache entries failed", exc_info=error, extra={"namespace": scope.namespace})
        return Internal("the service failed to make a cache entry")


def _entries(outcomes: Mapping[str, Outcome]) -> dict[str, Entry]:
    return {key: item for key, item in outcomes.items() if isinstance(item, Entry)}
