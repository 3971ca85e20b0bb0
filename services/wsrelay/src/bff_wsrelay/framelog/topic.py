"""One run as one set of credentials sees it: its log, how its reading goes, and who watches. No I/O.

waiting ──frames──▶ live ──▶ finished
   ▲                 │ ▲
   └─ not ready yet  ▼ └── frames
               reconnecting            any ──▶ failed (the backend refuses, or the run cannot be had)
"""

from typing import Any, Literal, Protocol

from bff_wsrelay.framelog.failures import FailureReason
from bff_wsrelay.framelog.frame import stamp
from bff_wsrelay.framelog.frame_log import FrameLog
from bff_wsrelay.framelog.run_info import Detail, again, is_another

State = Literal["waiting", "live", "reconnecting", "finished", "failed"]


class Watcher(Protocol):
    """Who follows a recording."""

    def grown(self) -> None:
        """Take note that the log has more frames, or has ended."""

    def changed(self) -> None:
        """Take note that the log is another one, since the run has changed, or that its epoch is known now."""

    def informed(self) -> None:
        """Take note of another state, or of frames that were left out."""


class Recording:
    """A run's log and its watchers; whoever reads it is the only one to change it."""

    def __init__(self, run_id: str, log: FrameLog) -> None:
        self.run_id, self.log = run_id, log
        self.state: State = "waiting"
        self.fields: dict[str, Any] = {}
        self.failure: FailureReason | None = None
        self.detail: Detail | None = None
        self.verified = float("-inf")
        self.connects = 0
        self.malformed = 0
        self.watchers: set[Watcher] = set()
        self.hungry: set[Watcher] = set()

    @property
    def extent(self) -> dict[str, Any]:
        """What is known of the run's size: `total` source frames, and the times `from` and `to`; None where unknown."""
        frames, known = self.log, self.detail
        first = stamp(frames.span[0]) if frames.span else known and known.run_from
        last = stamp(frames.span[1]) if frames.span and frames.ended else known and known.run_to
        return {"total": frames.total, "from": first, "to": last}

    def identify(self, detail: Detail, now: float) -> bool:
        """Take note of what the backend says about the run, having judged the credentials at `now`.

        Returns True when the run was run anew: the log is a new one then, empty, and has to be read from the beginning.
        """
        known, self.detail, self.verified = self.detail, detail, now
        if known is not None and len(self.log) and is_another(known, detail):
            self.malformed = 0
            self.enter("waiting")
            self.feed(self.log.renewed(detail.epoch if detail.epoch != known.epoch else again(self.log.epoch)))
            return True
        if not len(self.log) and (known is None or known.epoch != detail.epoch):
            self.log.epoch = detail.epoch
            for watcher in list(self.watchers):
                watcher.changed()
        return False

    def left_out(self, count: int, *, final: bool = False) -> None:
        """Take note of the frames that a reading left out because nobody could read them, and tell the watchers.

        They are told when there are twice as many as before, and when there will be no more.
        """
        if count > self.malformed and (final or count >= 2 * self.malformed):
            self.malformed = count
            for watcher in list(self.watchers):
                watcher.informed()

    def enter(self, state: State, **fields: Any) -> None:
        """Change the state and tell the watchers; `fields` go into their status message."""
        if (state, fields) == (self.state, self.fields):
            return
        self.state, self.fields = state, fields
        for watcher in list(self.watchers):
            watcher.informed()

    def fail(self, reason: FailureReason) -> None:
        """Give up."""
        self.failure = reason
        self.enter("failed")

    def feed(self, log: FrameLog) -> None:
        """Tell the watchers that there is more, or, if the log is another one, that the run has changed."""
        if log is not self.log:
            self.log = log
            for watcher in list(self.watchers):
                watcher.changed()
        elif self.hungry:
            hungry, self.hungry = self.hungry, set()
            for watcher in hungry:
                watcher.grown()
