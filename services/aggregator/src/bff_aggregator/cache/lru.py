"""The cache's first layer: entries in this process, least recently used out first. Pure."""

from collections import Counter, OrderedDict
from collections.abc import Callable

from bff_aggregator.cache.entry import Entry, Scope

# What an entry costs besides its value: its key, its record and their places in the table.
OVERHEAD = 512
Key = tuple[Scope, str]


class Memory:
    """At most `limit` bytes of entries; `evicted` is told how many went to make room.

    Each entry counts for a payer. Where space is short, the entries of a payer that has more than half of it go first,
    so that nobody can push out what all the others have.
    """

    def __init__(self, limit: int, evicted: Callable[[int], None]) -> None:
        self._limit, self._evicted = limit, evicted
        self._entries: OrderedDict[Key, tuple[Entry, str]] = OrderedDict()
        self._keys: dict[str, OrderedDict[Key, None]] = {}
        self._spent: Counter[str] = Counter()
        self._greedy: str | None = None
        self.size = 0

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._entries)

    def get(self, scope: Scope, key: str) -> Entry | None:
        """Return an entry, which thereby is the last one to go."""
        found = self._entries.get((scope, key))
        if found is None:
            return None
        self._entries.move_to_end((scope, key))
        self._keys[found[1]].move_to_end((scope, key))
        return found[0]

    def put(self, scope: Scope, key: str, entry: Entry, payer: str = "") -> None:
        """Keep an entry, unless it alone is more than a quarter of the limit."""
        self.delete(scope, key)
        size = len(entry.value) + OVERHEAD
        if size > self._limit // 4:
            return
        self._entries[scope, key] = entry, payer
        self._keys.setdefault(payer, OrderedDict())[scope, key] = None
        self._spent[payer] += size
        self.size += size
        if self._spent[payer] > self._limit // 2:
            self._greedy = payer
        gone = 0
        while self.size > self._limit:
            self.delete(*next(iter(self._entries if self._greedy is None else self._keys[self._greedy])))
            gone += 1
        if gone:
            self._evicted(gone)

    def delete(self, scope: Scope, key: str) -> None:
        """Forget one entry."""
        found = self._entries.pop((scope, key), None)
        if found is None:
            return
        old, payer = found
        size = len(old.value) + OVERHEAD
        self.size -= size
        self._spent[payer] -= size
        if payer == self._greedy and self._spent[payer] <= self._limit // 2:
            self._greedy = None
        del self._keys[payer][scope, key]
        if not self._keys[payer]:
            del self._keys[payer], self._spent[payer]

    def purge(self, namespace: str, subject: str) -> None:
        """Forget everything of a subject, whoever owns it."""
        for scope, key in list(self._entries):
            if scope.namespace == namespace and scope.subject == subject:
                self.delete(scope, key)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._keys.clear()
        self._spent.clear()
        self._greedy = None
        self.size = 0
