"""When a piece has broken its budget, and its flag goes off. Pure: given the time, the flags and the counts.

A flag's budget is evaluated while it is on for anybody, over what happened since its last change: whoever turns it on
again begins with a clean slate. What a rollback turned off stays off; nothing here turns it on.

No client breaks a budget alone: those that had most of the failures are left out first.
"""

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass

from bff_proxy.flags.definitions import PIECES
from bff_proxy.flags.evaluation import FlagSet
from bff_shared.outcomes import BUCKET_SECONDS, Counts


@dataclass(frozen=True, slots=True)
class Budget:
    """What a piece may do within a window.

    window        seconds that are looked at together
    min_requests  below so many, the budget is not evaluated
    error_share   share of failed requests that is one too many, 0 to 1
    slow_share    share of slow answers that is one too many, 0 to 1
    min_clients   how many clients must have had failures (or slow answers) that together break the budget
    """

    window: float
    min_requests: int
    error_share: float
    slow_share: float
    min_clients: int = 1

    def breach(self, counts: Counts) -> str | None:
        """Return how the counts break the budget, as a sentence, or None.

        The `min_clients - 1` clients that had most of it are left out; what remains must break the budget by itself.
        """
        return self._breach(counts, self.min_clients)

    def is_of_too_few(self, counts: Counts) -> bool:
        """Tell whether the budget would be broken if fewer clients were enough."""
        return self._breach(counts, self.min_clients) is None and self._breach(counts, 1) is not None

    def _breach(self, counts: Counts, min_clients: int) -> str | None:
        if counts.requests < self.min_requests:
            return None
        for what, number, by, share in (
            ("failed", counts.errors, counts.errors_by, self.error_share),
            ("were slow", counts.slow, counts.slow_by, self.slow_share),
        ):
            worst = _worst(number, by, min_clients - 1)
            rest, requests = number - worst, counts.requests - worst
            if rest > share * max(requests, self.min_requests):
                within = f"{number} of {counts.requests} requests {what} within {self.window:g} s"
                return f"{within}, more than {share:.0%}"
        return None


@dataclass(frozen=True, slots=True)
class Trip:
    """A flag to turn off, unless its version is another by now."""

    key: str
    reason: str
    version: int


class Rollback:
    """Remembers since when each flag has been what it is.

    `withheld` are the pieces that were found to break their budget for too few clients to turn a flag off.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.withheld: frozenset[str] = frozenset()
        self._since: dict[str, tuple[str, float]] = {}

    def evaluate(self, flags: FlagSet, spans: Mapping[int, Mapping[str, Counts]], now: float) -> list[Trip]:
        """Return the flags to turn off; `spans` are counts by number of the span, `now` is in Unix seconds."""
        trips, withheld = [], set()
        for key in PIECES:
            begun = self._begun(key, flags.fingerprint(key), now)
            if flags.flags[key].share == 0:
                continue
            first = math.ceil(max(begun, now - self.budget.window) / BUCKET_SECONDS)
            counts = sum((of.get(key, Counts()) for span, of in spans.items() if span >= first), Counts())
            reason = self.budget.breach(counts)
            if reason is not None:
                trips.append(Trip(key, reason, flags.version(key)))
            elif self.budget.is_of_too_few(counts):
                withheld.add(key)
        self.withheld = frozenset(withheld)
        return trips

    def _begun(self, key: str, fingerprint: str, now: float) -> float:
        known = self._since.get(key)
        if known is None or known[0] != fingerprint:
            self._since[key] = fingerprint, now
            return now
        return known[1]


def _worst(number: int, by: Mapping[str, int], clients: int) -> int:
    """Return how many of a number belong to the clients that have most; what is known of no client is that of one."""
    if clients == 0:
        return 0
    unknown = max(0, number - sum(by.values()))
    return min(number, sum(heapq.nlargest(clients, (*by.values(), unknown))))
