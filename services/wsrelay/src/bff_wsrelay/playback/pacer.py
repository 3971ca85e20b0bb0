"""One subscriber's playback: time, controls and the log's growth in, ranges of frames out. Pure.

The run advances 30 * `speed` source frames a second; a viewer gets `fps` frames a second, so a frame covers
`stride = 30 * speed / fps` source frames. The boundaries between frames are the multiples of the stride, rounded down,
wherever a viewer began: viewers at one stride share their frames. Boundary `k` is due at `anchor + k / fps`, so nothing
drifts; after a stall frames follow each other at most CATCH_UP times as fast as usual until the schedule is reached.
Merging takes time that all viewers of a process share, so no frame covers more than MAX_COVERED source frames: where
speed and fps ask for more, frames come more often, and a viewer that was held back catches up in several.

    idle ──play──▶ playing ──pause──▶ paused ──play──▶ playing ──last frame──▶ ended ──play──▶ playing (from the first)

Longer than 350 lines because every state works on the same schedule (due time, tick, target) and the steady case has a
fast path of its own: parted, each frame would cost another object and its calls.
"""

import math
from typing import Literal, NamedTuple

from bff_wsrelay.framelog.frame_log import FrameLog
from bff_wsrelay.playback import positions
from bff_wsrelay.playback.messages import DEFAULT_FPS, DEFAULT_SPEED, Control, ControlRefused, Position

SOURCE_RATE = 30.0
CATCH_UP = 1.25
MAX_LAG = 10.0
"""Seconds behind its schedule that a pacer makes up for; more than that is skipped."""
SEEK_SECONDS = 2.0
"""How long a seek waits for its frame while nothing comes: a run's end is known within a second of its last frame."""
PATIENCE = 0.5
"""Seconds after which a starved pacer sends what is there, though it fills no whole frame."""
MAX_STRIDE = 3_600
"""Source frames that a frame covers at most by its rate: at the greatest speed that is 30 frames a second."""
MAX_COVERED = 2 * MAX_STRIDE
"""Source frames that a frame covers at most, where a viewer was held back. Merging so many takes about 4 ms."""
MAX_BARS = 1_800
"""Source frames that a frame covers at most where it carries bars, of which each may have one: about 5 ms of work."""
GRID = 240
"""Schedules begin at multiples of 1/240 s, so that viewers at usual rates (30, 60, 24) have their turns together."""
DUE_SLACK = 0.0005
NEVER = math.inf


class Emission(NamedTuple):
    """Send one frame that covers `[start, end)`; `dropped` frames have been spared so far."""

    start: int
    end: int
    dropped: int


