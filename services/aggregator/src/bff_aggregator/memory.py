"""The cache's first layer: entries in this process, least recently used out first. Pure."""

from collections import OrderedDict
from collections.abc import Callable

from bff_aggregator.entries import Entry, Scope

# What an entry costs besides its value: its key, its record and their places in the table.
OVERHEAD = 512


class Memory:
    """At most `limit` bytes of entries; `evicted` is told how many went to make room."""

    def __init__(self, limit: int, evicted: Callable[[int], None]) -> None:
        self._limit, self._evicted = limit, evicted
        self._entries: OrderedDict[tuple[Scope, str], Entry] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._entries)

    def get(self, scope: Scope, key: str) -> Entry | None:
        """Return an entry, which thereby is the last one to go."""
        found = self._entries.get((scope, key))
        if found is not None:
            self._entries.move_to_end((scope, key))
        return found

    def put(self, scope: Scope, key: str, entry: Entry) -> None:
        """Keep an entry, unless it alone is more than a quarter of the limit."""
        self.drop(scope, key)
        size = len(entry.value) + OVERHEAD
        if size > self._limit // 4:
            return
        self._entries[scope, key] = entry
        self.size += size
        gone = 0
        while self.size > self._limit:
            _, old = self._entries.popitem(last=False)
            self.size -= len(old.value) + OVERHEAD
            gone += 1
        if gone:
            self._evicted(gone)

    def drop(self, scope: Scope, key: str) -> None:
        """Forget one entry."""
        old = self._entries.pop((scope, key), None)
        if old is not None:
            self.size -= len(old.value) + OVERHEAD

    def purge(self, namespace: str, subject: str) -> None:
        """Forget everything of a subject, whoever owns it."""
        for scope, key in list(self._entries):
            if scope.namespace == namespace and scope.subject == subject:
                self.drop(scope, key)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self.size = 0
