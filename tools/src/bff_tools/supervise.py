"""What becomes of a process that ends by itself: when it is started again, and when no more. Pure decisions."""

from dataclasses import dataclass

STEADY_S = 30.0
"""Seconds of running after which earlier failures no longer count."""

MOST_RESTARTS = 6
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 8.0
BACKEND_DELAY_S = 3.0
"""The demo backend stays away a while, so that ending it by hand shows how the rest lives without it."""


@dataclass
class Restarts:
    """Decides for one process; times are seconds of any clock that only goes forward."""

    first_delay: float = FIRST_DELAY_S
    failures: int = 0
    started_at: float = 0.0
    due_at: float | None = None

    def started(self, now: float) -> None:
        """Note that the process was started."""
        self.started_at, self.due_at = now, None

    def ended(self, now: float) -> float | None:
        """Note that it ended; return the seconds until it is to be started again, or None if that is pointless."""
        if now - self.started_at >= STEADY_S:
            self.failures = 0
        self.failures += 1
        if self.failures > MOST_RESTARTS:
            return None
        delay = min(LONGEST_DELAY_S, self.first_delay * 2 ** (self.failures - 1))
        self.due_at = now + max(delay, self.first_delay)
        return self.due_at - now

    def due(self, now: float) -> bool:
        """Tell whether the time of a planned start has come."""
        return self.due_at is not None and now >= self.due_at
