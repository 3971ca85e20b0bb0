"""A player's pace and controls: time and messages in, ranges of frames out."""

import dataclasses
import itertools
import time

import pytest

from bff_shared.lru import ByteLRU
from bff_shared.trading_sessions import SESSION, BarSize
from bff_wsrelay.framelog.frame import parse_frame
from bff_wsrelay.framelog.frame_log import FrameLog
from bff_wsrelay.playback.bars import BarView, bar_fields, position_message
from bff_wsrelay.playback.messages import Control, ControlRefused, Position, parse_message
from bff_wsrelay.playback.pacer import CATCH_UP, MAX_BARS, MAX_COVERED, MAX_STRIDE, Emission, Pacer
from tests.support.runs import source

FRAMES = [parse_frame(frame) for frame in source(5000)]
MEBI = 1024 * 1024


def log(count: int, *, ended: bool = True) -> FrameLog:
    whole = FrameLog("epoch", 64 * MEBI, ByteLRU(MEBI))
    for frame in FRAMES[:count]:
        whole.append(frame)
    whole.ended = ended
    return whole


def control(text: str) -> Control:
    said = parse_message(text)
    assert isinstance(said, Control)
    return said


def run(pacer: Pacer, begin: float, end: float, late: float = 0.0) -> list[tuple[float, Emission]]:
    """Give a player its turns, each a little late, and return what it sent when."""
    sent, now = [], begin
    while pacer.due + late <= end:
        now = max(now, pacer.due + late)
        step = pacer.advance(now, room=True)
        if isinstance(step, Emission):
            sent.append((now, step))
    return sent


@pytest.mark.parametrize(("speed", "fps"), [(1.0, 30.0), (60.0, 30.0), (10.0, 24.0), (2.5, 7.0), (0.5, 60.0)])
def test_the_run_advances_thirty_times_speed_source_frames_a_second(speed: float, fps: float) -> None:
    pacer = Pacer(log(5000), speed=speed, fps=fps)
    pacer.play(100.0)
    seconds = min(20.0, 5000 / (30 * speed) - 1 / fps)
    sent = run(pacer, 100.0, 100.0 + seconds)
    expected = 30 * speed * seconds
    assert abs(sent[-1][1].end - expected) <= max(2, 2 * pacer.stride)
    assert all(late.start == early.end for (_, early), (_, late) in itertools.pairwise(sent))


def test_turns_that_come_late_do_not_add_up() -> None:
    pacer = Pacer(log(5000), speed=1.0)
    pacer.play(0.0)
    sent = run(pacer, 0.0, 60.0, late=0.004)
    assert len(sent) in {1800, 1801}


def test_viewers_at_one_stride_share_their_boundaries_wherever_they_began() -> None:
    ends = []
    for start in (0, 7, 131):
        pacer = Pacer(log(5000), cursor=start, speed=60.0)
        pacer.play(0.0)
        ends.append({emission.end for _, emission in run(pacer, 0.0, 1.0)} - {5000})
    assert all(end % 60 == 0 for group in ends for end in group)


def test_after_a_stall_frames_catch_up_at_a_quarter_more_and_never_in_a_burst() -> None:
    pacer = Pacer(log(5000), speed=1.0)
    pacer.play(0.0)
    run(pacer, 0.0, 1.0)
    assert pacer.advance(5.0, room=True) is not None
    sent = run(pacer, 5.0, 30.0)
    between = [late - early for (early, _), (late, _) in itertools.pairwise(sent)]
    assert min(between) >= 1 / 30 / CATCH_UP - 1e-9
    assert abs(sent[-1][1].end - 30 * 30) <= 2
    assert between[-1] == pytest.approx(1 / 30)


def test_a_starved_pacer_sends_what_there_is_and_goes_on_when_there_is_more() -> None:
    growing = log(100, ended=False)
    pacer = Pacer(growing, speed=60.0)
    pacer.play(0.0)
    assert [emission.end for _, emission in run(pacer, 0.0, 10.0)] == [60, 100]
    assert pacer.is_starved
    for frame in FRAMES[100:300]:
        growing.append(frame)
    pacer.on_growth(10.0)
    assert [emission.end for _, emission in run(pacer, 10.0, 10.2)] == [120, 180, 240, 300]


def test_a_seek_shows_the_nearest_frame_at_once_alone() -> None:
    pacer = Pacer(log(5000), speed=60.0)
    pacer.play(0.0)
    pacer.apply(control('{"t":"ctrl","cmd":"seek","pos":"2025-01-02T15:30:20Z"}'), 1.0)
    assert pacer.advance(1.0, room=True) == Emission(60, 61, 0)
    sent = run(pacer, 1.0, 1.1)
    assert sent[0][1] == Emission(61, 120, 0)
    assert sent[0][0] == pytest.approx(1.0 + 1 / 30)


def test_a_seek_beyond_what_is_read_waits_for_it() -> None:
    growing = log(100, ended=False)
    pacer = Pacer(growing)
    pacer.seek(Position(index=250), 0.0)
    assert pacer.advance(0.0, room=True) is None
    for frame in FRAMES[100:300]:
        growing.append(frame)
    pacer.on_growth(1.0)
    assert pacer.advance(1.0, room=True) == Emission(250, 251, 0)


@pytest.mark.parametrize(
    ("position", "limits"),
    [
        (Position(index=-1), (0, 99)),
        (Position(index=100), (0, 99)),
        (Position(micros=0), ("2025-01-02T14:30:00Z", "2025-01-02T16:09:00Z")),
    ],
)
def test_a_seek_outside_the_run_is_refused_and_changes_nothing(
    position: Position, limits: tuple[object, object]
) -> None:
    pacer = Pacer(log(100))
    with pytest.raises(ControlRefused) as refused:
        pacer.seek(position, 0.0)
    assert all(str(limit).encode() in refused.value.payload for limit in limits)
    assert (pacer.cursor, pacer.jumps) == (0, 0)


