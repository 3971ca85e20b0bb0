"""Conservation: whatever happens to the backend, the connection or the viewer, the frames add up to the run.

The parts that decide are driven here by a clock of the test, so that hours pass in no time; Hypothesis picks the
moments. The oracle is the run itself.
"""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from bff_shared.lru import ByteLRU
from bff_shared.trading_sessions import BarSize
from bff_wsrelay.framelog.frame import Frame, parse_frame
from bff_wsrelay.framelog.frame_log import FrameLog
from bff_wsrelay.framelog.replay_pass import ReplayPass
from bff_wsrelay.framelog.topic import Topic
from bff_wsrelay.metrics import StreamMetrics
from bff_wsrelay.playback.bars import BarView
from bff_wsrelay.playback.pacer import GRID, Emission, Pacer
from bff_wsrelay.playback.scheduler import Scheduler
from bff_wsrelay.playback.sinks import frame_json
from bff_wsrelay.playback.subscriber import Subscriber
from bff_wsrelay.settings import RelaySettings
from bff_wsrelay.websocket.close_codes import TRY_AGAIN_LATER, Close
from tests.support.runs import assert_conserved, source

RUN = source(700)
FRAMES = [parse_frame(frame) for frame in RUN]
MEBI = 1024 * 1024
Event = tuple[str, Any]


@dataclass
class Viewer:
    """An outlet that keeps what it is given, and takes no more while `stuck`."""

    stuck: bool = False
    clock: Callable[[], float] = lambda: 0.0
    messages: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    closes: list[Close] = field(default_factory=list)

    def unsent_bytes(self) -> int:
        return MEBI if self.stuck else 0

    @property
    def frames(self) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["t"] == "frame"]

    def send(self, payload: bytes, event: str = "") -> None:
        del event
        self.messages.append(json.loads(payload))

    def send_frame(self, log: FrameLog, emission: Emission, view: BarView | None = None) -> int:
        self.messages.append(json.loads(frame_json(log, emission, view)))
        self.times.append(self.clock())
        return 1

    def close(self, close: Close) -> None:
        self.closes.append(close)


class World:
    """A backend that is read into a log, one viewer of it, and the time."""

    def __init__(
        self,
        reading: type[ReplayPass] = ReplayPass,
        bar: BarSize | None = None,
        frames: Sequence[Frame] = FRAMES,
        **pacer: Any,
    ) -> None:
        self.now = 1000.0
        self.frames = frames
        self.reading_type = reading
        self.topic = Topic("run", FrameLog("epoch", 64 * MEBI, ByteLRU(MEBI)))
        self.reading = reading(self.topic.log)
        self.sent = 0
        self.viewer = Viewer(clock=self.clock)
        self.metrics = StreamMetrics(CollectorRegistry())
        self.pacer = Pacer(self.topic.log, **pacer)
        self.subscriber = Subscriber(
            self.topic, self.pacer, self.viewer, cast("Scheduler", self), RelaySettings(), self.metrics, self.clock, bar
        )
        self.subscriber.subscribe()

    def clock(self) -> float:
        return self.now

    def schedule(self, member: Any, due: float) -> None:
        member.due_at = due

    def cancel(self, member: Any) -> None:
        member.due_at = float("inf")

    def wait(self, seconds: float) -> None:
        """Let time pass; the viewer has its turns when they are due."""
        until = self.now + seconds
        while self.subscriber.due_at <= until:
            self.now = max(self.now, self.subscriber.due_at)
            self.subscriber.due_at = self.subscriber.on_due(self.now)
        self.now = until

    def stall(self, seconds: float) -> None:
        """Let time pass in which the relay itself stands still."""
        self.now += seconds

    def receive(self, count: int) -> None:
        """Let the backend send some frames, as far as the run goes."""
        for frame in self.frames[self.sent : self.sent + count]:
            self.reading.take(frame)
        self.sent = min(len(self.frames), self.sent + count)
        self.topic.publish(self.reading.log)

    def kill(self) -> None:
        """Break the connection to the backend: the next one begins with the first frame."""
        self.reading = self.reading_type(self.topic.log)
        self.sent = 0

    def finish(self) -> None:
        """Let the backend send the rest, and time pass until the viewer has it."""
        self.viewer.stuck = False
        self.send(cmd="play")
        self.receive(len(self.frames))
        self.reading.close()
        self.topic.publish(self.reading.log)
        for _ in range(100):
            if {"t": "end"} in self.viewer.messages:
                return
            self.wait(100)

    def send(self, **control: Any) -> None:
        self.subscriber.receive_message(json.dumps({"t": "ctrl", **control}))

    def act(self, event: Event) -> None:
        kind, value = event
        if kind == "say":
            self.send(**value)
        elif kind == "stuck":
            self.viewer.stuck = value
        else:
            getattr(self, kind)(*([] if value is None else [value]))


