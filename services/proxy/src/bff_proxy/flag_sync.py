"""Keeps the board in step with the file and with Redis: told by pub/sub, and by looking once in a while.

Redis is not needed for an answer. While it is away the changes known so far stay; a process that has never reached it
has the file alone. Should Redis come back with fewer writes than were known, it has lost them, and gets them back.
"""

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from bff_proxy.flag_board import FlagBoard
from bff_proxy.flag_definitions import MOST_BYTES
from bff_proxy.flag_layers import Change, StoreAway, Stored
from bff_shared.errors import Busy
from bff_shared.health import CheckFailed

if TYPE_CHECKING:
    from bff_proxy.flag_store import FlagStore

log = logging.getLogger(__name__)


class NoStore(Busy):
    """Flags cannot be changed here at all."""

    retryable = False

    def __init__(self) -> None:
        super().__init__("flags can be changed at runtime only with Redis, and none is configured")
        self.retry_after = None


class FlagSync:
    """Owns the tasks that look; `start` and `aclose` belong to one owner.

    path   of the definitions, None for the built-in ones
    store  None without Redis
    every  seconds between two looks
    """

    def __init__(self, board: FlagBoard, path: Path | None, store: "FlagStore | None", every: float) -> None:
        self._board, self._path, self._store, self._every = board, path, store, every
        self._tasks: list[asyncio.Task[None]] = []
        self._read_file: bytes | None = None
        self._known = Stored(0, {})
        self._told = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self.is_away = False

    async def start(self) -> None:
        """Read both once, so that the first answer is right, then go on looking."""
        await self._look_at_file()
        if self._path is not None:
            self._tasks.append(asyncio.create_task(self._watch_file(), name="flag-file"))
        if self._store is not None:
            await self._look_at_store(self._store)
            self._tasks.append(asyncio.create_task(self._watch_store(self._store), name="flag-store"))
            self._tasks.append(asyncio.create_task(self._listen(self._store), name="flag-changes"))

    async def aclose(self) -> None:
        """Stop looking and close the connections."""
        tasks = [*self._tasks, *([self._reading] if self._reading else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._store is not None:
            await self._store.aclose()

    async def write(self, key: str, change: Change | None, expected: int | None = None) -> bool:
        """Store a flag's change, or take it away, and have it on the board; raises Busy where it cannot be stored.

        False if `expected` is no longer the version of the flag's change.
        """
        if self._store is None:
            raise NoStore
        try:
            done = await self._store.write(key, change, expected)
        except StoreAway as error:
            self._lose(error)
            raise Busy("flags cannot be changed: Redis does not answer", 2.0) from error
        await self._look_at_store(self._store)
        return done

    async def refresh(self) -> None:
        """Look at the file and at Redis, together with whoever asks too; a look under way may have begun too early."""
        if self._reading is not None and not self._reading.done():
            await asyncio.shield(self._reading)
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._look_at_all(), name="flag-refresh")
        await asyncio.shield(self._reading)

    async def confirm(self) -> None:
        """Look before a client is told that nothing changed: it may ask because another replica told it otherwise."""
        if not self.is_away:
            await self.refresh()

    async def check(self) -> None:
        """Raise CheckFailed where the newest definitions, or changes made at runtime, are not what is answered."""
        if self._board.problem:
            raise CheckFailed(f"definitions refused, the last good ones stay: {self._board.problem}")
        if self.is_away:
            raise CheckFailed("redis does not answer; the changes known so far stay")

    async def _watch_file(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            await self._look_at_file()

    async def _look_at_all(self) -> None:
        await self._look_at_file()
        if self._store is not None:
            await self._look_at_store(self._store)

    async def _look_at_file(self) -> None:
        """Read the whole file: it is small, and its times can lie about whether it has changed."""
        if self._path is None:
            return
        try:
            data = await asyncio.to_thread(_read, self._path)
        except OSError as error:
            self._read_file = None
            self._board.refuse(f"the file cannot be read: {error.strerror}")
            return
        if data == self._read_file:
            return
        self._read_file = data
        if len(data) > MOST_BYTES:
            self._board.refuse(f"the file is larger than {MOST_BYTES} bytes")
        else:
            self._board.define(data)

    async def _watch_store(self, store: "FlagStore") -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._told.wait()
            self._told.clear()
            await self._look_at_store(store)

    async def _listen(self, store: "FlagStore") -> None:
        while True:
            with contextlib.suppress(StoreAway):
                await store.listen(self._told.set)
            await asyncio.sleep(self._every)

    async def _look_at_store(self, store: "FlagStore") -> None:
        try:
            found = await store.read()
            if found.revision < self._known.revision and await store.restore(self._known):
                log.warning(
                    "redis had lost changes of flags and got them back", extra={"flags": [*self._known.changes]}
                )
                found = await store.read()
        except StoreAway as error:
            self._lose(error)
            return
        self.is_away = False
        if found.revision >= self._known.revision:
            self._known = found
            self._board.change(found.changes)

    def _lose(self, error: StoreAway) -> None:
        if not self.is_away:
            log.warning("redis is away; flags stay as they are", extra={"reason": type(error.__cause__).__name__})
        self.is_away = True


def _read(path: Path) -> bytes:
    """Return a file's bytes, one more than allowed at most."""
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)
