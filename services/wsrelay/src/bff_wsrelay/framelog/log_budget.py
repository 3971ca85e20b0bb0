"""Which frame logs have to go when they take more bytes than they may, in all or for one client address. Pure."""

from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Held(Generic[K]):
    """A log that takes memory.

    Attributes:
        key: names it.
        size: in bytes.
        clients: addresses that watch it, or the last one that did; its bytes count for them in equal shares.
        watched: whether anybody watches it now.
        since: when it was begun, or, where nobody watches it, left; in seconds of any clock.
    """

    key: K
    size: int
    clients: Collection[str]
    watched: bool
    since: float


@dataclass(frozen=True, slots=True)
class Verdict(Generic[K]):
    """What to do for a log that grows: `drop` others, and let it go on, or refuse it itself."""

    drop: Sequence[K]
    refused: bool


def shares(logs: Collection[Held[K]]) -> Counter[str]:
    """Return the bytes that count for each address."""
    total: Counter[str] = Counter()
    for log in logs:
        for client in log.clients:
            total[client] += log.size // len(log.clients)
    return total


def judge(logs: Collection[Held[K]], growing: K, limit: int, client_limit: int) -> Verdict[K]:
    """Decide for a log that has grown, so that all logs keep to `limit` bytes and each address to `client_limit`.

    Logs that nobody watches go first, the longest left first; where only one address has too much, its own. Then the
    newest log of the address with the most bytes goes, unless the log that grows counts for that address itself.
    """
    left = {log.key: log for log in logs}
    grower = left[growing]
    dropped: list[K] = []
    taken = shares(logs)
    size = sum(log.size for log in logs)

    def remove(log: Held[K]) -> None:
        nonlocal size
        del left[log.key]
        dropped.append(log.key)
        size -= log.size
        for client in log.clients:
            taken[client] -= log.size // len(log.clients)

    def is_greedy() -> bool:
        return all(taken[client] > client_limit for client in grower.clients)

    for log in _unwatched(left.values(), growing):
        if size > limit or (is_greedy() and not set(log.clients).isdisjoint(grower.clients)):
            remove(log)
    if is_greedy():
        return Verdict(dropped, refused=True)
    while size > limit:
        client, most = max(taken.items(), key=lambda item: item[1])
        own = max(taken[client] for client in grower.clients)
        candidates = [log for log in left.values() if log.key != growing and set(log.clients) == {client}]
        if most <= own or not candidates:
            return Verdict(dropped, refused=True)
        remove(max(candidates, key=lambda log: log.since))
    return Verdict(dropped, refused=False)


def _unwatched(logs: Collection[Held[K]], growing: K) -> Iterator[Held[K]]:
    idle = [log for log in logs if not log.watched and log.key != growing]
    return iter(sorted(idle, key=lambda log: log.since))
