"""Why runs could not be played a moment ago, so that they are not read again at once. Pure; the time is given."""

from collections import OrderedDict
from typing import NamedTuple

from bff_wsrelay.framelog.failures import FailureReason

REFUSAL_SECONDS = 1.0
"""For so long a refusal that cost the backend one short response is remembered."""

MAX_REMEMBERED = 1_000
"""Failed runs of each kind that are remembered at once."""

Key = tuple[str, str]
"""A run's id and the digest of the credentials that it was asked for with."""

_CHEAP = frozenset(("UNAUTHORIZED", "FORBIDDEN", "RUN_NOT_FOUND"))


class FailureCache:
    """Failures by run and credentials, bounded by kind and shared between the client addresses that asked.

    Refusals that cost the backend one short response are bounded apart: however many there are, none evicts a failure
    that cost a whole reading. At the bound the address with the most failures loses its oldest one: whoever asks for
    many runs that cannot be played makes none of others forgotten.
    """

    def __init__(self, seconds: float, limit: int = MAX_REMEMBERED) -> None:
        self._seconds = seconds
        self._cheap, self._costly = _Room(limit), _Room(limit)

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._cheap) + len(self._costly)

    def remember(self, key: Key, reason: FailureReason, client: str, now: float) -> None:
        """Remember a failure that counts for a client address, unless another attempt may well succeed."""
        if reason.code == "BUSY" or not self._seconds:
            return
        is_cheap = reason.code in _CHEAP
        seconds = min(self._seconds, REFUSAL_SECONDS) if is_cheap else self._seconds
        (self._cheap if is_cheap else self._costly).add(key, _Remembered(now + seconds, reason, client))
        for room in (self._cheap, self._costly):
            room.forget(now)

    def find(self, key: Key, now: float) -> FailureReason | None:
        """Return why a run cannot be played, None where nobody knows or it is too long ago."""
        return self._costly.find(key, now) or self._cheap.find(key, now)


class _Remembered(NamedTuple):
    until: float
    reason: FailureReason
    client: str


class _Room:
    """At most `limit` failures, all remembered for the same time: the oldest are the first to expire."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: OrderedDict[Key, _Remembered] = OrderedDict()
        self._by_client: dict[str, OrderedDict[Key, None]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def add(self, key: Key, remembered: _Remembered) -> None:
        """Remember a failure in place of an older one of the same run."""
        self._drop(key)
        self._known[key] = remembered
        self._by_client.setdefault(remembered.client, OrderedDict())[key] = None
        if len(self._known) > self._limit:
            most = max(self._by_client.values(), key=len)
            self._drop(next(iter(most)))

    def forget(self, now: float) -> None:
        """Drop what has expired."""
        while self._known:
            oldest = next(iter(self._known))
            if self._known[oldest].until > now:
                return
            self._drop(oldest)

    def find(self, key: Key, now: float) -> FailureReason | None:
        """Return a failure that has not expired."""
        known = self._known.get(key)
        if known is None or now < known.until:
            return known.reason if known else None
        self._drop(key)
        return None

    def _drop(self, key: Key) -> None:
        known = self._known.pop(key, None)
        if known is None:
            return
        own = self._by_client[known.client]
        del own[key]
        if not own:
            del self._by_client[known.client]
