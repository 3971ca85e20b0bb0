"""Why runs could not be played a moment ago, so that they are not read again for every viewer. Pure."""

from collections import OrderedDict

from bff_wsrelay.framelog.failures import FailureReason

REFUSAL_SECONDS = 1.0
"""For so long a refusal that cost the backend one short response is remembered."""
MAX_REMEMBERED = 1_000
"""Failed runs of each kind that are remembered at once."""
Key = tuple[str, str]
"""A run's id and the digest of the credentials that it was asked for with."""
_CHEAP = frozenset(("UNAUTHORIZED", "FORBIDDEN", "RUN_NOT_FOUND"))


class FailureCache:
    """Failures by run and credentials, for `seconds`; the oldest is forgotten first. Times are monotonic seconds.

    Refusals that cost the backend one short answer have a room of their own: however many there are, none makes a run
    forgotten that was read and could not be.
    """

    def __init__(self, seconds: float, limit: int = MAX_REMEMBERED) -> None:
        self._seconds, self._limit = seconds, limit
        self._cheap: OrderedDict[Key, tuple[float, FailureReason]] = OrderedDict()
        self._costly: OrderedDict[Key, tuple[float, FailureReason]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._cheap) + len(self._costly)

    def remember(self, key: Key, reason: FailureReason, now: float) -> None:
        """Remember a failure, unless another attempt may well succeed."""
        if reason.code == "BUSY" or not self._seconds:
            return
        is_cheap = reason.code in _CHEAP
        known = self._cheap if is_cheap else self._costly
        known[key] = (now + (min(self._seconds, REFUSAL_SECONDS) if is_cheap else self._seconds), reason)
        known.move_to_end(key)
        for each in (self._cheap, self._costly):
            while each and (len(each) > self._limit or next(iter(each.values()))[0] <= now):
                each.popitem(last=False)

    def find(self, key: Key, now: float) -> FailureReason | None:
        """Return why a run cannot be played, None where nobody knows or it is too long ago."""
        for known in (self._costly, self._cheap):
            until, reason = known.get(key, (now, None))
            if reason is not None and now < until:
                return reason
            known.pop(key, None)
        return None
