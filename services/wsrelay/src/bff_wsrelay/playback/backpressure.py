"""Which viewer is slow: one whose connection holds more unsent bytes than it may. Pure; time is given.

A slow viewer gets no frame until there is room again; the next one then covers what was held back (`pacer`).
"""


class Backpressure:
    """What a connection has not sent yet, and since when it has sent nothing. Times are monotonic seconds."""

    __slots__ = ("_is_slow", "_most_bytes", "_progress_at", "_stuck_seconds", "_unsent")

    def __init__(self, most_bytes: int, stuck_seconds: float, now: float) -> None:
        self._most_bytes, self._stuck_seconds = most_bytes, stuck_seconds
        self._is_slow, self._unsent, self._progress_at = False, 0, now

    def has_room(self, unsent: int, now: float) -> bool:
        """Take note of how many bytes are unsent; return whether another frame may be sent."""
        if unsent <= self._most_bytes:
            self._is_slow = False
            return True
        if not self._is_slow or unsent < self._unsent:
            self._progress_at = now
        self._is_slow, self._unsent = True, unsent
        return False

    def is_stuck(self, now: float) -> bool:
        """Return whether a slow connection has taken nothing for so long that it is to be closed."""
        return self._is_slow and now - self._progress_at >= self._stuck_seconds
