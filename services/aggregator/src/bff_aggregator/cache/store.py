"""Both tiers of the cache as one, and the key of the digests that keep users apart."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bff_aggregator.cache.entry import NO_GENERATION, Entry, Scope, State, pack_entry, unpack_entry
from bff_aggregator.cache.metrics import CacheMetrics
from bff_aggregator.cache.redis_tier import RedisTier, RedisUnavailable
from bff_shared.access.credentials import digest
from bff_shared.http.context import current
from bff_shared.lru import ByteLRU
from bff_shared.turns import in_pieces

log = logging.getLogger(__name__)
RELISTEN = 1.0
# What an entry costs in memory besides its value: its key, its record and their places in the tables.
OVERHEAD = 512
Memory = ByteLRU[tuple[Scope, str], Entry]
KEY_BYTES = 32
KEY_NOTE = (
    "BFF_DIGEST_KEY is not set: the replicas agree through Redis on the key of the digests that stand for credentials."
    " Whoever reads Redis has it, and a replica that starts while Redis is away shares nothing with the others"
)


@dataclass(frozen=True, slots=True)
class PurgeEpoch:
    """The moment before a look-up: what was made before a purge must not be kept after it.

    `generation` is None where Redis was not asked; then nothing is written there either.
    """

    purges: int
    generation: bytes | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """What is now ours alone to make, and what turned out to be made already."""

    mine: frozenset[str]
    made: Mapping[str, Entry]
    epoch: PurgeEpoch


class Store:
    """Entries in memory and in Redis; `start` and `aclose` belong to one owner.

    secret  key of the credential digests; empty: a random one that the processes agree on through Redis
    """

    def __init__(
        self,
        memory: Memory,
        remote: RedisTier,
        secret: bytes,
        metrics: CacheMetrics,
        clock: Callable[[], float] = time.time,
        budget: int = 0,
    ) -> None:
        """Take the bytes that one client address may add to a crowded Redis in an hour; 0: any number."""
        self._budget = budget
        self._memory, self._remote, self._metrics, self._clock = memory, remote, metrics, clock
        self._is_given = bool(secret)
        self._key = secret or secrets.token_bytes(KEY_BYTES)
        self._agreeing: asyncio.Task[None] | None = None
        self._purges = 0
        self._on_purge: list[Callable[[str, str], None]] = []
        self._on_clear: list[Callable[[], None]] = []
        self._listener: asyncio.Task[None] | None = None
        metrics.memory_bytes.set_function(lambda: memory.size)
        metrics.memory_entries.set_function(lambda: len(memory))

    def __repr__(self) -> str:
        """Say what it has, and whether Redis is in use."""
        redis = "with Redis" if self._remote.is_usable else "without Redis"
        return f"<Store {len(self._memory)} entries, {self._memory.size} bytes in memory, {redis}>"

    def on_purge(self, hook: Callable[[str, str], None]) -> None:
        """Call `hook(namespace, subject)` after each purge, by whichever process."""
        self._on_purge.append(hook)

    def on_clear(self, hook: Callable[[], None]) -> None:
        """Call `hook()` whenever purges may have been missed, so that nothing kept so far is to be trusted."""
        self._on_clear.append(hook)

    async def start(self) -> None:
        """Connect, agree on the key of digests, and begin to hear of purges by other processes."""
        if self._remote.is_usable:
            if not self._is_given:
                log.info(KEY_NOTE)
            with contextlib.suppress(RedisUnavailable):
                await self._remote.open()
                await self._agree()
            self._listener = asyncio.create_task(self._listen(), name="cache-purges")

    async def aclose(self) -> None:
        """Stop listening and close the connections."""
        tasks = [task for task in (self._listener, self._agreeing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._remote.aclose()

    @property
    def digest_key(self) -> bytes:
        """The key of the digests that stand for credentials; equal in all processes once they have reached Redis."""
        return self._key

    def epoch(self) -> PurgeEpoch:
        """Return the purge epoch for what is made from now on."""
        return PurgeEpoch(self._purges)

    def get_local(self, scope: Scope, keys: Sequence[str]) -> dict[str, Entry]:
        """Return what memory has of keys."""
        now = self._clock()
        return {key: item for key in keys if (item := self._memory.get((scope, key))) and now < item.usable_until}

    async def get_shared(
        self, scope: Scope, keys: Sequence[str], epoch: PurgeEpoch
    ) -> tuple[dict[str, Entry], PurgeEpoch]:
        """Return what Redis has of keys, and keep it in memory too."""
        if not self._remote.is_usable:
            return {}, epoch
        try:
            generation, values = await self._remote.read(scope, keys)
            if generation == NO_GENERATION:
                return {}, PurgeEpoch(epoch.purges, await self._remote.generation(scope))
        except RedisUnavailable:
            return {}, epoch
        found = self._read(scope, keys, values, generation)
        self.put_local(scope, found, epoch)
        return found, PurgeEpoch(epoch.purges, generation)

    def put_local(self, scope: Scope, items: Mapping[str, Entry], epoch: PurgeEpoch) -> None:
        """Keep new entries in memory, unless there was a purge since the look-up."""
        if epoch.purges == self._purges:
            payer = _payer(scope)
            for key, item in items.items():
                self._memory.put((scope, key), item, len(item.value) + OVERHEAD, payer)

    async def put_shared(self, scope: Scope, items: Mapping[str, Entry], epoch: PurgeEpoch) -> None:
        """Write new entries to Redis, where it can be had, unless their client has written as much as it may."""
        if epoch.generation is None or not items:
            return
        now = self._clock()
        packed: dict[str, tuple[bytes, float]] = {}
        async for piece in in_pieces(items.items()):
            packed |= {
                key: (pack_entry(item, scope.redis_key(key), epoch.generation), item.usable_until - now)
                for key, item in piece
                if item.usable_until > now
            }
        size = sum(len(data) + OVERHEAD for data, _ in packed.values())
        payer = digest(self._key, [(b"payer", _payer(scope).encode())])
        with contextlib.suppress(RedisUnavailable):
            if self._budget and not await self._remote.spend(payer, size, self._budget):
                self._metrics.over_budget.labels(scope.namespace).inc(len(packed))
                return
            await self._remote.write(scope, packed)

    async def acquire(
        self, scope: Scope, keys: Sequence[str], token: bytes, seconds: float, epoch: PurgeEpoch
    ) -> Lease:
        """Agree with the other processes on who makes which keys; alone, or without Redis, all are ours.

        The lease lasts `lease` seconds at most, and is given back with `release`.
        """
        if not self._remote.is_usable:
            return Lease(frozenset(keys), {}, epoch)
        try:
            mine, generation, values = await self._remote.lock(scope, keys, token, seconds)
        except RedisUnavailable:
            return Lease(frozenset(keys), {}, epoch)
        now, known = self._clock(), self.get_local(scope, keys)
        made = {
            key: item
            for key, item in self._read(scope, keys, values, generation).items()
            if item.state(now) is State.FRESH and (key not in known or item.made > known[key].made)
        }
        self.put_local(scope, made, epoch)
        return Lease(frozenset(mine), made, PurgeEpoch(epoch.purges, generation))

    async def release(self, scope: Scope, lease: Lease, token: bytes) -> None:
        """Give a lease back."""
        if lease.mine and lease.epoch.generation is not None:
            with contextlib.suppress(RedisUnavailable):
                await self._remote.unlock(scope, sorted(lease.mine), token)

    async def leased(self, scope: Scope, keys: Sequence[str]) -> set[str]:
        """Return those of the keys that some process is making."""
        with contextlib.suppress(RedisUnavailable):
            return await self._remote.locked(scope, keys)
        return set()

    async def delete(self, scope: Scope, keys: Sequence[str]) -> None:
        """Forget single entries everywhere but in other processes' memory."""
        for key in keys:
            self._memory.delete((scope, key))
        if keys and self._remote.is_usable:
            with contextlib.suppress(RedisUnavailable):
                await self._remote.delete(scope, keys)

    async def purge(self, namespace: str, subject: str) -> bool:
        """Forget a subject for every owner and in every process; tell whether the other processes could be reached."""
        self._forget(namespace, subject, "here")
        try:
            await self._remote.purge(Scope(namespace, subject, ""))
        except RedisUnavailable:
            return False
        return True

    def _read(
        self, scope: Scope, keys: Sequence[str], values: Sequence[bytes | None], generation: bytes
    ) -> dict[str, Entry]:
        """Return the good entries among values from Redis; the others count as absent and are overwritten in time."""
        now, good = self._clock(), {}
        for key, data in zip(keys, values, strict=True):
            if data is None:
                continue
            item = unpack_entry(data, scope.redis_key(key), generation)
            if item is None:
                self._metrics.rejected.labels(scope.namespace).inc()
            elif now < item.usable_until:
                good[key] = item
        return good

    def _forget(self, namespace: str, subject: str, origin: str) -> None:
        self._purges += 1
        self._memory.delete_where(lambda key, _: (key[0].namespace, key[0].subject) == (namespace, subject))
        self._metrics.purges.labels(namespace, origin).inc()
        for hook in self._on_purge:
            hook(namespace, subject)

    def _forget_all(self) -> None:
        """Start over."""
        self._purges += 1
        self._memory.clear()
        for hook in self._on_clear:
            hook()

    async def _listen(self) -> None:
        """Hear of purges; whenever that begins anew, what was missed may be anything, so memory is emptied."""
        while True:
            with contextlib.suppress(RedisUnavailable):
                await self._remote.listen(self._connected, lambda name, what: self._forget(name, what, "elsewhere"))
            await asyncio.sleep(RELISTEN)

    def _connected(self) -> None:
        """Start over, and agree on the key again: Redis may have lost it, or this process have begun without it."""
        self._forget_all()
        if self._agreeing is None or self._agreeing.done():
            self._agreeing = asyncio.create_task(self._keep_agreeing(), name="agree on the key of digests")

    async def _keep_agreeing(self) -> None:
        """Agree on the key of digests, however often that takes."""
        while True:
            with contextlib.suppress(RedisUnavailable):
                return await self._agree()
            await asyncio.sleep(RELISTEN)

    async def _agree(self) -> None:
        """Take the key that Redis has, or leave ours there; with another key nothing kept so far is found again."""
        if self._is_given:
            return
        agreed = await self._remote.digest_key(self._key)
        if agreed != self._key:
            self._key = agreed
            self._forget_all()


def _payer(scope: Scope) -> str:
    """Return whom what is kept counts for: the client's address, since new credentials cost a client nothing."""
    context = current()
    return (context.client if context else "") or scope.principal
