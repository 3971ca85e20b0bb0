"""Keeps the flag store in step with the file and with Redis, by pub/sub and by polling.

Redis is not needed for a response. While it is unavailable the changes known so far stay; a process that has never
reached it has the file alone. Should Redis come back with less than was known of a flag, it has lost it, and gets it
back.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bff_proxy.flags.definitions import MOST_BYTES, parse
from bff_proxy.flags.overrides import Entry, Stored, StoreUnavailable
from bff_proxy.flags.store import FlagStore
from bff_shared.errors import Busy
from bff_shared.health import CheckFailed
from bff_shared.supervision import keep_running

if TYPE_CHECKING:
    from bff_proxy.flags.redis_store import OverrideStore, Written

log = logging.getLogger(__name__)
RETRY_AFTER = 2.0
MAX_ATTEMPTS = 5


class NoStore(Busy):
    """Flags cannot be changed here at all."""

    retryable = False

    def __init__(self) -> None:
        super().__init__("flags can be changed at runtime only with Redis, and none is configured")
        self.retry_after = None


class NotChanged(Busy):
    """A change is not in effect, and will not be."""

    def __init__(self, message: str) -> None:
        super().__init__(f"{message}; the change is not in effect and will not be", RETRY_AFTER)
        self.details = {"outcome": "not_done"}


class OutcomeUnknown(Busy):
    """A change was sent and not confirmed: it may be in effect by now, or later, or never."""

    code = "OUTCOME_UNKNOWN"

    def __init__(self, key: str, change_id: str) -> None:
        text = (
            "Redis did not confirm the change: it may have been made, or may still be; ask again before you rely on it"
        )
        super().__init__(text, RETRY_AFTER)
        how = "the change is in effect once GET /api/v1/flags shows its id as the flag's `change_id`"
        self.details = {"outcome": "unknown", "flag": key, "change_id": change_id, "find_out": how}


class FlagSync:
    """Owns the tasks that poll and subscribe; `start` and `aclose` belong to one owner.

    path   of the definitions, None for the built-in ones
    store  None without Redis
    every  seconds between two polls
    """

    def __init__(self, flag_store: FlagStore, path: Path | None, store: "OverrideStore | None", every: float) -> None:
        self._flag_store, self._path, self._store, self._every = flag_store, path, store, every
        self._tasks: list[asyncio.Task[None]] = []
        self._read_file: bytes | None = None
        self._known = Stored(0, {})
        self._notified = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self.is_unavailable = False

    def __repr__(self) -> str:
        """Say where the definitions are, and how it stands with Redis."""
        redis = "none" if self._store is None else "unavailable" if self.is_unavailable else "available"
        return f"<FlagSync file={str(self._path)!r} redis={redis} overrides={len(self._known.entries)}>"

    async def start(self) -> None:
        """Read both once, so that the first response is right, then go on polling."""
        await self._poll_file()
        if self._path is not None:
            self._tasks.append(self._task("flag-file", self._watch_file))
        if self._store is not None:
            await self._poll_overrides(self._store)
            self._tasks.append(self._task("flag-store", partial(self._watch_store, self._store)))
            self._tasks.append(self._task("flag-changes", partial(self._listen, self._store)))

    async def aclose(self) -> None:
        """Stop polling and close the connections."""
        tasks = [*self._tasks, *([self._reading] if self._reading else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._store is not None:
            await self._store.aclose()

    async def write(self, key: str, entry: Entry, expected: int | None = None) -> bool:
        """Store a flag's entry and in the flag store. False if `expected` is no longer the version of its change.

        Raises NotChanged where nothing is changed for sure, OutcomeUnknown where that cannot be known, and NoStore.
        """
        if self._store is None:
            raise NoStore
        try:
            found = await self._store.read()
        except StoreUnavailable as error:
            self._mark_unavailable(error)
            raise NotChanged("flags cannot be changed: Redis does not answer") from error
        if (version := await self._write(self._store, key, entry, found.version(key), expected)) is None:
            await self._poll_overrides(self._store)
            return False
        change = None if entry.change is None else replace(entry.change, version=version)
        self._merge(Stored(version, {key: replace(entry, version=version, change=change)}))
        await self._poll_overrides(self._store)
        return True

    async def _write(
        self, store: "OverrideStore", key: str, entry: Entry, version: int, expected: int | None
    ) -> int | None:
        """Return the version with which an entry was stored, None if the flag's is another than the one expected.

        Also without `expected` it is written over the version that was read: a write that Redis hears of late must not
        undo a newer one.
        """
        for _ in range(MAX_ATTEMPTS):
            written = await self._confirmed(store, key, entry, version if expected is None else expected)
            if written.done:
                return written.version
            if expected is not None:
                return None
            version = written.version
        raise NotChanged("others change this flag at the same time")

    async def _confirmed(self, store: "OverrideStore", key: str, entry: Entry, expected: int) -> "Written":
        """Write; where that is not confirmed, find out what became of it."""
        try:
            not_after = await store.time_limit()
        except StoreUnavailable as error:
            self._mark_unavailable(error)
            raise NotChanged("flags cannot be changed: Redis does not answer") from error
        try:
            return await store.write(key, entry, expected, not_after)
        except StoreUnavailable as error:
            self._mark_unavailable(error)
        try:
            settled = await store.settle(key, entry.id, not_after)
        except StoreUnavailable as error:
            raise OutcomeUnknown(key, entry.id) from error
        if not settled.done:
            raise NotChanged("Redis took too long to store the change")
        return settled

    async def refresh(self) -> None:
        """Poll the file and Redis, together with whoever asks too; a poll under way may have begun too early."""
        if self._reading is not None and not self._reading.done():
            await asyncio.shield(self._reading)
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._poll_all(), name="flag-refresh")
        await asyncio.shield(self._reading)

    async def confirm(self) -> None:
        """Poll before a 304: the client may ask because another replica published a change."""
        if not self.is_unavailable:
            await self.refresh()

    async def check(self) -> None:
        """Raise CheckFailed where the newest definitions, or changes made at runtime, are not what is answered."""
        if self._flag_store.problem:
            raise CheckFailed(f"definitions refused, the last good ones stay: {self._flag_store.problem}")
        if self.is_unavailable:
            raise CheckFailed("redis does not answer; the changes known so far stay")

    async def _watch_file(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            await self._poll_file()

    async def _poll_all(self) -> None:
        await self._poll_file()
        if self._store is not None:
            await self._poll_overrides(self._store)

    async def _poll_file(self) -> None:
        """Read the whole file: it is small, and its times can lie about whether it has changed."""
        if self._path is None:
            return
        try:
            data = await asyncio.to_thread(_read, self._path)
        except OSError as error:
            self._read_file = None
            self._flag_store.reject(f"the file cannot be read: {error.strerror}")
            return
        if data == self._read_file:
            return
        self._read_file = data
        if len(data) > MOST_BYTES:
            self._flag_store.reject(f"the file is larger than {MOST_BYTES} bytes")
        else:
            # A large file takes longer than the event loop may be held up.
            parsing = asyncio.create_task(asyncio.to_thread(parse, data))
            await asyncio.wait((parsing,))
            self._flag_store.load(parsing.result)

    async def _watch_store(self, store: "OverrideStore") -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._notified.wait()
            self._notified.clear()
            await self._poll_overrides(store)

    async def _listen(self, store: "OverrideStore") -> None:
        while True:
            with contextlib.suppress(StoreUnavailable):
                await store.listen(self._notified.set)
            await asyncio.sleep(self._every)

    async def _poll_overrides(self, store: "OverrideStore") -> None:
        try:
            found = await store.read()
            if (lost := self._known.newer_than(found)) and await store.restore(self._known.revision, lost):
                log.warning("redis had lost changes of flags and got them back", extra={"flags": [*lost]})
                found = await store.read()
        except StoreUnavailable as error:
            self._mark_unavailable(error)
            return
        self.is_unavailable = False
        self._merge(found)

    def _merge(self, found: Stored) -> None:
        """Take what is newer for each flag, whatever order responses come in, and replace the overrides."""
        self._known = found.joined(self._known)
        self._flag_store.set_overrides(self._known.changes)

    def _task(self, name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        return asyncio.create_task(keep_running(name, work), name=name)

    def _mark_unavailable(self, error: StoreUnavailable) -> None:
        if not self.is_unavailable:
            log.warning("redis is away; flags stay as they are", extra={"reason": type(error.__cause__).__name__})
        self.is_unavailable = True


def _read(path: Path) -> bytes:
    """Return a file's bytes, one more than allowed at most."""
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)
