"""The cache of runs, by credentials, run and part, in the tiers that charts use too."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from bff_aggregator.backend.part import PARTS, RUN, Part
from bff_aggregator.cache.entry import STALE_IF_ERROR, Entry, FillResult, Lifetime, Scope, State, make_entry
from bff_aggregator.cache.single_flight import BackgroundTasks
from bff_aggregator.cache.store import PurgeEpoch, Store
from bff_aggregator.runs import part_codec, revision
from bff_aggregator.runs.revision import RunSnapshot
from bff_shared.access.credentials import Reader

NAMESPACE: Final = "runs"
WRITERS: Final = 64


@dataclass(frozen=True, slots=True)
class CachedRun:
    """What is cached of one run for one user, as of one look-up; `epoch` is for what is to be cached after it.

    `asked` is when the backend was asked for the snapshot, `unwritten` what was cached since, in this process only.
    """

    scope: Scope
    epoch: PurgeEpoch
    snapshot: RunSnapshot | None
    parts: Mapping[str, Part]
    asked: float = 0.0
    unwritten: dict[str, Entry] = field(default_factory=dict)

    def part(self, name: str, revision: str) -> Part | None:
        """Return a part of a revision, fresh or stale."""
        part = self.parts.get(name)
        return part if part is not None and part.revision == revision else None


class RunCache:
    """Keeps snapshots and parts in a store; what goes to Redis goes after the answer. `aclose` ends that."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        """Take a clock in seconds since the Unix epoch."""
        self._store, self._clock = store, clock
        self._writes = BackgroundTasks(WRITERS)

    async def aclose(self) -> None:
        """End the writes that are under way."""
        await self._writes.aclose()

    async def look(self, user: Reader, run_id: str, names: tuple[str, ...] = (RUN, *PARTS)) -> CachedRun:
        """Return what is cached of a run."""
        scope, now, epoch = Scope(NAMESPACE, run_id, user.principal), self._clock(), self._store.epoch()
        found = self._store.get_local(scope, names)
        wanted = [name for name in names if name not in found or found[name].state(now) is not State.FRESH]
        if wanted:
            shared, epoch = await self._store.get_shared(scope, wanted, epoch)
            found |= {
                name: entry for name, entry in shared.items() if name not in found or entry.made > found[name].made
            }
        parts = {}
        for name, entry in found.items():
            part = None if name == RUN else part_codec.unpack_part(entry.value)
            if part is not None:
                parts[name] = replace(part, source="cache", fresh_until=entry.fresh_until)
        run = found.get(RUN)
        seen, asked = (part_codec.unpack_snapshot(run.value), run.made - run.cost) if run else (None, 0.0)
        return CachedRun(scope, epoch, seen, parts, asked)

    def newest_snapshot(self, cached: CachedRun) -> RunSnapshot | None:
        """Return the snapshot that this process has by now."""
        known = self._store.get_local(cached.scope, (RUN,)).get(RUN)
        return None if known is None else part_codec.unpack_snapshot(known.value)

    def keep_snapshot(self, cached: CachedRun, snapshot: RunSnapshot, asked: float) -> None:
        """Keep a snapshot asked for at a time; parts of another revision count no more from now on."""
        life = Lifetime(revision.snapshot_lifetime(snapshot), stale_if_error=STALE_IF_ERROR)
        made = FillResult(part_codec.pack_snapshot(snapshot), life)
        items = {RUN: make_entry(made, snapshot.at, max(0.0, snapshot.at - asked), 0.0)}
        self._store.put_local(cached.scope, items, cached.epoch)
        self._writes.start(lambda: self._store.put_shared(cached.scope, items, cached.epoch))

    def keep_part(self, cached: CachedRun, part: Part, snapshot: RunSnapshot) -> None:
        """Keep a part for the snapshot's revision, unless somebody who waited for the same call has done so.

        It goes to Redis with `write`.
        """
        known = self._store.get_local(cached.scope, (part.name,)).get(part.name)
        if known is not None and known.made >= part.at:
            return
        value = part_codec.pack_part(replace(part, revision=snapshot.revision))
        life = Lifetime(revision.lifetime(part, snapshot, self._clock()), stale_if_error=STALE_IF_ERROR)
        cached.unwritten[part.name] = make_entry(FillResult(value, life), part.at, 0.0, 0.0)
        self._store.put_local(cached.scope, {part.name: cached.unwritten[part.name]}, cached.epoch)

    async def write(self, cached: CachedRun) -> None:
        """Write the parts that were cached to Redis."""
        items = dict(cached.unwritten)
        cached.unwritten.clear()
        await self._store.put_shared(cached.scope, items, cached.epoch)

    async def forget(self, cached: CachedRun) -> None:
        """Forget a run for one user."""
        await self._store.delete(cached.scope, (RUN, *PARTS))
