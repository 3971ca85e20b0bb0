"""Changes of flags in Redis, where every replica finds them. I/O.

One hash holds them all: a field for each changed flag, `VERSION JSON`, and the field `revision`, which counts writes.
A hash is one key, hence one slot of a cluster, and one script changes and announces it.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from bff_proxy.flag_layers import Change, StoreAway, Stored, pack, unpack
from bff_shared.redis_client import FAILURES, Client, connect

HASH = "bff:1:flags"
CHANNEL = "bff:1:flags"
REVISION = "revision"
DEADLINE = 1.0
CONNECTIONS = 4

# KEYS: the hash. ARGV: flag, JSON or nothing to remove it, the version it must have or nothing, the channel.
_WRITE = """
local before = redis.call('hget', KEYS[1], ARGV[1])
local version = before and string.match(before, '^%d+') or '0'
if ARGV[3] ~= '' and ARGV[3] ~= version then return {0, before} end
local revision = redis.call('hincrby', KEYS[1], 'revision', 1)
if ARGV[2] == '' then redis.call('hdel', KEYS[1], ARGV[1])
else redis.call('hset', KEYS[1], ARGV[1], string.format('%d ', revision) .. ARGV[2]) end
redis.call('publish', ARGV[4], revision)
return {revision, before}
"""

# KEYS: the hash. ARGV: the revision that we know of, the channel, then flags and what they had, in turn.
_RESTORE = """
local revision = tonumber(redis.call('hget', KEYS[1], 'revision') or '0')
if revision >= tonumber(ARGV[1]) then return 0 end
for i = 3, #ARGV, 2 do redis.call('hsetnx', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('hset', KEYS[1], 'revision', ARGV[1] + 1)
redis.call('publish', ARGV[2], ARGV[1] + 1)
return 1
"""


class FlagStore:
    """The commands; each raises StoreAway and nothing else. `aclose` ends the connections."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Client | None = None
        self._opening = asyncio.Lock()

    async def read(self) -> Stored:
        """Return what is stored; fields that are no change of a flag are left out."""
        fields: dict[bytes, bytes] = await self._run(lambda client: client.hgetall(HASH))
        try:
            revision = int(fields.pop(REVISION.encode(), b"0"))
        except ValueError as error:  # somebody else wrote there
            raise StoreAway from error
        found = (_change(name.decode("utf-8", "replace"), value) for name, value in fields.items())
        return Stored(revision, {change.key: change for change in found if change is not None})

    async def write(self, key: str, change: Change | None, expected: int | None = None) -> bool:
        """Set a flag's change, or take it away; False if its version is no longer the one expected."""
        arguments = (key, b"" if change is None else pack(change), "" if expected is None else expected, CHANNEL)
        revision, _ = await self._run(lambda client: client.eval(_WRITE, 1, HASH, *arguments))
        return bool(revision)

    async def restore(self, known: Stored) -> bool:
        """Give back what Redis has lost: what is there by now stays; False if it has lost nothing."""
        pairs = (
            word for key, change in known.changes.items() for word in (key, b"%d %b" % (change.version, pack(change)))
        )
        arguments = (known.revision, CHANNEL, *pairs)
        return bool(await self._run(lambda client: client.eval(_RESTORE, 1, HASH, *arguments)))

    async def listen(self, heard: Callable[[], None]) -> None:
        """Call `heard` once this begins and after each write by anybody, until the connection is lost: StoreAway."""
        client = await self._open()
        try:
            async with client.pubsub(ignore_subscribe_messages=True) as channel:
                await channel.subscribe(CHANNEL)
                heard()
                async for _ in channel.listen():
                    heard()
        except FAILURES as error:
            raise StoreAway from error
        raise StoreAway

    async def aclose(self) -> None:
        """Close every connection."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(*FAILURES):
                async with asyncio.timeout(DEADLINE):
                    await client.aclose()

    async def _run(self, command: Callable[[Client], Any]) -> Any:
        client = await self._open()
        try:
            async with asyncio.timeout(DEADLINE):
                return await command(client)
        except FAILURES as error:
            raise StoreAway from error

    async def _open(self) -> Client:
        async with self._opening:
            if self._client is None:
                try:
                    self._client = await connect(self._url, connections=CONNECTIONS, deadline=DEADLINE)
                except FAILURES as error:
                    raise StoreAway from error
            return self._client


def _change(key: str, value: bytes) -> Change | None:
    version, _, data = value.partition(b" ")
    return unpack(key, int(version), data) if version.isdigit() else None
