"""What is known of runs, by credentials, run and part."""

import time
from collections import OrderedDict
from collections.abc import Callable

from bff_aggregator.parts import User
from bff_aggregator.sections import RUN, Part, Sighting

Key = tuple[str, str]
STALE = 86_400.0
FLAT_SIZE = 4096


class RunCache:
    """Keeps sightings and parts in this process, at most `limit` bytes of them; the least recently used go first."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.time) -> None:
        self._limit, self._clock = limit, clock
        self._size = 0
        self._entries: OrderedDict[Key, dict[str, Sighting | Part]] = OrderedDict()

    async def sighting(self, user: User, run_id: str) -> Sighting | None:
        """Return what was last seen of a run, however long ago (a day at most)."""
        found = self._get(user, run_id, RUN)
        return found if isinstance(found, Sighting) else None

    async def part(self, user: User, run_id: str, name: str) -> Part | None:
        """Return a part, fresh or not."""
        found = self._get(user, run_id, name)
        return found if isinstance(found, Part) else None

    async def keep_sighting(self, user: User, run_id: str, sighting: Sighting) -> None:
        """Keep a sighting; parts of another revision go at once."""
        known = self._get(user, run_id, RUN)
        if isinstance(known, Sighting) and known.revision != sighting.revision:
            await self.drop(user, run_id)
        self._put(user, run_id, RUN, sighting)

    async def keep_part(self, user: User, run_id: str, part: Part) -> None:
        """Keep a part for its revision."""
        self._put(user, run_id, part.name, part)

    async def drop(self, user: User, run_id: str) -> None:
        """Forget a run."""
        for item in self._entries.pop((user.digest, run_id), {}).values():
            self._size -= size_of(item)

    def _get(self, user: User, run_id: str, name: str) -> Sighting | Part | None:
        entry = self._entries.get((user.digest, run_id), {}).get(name)
        if entry is None or self._clock() - entry.at > STALE:
            return None
        self._entries.move_to_end((user.digest, run_id))
        return entry

    def _put(self, user: User, run_id: str, name: str, item: Sighting | Part) -> None:
        items = self._entries.setdefault((user.digest, run_id), {})
        if name in items:
            self._size -= size_of(items[name])
        items[name] = item
        self._size += size_of(item)
        self._entries.move_to_end((user.digest, run_id))
        while self._size > self._limit and self._entries:
            _, dropped = self._entries.popitem(last=False)
            self._size -= sum(size_of(old) for old in dropped.values())


def size_of(item: Sighting | Part) -> int:
    """Return about how many bytes an item takes."""
    if isinstance(item, Sighting) or item.data is None:
        return FLAT_SIZE
    return FLAT_SIZE + (item.data.nbytes if hasattr(item.data, "nbytes") else 1024 * (item.count or 1))
