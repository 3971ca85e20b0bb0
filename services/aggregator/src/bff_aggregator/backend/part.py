"""One part of a run as the backend gave it, and how the call for it fared. Pure."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from bff_aggregator.backend.schema import Json

RUN: Final = "run"
PARTS: Final = ("metrics", "equity", "orders")
# The curve is the longest part by far: asked for last, it would end that much later.
ASKED: Final = ("equity", "metrics", "orders")

REFUSED: Final = frozenset((401, 403))


class State(StrEnum):
    """How a part fared."""

    OK = "ok"
    MISSING = "missing"
    FAILED = "failed"
    TIMEOUT = "timeout"
    SKIPPED = "skipped"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a run. Times are seconds since the Unix epoch.

    `began` is when it was asked for and `at` when it had come; `data` depends on the part (None unless ok or stale);
    `count` is how many points or orders there are, `rejected` how many of the backend's were left out, `facts` are the
    figures that follow from it alone; `from_frames` is whether it was put together from the run's frames.
    """

    name: str
    state: State
    data: Any = None
    began: float = 0.0
    at: float = 0.0
    source: str | None = "backend"
    error: Json | None = None
    extra: Json | None = None
    count: int | None = None
    rejected: int = 0
    facts: Json | None = None
    revision: str = ""
    fresh_until: float = 0.0
    from_frames: bool = False

    @property
    def usable(self) -> bool:
        """Whether it has data to show."""
        return self.state in {State.OK, State.STALE}

    @property
    def final(self) -> bool:
        """Whether it says something about the run itself, so that it can be kept."""
        return self.state in {State.OK, State.MISSING}

    @property
    def refused(self) -> int | None:
        """The backend's status where it refused the part to whom it was asked for, None where it did not."""
        status = self.error.get("status") if self.error is not None and self.state is State.FAILED else None
        return status if status in REFUSED else None

    def stale(self, error: Json | None) -> "Part":
        """Return a copy marked STALE, to serve in place of a refresh that failed with `error` (stale-if-error)."""
        return replace(self, state=State.STALE if self.state is State.OK else self.state, source="cache", error=error)


def failed_part(part: str, state: State, error: Json, began: float, at: float) -> Part:
    """Return a part that did not come, and why."""
    return Part(part, state, began=began, at=at, error=error)


def skipped_part(part: str) -> Part:
    """Return a part that nobody asked for."""
    return Part(part, State.SKIPPED, source=None)
