"""One pass over a run: compares what is known already, adds what is new, tells when it is over. Pure.

The backend sends a run from its first frame on every connection, so each pass after the first begins with what the log
has. A frame that differs there means that the run is another one now: the log is forked, its epoch a new one.
"""

import re
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import blake2b
from typing import Any

import orjson

from bff_wsrelay.framelog.frame import Frame, instant
from bff_wsrelay.framelog.frame_log import FrameLog

FINISHED = frozenset(("DONE", "COMPLETED", "ERROR", "FAILED", "CANCELLED"))
_STAMP = re.compile(rb'"(?:timestamp|ts|ts_utc)"\s*:\s*"([^"]*)"')
_IDENTITY = ("created_at", "dataset_id", "strategy_id", "params", "seed", "code_hash")


@dataclass(frozen=True, slots=True)
class Detail:
    """What the backend says about a run: whether it may still grow, its dates, and the epoch of its first reading."""

    finished: bool
    epoch: str
    run_from: str | None = None
    run_to: str | None = None


def detail(run_id: str, body: Any) -> Detail:
    """Read a run's detail; what is missing or strange in it is taken as not said."""
    fields = body if isinstance(body, dict) else {}
    status = fields.get("status")
    identity = orjson.dumps([run_id, *(fields.get(name) for name in _IDENTITY)])
    dates = (value if isinstance(value, str) else None for value in (fields.get("run_from"), fields.get("run_to")))
    return Detail(not isinstance(status, str) or status.upper() in FINISHED, _name(identity), *dates)


def is_another(known: Detail, found: Detail) -> bool:
    """Tell whether a run is not the one that was known under its id, but was run anew."""
    return known.epoch != found.epoch or (known.finished and not found.finished)


def again(epoch: str) -> str:
    """Return the epoch of a run that was run anew and is described as the one before."""
    return _name(b"%b again" % epoch.encode())


def falls_short(last: int, curve_end: int | None, run_to: str | None) -> bool:
    """Tell whether a reading that stopped at the time `last` lacks frames, as far as the backend's word goes.

    `curve_end` is the time of the last point of the run's equity, None if it has none or it is not to be had; then
    `run_to`, the date or time up to which the run was to go, has to do. Times in µs; without either nothing speaks
    against it.
    """
    if curve_end is not None:
        return last < curve_end
    try:
        return run_to is not None and last < instant(_weekday(run_to))
    except ValueError:
        return False


def _weekday(day: str) -> str:
    """Return a date that is a Saturday or Sunday as the Friday before it: few instruments trade then."""
    if len(day) != len("2025-01-02"):
        return day
    known = date.fromisoformat(day)
    return (known - timedelta(days=max(0, known.weekday() - _FRIDAY))).isoformat()


_FRIDAY = 4


def curve_end(body: bytes) -> int | None:
    """Return the time in µs of the last point in an answer with an equity curve, None if it has none.

    Only its end is read: a curve has megabytes.
    """
    stamps = _STAMP.findall(body[-2000:])
    try:
        return instant(stamps[-1].decode()) if stamps else None
    except ValueError:
        return None


def _name(identity: bytes) -> str:
    return blake2b(identity, digest_size=6).hexdigest()


class Reading:
    """A pass over the run. `log` is the one to go on with: another than at the beginning once the run differed."""

    def __init__(self, log: FrameLog) -> None:
        self.log = log
        self.position = 0
        self.skipped = 0
        self.malformed = 0
        """Frames of this pass that nobody could read, and that are left out."""

    def take(self, frame: Frame) -> bool:
        """Take the next frame of this pass; tell whether the log is longer now. Raises Full."""
        log = self.log
        if self.position < len(log):
            if log.agrees(self.position, frame):
                self.position += 1
                self.skipped += 1
                return False
            self.log = log = log.forked(self.position, _name(b"%b %d %d" % (_epoch(log), self.position, frame.digest)))
        log.append(frame)
        self.position += 1
        return True

    def close(self) -> None:
        """End the run here: nothing comes after the last frame of this pass."""
        if self.position < len(self.log):
            self.log = self.log.forked(self.position, _name(b"%b %d end" % (_epoch(self.log), self.position)))
        self.log.ended = True

    @property
    def is_complete(self) -> bool:
        """Tell whether the pass has come to the number of frames that the backend announced."""
        expected, position = self.log.expected, self.position
        return expected is not None and position >= len(self.log) and position + self.malformed >= expected


def _epoch(log: FrameLog) -> bytes:
    return log.epoch.encode()


class Breaks:
    """How often in succession readings of a finished run broke off at one and the same frame."""

    MOST = 3

    def __init__(self) -> None:
        self._at, self._count = 0, 0

    def note(self, position: int) -> bool:
        """Note a reading that broke off after so many frames; tell whether there is no hope in another.

        A reading that brought no frame says nothing about the run.
        """
        if not position:
            return False
        self._count = self._count + 1 if position == self._at else 1
        self._at = position
        return self._count >= self.MOST


@dataclass(slots=True)
class Silence:
    """What the backend has not said for how long, in seconds of the caller's clock."""

    frame_at: float
    heard_at: float
    beats: int = 0
    """Heartbeats since the last frame."""

    def frame(self, now: float) -> None:
        """Note frames."""
        self.frame_at = self.heard_at = now
        self.beats = 0

    def beat(self, now: float) -> None:
        """Note a heartbeat."""
        self.heard_at = now
        self.beats += 1

    def means_end(self, now: float, quiet: float) -> bool:
        """Tell whether a backend that never says so may have sent its last frame: it beats, and none for `quiet`."""
        return self.beats > 0 and now - self.frame_at >= quiet

    def means_stall(self, now: float, patience: float) -> bool:
        """Tell whether the backend has been altogether silent for too long."""
        return now - self.heard_at >= patience
