"""What the backend said last of which credential and which resource, and until when that holds. Pure; time is given.

    asked ────────── due ──────── lapsed ─────────────────────────── gone
           good, and       good, and       holds while the backend
           no question     is asked ahead  cannot be asked

A verdict counts from when the backend was *asked*, so it never outlives the period after which the backend has changed
its mind. A refusal ends it at once, whatever was under way meanwhile. Times are Unix seconds: a verdict may stem from
an entry that another process has made.
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum

DUE_SHARE = 0.75
"""Part of a verdict's time after which a request has it asked for again."""
MAX_VERDICTS = 50_000
"""Verdicts of a process, of about 400 bytes each; the one asked for longest ago leaves first, and costs a question."""


class Standing(Enum):
    """What a verdict is good for; see above."""

    GOOD = "good"
    DUE = "due"
    LAPSED = "lapsed"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Periods:
    """Seconds that a verdict is good for, and that it holds longer while the backend cannot be asked."""

    good: float = 60.0
    stretched: float = 600.0


class Verdicts:
    """The verdicts of one process, by digest of the credential and resource; at most `limit`."""

    def __init__(self, periods: Periods, limit: int = MAX_VERDICTS) -> None:
        self.periods, self._limit = periods, limit
        self._due = periods.good * DUE_SHARE
        self._asked: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._resources: dict[str, set[str]] = {}
        self._refused: OrderedDict[tuple[str, str | None], float] = OrderedDict()

    def __len__(self) -> int:
        """Return how many verdicts there are."""
        return len(self._asked)

    def __repr__(self) -> str:
        """Say how many verdicts of how many credentials there are."""
        return f"<Verdicts {len(self)} of {len(self._resources)} credentials>"

    def standing(self, credential: str, resource: str, now: float) -> Standing:
        """Return what the last verdict on a credential is good for; one from the future is good for nothing."""
        asked = self._asked.get((credential, resource))
        if asked is None:
            return Standing.NONE
        age = now - asked
        if age < 0:  # the clock was put back
            return Standing.NONE
        if age < self._due:
            return Standing.GOOD
        if age < self.periods.good:
            return Standing.DUE
        return Standing.LAPSED if age < self.periods.good + self.periods.stretched else Standing.NONE

    def is_good(self, credential: str, resource: str, now: float) -> bool:
        """Tell whether the standing is GOOD, at less cost."""
        asked = self._asked.get((credential, resource))
        return asked is not None and 0 <= now - asked < self._due

    def accept(self, credential: str, resource: str, asked: float) -> None:
        """Note that the backend, asked at a time, has accepted a credential; a later refusal or verdict stays."""
        if asked <= max(self._refusal(credential, resource), self._refusal(credential, None)):
            return
        key = (credential, resource)
        if self._asked.get(key, asked) > asked:
            return
        self._asked[key] = asked
        self._asked.move_to_end(key)
        self._resources.setdefault(credential, set()).add(resource)
        while len(self._asked) > self._limit:
            self._drop(next(iter(self._asked)))

    def refuse(self, credential: str, resource: str | None, now: float) -> None:
        """Note a refusal, which ends the verdict on a resource, or with None all verdicts on the credential."""
        self._refused[credential, resource] = now
        self._refused.move_to_end((credential, resource))
        while len(self._refused) > self._limit:
            self._refused.popitem(last=False)
        known = self._resources.get(credential, set())
        for name in [resource] if resource is not None else list(known):
            if name in known:
                self._drop((credential, name))

    def clear(self) -> None:
        """Forget everything."""
        self._asked.clear()
        self._resources.clear()
        self._refused.clear()

    def _refusal(self, credential: str, resource: str | None) -> float:
        return self._refused.get((credential, resource), float("-inf"))

    def _drop(self, key: tuple[str, str]) -> None:
        del self._asked[key]
        left = self._resources[key[0]]
        left.discard(key[1])
        if not left:
            del self._resources[key[0]]
