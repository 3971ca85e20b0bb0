"""What the backend was asked: counters, and the last requests with their headers. Pure.

Credentials are recorded as they came, which is why this exists in a demo backend only, and only with faults enabled.
"""

from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Recorder", "Seen"]

_KEPT = 500
_COUNTED = 2000


@dataclass(slots=True)
class Seen:
    """One request as it arrived; `raw_path` is still encoded, `headers` keep order, repeats and lower-case names."""

    type: str
    method: str
    path: str
    raw_path: str
    query: str
    headers: list[tuple[str, str]]
    body_bytes: int = 0


class Recorder:
    """Keeps the last 500 requests, and counters for at most 2000 different routes (`other` for the rest)."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._max_in_flight = 0
        self._counts: Counter[str] = Counter()
        self._last: deque[Seen] = deque(maxlen=_KEPT)

    def reset(self) -> None:
        """Forget all but the requests still in flight."""
        self._max_in_flight = self._in_flight
        self._counts.clear()
        self._last.clear()

    def begin(self, seen: Seen) -> None:
        """Note a request that has arrived."""
        name = f"{seen.method} {seen.path}"
        self._counts[name if name in self._counts or len(self._counts) < _COUNTED else "other"] += 1
        self._last.append(seen)
        self._in_flight += 1
        self._max_in_flight = max(self._max_in_flight, self._in_flight)

    def end(self) -> None:
        """Note that a request has ended, however it did."""
        self._in_flight -= 1

    def report(self, path_prefix: str = "") -> dict[str, Any]:
        """Return counters and requests, oldest first, of the paths that start with `path_prefix`."""
        counts = {name: n for name, n in self._counts.items() if name.partition(" ")[2].startswith(path_prefix)}
        return {
            "total": sum(counts.values()),
            "in_flight": self._in_flight,
            "max_in_flight": self._max_in_flight,
            "counts": counts,
            "requests": [asdict(seen) for seen in self._last if seen.path.startswith(path_prefix)],
        }