times = st.floats(0, 20, allow_nan=False)
events = st.one_of(
    st.tuples(st.just("receive"), st.integers(0, 300)),
    st.tuples(st.just("kill"), st.none()),
    st.tuples(st.just("wait"), times),
    st.tuples(st.just("stall"), times),
    st.tuples(st.just("stuck"), st.booleans()),
    st.tuples(
        st.just("say"),
        st.one_of(
            st.just({"cmd": "play"}),
            st.just({"cmd": "pause"}),
            st.builds(lambda value: {"cmd": "speed", "val": value}, st.floats(0.1, 3600)),
            st.builds(lambda value: {"cmd": "fps", "val": value}, st.integers(1, 60)),
        ),
    ),
)


class Forgetful(ReplayPass):
    """The defect that the oracle must find: a new connection's frames are taken as new ones."""

    def __init__(self, log: FrameLog) -> None:
        super().__init__(log)
        self.position = len(log)


@settings(max_examples=150)
@given(st.lists(events, max_size=30), st.floats(0.1, 600), st.integers(1, 60))
def test_frames_add_up_to_the_run_whatever_happens(script: list[Event], speed: float, fps: int) -> None:
    world = World(speed=speed, fps=float(fps))
    for event in script:
        world.act(event)
        if world.viewer.closes:
            assert [close.code for close in world.viewer.closes] == [1013]
            assert_conserved(world.viewer.frames, RUN, whole=False)
            return
    world.finish()
    assert_conserved(world.viewer.frames, RUN)
    assert world.subscriber.continuity.faults == 0
    assert world.pacer.jumps == 0


@settings(max_examples=20)
@given(st.floats(0, 100), st.integers(1, 400), st.floats(0.1, 600), st.integers(1, 60))
def test_an_outage_is_a_gap_no_longer_than_itself(outage: float, count: int, speed: float, fps: int) -> None:
    world = World(speed=speed, fps=float(fps))
    world.receive(count)
    world.send(cmd="play")
    while world.pacer.cursor < count:
        world.wait(1)
    world.kill()
    world.wait(outage)
    shown, over = len(world.viewer.times), world.now
    world.receive(len(FRAMES))
    world.wait(10)
    period = max(1 / fps, 1 / (30 * speed))
    assert world.viewer.times[shown] <= max(over, world.viewer.times[shown - 1] + period) + 1 / GRID
    world.finish()
    assert_conserved(world.viewer.frames, RUN)


@settings(max_examples=20)
@given(st.floats(0, 6), st.floats(0, 6), st.sampled_from((30.0, 24.0, 60.0, 7.0)))
def test_an_outage_is_no_gap_at_all_while_the_log_is_ahead(before: float, outage: float, fps: float) -> None:
    world = World(speed=1.0, fps=fps)
    world.receive(500)
    world.send(cmd="play")
    world.wait(before)
    world.kill()
    world.wait(outage)
    world.receive(len(FRAMES))
    world.wait(3)
    between = [late - early for early, late in itertools.pairwise(world.viewer.times)]
    assert max(between) <= 1 / min(fps, 30) + 1 / GRID
    assert not [message for message in world.viewer.messages if message["t"] == "status"]


def test_oracle_finds_frames_that_were_taken_twice() -> None:
    world = World(Forgetful)
    world.send(cmd="play")
    world.receive(100)
    world.wait(1)
    world.kill()
    world.finish()
    with pytest.raises(AssertionError):
        assert_conserved(world.viewer.frames, RUN)


