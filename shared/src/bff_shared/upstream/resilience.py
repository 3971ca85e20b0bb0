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
    """Closed lets calls through, open none, half-open none either, while our own probe is under way."""

    CLOSED = 0.0
    HALF_OPEN = 0.5
    OPEN = 1.0


class Outcome(Enum):
    """How a call went: a response, one that says the backend is overloaded, none that is whole, or no connection."""

    GOOD = "good"
    OVERLOADED = "overloaded"
    BROKEN = "broken"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Ticket:
    """The breaker's word on one call: go (`wait` is 0), or try in `wait` seconds.

    With `probe` the caller has to find out whether the backend responds at all, and tell it to `Breaker.probed`.
    """

    wait: float = 0.0
    probe: bool = False
    era: int = 0


class Breaker:
    """Opens when the share of failed calls over the window reaches a limit, and closes after a successful probe.

    What one client alone brings about opens nothing for others: failures count only as far as the calls of all other
    clients fail as well. Two kinds count alone: calls that found no connection, which no request of a client brings
    about, and calls without a whole response while one client is the only one there is.

    The probe is a request of our own, never a caller's, with a deadline after which the next caller starts another. It
    only finds out whether the backend responds. So a breaker that it closes is on probation for one window: a quarter
    of the usual number of calls is enough to open it again, if the route goes on failing.
    """

    def __init__(
        self, window: float, min_calls: int, failure_share: float, open_seconds: float, probe_seconds: float = 1.0
    ) -> None:
        self._seconds, self._min_calls, self._share = window, min_calls, failure_share
        self._open_seconds, self._probe_seconds = open_seconds, probe_seconds
        self._calls = _Calls(window)
        self._opened = self._probe_until = 0.0
        self._probation_until = float("-inf")
        self._era = 0
        self.state = BreakerState.CLOSED

    def __repr__(self) -> str:
        """Say whether calls go through, and what was counted when a call last ended."""
        calls, failures = self._calls.counted()
        return f"<Breaker {self.state.name.lower()} calls={calls} failed={failures}>"

    def admit(self, now: float) -> Ticket:
        """Say whether a call may be made now, or has to wait, or is the one to start the probe."""
        if self.state is BreakerState.CLOSED:
            return Ticket(era=self._era)
        wait = (self._opened + self._open_seconds if self.state is BreakerState.OPEN else self._probe_until) - now
        if wait > 0:
            return Ticket(wait=wait, era=self._era)
        self._turn(BreakerState.HALF_OPEN)
        self._probe_until = now + self._probe_seconds
        return Ticket(probe=True, era=self._era)

    def is_current(self, ticket: Ticket) -> bool:
        """Tell whether nothing has changed since the ticket was given."""
        return ticket.era == self._era

    def record(self, ticket: Ticket, now: float, outcome: Outcome, client: str = "") -> None:
        """Count the outcome of an admitted call of a client; one from before the last opening no longer matters."""
        if self.state is not BreakerState.CLOSED or ticket.era != self._era:
            return
        self._calls.add(now, client, outcome)
        if outcome is not Outcome.GOOD and self._is_failing(now):
            self._turn(BreakerState.OPEN)
            self._opened = now

    def probed(self, ticket: Ticket, now: float, *, responded: bool | None) -> None:
        """Take the result of a probe, None if it ended undecided: then the next caller starts another at once."""
        if self.state is not BreakerState.HALF_OPEN or ticket.era != self._era:
            return
        if responded:
            self._turn(BreakerState.CLOSED)
            self._calls = _Calls(self._seconds)
            self._probation_until = now + self._seconds
            return
        self._turn(BreakerState.OPEN)
        self._opened = now if responded is False else now - self._open_seconds

    def _turn(self, state: BreakerState) -> None:
        self.state = state
        self._era += 1

    def _is_failing(self, now: float) -> bool:
        least = self._min_calls if now >= self._probation_until else max(1, self._min_calls // 4)
        calls, failures, broken, unreachable = self._calls.totals(now)
        if calls < least or failures < self._share * calls:
            return False
        if unreachable and unreachable >= self._share * calls:
            return True
        worst_calls, worst_failures = self._calls.of_the_worst(now)
        if calls == worst_calls:
            return broken > 0 and broken >= self._share * calls
        others = failures - worst_failures
        return others >= max(1, least / 4) and others >= self._share * (calls - worst_calls)


class _Calls:
    """Calls over the last `seconds` by client, in ten slices; memory grows neither with the rate nor with clients."""

    _KINDS = 1024
    """How many clients are told apart; which ones share a number is another in each process."""

    def __init__(self, seconds: float) -> None:
        self._slice = seconds / 10
        self._slices: deque[tuple[float, list[int], dict[int, list[int]]]] = deque()

    def add(self, now: float, client: str, outcome: Outcome) -> None:
        at = now // self._slice
        if not self._slices or self._slices[-1][0] != at:
            self._slices.append((at, [0, 0, 0, 0], {}))
            self._expire(now)
        _, sums, clients = self._slices[-1]
        for counts in (sums, clients.setdefault(hash(client) % self._KINDS, [0, 0, 0, 0])):
            counts[0] += 1
            counts[1] += outcome is not Outcome.GOOD
            counts[2] += outcome in {Outcome.BROKEN, Outcome.UNREACHABLE}
            counts[3] += outcome is Outcome.UNREACHABLE

    def counted(self) -> tuple[int, int]:
        """Return calls and failed ones, without a look at the time."""
        return sum(sums[0] for _, sums, _ in self._slices), sum(sums[1] for _, sums, _ in self._slices)

    def totals(self, now: float) -> tuple[int, int, int, int]:
        """Return calls, failed ones, those without a whole response, and of these the ones that found no connection."""
        self._expire(now)
        calls, failures, broken, unreachable = (sum(sums[index] for _, sums, _ in self._slices) for index in range(4))
        return calls, failures, broken, unreachable

    def of_the_worst(self, now: float) -> tuple[int, int]:
        """Return calls and failed ones of the client that failed most, of one at least; this looks at every client."""
        self._expire(now)
        by_client: dict[int, tuple[int, int]] = {}
        for _, _, clients in self._slices:
            for client, (calls, failures, *_) in clients.items():
                known = by_client.get(client, (0, 0))
                by_client[client] = known[0] + calls, known[1] + failures
        return max(by_client.values(), key=lambda counts: counts[1])

    def _expire(self, now: float) -> None:
        oldest = now // self._slice - 10
        while self._slices and self._slices[0][0] <= oldest:
            self._slices.popleft()


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
