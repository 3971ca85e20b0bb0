"""The cache's second layer, Redis, which all processes share. I/O.

Nothing in Redis is needed for an answer: whatever goes wrong there costs speed only. A command that takes too long or
fails puts Redis aside for a while, longer each time in a row.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redis.exceptions import ResponseError

from bff_aggregator.cache.entry import NO_GENERATION, Scope
from bff_aggregator.cache.metrics import CacheMetrics
from bff_shared.health import CheckFailed
from bff_shared.redis import FAILURES, Client, connect

log = logging.getLogger(__name__)
TIMEOUT = 0.05
WRITE_TIMEOUT = 1.0
CONNECTIONS = 16
BATCH, LOCK_BATCH = 128, 1000
BYPASS, LONGEST_BYPASS = 1.0, 30.0
GENERATION_SECONDS = 3 * 86_400
"""Longer than any entry lives; begun anew with each claim."""
BUDGET_SECONDS = 3600
CROWDED = 0.5
"""Share of Redis' memory from which on a client's budget holds: below it, nobody's entries have to make room."""

CHANNEL = "bff:1:purge"
CHECK_KEY = "bff:1:check"
CHECK_MS = 1_000
SECRET_KEY = "bff:1:owner-key"  # noqa: S105  the name of a key, not a secret

# Only whoever holds a lock may end it: its lease may be over, and somebody else's begun.
_UNLOCK = """
for _, key in ipairs(KEYS) do
  if redis.call('get', key) == ARGV[1] then redis.call('del', key) end
end
return 1
"""

# KEYS: the generation, n entries, their n locks. ARGV: n, our token, the lease in milliseconds, a generation for a
# subject that has none, and how many seconds generations last.
_LOCK = """
local n, taken = tonumber(ARGV[1]), {}
redis.call('set', KEYS[1], ARGV[4], 'NX')
redis.call('expire', KEYS[1], ARGV[5])
for i = 1, n do
  taken[i] = redis.call('set', KEYS[1 + n + i], ARGV[2], 'NX', 'PX', ARGV[3]) and 1 or 0
end
return {taken, redis.call('mget', unpack(KEYS, 1, n + 1))}
"""


# The window begins with its first byte and ends by itself; what is refused does not count. INFO tells of the node that
# has the counter; where it names no bound, nothing would be evicted, and the budget holds always.
# KEYS: the counter. ARGV: bytes, seconds, budget, the share of maxmemory from which on the budget holds.
_SPEND = """
if tonumber(redis.call('get', KEYS[1]) or '0') + tonumber(ARGV[1]) > tonumber(ARGV[3]) then
  local memory = redis.call('info', 'memory')
  local bound = tonumber(string.match(memory, 'maxmemory:(%d+)') or '0')
  local used = tonumber(string.match(memory, 'used_memory:(%d+)') or '0')
  if bound == 0 or used >= bound * tonumber(ARGV[4]) then return 0 end
end
if redis.call('incrby', KEYS[1], ARGV[1]) == tonumber(ARGV[1]) then redis.call('expire', KEYS[1], ARGV[2]) end
return 1
"""


class RedisUnavailable(Exception):
    """Redis is not configured, put aside, or has just failed."""


