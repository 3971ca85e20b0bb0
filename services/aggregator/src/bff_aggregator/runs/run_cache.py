"""What is kept of runs, by credentials, run and part, in the layers that charts use too."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from bff_aggregator.backend.part import PARTS, RUN, Part
from bff_aggregator.backend.run_calls import User
from bff_aggregator.cache import entry as entries
from bff_aggregator.cache.entry import STALE_IF_ERROR, Entry, Made, Scope, State
from bff_aggregator.cache.single_flight import Errands
from bff_aggregator.cache.store import Store, Ticket
from bff_aggregator.runs import part_codec
from bff_aggregator.runs import revision as sections
from bff_aggregator.runs.revision import Sighting

NAMESPACE: Final = "runs"
WRITERS: Final = 64


@dataclass(frozen=True, slots=True)
class Shelf:
    """What is kept of one run for one user, as of one look; `ticket` is for what is to be kept after it.

    `unwritten` is what was kept since, in this process only.
    """

    scope: Scope
    ticket: Ticket
    sighting: Sighting | None
    parts: Mapping[str, Part]
    unwritten: dict[str, Entry] = field(default_factory=dict)

    def part(self, name: str, revision: str) -> Part | None:
        """Return a part of a revision, fresh or stale."""
        part = self.parts.get(name)
        return part if part is not None and part.revision == revision else None


class RunCache:
    """Keeps sightings and parts in a store; what goes to Redis goes after the answer. `aclose` ends that."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        """Take a clock in seconds since the Unix epoch."""
        self._store, self._clock = store, clock
        self._writes = Errands(WRITERS)

    async def aclose(self) -> None:
        """End the writes that are under way."""
        await self._writes.aclose()

    async def look(self, user: User, run_id: str, names: tuple[str, ...] = (RUN, *PARTS)) -> Shelf:
        """Return what is kept of a run."""
        scope, now, ticket = Scope(NAMESPACE, run_id, user.digest), self._clock(), self._store.ticket()
        found = self._store.recall(scope, names)
        wanted = [name for name in names if name not in found or found[name].state(now) is not State.FRESH]
        if wanted:
            shared, ticket = await self._store.look(scope, wanted, ticket)
            found |= {
                name: entry for name, entry in shared.items() if name not in found or entry.made > found[name].made
            }
        parts = {}
        for name, entry in found.items():
            part = None if name == RUN else part_codec.unpack_part(entry.value)
            if part is not None:
                parts[name] = replace(part, source="cache", fresh_until=entry.fresh_until)
        seen = part_codec.unpack_sighting(found[RUN].value) if RUN in found else None
        return Shelf(scope, ticket, seen, parts)

    def newest_sighting(self, shelf: Shelf) -> Sighting | None:
        """Return the sighting that this process has by now."""
        known = self._store.recall(shelf.scope, (RUN,)).get(RUN)
        return None if known is None else part_codec.unpack_sighting(known.value)

    def keep_sighting(self, shelf: Shelf, sighting: Sighting) -> None:
        """Keep a sighting; parts of another revision count no more from now on."""
        made = Made(part_codec.pack_sighting(sighting), sections.look_again_after(sighting), keep=STALE_IF_ERROR)
        items = {RUN: entries.entry(made, sighting.at, 0.0, 0.0)}
        self._store.keep(shelf.scope, items, shelf.ticket)
        self._writes.send(lambda: self._store.share(shelf.scope, items, shelf.ticket))

    def keep_part(self, shelf: Shelf, part: Part, sighting: Sighting) -> None:
        """Keep a part for the sighting's revision, unless somebody who waited for the same call has done so.

        It goes to Redis with `write`.
        """
        known = self._store.recall(shelf.scope, (part.name,)).get(part.name)
        if known is not None and known.made >= part.at:
            return
        value = part_codec.pack_part(replace(part, revision=sighting.revision))
        fresh = sections.lifetime(part, sighting, self._clock())
        shelf.unwritten[part.name] = entries.entry(Made(value, fresh, keep=STALE_IF_ERROR), part.at, 0.0, 0.0)
        self._store.keep(shelf.scope, {part.name: shelf.unwritten[part.name]}, shelf.ticket)

    async def write(self, shelf: Shelf) -> None:
        """Write the parts that were kept to Redis."""
        items = dict(shelf.unwritten)
        shelf.unwritten.clear()
        await self._store.share(shelf.scope, items, shelf.ticket)

    async def forget(self, shelf: Shelf) -> None:
        """Forget a run for one user."""
        await self._store.drop(shelf.scope, (RUN, *PARTS))
