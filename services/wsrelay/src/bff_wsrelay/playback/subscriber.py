"""One subscriber of a topic: its pacer, sink, heartbeat and flow control. Nothing waits here, so it needs no task.

Longer than 350 lines because whatever happens to a stream (its turns, controls, growth, another epoch, a drain) decides
on the same few fields what its client is told, and in which order.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

from bff_shared.http.context import correlation_id
from bff_shared.limits import TokenBucket
from bff_shared.trading_sessions import BarSize
from bff_wsrelay.framelog.failures import FailureReason
from bff_wsrelay.framelog.frame import format_time
from bff_wsrelay.framelog.topic import Topic
from bff_wsrelay.metrics import LATE_SECONDS, StreamMetrics
from bff_wsrelay.playback.backpressure import Backpressure
from bff_wsrelay.playback.bars import BarTracker
from bff_wsrelay.playback.continuity import ContinuityCheck
from bff_wsrelay.playback.messages import (
    END,
    HEARTBEAT,
    READY,
    Control,
    ControlRefused,
    error_message,
    extent_message,
    parse_message,
    status_message,
)
from bff_wsrelay.playback.pacer import Emission, Pacer
from bff_wsrelay.playback.scheduler import Scheduler, run_turn
from bff_wsrelay.playback.sinks import Sink
from bff_wsrelay.settings import RelaySettings
from bff_wsrelay.websocket.close_codes import (
    INTERNAL_ERROR,
    NO_STATUS,
    POLICY_VIOLATION,
    RESTART,
    TRY_AGAIN_LATER,
    Close,
)

log = logging.getLogger("bff.stream")

_FED = frozenset(("live", "finished"))
"""States of a topic in which what the backend has to send comes."""


class Subscriber:
    """Runs a pacer and sends what it decides. Times are monotonic seconds of `clock`.

    `principal` is a digest of its credentials, `left` how its connection ended where the relay did not close it. An
    exception in one of its turns never reaches the caller: the connection is closed with 1011.
    """

    __slots__ = (
        "_backpressure",
        "_bars",
        "_clock",
        "_control_bucket",
        "_dropped",
        "_epoch_known",
        "_extent_announced",
        "_get_unsent",
        "_heartbeat_due",
        "_malformed_count",
        "_metrics",
        "_request_id",
        "_scheduler",
        "_settings",
        "_sink",
        "announced_status",
        "closed",
        "continuity",
        "due_at",
        "left",
        "opened",
        "pacer",
        "principal",
        "resume_from",
        "topic",
    )

    def __init__(
        self,
        topic: Topic,
        pacer: Pacer,
        sink: Sink,
        scheduler: Scheduler,
        settings: RelaySettings,
        metrics: StreamMetrics,
        clock: Callable[[], float] = time.monotonic,
        bar: BarSize | None = None,
    ) -> None:
        now = clock()
        self._bars = BarTracker(bar)
        pacer.carry_bars(now, wanted=bar is not None)
        self.topic, self.pacer = topic, pacer
        self.due_at = float("inf")
        self.continuity = ContinuityCheck(pacer.cursor)
        self.opened = now
        self.announced_status: bytes | None = None
        self._extent_announced = pacer.log.ended
        self._epoch_known = bool(pacer.log.epoch)
        self.resume_from: tuple[str, int | None] | None = None
        """The epoch and the time in µs of the last frame that the client has, while the run's epoch is unknown."""
        self.closed: Close | None = None
        self.left = Close(NO_STATUS)
        self.principal = ""
        self._sink, self._scheduler, self._settings, self._metrics = sink, scheduler, settings, metrics
        self._get_unsent = sink.unsent_bytes
        self._backpressure = Backpressure(settings.stream_viewer_bytes, settings.stream_stuck_seconds, now)
        self._clock = clock
        self._control_bucket = TokenBucket(settings.stream_max_controls, settings.stream_max_controls)
        self._heartbeat_due = now + settings.stream_heartbeat
        self._dropped = self._malformed_count = 0
        self._request_id = correlation_id()

    def __repr__(self) -> str:
        """Return the run, the pacer's state and position, and how the connection was closed."""
        pacer, closed = self.pacer, self.closed.code if self.closed is not None else None
        return f"<Subscriber {self.topic.run_id!r} {pacer.state} seq={pacer.cursor - 1} closed={closed}>"

    def subscribe(self) -> None:
        """Begin to follow the topic."""
        self.topic.listeners.add(self)
        run_turn(self, self._begin, self._clock())

    def _begin(self, now: float) -> None:
        self.pacer.fed = self.topic.state in _FED
        self._announce_malformed()
        self._turn(now)

    def unsubscribe(self) -> None:
        """Stop following the topic."""
        self.topic.listeners.discard(self)
        self.topic.starved.discard(self)
        self._scheduler.cancel(self)

    def receive_message(self, text: str | bytes) -> None:
        """Handle a message of the client: carry out its control and echo it, or send an error; too many close it."""
        run_turn(self, self._receive, text, self._clock())

    def _receive(self, text: str | bytes, now: float) -> None:
        if not self._control_bucket.take(now):
            self._sink.send(error_message("BUSY", "too many messages"), "error")
            self.close(Close(POLICY_VIOLATION, "too many messages"))
            return
        try:
            message = parse_message(text)
            if message == "ready":
                self._sink.send(READY)
            elif message != "hb":
                self._carry_out(message, now)
                self._metrics.counts.controls += 1
                self._sink.send(message.echo)
        except ControlRefused as refused:
            self._sink.send(refused.payload, "error")
        self._turn(now)

    def _carry_out(self, control: Control, now: float) -> None:
        if control.cmd == "bar":
            self._bars.change(control.bar)
            self.pacer.carry_bars(now, wanted=control.bar is not None)
        else:
            self.pacer.apply(control, now)

    def on_due(self, now: float) -> float:
        """Send what is due at `now`; return the next due time in monotonic seconds, infinity for none."""
        if self.closed is not None:
            return float("inf")
        room = self._keep_alive(now)
        pacer = self.pacer
        if self._bars.needs_position(pacer.jumps):
            self._announce_position()
        due = pacer.due
        step = pacer.advance(now, room=room)
        while step is not None:
            if step == "end":
                self._sink.send(END, "end")
                break
            if isinstance(step, ControlRefused):
                self._sink.send(step.payload, "error")
            else:
                self._show(step, now - due)
            due = pacer.due
            if due > now:
                break
            step = pacer.advance(now, room=room)
        if pacer.is_starved:
            self.topic.starve(self)
            self._announce_status()
        return min(pacer.due, self._heartbeat_due)

    def _keep_alive(self, now: float) -> bool:
        """Send a heartbeat that is due, or end a connection that takes nothing; return whether it has room."""
        room = self._backpressure.has_room(self._get_unsent(), now)
        if not room and self._backpressure.is_stuck(now):
            self.close(Close(TRY_AGAIN_LATER, "the connection takes nothing"))
        if now >= self._heartbeat_due:
            if room:
                self._sink.send(HEARTBEAT, "hb")
            self._heartbeat_due = max(self._heartbeat_due + self._settings.stream_heartbeat, now)
        return room

    def prepare(self) -> None:
        """Merge the source frames of the next frame ahead of its due time."""
        if self.pacer.stride > 1 and (coming := self.pacer.peek()) is not None:
            self.pacer.log.head(*coming)

    def on_growth(self) -> None:
        """Go on, now that the log has more, or has ended."""
        run_turn(self, self._grow)

    def _grow(self) -> None:
        if self.pacer.log.ended:
            self._announce_extent()
        now = self._clock()
        self.pacer.on_growth(now)
        self._turn(now)

    def needed_until(self, seconds: float) -> float:
        """Return the index before which it may show frames within so many seconds."""
        return self.pacer.needed_until(seconds)

    def on_epoch(self) -> None:
        """Go on after the time that was sent last, now that the run is another one, or its epoch is known."""
        run_turn(self, self._change)

    def _change(self) -> None:
        now, pacer, log = self._clock(), self.pacer, self.topic.log
        last = pacer.cursor - 1
        shown = pacer.log.time_of(last) if 0 <= last < len(pacer.log) else None
        reason = "changed"
        if not self._epoch_known:
            reason = "known"
            if self.resume_from is not None and self.resume_from[0] != log.epoch:
                reason, shown = "unknown", self.resume_from[1]
        if reason != "known":
            pacer.switch(log, shown, now)
        self._epoch_known, self._extent_announced, self._malformed_count = True, False, 0
        after = format_time(shown) if shown is not None else None
        self._sink.send(status_message("epoch", epoch=log.epoch, ts=after, reason=reason), "status")
        pacer.on_growth(now)
        self._turn(now)

    def on_state(self) -> None:
        """Send why the run cannot be played, or what state its topic is in."""
        run_turn(self, self._inform)

    def _inform(self) -> None:
        failure = self.topic.failure
        self.pacer.fed = self.topic.state in _FED
        if failure is not None:
            self._fail(failure)
        else:
            self._announce_extent()
            self._announce_status()
            self._announce_malformed()

    def fail(self, reason: FailureReason) -> None:
        """Tell the client why it may not watch the run any longer, and close."""
        run_turn(self, self._fail, reason)

    def _fail(self, reason: FailureReason) -> None:
        self._sink.send(error_message(reason.code, reason.message), "error")
        self.close(Close(reason.close, reason.message))

    def drain(self, retry_ms: int) -> None:
        """Tell the client to come back in `retry_ms`, and close."""
        run_turn(self, self._sink.send, status_message("draining", retry_ms=retry_ms), "status")
        self.close(Close(RESTART, "draining"))

    def on_failure(self, error: Exception) -> None:
        """End the connection, one of whose turns raised `error`, with 1011."""
        ids = {"run_id": self.topic.run_id, "request_id": self._request_id}
        log.error("a viewer's turn failed", exc_info=error, extra=ids)
        message = "the relay failed to play the run"
        try:
            if self.closed is None:
                self._sink.send(error_message("INTERNAL", message), "error")
        finally:
            self.close(Close(INTERNAL_ERROR, message))

    def close(self, close: Close) -> None:
        """End the connection."""
        if self.closed is None:
            self.closed = close
            self._scheduler.cancel(self)
            self._sink.close(close)

    def describe(self) -> dict[str, Any]:
        """Return the state of this stream, for its log line and for `/api/v1/streams`."""
        pacer, now = self.pacer, self._clock()
        span = pacer.log.span
        at = format_time(pacer.log.time_of(pacer.cursor - 1)) if span and 0 < pacer.cursor <= len(pacer.log) else None
        return {
            "run_id": self.topic.run_id,
            "state": pacer.state,
            "seq": pacer.cursor - 1,
            "ts": at,
            "speed": pacer.speed,
            "fps": pacer.fps,
            "frames": self.continuity.frames,
            "source_frames": self.continuity.covered,
            "dropped": pacer.dropped,
            "jumps": pacer.jumps,
            "imbalances": self.continuity.faults,
            "lag_ms": round(1000 * pacer.lag(now), 1),
            "buffered": self._get_unsent(),
            "seconds": round(now - self.opened, 3),
        }

    def _turn(self, now: float) -> None:
        if self.closed is None:
            self._scheduler.schedule(self, self.on_due(now))

    def _show(self, emission: Emission, delay: float) -> None:
        continuity, counts = self.continuity, self._metrics.counts
        if self.announced_status is not None:
            self.announced_status = None
            self._sink.send(status_message("live"), "status")
        log = self.pacer.log
        if self._bars.needs_position(self.pacer.jumps):
            self._sink.send(self._bars.position(log, emission.start, self.pacer.jumps), "position")
        counts.bytes += self._sink.send_frame(log, emission, self._bars.view(log, emission.end))
        if not continuity.enter(emission, self.pacer.jumps):
            counts.imbalances += 1
        counts.frames += 1
        if delay > 0:
            counts.frame_delay_seconds += delay
            counts.late_frames += delay > LATE_SECONDS
        if emission.dropped != self._dropped:
            counts.dropped += emission.dropped - self._dropped
            self._dropped = emission.dropped
        counts.source_frames += emission.end - emission.start

    def _announce_position(self) -> None:
        """Send the position as soon as the log has come so far; a seek sends it with its frame."""
        pacer = self.pacer
        if pacer.is_placed:
            self._sink.send(self._bars.position(pacer.log, pacer.cursor, pacer.jumps), "position")
        else:
            self.topic.starved.add(self)

    def _announce_extent(self) -> None:
        """Send the extent of the run once, where `hello` could not: when its log is complete, before any `end`."""
        if self.pacer.log.ended and not self._extent_announced:
            self._extent_announced = True
            self._sink.send(extent_message(self.topic.extent), "extent")

    def _announce_status(self) -> None:
        """Send a starved client the state of its topic, once for each state."""
        topic = self.topic
        if not self.pacer.is_starved or topic.state not in {"waiting", "reconnecting"}:
            return
        message = status_message(topic.state, **topic.fields)
        if message != self.announced_status:
            self.announced_status = message
            self._sink.send(message, "status")

    def _announce_malformed(self) -> None:
        """Send how many of the run's frames were malformed and are missing, when there are more than before."""
        count = self.topic.malformed
        if count > self._malformed_count:
            self._malformed_count = count
            state = self.topic.state if self.announced_status is not None else "live"
            self._sink.send(status_message(state, malformed=count), "status")
