"""Changes of flags in Redis, where every replica finds them. I/O.

One hash holds them all: a field for each flag, `VERSION JSON`, or `VERSION -ID` for one that was given back to the
file, and the field `revision`, the highest version. A hash is one key, hence one slot of a cluster, and one script
changes and announces it. Versions are milliseconds of Redis's clock, and higher than any before: they say which of two
is the newer one even after Redis has lost what it held.

A write carries the time, by Redis's clock, after which it is not made any more, however late Redis hears of it. So what
became of a write that was not confirmed is certain once that time has passed, and no key has to remember it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bff_proxy.flags.overrides import Entry, Stored, StoreUnavailable, pack, unpack_entry
from bff_shared.redis import FAILURES, Client, connect

HASH = "bff:1:flags"
CHANNEL = "bff:1:flags"
REVISION = "revision"
DEADLINE = 1.0
WRITE_MILLISECONDS = 1500
"""For so long after it was begun a write may be made; longer than its answer is waited for."""

SETTLE_DEADLINE = 3.0
"""Seconds to find out what became of a write that was not confirmed."""

CONNECTIONS = 4
MAX_VERSION = 2**53 - 1
"""Numbers of Lua are doubles; whatever is above was written by somebody else."""

_PAUSE = 0.1

# Time by the server that has the hash, whichever of a cluster that is.
_NOW = """
local function now()
  local time = redis.call('time')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
"""
_ASK_NOW = _NOW + "return string.format('%d', now())"

_VERSION_OF = f"""
local function version_of(text)
  local number = tonumber(string.match(text or '', '^(%d+)')) or 0
  return number <= {MAX_VERSION} and number or 0
end
"""

# KEYS: the hash. ARGV: flag, entry, the version it must have, id, the channel, the time after which it is too late.
# A flag that was given back may be expected to have the version 0, like one that was never changed.
_WRITE = (
    _NOW
    + _VERSION_OF
    + """
local before = redis.call('hget', KEYS[1], ARGV[1]) or ''
local version = version_of(before)
if string.find(before, ARGV[4], 1, true) then return {1, string.format('%d', version)} end
local removed = string.match(before, '^%d+ %-')
if tonumber(ARGV[3]) ~= version and not (removed and ARGV[3] == '0') then return {0, string.format('%d', version)} end
if now() > tonumber(ARGV[6]) then return {0, string.format('%d', version)} end
local revision = version_of(redis.call('hget', KEYS[1], 'revision'))
revision = math.max(revision + 1, version + 1, now())
local number = string.format('%d', revision)
redis.call('hset', KEYS[1], 'revision', number, ARGV[1], number .. ' ' .. ARGV[2])
redis.call('publish', ARGV[5], number)
return {1, number}
"""
)

# KEYS: the hash. ARGV: flag, id, the time after which the write is too late. Says whether it was made, or, with the
# milliseconds until then, that it still may be.
_SETTLE = (
    _NOW
    + _VERSION_OF
    + """
local found = redis.call('hget', KEYS[1], ARGV[1]) or ''
local version = string.format('%d', version_of(found))
if string.find(found, ARGV[2], 1, true) then return {1, version, 0} end
return {0, version, math.max(0, tonumber(ARGV[3]) + 1 - now())}
"""
)

# KEYS: the hash. ARGV: the revision that we know of, the channel, then flags, versions and entries, in turn.
_RESTORE = (
    _VERSION_OF
    + """
local changed = 0
for i = 3, #ARGV, 3 do
  if version_of(redis.call('hget', KEYS[1], ARGV[i])) < tonumber(ARGV[i + 1]) then
    redis.call('hset', KEYS[1], ARGV[i], ARGV[i + 1] .. ' ' .. ARGV[i + 2])
    changed = 1
  end
end
if changed == 1 then
  local revision = math.max(version_of(redis.call('hget', KEYS[1], 'revision')), tonumber(ARGV[1])) + 1
  redis.call('hset', KEYS[1], 'revision', string.format('%d', revision))
  redis.call('publish', ARGV[2], string.format('%d', revision))