@settings(max_examples=50)
@given(st.lists(st.booleans(), min_size=1, max_size=200), st.sampled_from((0.5, 1.0, 2.0, 7.3)))
def test_dropped_counts_exactly_the_frames_that_a_slow_viewer_was_spared(room: list[bool], speed: float) -> None:
    swift, slow = World(speed=speed), World(speed=speed)
    for world in (swift, slow):
        world.receive(len(FRAMES))
        world.send(cmd="play")
    for is_there in room:
        slow.viewer.stuck = not is_there
        for world in (swift, slow):
            world.wait(1 / 30)
    slow.viewer.stuck = False
    for world in (swift, slow):
        world.wait(0.2)
    assert_conserved(slow.viewer.frames, RUN, whole=False)
    assert slow.viewer.frames[-1]["seq"] == swift.viewer.frames[-1]["seq"]
    assert len(slow.viewer.frames) + slow.viewer.frames[-1]["dropped"] == len(swift.viewer.frames)


def test_viewer_that_was_slow_a_minute_ago_is_not_taken_for_stuck_as_soon_as_it_is_slow_again() -> None:
    world = World(speed=0.1)
    world.receive(len(FRAMES))
    world.send(cmd="play")
    for _ in range(2):
        world.viewer.stuck = True
        world.wait(1)
        world.viewer.stuck = False
        world.wait(60)
    assert world.viewer.closes == []
    world.viewer.stuck = True
    world.wait(60)
    assert [close.code for close in world.viewer.closes] == [TRY_AGAIN_LATER]


def test_an_hour_of_playback_leaves_nothing_behind_and_does_not_drift() -> None:
    world = World(speed=0.1, fps=60.0)
    world.receive(len(FRAMES))
    world.reading.close()
    begun = world.now
    world.send(cmd="play")
    arrivals = []
    for _ in range(3600):
        if {"t": "end"} in world.viewer.messages:
            break
        world.wait(1)
        arrivals.append(len(world.viewer.frames))
    assert_conserved(world.viewer.frames, RUN)
    assert arrivals[200] == 1 + 3 * 201  # three source frames a second, the first at once
    world.send(cmd="play")
    world.wait(3600)
    assert world.now - begun > 3600
    world.subscriber.unsubscribe()
    assert not world.topic.listeners
    assert not world.topic.starved


def test_a_viewer_that_takes_nothing_for_thirty_seconds_is_closed_to_come_back() -> None:
    world = World()
    world.receive(len(FRAMES))
    world.send(cmd="play")
    world.viewer.stuck = True
    world.wait(29)
    assert not world.viewer.closes
    world.wait(7)
    assert [close.code for close in world.viewer.closes] == [1013]


def test_a_changed_run_is_announced_and_goes_on_after_the_time_shown_last() -> None:
    world = World(speed=1.0)
    world.receive(300)
    world.send(cmd="play")
    world.wait(5)
    shown = world.viewer.frames[-1]
    world.kill()
    other = source(700, seed=2)
    for frame in other[:400]:
        world.reading.take(parse_frame(frame))
    world.topic.publish(world.reading.log)
    (announced,) = [message for message in world.viewer.messages if message.get("state") == "epoch"]
    assert announced["epoch"] != "epoch"
    count = len(world.viewer.frames)
    world.wait(2)
    following = world.viewer.frames[count:]
    assert following[0]["ts"] > shown["ts"]
    assert_conserved(following, other, start=shown["seq"] + 1, whole=False)


def test_frames_that_are_sent_when_they_are_due_have_no_delay() -> None:
    world = World(speed=1.0, fps=30.0)
    world.receive(len(FRAMES))
    world.send(cmd="play")
    world.wait(5)
    counts = world.metrics.counts
    assert counts.frames > 100
    assert counts.frame_delay_seconds == pytest.approx(0, abs=1e-6)
    assert counts.late_frames == 0


def test_the_delay_of_frames_is_counted_from_when_they_were_due() -> None:
    world = World(speed=1.0, fps=10.0)
    world.receive(len(FRAMES))
    world.send(cmd="play")
    world.wait(1)
    world.stall(0.19)
    world.wait(1)
    counts = world.metrics.counts
    assert 0.08 < counts.frame_delay_seconds < 0.3
    assert 1 <= counts.late_frames <= 2
    world.metrics.flush()
    assert world.metrics.totals["late_frames"] >= 1
    assert counts.frame_delay_seconds == 0
