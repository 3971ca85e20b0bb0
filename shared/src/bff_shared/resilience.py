"""When to call the backend, when to call again and when not to: breaker, retry budget, backoff. Pure; time is given.

Sources: circuit breaker as in M. Nygard, Release It!; retry budget as in the SRE book, chapter 22; full jitter as in
M. Brooker, Exponential Backoff and Jitter.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum


class Window:
    """Counts of two kinds of event over the last `seconds`, in ten slices; memory does not grow with the rate."""

    def __init__(self, seconds: float) -> None:
        self._slice = seconds / 10
        self._slices: deque[list[float]] = deque()

    def add(self, now: float, first: int, second: int) -> None:
        """Count events at a time that does not go backwards."""
        at = now // self._slice
        if not self._slices or self._slices[-1][0] != at:
            self._slices.append([at, 0, 0])
        self._slices[-1][1] += first
        self._slices[-1][2] += second

    def totals(self, now: float) -> tuple[int, int]:
        """Return both counts over the window that ends now."""
        oldest = now // self._slice - 10
        while self._slices and self._slices[0][0] <= oldest:
            self._slices.popleft()
        return int(sum(s[1] for s in self._slices)), int(sum(s[2] for s in self._slices))


class BreakerState(Enum):
    """Closed lets calls through, open none, half-open one probe at a time."""

    CLOSED = 0.0
    HALF_OPEN = 0.5
    OPEN = 1.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """The breaker's word on one call: go (`wait` is 0), or try in `wait` seconds; `probe` marks a half-open try."""

    wait: float = 0.0
    probe: bool = False


class Breaker:
    """Opens when the share of failed calls over the window reaches a limit, and closes after a successful probe."""

    def __init__(self, window: float, min_calls: int, failure_share: float, open_seconds: float) -> None:
        self._seconds, self._min_calls = window, min_calls
        self._share, self._open_seconds = failure_share, open_seconds
        self._window = Window(window)
        self._opened = 0.0
        self._probing = False
        self.state = BreakerState.CLOSED

    def admit(self, now: float) -> Ticket:
        """Say whether a call may be made now; the ticket of one that is must come back to `record` or `abandon`."""
        if self.state is BreakerState.CLOSED:
            return Ticket()
        wait = self._opened + self._open_seconds - now
        if wait > 0:
            return Ticket(wait=wait)
        if self._probing:
            return Ticket(wait=self._open_seconds)
        self.state, self._probing = BreakerState.HALF_OPEN, True
        return Ticket(probe=True)

    def record(self, ticket: Ticket, now: float, *, failed: bool) -> None:
        """Count the outcome of an admitted call; one from before the breaker opened no longer matters."""
        if ticket.probe:
            self._probing = False
            self.state, self._opened = (BreakerState.OPEN, now) if failed else (BreakerState.CLOSED, 0.0)
            self._window = Window(self._seconds)
        elif self.state is BreakerState.CLOSED:
            self._window.add(now, 1, int(failed))
            calls, failures = self._window.totals(now)
            if failed and calls >= self._min_calls and failures >= self._share * calls:
                self.state, self._opened = BreakerState.OPEN, now

    def abandon(self, ticket: Ticket) -> None:
        """Take back the ticket of a call that ended without an outcome (its caller went away)."""
        if ticket.probe:
            self._probing = False


class RetryBudget:
    """Lets retries be at most a share of the calls of the last ten seconds, and always a few."""

    def __init__(self, share: float, floor: int = 3, window: float = 10.0) -> None:
        self._share, self._floor = share, floor
        self._window = Window(window)

    def called(self, now: float) -> None:
        """Count a first attempt."""
        self._window.add(now, 1, 0)

    def take(self, now: float) -> bool:
        """Tell whether one more retry is within the budget, and count it if so."""
        calls, retries = self._window.totals(now)
        if self._share <= 0 or retries >= max(self._floor, self._share * calls):
            return False
        self._window.add(now, 0, 1)
        return True


def backoff(attempt: int, draw: float, base: float = 0.025, cap: float = 1.0) -> float:
    """Return the seconds before retry `attempt` (from 0): `draw` in [0, 1) of an exponentially growing ceiling."""
    return draw * min(cap, base * float(2**attempt))