def test_fewer_frames_a_second_are_no_slower_run() -> None:
    pacer = Pacer(log(5000), speed=10.0, fps=30.0)
    pacer.play(0.0)
    run(pacer, 0.0, 2.0)
    pacer.apply(control('{"t":"ctrl","cmd":"fps","fps":5}'), 2.0)
    sent = run(pacer, 2.0, 10.0)
    assert abs(sent[-1][1].end - 3000) <= 60
    assert len(sent) in {40, 41}


LONG = 40_000


@pytest.fixture(scope="module")
def long_log() -> FrameLog:
    """A log of many frames, each with orders now and then."""
    whole = FrameLog("epoch", 256 * MEBI, ByteLRU(MEBI))
    for number in range(LONG // len(FRAMES)):
        for frame in FRAMES:
            whole.append(dataclasses.replace(frame, micros=frame.micros + number * 10**12))
    whole.ended = True
    return whole


def covered(sent: list[tuple[float, Emission]]) -> list[int]:
    assert all(late.start == early.end for (_, early), (_, late) in itertools.pairwise(sent))
    return [emission.end - emission.start for _, emission in sent]


def test_no_rate_makes_a_frame_cover_more_than_can_be_merged_at_once(long_log: FrameLog) -> None:
    pacer = Pacer(long_log, speed=3600.0, fps=1.0)
    pacer.play(0.0)
    assert pacer.fps == 30
    assert max(covered(run(pacer, 0.0, 0.2))) <= MAX_STRIDE
    pacer.apply(control('{"t":"ctrl","cmd":"speed","val":60}'), 0.2)
    assert (pacer.fps, pacer.stride) == (1, 1800)
    pacer.apply(control('{"t":"ctrl","cmd":"speed","val":3600}'), 0.2)
    sent = run(pacer, 0.2, 1.0)
    assert max(covered(sent)) <= MAX_STRIDE
    assert sent[-1][1].end == LONG


def test_a_viewer_that_was_held_back_catches_up_in_frames_that_can_be_merged_at_once(long_log: FrameLog) -> None:
    pacer = Pacer(long_log, speed=3600.0)
    pacer.play(0.0)
    now = 0.0
    while pacer.due <= 0.2:
        now = max(now, pacer.due)
        pacer.advance(now, room=False)
    prepared = pacer.peek()
    assert prepared is not None
    assert prepared[1] - prepared[0] <= MAX_COVERED
    sent = run(pacer, now, 10.0)
    assert max(covered(sent)) == MAX_COVERED
    assert sent[-1][1].end == LONG
    assert len({at for at, _ in sent}) == len(sent), "at most one frame a turn"
    assert pacer.dropped > 0


def test_what_was_held_back_until_the_log_ended_comes_in_frames_that_can_be_merged_at_once(
    long_log: FrameLog,
) -> None:
    pacer = Pacer(long_log, speed=3600.0)
    pacer.play(0.0)
    now = 0.0
    while pacer.due <= 10.0 and now < 10.0:
        now = max(now, pacer.due)
        pacer.advance(now, room=False)
    sent = run(pacer, now, 20.0)
    assert max(covered(sent)) == MAX_COVERED
    assert sent[-1][1].end == LONG
    assert pacer.state == "ended"


@pytest.mark.timing
def test_the_largest_frame_is_merged_within_ten_milliseconds(long_log: FrameLog) -> None:
    took = []
    for start in range(7, LONG - MAX_COVERED, MAX_STRIDE):
        begun = time.perf_counter()
        long_log.head(start, start + MAX_COVERED)
        took.append(time.perf_counter() - begun)
    assert sorted(took)[len(took) // 2] < 0.01


@pytest.mark.timing
@pytest.mark.parametrize("size", [1, 60, SESSION])
def test_the_most_bars_of_a_frame_and_a_position_are_made_within_ten_milliseconds(
    long_log: FrameLog, size: BarSize
) -> None:
    took = []
    for start in range(7, LONG - MAX_BARS, MAX_BARS):
        begun = time.thread_time()
        bar_fields(long_log, start, start + MAX_BARS, BarView(size))
        position_message(long_log, start, size)
        took.append(time.thread_time() - begun)
    assert sorted(took)[len(took) // 2] < 0.01


def test_play_after_the_end_begins_again() -> None:
    pacer = Pacer(log(100), speed=3600.0)
    pacer.play(0.0)
    assert pacer.advance(0.0, room=True) == Emission(0, 100, 0)
    assert pacer.advance(pacer.due, room=True) == "end"
    assert pacer.state == "ended"
    pacer.play(5.0)
    assert pacer.advance(5.0, room=True) == Emission(0, 100, 0)


def test_speed_may_be_changed_without_a_gap_or_a_repeat() -> None:
    pacer = Pacer(log(5000), speed=1.0)
    pacer.play(0.0)
    sent = run(pacer, 0.0, 1.0)
    for number, speed in enumerate((60, 0.1, 7.7, 3600), 1):
        pacer.apply(control(f'{{"t":"ctrl","cmd":"speed","speed":{speed}}}'), float(number))
        sent += run(pacer, float(number), number + 1.0)
    assert all(late.start == early.end for (_, early), (_, late) in itertools.pairwise(sent))
    assert sent[-1][1].end == 5000
