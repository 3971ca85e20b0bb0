"""A topic: one run as one set of credentials sees it, with its frame log, state and listeners. No I/O.

waiting ──frames──▶ live ──▶ finished
   ▲                 │ ▲
   └─ not ready yet  ▼ └── frames
               reconnecting            any ──▶ failed (the backend refuses it, or cannot stream it)
"""

from collections.abc import Callable
from typing import Any, Literal, Protocol

from bff_wsrelay.framelog.failures import FailureReason
from bff_wsrelay.framelog.frame import format_time
from bff_wsrelay.framelog.frame_log import FrameLog
from bff_wsrelay.framelog.run_info import RunDetail, is_different_run, latest_time, renewed_epoch

TopicState = Literal["waiting", "live", "reconnecting", "finished", "failed"]


class Listener(Protocol):
    """Follows a topic."""

    def on_growth(self) -> None:
        """React to a log that has more frames, or has ended."""

    def on_epoch(self) -> None:
        """React to another log, because the run has changed, or to an epoch that is known now."""

    def on_state(self) -> None:
        """React to another state, or to frames that were left out."""

    def needed_until(self, seconds: float) -> float:
        """Return the index before which it may need frames within so many seconds; infinity where nobody knows."""


class Topic:
    """A run's log, state and listeners; only the run's ingester changes it.

    `starved` are the listeners that wait for the log to grow.
    """

    def __init__(self, run_id: str, log: FrameLog) -> None:
        self.run_id, self.log = run_id, log
        self.state: TopicState = "waiting"
        self.fields: dict[str, Any] = {}
        self.failure: FailureReason | None = None
        self.detail: RunDetail | None = None
        self.verified_at = float("-inf")
        self.connects = 0
        self.malformed = 0
        self.listeners: set[Listener] = set()
        self.starved: set[Listener] = set()
        self.on_starved: Callable[[], object] | None = None
        """Called when a listener begins to wait for the log to grow."""

    def __repr__(self) -> str:
        """Return the run, its state, and the numbers of frames and listeners."""
        return f"<Topic {self.run_id!r} {self.state} frames={len(self.log)} listeners={len(self.listeners)}>"

    @property
    def extent(self) -> dict[str, Any]:
        """What is known of the run's size: `total` source frames, and the times `from` and `to`; None where unknown."""
        frames, known = self.log, self.detail
        first = format_time(frames.span[0]) if frames.span else known and known.run_from
        last = format_time(frames.span[1]) if frames.span and frames.ended else known and known.run_to
        return {"total": frames.total, "from": first, "to": last}

    def needed_until(self, seconds: float) -> float:
        """Return the index before which listeners may need frames within so many seconds."""
        return max((listener.needed_until(seconds) for listener in self.listeners), default=0.0)

    def starve(self, listener: Listener) -> None:
        """Call a listener when the log has grown."""
        self.starved.add(listener)
        if self.on_starved is not None:
            self.on_starved()

    def set_detail(self, detail: RunDetail, now: float) -> bool:
        """Set what the backend says about the run, whose credentials it accepted at `now`.

        Returns True when the run was run anew: the log is then a new, empty one, to be read from the beginning.
        """
        known, self.detail, self.verified_at = self.detail, detail, now
        self.log.latest = latest_time(detail.run_to)
        if known is not None and len(self.log) and is_different_run(known, detail):
            self.malformed = 0
            self.enter("waiting")
            self.publish(
                self.log.renewed(detail.epoch if detail.epoch != known.epoch else renewed_epoch(self.log.epoch))
            )
            return True
        if not len(self.log) and (known is None or known.epoch != detail.epoch):
            self.log.epoch = detail.epoch
            for listener in list(self.listeners):
                listener.on_epoch()
        return False

    def note_malformed(self, count: int, *, final: bool = False) -> None:
        """Note the frames that a pass left out because they are malformed, and notify the listeners.

        They are notified when there are twice as many as before, and when there will be no more.
        """
        if count > self.malformed and (final or count >= 2 * self.malformed):
            self.malformed = count
            for listener in list(self.listeners):
                listener.on_state()

    def enter(self, state: TopicState, **fields: Any) -> None:
        """Change the state and notify the listeners; `fields` go into their status message."""
        if (state, fields) == (self.state, self.fields):
            return
        self.state, self.fields = state, fields
        for listener in list(self.listeners):
            listener.on_state()

    def fail(self, reason: FailureReason) -> None:
        """Fail for good: the run cannot be played."""
        self.failure = reason
        self.enter("failed")

    def publish(self, log: FrameLog) -> None:
        """Notify the listeners that the log has grown, or, if `log` is another one, that the run has changed."""
        if log is not self.log:
            log.latest = self.log.latest
            self.log = log
            for listener in list(self.listeners):
                listener.on_epoch()
        elif self.starved:
            starved, self.starved = self.starved, set()
            for listener in starved:
                listener.on_growth()
