"""Playback with bars: none that did not exist, none missing, at any speed, from anywhere. The oracle is the chart."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bff_shared.trading_sessions import BAR_MINUTES, SESSION, BarSize
from bff_wsrelay.framelog.frame import parse_frame
from bff_wsrelay.playback.pacer import MAX_BARS
from tests.support.bars import Drawing, market_run, night_run
from tests.wsrelay.playback.test_conservation import World

RUN = market_run()
PARSED = [parse_frame(frame) for frame in RUN]
ALL_DAY = market_run(("2024-07-03", "2024-11-04"), extended=True, seed=2)
ALL_DAY_PARSED = [parse_frame(frame) for frame in ALL_DAY]
SPEEDS = (1.0, 5.0, 15.0, 60.0, 240.0, 1000.0)
SIZES: tuple[BarSize, ...] = (1, 5, 60, SESSION)
sizes: Any = st.sampled_from([*BAR_MINUTES, SESSION])


class Screen:
    """A viewer of a run that draws what it is told."""

    def __init__(self, size: BarSize | None, speed: float = 60.0, *, run: Any = RUN, frames: Any = PARSED) -> None:
        self.run, self.size, self.drawing, self.seen = run, size, Drawing(), 0
        self.world = World(bar=size, frames=frames, speed=speed)

    def receive_all(self) -> None:
        self.world.receive(len(self.run))
        self.world.reading.close()
        self.world.topic.publish(self.world.reading.log)

    def differences(self, *, is_whole: bool = False) -> list[Any]:
        """Draw what has come, and return what is wrong with it; `is_whole` if all of the run has been played."""
        assert self.size is not None
        for message in self.world.viewer.messages[self.seen :]:
            self.drawing.take(message)
        self.seen = len(self.world.viewer.messages)
        assert not is_whole or self.drawing.seq == len(self.run) - 1
        return self.drawing.differences(self.run, self.size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("speed", SPEEDS)
def test_each_candle_and_figure_is_the_charts_and_the_runs(speed: float, size: BarSize) -> None:
    screen = Screen(size, speed)
    screen.receive_all()
    screen.world.send(cmd="play")
    screen.world.wait(len(RUN) / 30 / speed / 2)
    assert screen.differences() == []
    screen.world.finish()
    assert screen.differences() == []
    assert len(screen.drawing.closed) == len(screen.drawing.bars)


@settings(max_examples=30)
@given(
    st.sampled_from(SPEEDS),
    sizes,
    st.lists(
        st.one_of(
            st.tuples(st.just("seek"), st.integers(0, len(RUN) - 1)),
            st.tuples(st.just("speed"), st.sampled_from(SPEEDS)),
            st.tuples(st.just("bar"), sizes),
            st.tuples(st.just("step"), st.sampled_from((-1, 1))),
            st.tuples(st.just("play"), st.none()),
            st.tuples(st.just("pause"), st.none()),
            st.tuples(st.just("wait"), st.floats(0, 3)),
            st.tuples(st.just("stuck"), st.booleans()),
            st.tuples(st.just("receive"), st.integers(0, 900)),
            st.tuples(st.just("kill"), st.none()),
        ),
        max_size=12,
    ),
)
def test_drawing_is_right_after_whatever_a_viewer_does(speed: float, size: BarSize, script: list[Any]) -> None:
    screen = Screen(size, speed)
    for kind, value in script:
        if kind in {"wait", "stuck", "receive", "kill"}:
            screen.world.act((kind, value))
        else:
            screen.world.send(cmd=kind, **({} if value is None else {"pos" if kind == "seek" else "val": value}))
        if kind == "bar":
            screen.size = value
            assert screen.differences() == []
    assert screen.differences() == []
    screen.world.finish()
    assert screen.differences() == []


@pytest.mark.parametrize("size", [1, 13, 60, 180, SESSION])
def test_run_with_extended_hours_has_the_bars_of_its_chart(size: BarSize) -> None:
    screen = Screen(size, 60.0, run=ALL_DAY, frames=ALL_DAY_PARSED)
    screen.receive_all()
    screen.world.finish()
    assert screen.differences() == []


@pytest.mark.parametrize("size", [60, SESSION])
def test_oracle_finds_bars_put_together_from_merged_frames(size: BarSize) -> None:
    screen = Screen(size, 60.0)
    screen.receive_all()
    screen.world.finish()
    for frame in screen.world.viewer.frames:
        start = frame["bars"][-1]["t"]
        frame["bars"] = [{"t": start, **frame["ohlc"], "closed": False}]
        frame["peak"] = frame["equity"]
    assert {found[0] for found in screen.differences()} >= {"differs", "peak"}


NIGHTS = {
    # From 18:00 in New York to 17:00: futures, over an early close and the change to winter time.
    "futures": night_run("2024-07-02T22:00:00+00:00", [23, 23, 23], 1),
    "futures-in-autumn": night_run("2024-11-01T22:00:00+00:00", [23, 23, 23], 1),
    "tokyo": night_run("2024-07-02T00:00:00+00:00", [2.5, 2.5, 2.5, 2.5, 2.5], 9.5),
    "round-the-clock": night_run("2024-07-02T04:00:00+00:00", [72], 0),
}


@pytest.mark.parametrize("size", [1, 13, 60, 180, SESSION])
@pytest.mark.parametrize("run", NIGHTS.values(), ids=NIGHTS)
def test_instrument_that_trades_in_the_night_has_the_bars_of_its_chart(run: Any, size: BarSize) -> None:
    screen = Screen(size, 240.0, run=run, frames=[parse_frame(frame) for frame in run])
    screen.receive_all()
    screen.world.send(cmd="seek", pos=len(run) // 3)
    screen.world.finish()
    assert screen.differences(is_whole=True) == []


def test_bars_change_neither_pace_nor_what_frames_cover() -> None:
    plain, barred = Screen(None), Screen(5)
    for screen in (plain, barred):
        screen.receive_all()
        screen.world.finish()
    without = [{k: v for k, v in frame.items() if k not in {"bars", "peak"}} for frame in barred.world.viewer.frames]
    assert without == plain.world.viewer.frames
    assert barred.world.viewer.times == plain.world.viewer.times


def test_viewer_that_asks_for_no_bars_gets_todays_messages() -> None:
    screen = Screen(None)
    screen.receive_all()
    screen.world.send(cmd="seek", pos=100)
    screen.world.finish()
    messages = screen.world.viewer.messages
    assert not [message for message in messages if message["t"] == "position" or {"bars", "peak"} & message.keys()]


def test_position_comes_before_the_frame_of_each_jump_and_only_then() -> None:
    screen = Screen(5, 1.0)
    screen.receive_all()
    assert [message["t"] for message in screen.world.viewer.messages] == ["position"]
    screen.world.send(cmd="seek", pos=500)
    screen.world.send(cmd="step", val=1)
    screen.world.send(cmd="step", val=-1)
    screen.world.send(cmd="speed", val=5)
    said = [(message["t"], message.get("seq", message.get("cmd"))) for message in screen.world.viewer.messages[1:]]
    assert said == [
        *[("ctrl", "seek"), ("position", 499), ("frame", 500)],
        *[("ctrl", "step"), ("frame", 501)],
        *[("ctrl", "step"), ("position", 499), ("frame", 500)],
        ("ctrl", "speed"),
    ]


def test_bar_that_nobody_knew_to_be_finished_is_repeated_by_the_next_frame() -> None:
    screen = Screen(1, 1.0)
    screen.world.send(cmd="play")
    for _ in range(3):
        screen.world.receive(1)
        screen.world.wait(1)
    bars = [[(bar["t"] % 3600 // 60, bar["closed"]) for bar in frame["bars"]] for frame in screen.world.viewer.frames]
    assert bars == [[(30, False)], [(30, True), (31, False)], [(31, True), (32, False)]]


def test_asking_for_bars_later_tells_the_position_at_once() -> None:
    screen = Screen(None, 1.0)
    screen.receive_all()
    screen.world.send(cmd="seek", pos=100)
    screen.world.send(cmd="bar", val="session")
    assert [message["t"] for message in screen.world.viewer.messages[-2:]] == ["ctrl", "position"]
    position = screen.world.viewer.messages[-1]
    assert position["seq"] == 100
    assert not position["bar"]["closed"]
    screen.world.send(cmd="bar", val="none")
    screen.world.send(cmd="seek", pos=5)
    assert "bars" not in screen.world.viewer.messages[-1]


@pytest.mark.parametrize("value", [0, -1, 4, 7, 61, 1.5, True, "hour", "9" * 30, [], {}])
def test_bar_of_no_chart_is_refused_and_nothing_has_changed(value: Any) -> None:
    screen = Screen(5, 1.0)
    screen.receive_all()
    screen.world.send(cmd="bar", val=value)
    assert screen.world.viewer.messages[-1]["code"] == "VALIDATION"
    screen.world.send(cmd="seek", pos=0)
    assert screen.world.viewer.frames[-1]["bars"][0]["v"] == RUN[0]["ohlc"]["v"]


def test_bar_without_any_price_is_a_gap() -> None:
    frames = [json.loads(json.dumps({**frame, "ohlc": None})) for frame in RUN[:10]] + RUN[10:20]
    world = World(bar=5, frames=[parse_frame(frame) for frame in frames], speed=1.0)
    world.finish()
    last = world.viewer.frames[4]["bars"][-1]
    assert [last[name] for name in "ohlcv"] == [None, None, None, None, 0]
    assert last["closed"]


@pytest.mark.parametrize(("speed", "rate"), [(1000.0, 30.0), (3600.0, 60.0)])
def test_frame_with_bars_covers_no_more_than_there_is_time_to_make_bars_of(speed: float, rate: float) -> None:
    world = World(bar=1, speed=speed)
    assert world.pacer.fps == rate
    assert world.pacer.stride <= MAX_BARS
    world.send(cmd="bar", val="none")
    assert world.pacer.fps == 30
    world.send(cmd="bar", val="session")
    assert world.pacer.fps == rate


def test_viewer_held_back_gets_its_bars_in_several_frames() -> None:
    screen = Screen(1, 1000.0)
    screen.receive_all()
    screen.world.viewer.stuck = True
    screen.world.send(cmd="play")
    screen.world.wait(1)
    screen.world.viewer.stuck = False
    screen.world.finish()
    assert max(frame["n"] for frame in screen.world.viewer.frames) <= MAX_BARS
    assert screen.differences() == []
