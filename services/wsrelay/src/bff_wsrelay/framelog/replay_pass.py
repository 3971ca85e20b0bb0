"""One pass over a run's stream: compares known frames by digest, appends new ones, detects the end. Pure.

The backend sends a run from its first frame on every connection, so each pass after the first begins with what the log
has. A frame that differs there means that the run is another one now: the log is forked, its epoch a new one.
"""

from dataclasses import dataclass

from bff_wsrelay.framelog.frame import Frame
from bff_wsrelay.framelog.frame_log import FrameLog
from bff_wsrelay.framelog.run_info import epoch_of

CAUGHT_UP_SECONDS = 1.0
"""Without a frame for so long, a run that is being read counts as read so far as it goes."""


class ReplayPass:
    """A pass over the run. `log` is the one to go on with: another than at the beginning once the run differed."""

    def __init__(self, log: FrameLog) -> None:
        self.log = log
        self.position = 0
        self.skipped = 0
        self.malformed = 0
        """Frames of this pass that could not be read and are left out."""

    def take(self, frame: Frame) -> bool:
        """Take the next frame of this pass; return whether the log is longer now. Raises LogFull."""
        log = self.log
        if self.position < len(log):
            if log.matches(self.position, frame):
                self.position += 1
                self.skipped += 1
                return False
            self.log = log = log.forked(
                self.position, epoch_of(b"%b %d %d" % (_epoch(log), self.position, frame.digest))
            )
        log.append(frame)
        self.position += 1
        return True

    def close(self) -> None:
        """End the run here: nothing comes after the last frame of this pass."""
        if self.position < len(self.log):
            self.log = self.log.forked(self.position, epoch_of(b"%b %d end" % (_epoch(self.log), self.position)))
        self.log.ended = True

    @property
    def last_time(self) -> int:
        """The time in µs of the last frame of this pass, -1 before the first one."""
        return self.log.time_of(self.position - 1) if self.position else -1

    @property
    def is_complete(self) -> bool:
        """Return whether the pass has come to the number of frames that the backend announced."""
        expected, position = self.log.expected, self.position
        return expected is not None and position >= len(self.log) and position + self.malformed >= expected


def _epoch(log: FrameLog) -> bytes:
    return log.epoch.encode()


class BreakCounter:
    """How often in succession passes over a finished run broke off at the same frame."""

    MOST, MOST_EMPTY = 3, 8
    """How often at one frame, and how often before the first one, where the backend itself may be what is not well."""

    def __init__(self) -> None:
        self._at, self._count = 0, 0

    def note(self, position: int) -> bool:
        """Count a pass that broke off after so many frames; return whether another one is hopeless."""
        self._count = self._count + 1 if position == self._at else 1
        self._at = position
        return self._count >= (self.MOST if position else self.MOST_EMPTY)


@dataclass(slots=True)
class SilenceTracker:
    """Tracks how long the backend has been silent, in seconds of the caller's clock."""

    frame_at: float
    received_at: float
    beats: int = 0
    """Heartbeats since the last frame."""

    def frame(self, now: float) -> None:
        """Note frames."""
        self.frame_at = self.received_at = now
        self.beats = 0

    def beat(self, now: float) -> None:
        """Note a heartbeat."""
        self.received_at = now
        self.beats += 1

    def exclude(self, seconds: float) -> None:
        """Leave out a while in which nothing was received on purpose."""
        self.frame_at += seconds
        self.received_at += seconds

    def is_caught_up(self, now: float) -> bool:
        """Return whether the run counts as read so far as it goes."""
        return now - self.frame_at > CAUGHT_UP_SECONDS

    def means_end(self, now: float, quiet: float) -> bool:
        """Return whether the run may be over without an `end`: heartbeats, but no frame for `quiet` seconds."""
        return self.beats > 0 and now - self.frame_at >= quiet

    def means_stall(self, now: float, patience: float) -> bool:
        """Return whether the backend has been silent for too long, heartbeats included."""
        return now - self.received_at >= patience