end
return changed
"""
)


@dataclass(frozen=True, slots=True)
class Written:
    """Whether a write was made, and the version that the flag has."""

    done: bool
    version: int


class OverrideStore:
    """The commands; each raises StoreUnavailable and nothing else. `aclose` ends the connections."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Client | None = None
        self._opening = asyncio.Lock()

    def __repr__(self) -> str:
        """Say whether it has a connection; the URL may hold a password."""
        return f"<OverrideStore {HASH!r} connected={self._client is not None}>"

    async def read(self) -> Stored:
        """Return what is stored; fields that are nothing of a flag are left out."""
        fields: dict[bytes, bytes] = await self._run(lambda client: client.hgetall(HASH))
        revision = _version(fields.pop(REVISION.encode(), b"0"))
        found = {name.decode("utf-8", "replace"): value for name, value in fields.items()}
        entries = {key: entry for key, value in found.items() if (entry := _entry(key, value)) is not None}
        return Stored(revision or 0, entries)

    async def time_limit(self) -> int:
        """Return the time, by Redis's clock, until which a write that begins now may be made."""
        return int(await self._run(lambda client: client.eval(_ASK_NOW, 1, HASH))) + WRITE_MILLISECONDS

    async def write(self, key: str, entry: Entry, expected: int, not_after: int | None = None) -> Written:
        """Store a flag's entry unless its version is another than expected, or it is later than `not_after`.

        Given twice, as a connection that breaks may do, it is made once. `not_after` is a time of Redis's in
        milliseconds, by default that of `time_limit`. A write that raises StoreUnavailable may have been made, or may
        be yet.
        """
        if not_after is None:
            not_after = await self.time_limit()
        arguments = (key, pack(entry), expected, entry.id, CHANNEL, not_after)
        return _written(await self._run(lambda client: client.eval(_WRITE, 1, HASH, *arguments)))

    async def settle(self, key: str, change_id: str, not_after: int) -> Written:
        """Find out whether a write was made; if it was not, it never will be. Waits until it is too late for it."""
        loop, arguments = asyncio.get_running_loop(), (key, change_id, not_after)
        deadline = loop.time() + SETTLE_DEADLINE
        while True:
            pause, left = _PAUSE, deadline - loop.time()
            with contextlib.suppress(StoreUnavailable):  # asked again, while there is time
                done, version, may_be = await self._run(lambda client: client.eval(_SETTLE, 1, HASH, *arguments), left)
                if done or not may_be:
                    return _written((done, version))
                pause = may_be / 1000
            if loop.time() + pause >= deadline:
                raise StoreUnavailable
            await asyncio.sleep(pause)

    async def restore(self, revision: int, entries: Mapping[str, Entry]) -> bool:
        """Give back what Redis has lost; what is newer there stays. False if it has lost nothing."""
        words = (word for key, entry in entries.items() for word in (key, entry.version, pack(entry)))
        arguments = (revision, CHANNEL, *words)
        return bool(await self._run(lambda client: client.eval(_RESTORE, 1, HASH, *arguments)))

    async def listen(self, notify: Callable[[], None]) -> None:
        """Call `notify` first and after each write by anybody; raise StoreUnavailable without a connection."""
        client = await self._open()
        try:
            async with client.pubsub(ignore_subscribe_messages=True) as channel:
                await channel.subscribe(CHANNEL)
                notify()
                async for _ in channel.listen():
                    notify()
        except FAILURES as error:
            raise StoreUnavailable from error

    async def aclose(self) -> None:
        """Close every connection."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(*FAILURES):
                async with asyncio.timeout(DEADLINE):
                    await client.aclose()

    async def _run(self, command: Callable[[Client], Any], deadline: float = DEADLINE) -> Any:
        client = await self._open()
        try:
            async with asyncio.timeout(deadline):
                return await command(client)
        except FAILURES as error:
            raise StoreUnavailable from error

    async def _open(self) -> Client:
        async with self._opening:
            if self._client is None:
                try:
                    self._client = await connect(self._url, connections=CONNECTIONS, deadline=DEADLINE)
                except FAILURES as error:
                    raise StoreUnavailable from error
            return self._client


def _written(answer: Any) -> Written:
    done, version = answer
    return Written(bool(done), _version(version) or 0)


def _version(text: bytes) -> int | None:
    return int(text) if text.isdigit() and len(text) <= 16 and int(text) <= MAX_VERSION else None


def _entry(key: str, value: bytes) -> Entry | None:
    text, _, data = value.partition(b" ")
    version = _version(text)
    return None if version is None else unpack_entry(key, version, data)
