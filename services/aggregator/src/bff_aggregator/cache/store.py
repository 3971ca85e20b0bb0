"""Both layers of the cache as one, and the digest that keeps users apart."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bff_aggregator.cache import entry
from bff_aggregator.cache.entry import NO_GENERATION, Entry, Scope, State
from bff_aggregator.cache.lru import OVERHEAD, Memory
from bff_aggregator.cache.metrics import CacheMetrics
from bff_aggregator.cache.redis_tier import Away, Remote
from bff_shared.http.context import current
from bff_shared.http.headers import Header

log = logging.getLogger(__name__)
RELISTEN = 1.0
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Ticket:
    """The moment before a look-up: what was made before a purge must not be kept after it.

    `generation` is None where Redis was not asked; then nothing is written there either.
    """

    purges: int
    generation: bytes | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """What is now ours alone to make, and what turned out to be made already."""

    mine: frozenset[str]
    made: Mapping[str, Entry]
    ticket: Ticket


class Store:
    """Entries in memory and in Redis; `start` and `aclose` belong to one owner.

    secret  key of the credential digests; empty: a random one that the processes agree on through Redis
    """

    def __init__(
        self,
        memory: Memory,
        remote: Remote,
        secret: bytes,
        metrics: CacheMetrics,
        clock: Callable[[], float] = time.time,
        budget: int = 0,
    ) -> None:
        """Take the bytes that one client address may have written to Redis in an hour; 0: any number."""
        self._budget = budget
        self._memory, self._remote, self._metrics, self._clock = memory, remote, metrics, clock
        self._own_key = secret or secrets.token_bytes(KEY_BYTES)
        self._secret = self._key = secret
        self._purges = 0
        self._on_purge: list[Callable[[str, str], None]] = []
        self._on_clear: list[Callable[[], None]] = []
        self._listener: asyncio.Task[None] | None = None
        metrics.memory_bytes.set_function(lambda: memory.size)
        metrics.memory_entries.set_function(lambda: len(memory))

    def on_purge(self, hook: Callable[[str, str], None]) -> None:
        """Call `hook(namespace, subject)` after each purge, by whichever process."""
        self._on_purge.append(hook)

    def on_clear(self, hook: Callable[[], None]) -> None:
        """Call `hook()` whenever purges may have been missed, so that nothing kept so far is to be trusted."""
        self._on_clear.append(hook)

    async def start(self) -> None:
        """Connect, and begin to hear of purges by other processes."""
        if self._remote.is_usable:
            with contextlib.suppress(Away):
                await self._remote.open()
            self._listener = asyncio.create_task(self._listen(), name="cache-purges")

    async def aclose(self) -> None:
        """Stop listening and close the connections."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        await self._remote.aclose()

    async def owner(self, credentials: Sequence[Header]) -> str:
        """Return what stands for a user's credentials in keys; equal in all processes once Redis was reached."""
        if not self._key and self._remote.is_usable:
            with contextlib.suppress(Away):
                self._key = await self._remote.owner_key(self._own_key)
        return entry.owner(self._key or self._own_key, credentials)

    def ticket(self) -> Ticket:
        """Return a ticket for what is made from now on."""
        return Ticket(self._purges)

    def recall(self, scope: Scope, keys: Sequence[str]) -> dict[str, Entry]:
        """Return what memory has of keys."""
        now = self._clock()
        return {key: item for key in keys if (item := self._memory.get(scope, key)) and now < item.keep_until}

    async def look(self, scope: Scope, keys: Sequence[str], ticket: Ticket) -> tuple[dict[str, Entry], Ticket]:
        """Return what Redis has of keys, and keep it in memory too."""
        if not self._remote.is_usable:
            return {}, ticket
        try:
            generation, values = await self._remote.read(scope, keys)
            if generation == NO_GENERATION:
                return {}, Ticket(ticket.purges, await self._remote.generation(scope))
        except Away:
            return {}, ticket
        found = self._read(scope, keys, values, generation)
        self.keep(scope, found, ticket)
        return found, Ticket(ticket.purges, generation)

    def keep(self, scope: Scope, items: Mapping[str, Entry], ticket: Ticket) -> None:
        """Keep new entries in memory, unless there was a purge since the look-up."""
        if ticket.purges == self._purges:
            payer = _payer(scope)
            for key, item in items.items():
                self._memory.put(scope, key, item, payer)

    async def share(self, scope: Scope, items: Mapping[str, Entry], ticket: Ticket) -> None:
        """Write new entries to Redis, where it can be had, unless their client has written as much as it may."""
        if ticket.generation is None or not items:
            return
        now = self._clock()
        packed = {
            key: (entry.pack(item, scope.redis_key(key), ticket.generation), item.keep_until - now)
            for key, item in items.items()
            if item.keep_until > now
        }
        size = sum(len(data) + OVERHEAD for data, _ in packed.values())
        payer = entry.owner(self._key or self._own_key, [(b"payer", _payer(scope).encode())])
        with contextlib.suppress(Away):
            if self._budget and await self._remote.spend(payer, size) > self._budget:
                self._metrics.over_budget.labels(scope.namespace).inc(len(packed))
                return
            await self._remote.write(scope, packed)

    async def claim(self, scope: Scope, keys: Sequence[str], token: bytes, lease: float, ticket: Ticket) -> Claim:
        """Agree with the other processes on who makes which keys; alone, or without Redis, all are ours.

        The claim lasts `lease` seconds at most, and is given back with `release`.
        """
        if not self._remote.is_usable:
            return Claim(frozenset(keys), {}, ticket)
        try:
            mine, generation, values = await self._remote.lock(scope, keys, token, lease)
        except Away:
            return Claim(frozenset(keys), {}, ticket)
        now, known = self._clock(), self.recall(scope, keys)
        made = {
            key: item
            for key, item in self._read(scope, keys, values, generation).items()
            if item.state(now) is State.FRESH and (key not in known or item.made > known[key].made)
        }
        self.keep(scope, made, ticket)
        return Claim(frozenset(mine), made, Ticket(ticket.purges, generation))

    async def release(self, scope: Scope, claim: Claim, token: bytes) -> None:
        """Give a claim back."""
        if claim.mine and claim.ticket.generation is not None:
            with contextlib.suppress(Away):
                await self._remote.unlock(scope, sorted(claim.mine), token)

    async def claimed(self, scope: Scope, keys: Sequence[str]) -> set[str]:
        """Return those of the keys that some process is making."""
        with contextlib.suppress(Away):
            return await self._remote.locked(scope, keys)
        return set()

    async def drop(self, scope: Scope, keys: Sequence[str]) -> None:
        """Forget single entries everywhere but in other processes' memory."""
        for key in keys:
            self._memory.drop(scope, key)
        if keys and self._remote.is_usable:
            with contextlib.suppress(Away):
                await self._remote.drop(scope, keys)

    async def purge(self, namespace: str, subject: str) -> bool:
        """Forget a subject for every owner and in every process; tell whether the other processes could be reached."""
        self._forget(namespace, subject, "here")
        try:
            await self._remote.purge(Scope(namespace, subject, ""))
        except Away:
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
            item = entry.unpack(data, scope.redis_key(key), generation)
            if item is None:
                self._metrics.rejected.labels(scope.namespace).inc()
            elif now < item.keep_until:
                good[key] = item
        return good

    def _forget(self, namespace: str, subject: str, origin: str) -> None:
        self._purges += 1
        self._memory.purge(namespace, subject)
        self._metrics.purges.labels(namespace, origin).inc()
        for hook in self._on_purge:
            hook(namespace, subject)

    def _forget_all(self) -> None:
        """Start over: the key of the digests may be another one too, if Redis lost it meanwhile."""
        self._purges += 1
        self._memory.clear()
        self._key = self._secret
        for hook in self._on_clear:
            hook()

    async def _listen(self) -> None:
        """Hear of purges; whenever that begins anew, what was missed may be anything, so memory is emptied."""
        while True:
            with contextlib.suppress(Away):
                await self._remote.listen(self._forget_all, lambda name, what: self._forget(name, what, "elsewhere"))
            await asyncio.sleep(RELISTEN)


def _payer(scope: Scope) -> str:
    """Return whom what is kept counts for: the client's address, since new credentials cost a client nothing."""
    context = current()
    return (context.client if context else "") or scope.owner
