"""Leases on keys: which process fills them, agreed on through Redis. I/O.

The lease on a part belongs to the process; its requests hold it together, and the last one releases it once the part
is in Redis. Without Redis every part is ours.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from bff_aggregator.cache.entry import Scope
from bff_aggregator.cache.metrics import CacheMetrics
from bff_aggregator.cache.store import Lease, PurgeEpoch, Store

log = logging.getLogger(__name__)
LEASE_SECONDS: Final = 10.0
POLL, LONGEST_POLL = 0.01, 0.05
"""Seconds between two looks at another process's lease."""


@dataclass(eq=False, slots=True)
class _Held:
    """A part that somebody here wants to read; `ours` is known once Redis has answered."""

    ours: asyncio.Future[bool]
    epoch: PurgeEpoch
    holders: set[object] = field(default_factory=set)


async def polls(until: float, monotonic: Callable[[], float] = time.monotonic) -> AsyncIterator[None]:
    """Yield now and then until a time (monotonic seconds), to look whether another process has given up a lease."""
    pause = POLL
    while monotonic() < until:
        await asyncio.sleep(pause)
        yield
        pause = min(LONGEST_POLL, pause * 1.5)


class Leases:
    """Acquires leases on a store's keys and releases them."""

    def __init__(self, store: Store, metrics: CacheMetrics) -> None:
        self._store, self._metrics = store, metrics
        self._token = secrets.token_bytes(16)
        self._held: dict[tuple[Scope, str], _Held] = {}

    async def take(self, scope: Scope, names: Sequence[str], holder: object) -> set[str]:
        """Claim keys for a holder; return those that another process is making, or has just made."""
        new = [name for name in names if (scope, name) not in self._held]
        for name in new:
            self._held[scope, name] = _Held(asyncio.get_running_loop().create_future(), self._store.epoch())
        for name in names:
            self._held[scope, name].holders.add(holder)
        waiting = {name: self._held[scope, name] for name in names}
        if new:
            await self._ask(scope, new)
        await asyncio.wait([held.ours for held in waiting.values()])
        return {name for name, held in waiting.items() if not held.ours.result()}

    def share(self, scope: Scope, name: str, holder: object) -> None:
        """Let another hold what is held here."""
        held = self._held.get((scope, name))
        if held is not None:
            held.holders.add(holder)

    async def give_back(self, scope: Scope, holder: object) -> None:
        """Hold nothing any more; what nobody here holds is anybody's."""
        for (where, name), held in list(self._held.items()):
            if where == scope and holder in held.holders:
                held.holders.discard(holder)
                if not held.holders:
                    del self._held[where, name]
                    lease = Lease(frozenset((name,)), {}, held.epoch)
                    await self._store.release(scope, lease, self._token)

    async def follow(self, scope: Scope, name: str, until: float) -> None:
        """Wait until another process has made a key or given it up, at most until a time (monotonic seconds)."""
        self._metrics.coalesced.labels(scope.namespace, "elsewhere").inc()
        if await self._store.leased(scope, (name,)):
            async for _ in polls(until):
                if not await self._store.leased(scope, (name,)):
                    break

    async def _ask(self, scope: Scope, names: Sequence[str]) -> None:
        """Find out which of the keys are ours; the others are not held."""
        ours: frozenset[str] | set[str] = set(names)
        try:
            lease = await self._store.acquire(scope, names, self._token, LEASE_SECONDS, self._store.epoch())
            ours = lease.mine - lease.made.keys()
            await self._store.release(scope, Lease(lease.mine & lease.made.keys(), {}, lease.epoch), self._token)
            for name in ours:
                self._held[scope, name].epoch = lease.epoch
        except Exception:  # at worst two processes read the same part
            log.exception("leases could not be acquired")
        finally:
            for name in names:
                held = self._held[scope, name] if name in ours else self._held.pop((scope, name))
                held.ours.set_result(name in ours)
