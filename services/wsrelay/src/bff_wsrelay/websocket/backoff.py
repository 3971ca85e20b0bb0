"""How long to wait before the next attempt to connect to the backend. Pure."""

import random
from collections.abc import Callable, Sequence

SCHEDULE = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds before the first attempt, the second and so on; the last one repeats."""


class Backoff:
    """The wait before each attempt: `schedule` in seconds, its last one repeated, times a draw of 0.5 to 1.

    The draw spreads the viewers of one restarted backend; it never makes a wait longer than documented.
    """

    def __init__(self, schedule: Sequence[float] = SCHEDULE, draw: Callable[[], float] = random.random) -> None:
        self._schedule, self._draw = tuple(schedule), draw
        self.attempt = 0

    def next(self) -> float:
        """Count an attempt and return the seconds to wait before it."""
        delay = self._schedule[min(self.attempt, len(self._schedule) - 1)]
        self.attempt += 1
        return delay * (0.5 + 0.5 * self._draw())

    def reset(self) -> None:
        """Begin anew after a success."""
        self.attempt = 0
