"""A process's cache over a shared layer in memory, with clocks that the test sets and a backend that it scripts."""

import asyncio
from collections import Counter as Count
from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry

from bff_aggregator.cache.entry import NO_GENERATION, Entry, FillResult, Lifetime, Scope
from bff_aggregator.cache.loader import RESERVE, Loaded, Loader
from bff_aggregator.cache.metrics import CacheMetrics
from bff_aggregator.cache.redis_tier import RedisClient, RedisTier
from bff_aggregator.cache.store import Memory, Store

SCOPE = Scope("chart", "AAPL", "somebody")
LIFETIME = Lifetime(100.0, 50.0, 1000.0)


class SharedTier(RedisTier):
    """What Redis does for the cache, without one; leases last until they are given back.

    `readable` is cleared to make look-ups wait, `failure` is raised by them, and while `blind` they find nothing.
    """

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.leases: dict[str, bytes] = {}
        self.calls: Count[str] = Count()
        self.blind = False
        self.failure: Exception | None = None
        self.readable = asyncio.Event()
        self.readable.set()
        self._generations: dict[str, bytes] = {}

    @property
    def is_usable(self) -> bool:
        return True

    async def read(self, scope: Scope, keys: Sequence[str]) -> tuple[bytes, list[bytes | None]]:
        self.calls["read"] += 1
        await self.readable.wait()
        if self.failure is not None:
            raise self.failure
        generation = self._generations.get(scope.tag, NO_GENERATION)
        return generation, [None if self.blind else self.values.get(scope.redis_key(key)) for key in keys]

    async def write(self, scope: Scope, items: Mapping[str, tuple[bytes, float]]) -> None:
        self.calls["write"] += 1
        self.values |= {scope.redis_key(key): data for key, (data, _) in items.items()}

    async def delete(self, scope: Scope, keys: Sequence[str]) -> None:
        for key in keys:
            self.values.pop(scope.redis_key(key), None)

    async def lock(
        self,
        scope: Scope,
        keys: Sequence[str],
        token: bytes,
        seconds: float,  # noqa: ARG002  leases last
    ) -> tuple[set[str], bytes, list[bytes | None]]:
        mine = {key for key in keys if self.leases.setdefault(scope.redis_key(key), token) == token}
        return mine, await self.generation(scope), [self.values.get(scope.redis_key(key)) for key in keys]

    async def locked(self, scope: Scope, keys: Sequence[str]) -> set[str]:
        self.calls["locked"] += 1
        return {key for key in keys if scope.redis_key(key) in self.leases}

    async def unlock(self, scope: Scope, keys: Sequence[str], token: bytes) -> None:
        for name in map(scope.redis_key, keys):
            if self.leases.get(name) == token:
                del self.leases[name]

    async def generation(self, scope: Scope) -> bytes:
        return self._generations.setdefault(scope.tag, bytes([len(self._generations) + 1]) * len(NO_GENERATION))

    async def purge(self, scope: Scope) -> None:
        self._generations.pop(scope.tag, None)


class Bench:
    """A loader, alone or over a shared layer.

    `now` are Unix seconds, `monotonic` the seconds that deadlines are told in; neither moves by itself. A call of
    the backend takes `cost` of the latter, waits for `gate`, and answers its number, `failure`, or what `answers` has
    of a key.
    """

    def __init__(self, tier: RedisTier | None = None) -> None:
        self.metrics = CacheMetrics.create(CollectorRegistry())
        self.now, self.monotonic, self.draw, self.cost = 1_000_000.0, 50.0, 0.0, 0.0
        self.calls: list[list[str]] = []
        self.failure: Exception | None = None
        self.answers: dict[str, FillResult | Exception] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        memory = Memory(1_000_000, lambda _: None)
        tier = tier or RedisTier(RedisClient("", self.metrics, lambda: self.monotonic))
        self.store = Store(memory, tier, b"secret", self.metrics, lambda: self.now)
        self.loader = Loader(
            self.store,
            self.metrics,
            clock=lambda: self.now,
            monotonic=lambda: self.monotonic,
            draw=lambda: self.draw,
        )

    async def fill(self, keys: Sequence[str]) -> Mapping[str, FillResult | Exception]:
        """Answer as the backend does."""
        self.calls.append(sorted(keys))
        number = len(self.calls)
        await self.gate.wait()
        await asyncio.sleep(0.001)
        self.monotonic += self.cost
        if self.failure is not None:
            raise self.failure
        return {key: self.answers.get(key) or FillResult(b"%d" % number, LIFETIME) for key in keys}

    async def load(self, *keys: str, seconds: float = 60.0, scope: Scope = SCOPE) -> Loaded:
        """Load keys, `a` without any, in a request that has so many seconds for it."""
        return await self.loader.load(scope, keys or ("a",), self.fill, self.monotonic + seconds + RESERVE)

    def begin(self, *keys: str, seconds: float = 60.0) -> asyncio.Task[Loaded]:
        """Begin to load keys."""
        return asyncio.create_task(self.load(*keys, seconds=seconds))

    async def called(self, times: int) -> None:
        """Wait until the backend has been called so often."""
        async with asyncio.timeout(20):
            while len(self.calls) < times:
                await asyncio.sleep(0)

    async def settle(self) -> None:
        """Let what goes on in the background end."""
        async with asyncio.timeout(20):
            while self.busy():
                await asyncio.sleep(0)

    def busy(self) -> bool:
        """Whether something goes on in the background."""
        loader = self.loader
        return bool(len(loader._fills) or len(loader._lookups) or len(loader._filler._writes))

    def put(self, *keys: str, value: bytes = b"old", made: float | None = None, fresh: float = LIFETIME.fresh) -> None:
        """Have entries in memory."""
        made = self.now if made is None else made
        self.store.put_local(SCOPE, dict.fromkeys(keys, entry(value, made, fresh)), self.store.epoch())

    def count(self, name: str, *labels: str) -> float:
        """Return a counter's value by its name and what it is about besides the namespace."""
        return float(getattr(self.metrics, name).labels(SCOPE.namespace, *labels)._value.get())


def entry(value: bytes, made: float, fresh: float = LIFETIME.fresh) -> Entry:
    """Return an entry that is fresh for so long, then lives as `LIFETIME` says."""
    revalidate = made + fresh + LIFETIME.stale_while_revalidate
    return Entry(value, made, made + fresh, revalidate, revalidate + LIFETIME.stale_if_error, 0.0)


async def ticks(number: int = 20) -> None:
    """Let whatever can go on do so."""
    for _ in range(number):
        await asyncio.sleep(0)
