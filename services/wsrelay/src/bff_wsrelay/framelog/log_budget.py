"""Which frame logs have to go when they take more bytes than they may, in all or for one client address. Pure."""

from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
HEADROOM = 16
"""Once logs that nobody watches have to go, a sixteenth of the limit is freed, so that this is not so again at once."""


@dataclass(frozen=True, slots=True)
class LogUse(Generic[K]):
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
class Eviction(Generic[K]):
    """What to do for a log that grows: `drop` others, and let it go on, or refuse it itself."""

    drop: Sequence[K]
    refused: bool


class Ledger(Generic[K]):
    """The logs of a process with running totals of their bytes: `limit` in all, and `client_limit` for each address.

    What a booking costs depends on the addresses that watch that log and not on how many logs there are; only while a
    total is above its limit are they looked at one by one.
    """

    def __init__(self, limit: int, client_limit: int) -> None:
        self._limit, self._client_limit = limit, client_limit
        self._logs: dict[K, LogUse[K]] = {}
        self._by_client: Counter[str] = Counter()
        self.size = 0
        """Bytes of all logs as they were booked last."""

    def book(self, log: LogUse[K]) -> None:
        """Book a log's size and who watches it, in place of what was booked before."""
        self.remove(log.key)
        self._logs[log.key] = log
        self.size += log.size
        for client in log.clients:
            self._by_client[client] += log.size // len(log.clients)

    def remove(self, key: K) -> None:
        """Forget a log, if it is known."""
        log = self._logs.pop(key, None)
        if log is None:
            return
        self.size -= log.size
        _give_back(self._by_client, log)

    def judge(self, growing: K) -> Eviction[K]:
        """Decide for a log that has grown and been booked; changes nothing.

        Logs that nobody watches go first, the longest left first; where only one address has too much, its own.
        Then the newest log of the address with the most bytes goes, unless the log that grows counts for that address.
        """
        grower, limit, client_limit = self._logs[growing], self._limit, self._client_limit
        taken, size = self._by_client, self.size
        if size <= limit and not _has_all(grower, taken, client_limit):
            return Eviction((), refused=False)
        taken, left = taken.copy(), self._logs.copy()
        dropped: list[K] = []

        def remove(log: LogUse[K]) -> None:
            nonlocal size
            del left[log.key]
            dropped.append(log.key)
            size -= log.size
            _give_back(taken, log)

        enough = limit - limit // HEADROOM if size > limit else limit
        client_enough = client_limit - client_limit // HEADROOM
        for log in _unwatched(self._logs.values(), growing):
            is_own = not set(log.clients).isdisjoint(grower.clients)
            if size > enough or (is_own and _has_all(grower, taken, client_enough)):
                remove(log)
        if _has_all(grower, taken, client_limit):
            return Eviction(dropped, refused=True)
        while size > limit:
            client, most = max(taken.items(), key=lambda item: item[1])
            own = max(taken[client] for client in grower.clients)
            candidates = [log for log in left.values() if log.key != growing and set(log.clients) == {client}]
            if most <= own or not candidates:
                return Eviction(dropped, refused=True)
            remove(max(candidates, key=lambda log: log.since))
        return Eviction(dropped, refused=False)


def _has_all(log: LogUse[K], taken: Counter[str], limit: int) -> bool:
    """Return whether each address that a log counts for has more than a limit."""
    return all(taken[client] > limit for client in log.clients)


def _give_back(taken: Counter[str], log: LogUse[K]) -> None:
    for client in log.clients:
        taken[client] -= log.size // len(log.clients)
        if not taken[client]:
            del taken[client]


def _unwatched(logs: Collection[LogUse[K]], growing: K) -> Sequence[LogUse[K]]:
    return sorted((log for log in logs if not log.watched and log.key != growing), key=lambda log: log.since)
