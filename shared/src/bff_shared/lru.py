"""A mapping of at most so many bytes, from which the least recently used values leave first. Pure.

Every in-process cache of bytes is one of these. `cachetools.LRUCache` bounds bytes too, but knows no shares: its
order of eviction is one for all, so one client's values could push out what all the others have.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ByteLRU(Generic[K, V]):
    """At most `limit` bytes of values, by what `put` says of their sizes.

    A value may count for a payer. Where space is short, the values of a payer that has more than half of it go first,
    so that nobody can push out what all the others have.
    """

    def __init__(self, limit: int, evicted: Callable[[int], object] = lambda _: None) -> None:
        """Take what is called with the number of values that left to make room."""
        self._limit, self._evicted = limit, evicted
        self._values: OrderedDict[K, tuple[V, int, str]] = OrderedDict()
        self._keys: dict[str, OrderedDict[K, None]] = {}
        self._spent: Counter[str] = Counter()
        self._greedy: str | None = None
        self.size = 0

    def __repr__(self) -> str:
        """Say how full it is."""
        return f"<ByteLRU {len(self)} values, {self.size} of {self._limit} bytes>"

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self._values)

    def get(self, key: K) -> V | None:
        """Return a value, which thereby is the last one to leave; None where there is none."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        if found[2]:
            self._keys[found[2]].move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, size: int, payer: str = "") -> None:
        """Keep a value of so many bytes in place of the key's last one, unless it is over a quarter of the limit."""
        if key in self._values:
            self.delete(key)
        if size > self._limit // 4:
            return
        self._values[key] = value, size, payer
        self.size += size
        if payer:
            self._keys.setdefault(payer, OrderedDict())[key] = None
            self._spent[payer] += size
            if self._spent[payer] > self._limit // 2:
                self._greedy = payer
        gone = 0
        while self.size > self._limit:
            self.delete(next(iter(self._values if self._greedy is None else self._keys[self._greedy])))
            gone += 1
        if gone:
            self._evicted(gone)

    def delete(self, key: K) -> None:
        """Forget one value, if there is one."""
        found = self._values.pop(key, None)
        if found is None:
            return
        _, size, payer = found
        self.size -= size
        if not payer:
            return
        self._spent[payer] -= size
        if payer == self._greedy and self._spent[payer] <= self._limit // 2:
            self._greedy = None
        del self._keys[payer][key]
        if not self._keys[payer]:
            del self._keys[payer], self._spent[payer]

    def delete_where(self, condition: Callable[[K, V], bool]) -> None:
        """Forget every value that `condition` is true of."""
        for key in [key for key, (value, _, _) in self._values.items() if condition(key, value)]:
            self.delete(key)

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()
        self._keys.clear()
        self._spent.clear()
        self._greedy = None
        self.size = 0