class Pacer:
    """Where a subscriber is in the log, and which frames it is due when."""

    __slots__ = (
        "_anchor",
        "_anchor_tick",
        "_fresh",
        "_most_covered",
        "_most_stride",
        "_pending",
        "_planned",
        "_shown",
        "_single",
        "_spared",
        "_starved",
        "_target",
        "_then",
        "_tick",
        "_waited_at",
        "_waited_until",
        "_wanted_fps",
        "cursor",
        "dropped",
        "due",
        "fed",
        "fps",
        "jumps",
        "log",
        "speed",
        "state",
        "stride",
    )

    def __init__(
        self, log: FrameLog, *, cursor: int = 0, speed: float = DEFAULT_SPEED, fps: float = DEFAULT_FPS
    ) -> None:
        self.log = log
        self._most_stride, self._most_covered = MAX_STRIDE, MAX_COVERED
        self._rate(speed, fps)
        self.state: Literal["idle", "playing", "paused", "ended"] = "idle"
        self.cursor = self._planned = cursor
        self.dropped = self.jumps = 0
        self.due = NEVER
        self.fed = True
        """Whether the backend sends frames now; as long as it does not, a seek to one that is still to come waits."""
        self._pending: Position | None = None
        self._waited_at, self._waited_until = 0, 0.0
        self._shown: int | None = None
        self._single = False
        self._spared = 0
        self._starved: float | None = None
        self._fresh = True
        self._anchor = self._then = 0.0
        self._tick = self._anchor_tick = self._target = 0

    def __repr__(self) -> str:
        """Return the state, the next frame's index, speed and rate, and when the next turn is due."""
        return f"<Pacer {self.state} cursor={self.cursor} speed={self.speed:g} fps={self.fps:g} due={self.due:.3f}>"

    @property
    def is_placed(self) -> bool:
        """Return whether the log has come to the cursor, which no jump will move before the next frame."""
        return not self._single and self._shown is None and self.cursor <= self.log.length

    @property
    def is_starved(self) -> bool:
        """Return whether it waits for the log to grow."""
        return self._starved is not None

    def needed_until(self, seconds: float) -> float:
        """Return the index before which it may show frames within so many seconds, infinity while it is not known."""
        if self._starved is not None or self._pending is not None or self._shown is not None:
            return math.inf
        return self.cursor + SOURCE_RATE * self.speed * seconds

    def lag(self, now: float) -> float:
        """Return the seconds by which it is behind its schedule."""
        return max(0.0, now - self.due) if self.state == "playing" and self.due < NEVER else 0.0

    def carry_bars(self, now: float, *, wanted: bool) -> None:
        """Cover at most MAX_BARS source frames with a frame where it carries bars, by sending frames more often."""
        self._most_stride, self._most_covered = (MAX_BARS, MAX_BARS) if wanted else (MAX_STRIDE, MAX_COVERED)
        if self._fps_of(self.speed, self._wanted_fps) != self.fps:
            self._set_rate(self.speed, self._wanted_fps, now)

    def apply(self, control: Control, now: float) -> None:
        """Carry out a control. Raises ControlRefused, and nothing has changed then."""
        if control.cmd == "play":
            self.play(now)
        elif control.cmd == "pause":
            self.pause()
        elif control.cmd == "seek":
            assert control.position is not None  # noqa: S101  the parser gives every seek one
            self.seek(control.position, now)
        elif control.cmd == "step":
            self._step(int(control.value), now)
        elif control.cmd == "speed":
            self._set_rate(control.value, self._wanted_fps, now)
        else:
            self._set_rate(self.speed, control.value, now)

    def play(self, now: float) -> None:
        """Begin or go on; after the end begin again from the first frame."""
        if self.state == "playing":
            return
        if self.state == "ended":
            self._jump(0)
        self.state = "playing"
        self._begin(now)

    def pause(self) -> None:
        """Stand still; frames held back for a slow viewer are sent after the next `play`."""
        if self.state == "playing":
            self.state = "paused"
            self._planned, self._spared, self._starved = self.cursor, 0, None
            if not self._single:
                self.due = NEVER

    def seek(self, position: Position, now: float) -> None:
        """Go to the frame nearest to a position, and show it at once. Raises ControlRefused (RANGE)."""
        positions.check_range(self.log, position)
        index = positions.resolve_index(self.log, position)
        self._pending = position if index is None else None
        self._show(self.cursor if index is None else index, now)

    def on_growth(self, now: float) -> None:
        """Note that the log has grown or ended, or was replaced."""
        if self._starved is None and self.due < NEVER:
            return
        if self._single or self.state == "playing":
            if self._fresh and self._starved is not None and not self._single and len(self.log) > self.cursor:
                self._begin(now)
            self.due = min(self.due, now)

    def switch(self, log: FrameLog, shown: int | None, now: float) -> None:
        """Go on in the log of another epoch, after the time in µs that was shown last (None: nothing was)."""
        self.log = log
        self._jump(0 if shown is None else self.cursor)
        self._shown = shown
        if self.state == "playing":
            self._begin(now, 1 / self.fps)
        elif self.state == "ended":
            self.state = "paused"
        self._find()

    def _find(self) -> bool:
        """Move to the frame after the time sent last in the epoch before; return whether the log has come so far."""
        if self._shown is None:
            return True
        index = self.log.after(self._shown)
        if index >= len(self.log) and not self.log.ended:
            return False
        self.cursor = self._planned = index
        self._aim(index)
        self._shown, self._anchor_tick = None, self._tick
        return True

    def advance(self, now: float, *, room: bool) -> Emission | ControlRefused | Literal["end"] | None:
        """Decide what to send at `now`; `due` then says when to ask again.

        Args:
            now: monotonic seconds, not less than in any call before.
            room: whether the connection takes another frame; without room the next one will cover more.

        Returns:
            The frame to send, "end" once after the last one, None for nothing, or the refusal of a seek that waited for
            its frame in vain, after which the playback is where it was before.
        """
        if now < self.due - DUE_SLACK:
            return None
        if self._single:
            return self._advance_single(now, room=room)
        if self.state != "playing":
            self.due = NEVER
            return None
        target = self._target
        if room and self._planned == self.cursor and target <= self.log.length and self._shown is None:
            return self._advance_steadily(now, target)
        return self._advance_playing(now, room=room)

    def _advance_steadily(self, now: float, target: int) -> Emission:
        """Send the next frame in the common case; equivalent to `_advance_playing`, but faster."""
        fps, tick, emission = self.fps, self._tick, Emission(self.cursor, target, self.dropped)
        late = now - self._anchor - (tick - self._anchor_tick) / fps
        if late > MAX_LAG:
            self._anchor += late - MAX_LAG
        self.cursor = self._planned = target
        self._starved, self._fresh, self._then = None, False, now
        if self.stride >= 1:
            self._tick = tick + 1
            self._target = int(self._tick * self.stride + 1e-9)
        else:
            self._aim(target)
        scheduled = self._anchor + (self._tick - self._anchor_tick) / fps
        self.due = max(scheduled, now + (self._tick - tick) / fps / CATCH_UP)
        return emission

    def peek(self) -> tuple[int, int] | None:
        """Return the range that is sent next if nothing changes, so that it can be made ready early."""
        if self.state != "playing" or self._starved is not None or self._single:
            return None
        end = min(self._target, self.log.length, self.cursor + self._most_covered)
        return (self.cursor, end) if end > self.cursor else None

    def _advance_single(self, now: float, *, room: bool) -> Emission | ControlRefused | None:
        if self._pending is not None:
            try:
                positions.check_range(self.log, self._pending)
            except ControlRefused as refused:
                return self._give_up(refused, now)
            index = positions.resolve_index(self.log, self._pending)
            if index is None:
                return self._wait_for_frame(self._pending, now)
            self._pending, self.cursor = None, index
        if not room:
            self.due = now + 1 / self.fps
            return None
        self._single, self._starved = False, None
        emission = self._emit(self.cursor + 1)
        self._planned = self.cursor
        if self.state == "playing":
            self._begin(now, 1 / self.fps)
        else:
            self.due = NEVER
        return emission

    def _wait_for_frame(self, wanted: Position, now: float) -> ControlRefused | None:
        """Wait for the frame of a seek or step; give up when nothing has come for a while."""
        length, total = len(self.log), self.log.total
        is_coming = not self.fed or (total is not None and length < total)
        if self._starved is None or length > self._waited_at or is_coming:
            self._waited_at, self._waited_until = length, now + SEEK_SECONDS
            self._starved = now if self._starved is None else self._starved
        if now >= self._waited_until - DUE_SLACK:
            return self._give_up(positions.out_of_range(self.log, times=wanted.index is None), now)
        self.due = self._waited_until
        return None

    def _give_up(self, refused: ControlRefused, now: float) -> ControlRefused:
        """Go on where the playback was before a seek that is refused now."""
        self._pending, self._single, self._starved, self.due = None, False, None, NEVER
        if self.state == "playing":
            self._begin(now, 1 / self.fps)
        return refused

    def _advance_playing(self, now: float, *, room: bool) -> Emission | Literal["end"] | None:
        if self._shown is not None and not self._find():
            self._starved, self.due = now, NEVER
            return None
        available, target = self.log.length, self._target
        if target > available:
            if not self.log.ended:
                return self._starve(now, available, room=room)
            target = available
            if self._planned >= available:
                return self._finish(now, room=room)
        self._starved = None
        self._planned = target
        late = now - self._anchor - (self._tick - self._anchor_tick) / self.fps
        if late > MAX_LAG:
            self._anchor += late - MAX_LAG
        self._plan_next(now)
        if not room:
            self._spared += 1
            return None
        self._fresh = False
        emission = self._emit(target)
        if self.cursor < target:
            self.due = max(self.due, now + 1 / self.fps / CATCH_UP)
        return emission

    def _starve(self, now: float, available: int, *, room: bool) -> Emission | None:
        """Wait for the log; show after a while what there is."""
        if self._starved is None:
            self._starved = now
        if room and self._planned > self.cursor:
            return self._emit_held(now)
        patient_until = self._starved + PATIENCE
        if available > self._planned and now >= patient_until - DUE_SLACK:
            self.due, self._starved, self._fresh = NEVER, now, False
            self._planned = available
            if room:
                return self._emit(available)
            self._spared += 1
        held = self._planned > self.cursor
        self.due = now + 1 / self.fps if held else patient_until if available > self._planned else NEVER
        return None

    def _finish(self, now: float, *, room: bool) -> Emission | Literal["end"] | None:
        if self.cursor < self._planned:
            if not room:
                self.due = now + 1 / self.fps
                return None
            return self._emit_held(now)
        self.state, self.due = "ended", NEVER
        return "end"

    def _emit_held(self, now: float) -> Emission:
        """Send what was held back and planned already, or as much of it as a frame covers; the rest comes next."""
        self._spared -= 1
        emission = self._emit(self._planned)
        if self.cursor < self._planned:
            self.due = now + 1 / self.fps
        return emission

    def _emit(self, end: int) -> Emission:
        if self._spared:
            self.dropped += max(0, self._spared)
            self._spared = 0
        end = min(end, self.cursor + self._most_covered)
        emission = Emission(self.cursor, end, self.dropped)
        self.cursor = end
        return emission

    def _begin(self, now: float, delay: float = 0.0) -> None:
        """Start the schedule: the next boundary is due after `delay` seconds."""
        self._aim(self._planned)
        self.due = now + delay
        self._anchor, self._anchor_tick = math.ceil(self.due * GRID) / GRID, self._tick
        self._then = self.due - 1 / self.fps
        self._fresh, self._starved = delay == 0, None

    def _plan_next(self, now: float) -> None:
        """Set `due` for the boundary after the one just reached, no sooner than catching up allows."""
        before = self._tick
        self._aim(self._planned)
        self._then = now
        scheduled = self._anchor + (self._tick - self._anchor_tick) / self.fps
        soonest = now + (self._tick - before) / self.fps / CATCH_UP
        self.due = max(soonest, scheduled)

    def _aim(self, position: int) -> None:
        """Set the first tick whose boundary, the target, lies beyond a position."""
        tick = math.ceil((position + 1 - 1e-9) / self.stride) - 1
        while int(tick * self.stride + 1e-9) <= position:
            tick += 1
        self._tick, self._target = tick, int(tick * self.stride + 1e-9)

    def _set_rate(self, speed: float, fps: float, now: float) -> None:
        self._rate(speed, fps)
        if self.state == "playing" and not self._single:
            waited = min(max(0.0, now - self._then), 1 / self.fps)
            fresh = self._fresh
            self._begin(now, 1 / self.fps - waited if not fresh else 0.0)

    def _rate(self, speed: float, fps: float) -> None:
        self.speed, self._wanted_fps = speed, fps
        self.fps = self._fps_of(speed, fps)
        self.stride = SOURCE_RATE * speed / self.fps

    def _fps_of(self, speed: float, fps: float) -> float:
        return max(fps, SOURCE_RATE * speed / self._most_stride)

    def _jump(self, index: int) -> None:
        """Go elsewhere: what was held back is not owed any more."""
        self.cursor = self._planned = index
        self._spared, self._starved, self._single, self._pending = 0, None, False, None
        self._shown = None
        self.jumps += 1

    def _show(self, index: int, now: float) -> None:
        pending = self._pending
        self._jump(index)
        self._pending, self._single = pending, True
        if self.state == "ended":
            self.state = "paused"
        self.due = now

    def _step(self, direction: int, now: float) -> None:
        """Show the frame after, or before, the last one shown; playing stops."""
        index = self.cursor if direction > 0 else self.cursor - 2
        if index < 0 or (self.log.total is not None and index >= self.log.total):
            raise positions.out_of_range(self.log)
        if self.state == "playing":
            self.pause()
        if direction > 0:
            self._pending = Position(index=index) if index >= len(self.log) else None
            self._single, self.due = True, now
        else:
            self._show(index, now)
