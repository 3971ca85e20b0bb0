"""One viewer of a recording: its player, its outlet, its heartbeat, its balance. No waiting, hence no task."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bff_shared.http.context import correlation_id
from bff_shared.limits import TokenBucket
from bff_wsrelay.framelog.frame import stamp
from bff_wsrelay.framelog.topic import Recording
from bff_wsrelay.metrics import StreamMetrics
from bff_wsrelay.playback.messages import END, HEARTBEAT, READY, Refused, err, extent, hear, status
from bff_wsrelay.playback.pacer import Emission, Player
from bff_wsrelay.playback.scheduler import Ticker, run_turn
from bff_wsrelay.playback.sinks import Outlet
from bff_wsrelay.settings import RelaySettings
from bff_wsrelay.websocket.close_codes import INTERNAL_ERROR, NO_STATUS, RESTART, TRY_AGAIN_LATER, Close

log = logging.getLogger("bff.stream")
POLICY = 1008


@dataclass(slots=True)
class Balance:
    """Whether frames follow each other without gap or overlap, since the viewer last went elsewhere."""

    expected: int
    jumps: int = 0
    frames: int = 0
    covered: int = 0
    faults: int = 0

    def enter(self, emission: Emission, jumps: int) -> bool:
        """Book a frame; tell whether it continues where the one before ended, or the viewer went elsewhere."""
        start, end, _ = emission
        fits = start == self.expected or jumps != self.jumps
        self.faults += not fits
        self.jumps, self.expected = jumps, end
        self.frames += 1
        self.covered += end - start
        return fits


class Spectator:
    """Gives a player its turns and sends what it says. Times are those of its clock.

    `owner` stands for its credentials, `left` is how its connection ended where it was not closed from here.
    Nothing that goes wrong in a turn of its own reaches whoever gave it: the connection is closed with 1011.
    """

    __slots__ = (
        "_allowance",
        "_beat",
        "_buffered",
        "_clock",
        "_dropped",
        "_get_buffered",
        "_knows_epoch",
        "_left_out",
        "_measured",
        "_metrics",
        "_moved",
        "_outlet",
        "_pressed",
        "_request_id",
        "_room",
        "_settings",
        "_ticker",
        "balance",
        "claimed",
        "closed",
        "left",
        "opened",
        "owner",
        "player",
        "recording",
        "scheduled",
        "told",
    )

    def __init__(
        self,
        recording: Recording,
        player: Player,
        outlet: Outlet,
        ticker: Ticker,
        settings: RelaySettings,
        metrics: StreamMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        now = clock()
        self.recording, self.player = recording, player
        self.scheduled = float("inf")
        self.balance = Balance(player.cursor)
        self.opened = now
        self.told: bytes | None = None
        self._measured = player.log.ended
        self._knows_epoch = bool(player.log.epoch)
        self._left_out = 0
        self.claimed: tuple[str, int | None] | None = None
        """The epoch and the time in µs of the last frame that the viewer has, while nobody knows the run's epoch."""
        self.closed: Close | None = None
        self.left = Close(NO_STATUS)
        self.owner = ""
        self._outlet, self._ticker, self._settings, self._metrics = outlet, ticker, settings, metrics
        self._get_buffered = outlet.buffered_now
        self._clock, self._room = clock, settings.stream_viewer_bytes
        self._allowance = TokenBucket(settings.stream_max_controls, settings.stream_max_controls)
        self._beat = now + settings.stream_heartbeat
        self._pressed = False
        self._dropped = 0
        self._buffered, self._moved = 0, now
        self._request_id = correlation_id()

    def attach(self) -> None:
        """Begin to follow the recording."""
        self.recording.watchers.add(self)
        run_turn(self, self._begin, self._clock())

    def _begin(self, now: float) -> None:
        self._tell_left_out()
        self._turn(now)

    def detach(self) -> None:
        """End it."""
        self.recording.watchers.discard(self)
        self.recording.hungry.discard(self)
        self._ticker.forget(self)

    def hear(self, text: str | bytes) -> None:
        """Take a message of the viewer."""
        run_turn(self, self._hear, text, self._clock())

    def _hear(self, text: str | bytes, now: float) -> None:
        if not self._allowance.take(now):
            self._outlet.say(err("BUSY", "too many messages"), "error")
            self.close(Close(POLICY, "too many messages"))
            return
        try:
            said = hear(text)
            if said == "ready":
                self._outlet.say(READY)
            elif said != "hb":
                self.player.obey(said, now)
                self._metrics.tally.controls += 1
                self._outlet.say(said.echo)
        except Refused as refused:
            self._outlet.say(refused.answer, "error")
        self._turn(now)

    def tick(self, now: float) -> float:
        """Send what is due; return when to come again."""
        if self.closed is not None:
            return float("inf")
        room = self._get_buffered() == 0 or self._has_room(now)
        if now >= self._beat:
            if room:
                self._outlet.say(HEARTBEAT, "hb")
            self._beat = max(self._beat + self._settings.stream_heartbeat, now)
        player = self.player
        step = player.advance(now, room=room)
        while step is not None:
            if step == "end":
                self._outlet.say(END, "end")
                break
            self._show(step)
            if player.due > now:
                break
            step = player.advance(now, room=room)
        if player.is_starved:
            self.recording.hungry.add(self)
            self._tell()
        return min(player.due, self._beat)

    def prepare(self) -> None:
        """Merge the next frame's sources now, while there is time."""
        if self.player.stride > 1 and (coming := self.player.peek()) is not None:
            self.player.log.head(*coming)

    def grown(self) -> None:
        """Go on, now that the log has more, or has ended."""
        run_turn(self, self._grow)

    def _grow(self) -> None:
        self._measure()
        now = self._clock()
        self.player.grown(now)
        self._turn(now)

    def changed(self) -> None:
        """Go on after the time that was shown last, now that the run is another one, or its epoch is known."""
        run_turn(self, self._change)

    def _change(self) -> None:
        now, player, log = self._clock(), self.player, self.recording.log
        last = player.cursor - 1
        shown = player.log.time_of(last) if 0 <= last < len(player.log) else None
        reason = "changed"
        if not self._knows_epoch:
            reason = "known"
            if self.claimed is not None and self.claimed[0] != log.epoch:
                reason, shown = "unknown", self.claimed[1]
        if reason != "known":
            player.switch(log, shown, now)
        self._knows_epoch, self._measured, self._left_out = True, False, 0
        after = stamp(shown) if shown is not None else None
        self._outlet.say(status("epoch", epoch=log.epoch, ts=after, reason=reason), "status")
        player.grown(now)
        self._turn(now)

    def informed(self) -> None:
        """Pass on why the run cannot be played, or what is waited for."""
        run_turn(self, self._inform)

    def _inform(self) -> None:
        failure = self.recording.failure
        if failure is not None:
            self._outlet.say(err(failure.code, failure.message), "error")
            self.close(Close(failure.close, failure.message))
        else:
            self._measure()
            self._tell()
            self._tell_left_out()

    def drain(self, retry_ms: int) -> None:
        """Send the viewer away, to come back."""
        run_turn(self, self._outlet.say, status("draining", retry_ms=retry_ms), "status")
        self.close(Close(RESTART, "draining"))

    def failed(self, error: Exception) -> None:
        """End the connection, one of whose turns raised `error`, with 1011."""
        ids = {"run_id": self.recording.run_id, "request_id": self._request_id}
        log.error("a viewer's turn failed", exc_info=error, extra=ids)
        message = "the relay failed to play the run"
        try:
            if self.closed is None:
                self._outlet.say(err("INTERNAL", message), "error")
        finally:
            self.close(Close(INTERNAL_ERROR, message))

    def close(self, close: Close) -> None:
        """End the connection."""
        if self.closed is None:
            self.closed = close
            self._ticker.forget(self)
            self._outlet.close(close)

    def figures(self) -> dict[str, Any]:
        """Return what is known of this stream, for its log line and for `/api/v1/streams`."""
        player, now = self.player, self._clock()
        span = player.log.span
        at = stamp(player.log.time_of(player.cursor - 1)) if span and 0 < player.cursor <= len(player.log) else None
        return {
            "run_id": self.recording.run_id,
            "state": player.state,
            "seq": player.cursor - 1,
            "ts": at,
            "speed": player.speed,
            "fps": player.fps,
            "frames": self.balance.frames,
            "source_frames": self.balance.covered,
            "dropped": player.dropped,
            "jumps": player.jumps,
            "imbalances": self.balance.faults,
            "lag_ms": round(1000 * player.lag(now), 1),
            "buffered": self._get_buffered(),
            "seconds": round(now - self.opened, 3),
        }

    def _turn(self, now: float) -> None:
        if self.closed is None:
            self._ticker.schedule(self, self.tick(now))
            self._ticker.flush()

    def _show(self, emission: Emission) -> None:
        balance, tally = self.balance, self._metrics.tally
        if self.told is not None:
            self.told = None
            self._outlet.say(status("live"), "status")
        tally.bytes += self._outlet.show(self.player.log, emission)
        if not balance.enter(emission, self.player.jumps):
            tally.imbalances += 1
        tally.frames += 1
        if emission.dropped != self._dropped:
            tally.dropped += emission.dropped - self._dropped
            self._dropped = emission.dropped
        tally.source_frames += emission.end - emission.start

    def _measure(self) -> None:
        """Tell once how large the run is, where the greeting could not: when its log is whole, before any `end`."""
        if self.player.log.ended and not self._measured:
            self._measured = True
            self._outlet.say(extent(self.recording.extent), "extent")

    def _tell(self) -> None:
        """Tell a viewer that waits what for, once for each reason."""
        recording = self.recording
        if not self.player.is_starved or recording.state not in {"waiting", "reconnecting"}:
            return
        message = status(recording.state, **recording.fields)
        if message != self.told:
            self.told = message
            self._outlet.say(message, "status")

    def _tell_left_out(self) -> None:
        """Tell how many of the run's frames could not be read and are missing, when there are more than before."""
        count = self.recording.malformed
        if count > self._left_out:
            self._left_out = count
            state = self.recording.state if self.told is not None else "live"
            self._outlet.say(status(state, malformed=count), "status")

    def _has_room(self, now: float) -> bool:
        """Tell whether the connection takes more; close one that takes nothing for too long."""
        buffered = self._get_buffered()
        if buffered <= self._room:
            self._pressed = False
            return True
        if not self._pressed or buffered < self._buffered:
            self._moved = now
        self._pressed, self._buffered = True, buffered
        if now - self._moved >= self._settings.stream_stuck_seconds:
            self.close(Close(TRY_AGAIN_LATER, "the connection takes nothing"))
        return False
