"""Waiting work, by client: clients take turns, and what is small goes before what is large. Pure."""

import heapq
import itertools
import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from bff_shared.errors import Busy, ClientBusy

T = TypeVar("T")
STEP_BYTES: Final = 64 * 1024
"""So many bytes of a piece of work let one more of its client's later pieces go first."""


@dataclass(order=True, slots=True)
class Entry(Generic[T]):
    """A piece of work in the queue; among those of its client the one with the least `order` goes first."""

    order: int
    number: int
    client: str = field(compare=False)
    item: T = field(compare=False)


class FairQueue(Generic[T]):
    """At most `total` pieces of work, and at most `share` of that of one client.

    Clients take turns. Of one client a piece waits for the smaller ones that came before or soon after it, and for no
    others: something small is not held up, and something large does not wait for ever.
    """

    def __init__(self, total: int, share: float, retry_after: float) -> None:
        """Take how many may wait, the share of one client, and the `Retry-After` of who finds no place (seconds)."""
        self.total, self.per_client = total, math.ceil(total * share)
        self._retry_after = retry_after
        self._numbers = itertools.count()
        self._clients: OrderedDict[str, list[Entry[T]]] = OrderedDict()
        self._waiting = 0

    def __len__(self) -> int:
        """Return how many pieces wait."""
        return self._waiting

    def push(self, client: str, size: int, item: T) -> Entry[T]:
        """Add a piece of work of about `size` bytes. Raises ClientBusy or Busy where too many wait already."""
        if len(self._clients.get(client, ())) >= self.per_client:
            raise ClientBusy("too much of what this client asked for waits to be made", self._retry_after)
        if self._waiting >= self.total:
            raise Busy("too much waits to be made", self._retry_after)
        number = next(self._numbers)
        entry = Entry(number + size // STEP_BYTES, number, client, item)
        self.put_back(entry)
        return entry

    def put_back(self, entry: Entry[T]) -> None:
        """Add what had its turn and is not done; it is never refused."""
        heapq.heappush(self._clients.setdefault(entry.client, []), entry)
        self._waiting += 1

    def pop(self) -> Entry[T] | None:
        """Return what is next, None if nothing waits; then it is the next client's turn."""
        if not self._clients:
            return None
        client, entries = next(iter(self._clients.items()))
        entry = heapq.heappop(entries)
        self._waiting -= 1
        if entries:
            self._clients.move_to_end(client)
        else:
            del self._clients[client]
        return entry

    def remove(self, entry: Entry[T]) -> None:
        """Take out a piece that nobody waits for any more; one that is not in the queue is no concern."""
        entries = self._clients.get(entry.client, [])
        if entry not in entries:
            return
        entries.remove(entry)
        heapq.heapify(entries)
        self._waiting -= 1
        if not entries:
            del self._clients[entry.client]