class RedisClient:
    """The connection to Redis: opened when first needed, put aside after failures, closed once."""

    def __init__(self, url: str, metrics: CacheMetrics, clock: Callable[[], float]) -> None:
        self._url, self._metrics, self._clock = url, metrics, clock
        self._client: Client | None = None
        self._opening = asyncio.Lock()
        self._aside_until = -1.0
        self._pause = BYPASS

    def __repr__(self) -> str:
        """Say whether it is in use; the address, which may hold a password, is not said."""
        if not self._url:
            return "<RedisClient, not configured>"
        aside = self._aside_until - self._clock()
        return f"<RedisClient, left alone for {aside:.1f} s>" if aside > 0 else "<RedisClient, in use>"

    @property
    def is_usable(self) -> bool:
        """Whether a command would be tried now."""
        return bool(self._url) and self._clock() >= self._aside_until

    async def run(self, command: Callable[[Client], Any], limit: float | None = None) -> Any:
        """Run a command within `limit` seconds, TIMEOUT if None.

        Raises RedisUnavailable if it fails, and puts Redis aside unless it only refused.
        """
        if not self.is_usable:
            raise RedisUnavailable
        limit = TIMEOUT if limit is None else limit
        begun = self._clock()
        try:
            async with asyncio.timeout(limit):
                result = await command(self._client or await self._open())
        except ResponseError as error:
            # Out of memory, read only, of another type: this command is refused, the next may not be.
            self._metrics.redis_errors.labels("refused").inc()
            raise RedisUnavailable from error
        except FAILURES as error:
            kind = "timeout" if isinstance(error, TimeoutError) else "connection"
            self._metrics.redis_errors.labels(kind).inc()
            # A time-out that comes late tells of a busy event loop, not of Redis.
            if kind != "timeout" or self._clock() - begun < 2 * limit:
                self._put_aside(kind)
            raise RedisUnavailable from error
        self._pause = BYPASS
        self._metrics.redis_bypassed.set(0)
        return result

    async def client(self) -> Client:
        """Return the client, opened if need be; raise RedisUnavailable if that fails."""

        async def itself(client: Client) -> Client:
            return client

        found: Client = await self.run(itself, WRITE_TIMEOUT)
        return found

    async def aclose(self) -> None:
        """Close every connection."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(*FAILURES):
                async with asyncio.timeout(WRITE_TIMEOUT):
                    await client.aclose()

    async def _open(self) -> Client:
        async with self._opening:
            if self._client is None:
                self._client = await connect(self._url, connections=CONNECTIONS, deadline=WRITE_TIMEOUT)
            return self._client

    def _put_aside(self, kind: str) -> None:
        if self._clock() < self._aside_until:
            return
        self._aside_until = self._clock() + self._pause
        self._metrics.redis_bypassed.set(1)
        log.warning("redis is left alone", extra={"reason": kind, "seconds": self._pause})
        self._pause = min(LONGEST_BYPASS, self._pause * 2)


class RedisTier:
    """The commands that the cache needs; all of them raise RedisUnavailable, none of them anything else.

    All keys of one call belong to one scope, hence to one slot of a cluster.
    """

    def __init__(self, link: RedisClient) -> None:
        self._link = link

    @property
    def is_usable(self) -> bool:
        """Whether it is worth asking."""
        return self._link.is_usable

    async def open(self) -> None:
        """Connect ahead of the first command, which has less time."""
        await self._link.client()

    async def read(self, scope: Scope, keys: Sequence[str]) -> tuple[bytes, list[bytes | None]]:
        """Return the subject's generation, `NO_GENERATION` if it has none yet, and the bytes under each key."""
        generation, found = NO_GENERATION, []
        for start in range(0, max(len(keys), 1), BATCH):
            names = [_generation_key(scope), *map(scope.redis_key, keys[start : start + BATCH])]
            first, *values = await self._link.run(lambda client, names=names: client.mget(names))  # type: ignore[misc]
            generation = _generation(first)
            found += values
        return generation, found

    async def write(self, scope: Scope, items: Mapping[str, tuple[bytes, float]]) -> None:
        """Set the bytes of each key, for so many seconds."""
        todo = list(items.items())
        for start in range(0, len(todo), BATCH):
            part = todo[start : start + BATCH]

            async def send(client: Client, part: list[tuple[str, tuple[bytes, float]]] = part) -> None:
                pipeline = client.pipeline(transaction=False)
                for key, (data, seconds) in part:
                    pipeline.set(scope.redis_key(key), data, px=max(1, int(seconds * 1000)))
                await pipeline.execute()

            await self._link.run(send, WRITE_TIMEOUT)

    async def delete(self, scope: Scope, keys: Sequence[str]) -> None:
        """Delete keys."""
        names = [scope.redis_key(key) for key in keys]
        await self._link.run(lambda client: client.delete(*names), WRITE_TIMEOUT)

    async def lock(
        self, scope: Scope, keys: Sequence[str], token: bytes, seconds: float
    ) -> tuple[set[str], bytes, list[bytes | None]]:
        """Take the locks of keys for so many seconds, then read the keys.

        Returns those whose lock is now ours, the generation and what is under each key by now: whoever held a lock
        before has written its entry before giving it back.
        """
        mine, generation, found = set[str](), NO_GENERATION, list[bytes | None]()
        for start in range(0, len(keys), LOCK_BATCH):
            part = keys[start : start + LOCK_BATCH]
            names = [_generation_key(scope), *map(scope.redis_key, part), *(_lock_key(scope, key) for key in part)]
            arguments = (
                *(len(names), *names, len(part), token, int(seconds * 1000)),
                *(_new_generation(), GENERATION_SECONDS),
            )
            answer = await self._link.run(lambda client, arguments=arguments: client.eval(_LOCK, *arguments))  # type: ignore[misc]
            taken, (first, *values) = answer
            mine |= {key for key, done in zip(part, taken, strict=True) if done}
            generation = _generation(first)
            found += values
        return mine, generation, found

    async def locked(self, scope: Scope, keys: Sequence[str]) -> set[str]:
        """Return those of the keys whose lock somebody holds."""
        names = [_lock_key(scope, key) for key in keys]
        held = await self._link.run(lambda client: client.mget(names))
        return {key for key, token in zip(keys, held, strict=True) if token is not None}

    async def unlock(self, scope: Scope, keys: Sequence[str], token: bytes) -> None:
        """Give back locks that are ours."""
        names = [_lock_key(scope, key) for key in keys]
        await self._link.run(lambda client: client.eval(_UNLOCK, len(names), *names, token), WRITE_TIMEOUT)

    async def generation(self, scope: Scope) -> bytes:
        """Return the subject's generation, which begins now if it has none: entries from before are not its own.

        So a generation that Redis has lost, evicted or expired, costs entries, but brings none back after a purge.
        """
        name = _generation_key(scope)
        proposal = _new_generation()
        await self._link.run(lambda client: client.set(name, proposal, nx=True, ex=GENERATION_SECONDS))
        return _generation(await self._link.run(lambda client: client.get(name)))

    async def spend(self, payer: str, size: int, budget: int) -> bool:
        """Count bytes that a payer is about to write, and return True; False, and count nothing, where it may not.

        A payer may write `budget` bytes in a window, and more while Redis is less than CROWDED full.
        """
        name = f"bff:1:{{spent:{payer}}}"
        arguments = (1, name, size, BUDGET_SECONDS, budget, CROWDED)
        return bool(await self._link.run(lambda client: client.eval(_SPEND, *arguments), WRITE_TIMEOUT))

    async def purge(self, scope: Scope) -> None:
        """Begin a new generation of a subject, which ends all its entries, and tell every process."""
        generation = _new_generation()
        name = _generation_key(scope)
        await self._link.run(lambda client: client.set(name, generation, ex=GENERATION_SECONDS), WRITE_TIMEOUT)
        message = f"{scope.namespace}\n{scope.subject}".encode()
        await self._link.run(lambda client: client.publish(CHANNEL, message), WRITE_TIMEOUT)

    async def digest_key(self, proposal: bytes) -> bytes:
        """Return the key of credential digests that all processes share: the first one ever proposed."""
        await self._link.run(lambda client: client.set(SECRET_KEY, proposal, nx=True))
        found = await self._link.run(lambda client: client.get(SECRET_KEY))
        return found if isinstance(found, bytes) and len(found) == len(proposal) else proposal

    async def listen(self, connected: Callable[[], None], purged: Callable[[str, str], None]) -> None:
        """Hear of purges by other processes until the connection is lost, then raise RedisUnavailable.

        `connected` is called each time that it begins to listen: what was purged before that was missed. The client
        mends a broken connection by itself, so only the server's word tells that it had to.
        """
        client = await self._link.client()
        try:
            async with client.pubsub() as channel:
                await channel.subscribe(CHANNEL)
                async for message in channel.listen():
                    if message["type"] == "subscribe":
                        connected()
                        continue
                    namespace, _, subject = message["data"].decode("utf-8", "replace").partition("\n")
                    purged(namespace, subject)
        except FAILURES as error:
            raise RedisUnavailable from error

    async def check(self) -> None:
        """Raise CheckFailed unless Redis answers and takes what it is given: a full one or a replica only answers."""
        try:
            await self._link.run(lambda client: client.set(CHECK_KEY, b"", px=CHECK_MS), WRITE_TIMEOUT)
        except RedisUnavailable as error:
            what = "keeps nothing" if isinstance(error.__cause__, ResponseError) else "does not answer"
            raise CheckFailed(f"redis {what}; answers come from this process's memory and the backend") from None

    async def aclose(self) -> None:
        """Close every connection."""
        await self._link.aclose()


def _generation(found: object) -> bytes:
    return found if isinstance(found, bytes) and len(found) == len(NO_GENERATION) else NO_GENERATION


def _new_generation() -> bytes:
    return secrets.token_bytes(len(NO_GENERATION))


def _generation_key(scope: Scope) -> str:
    return f"bff:1:{{{scope.tag}}}:generation"


def _lock_key(scope: Scope, key: str) -> str:
    return f"{scope.redis_key(key)}:lock"
