"""A pacer whose viewer takes nothing for a while, or whose log is not there yet: what comes then, and when."""

import pytest

from bff_shared.lru import ByteLRU
from bff_wsrelay.framelog.frame_log import FrameLog
from bff_wsrelay.playback.messages import Position
from bff_wsrelay.playback.pacer import MAX_COVERED, MAX_STRIDE, NEVER, SEEK_SECONDS, Emission, Pacer
from tests.wsrelay.playback.test_pacer_schedule import FRAMES, MEBI, control, grow, log, playing, turns


class LongLog(FrameLog):
    """A log that says it has so many frames; nobody reads them here."""

    def __init__(self, count: int, *, ended: bool) -> None:
        super().__init__("epoch", MEBI, ByteLRU(MEBI))
        self.length, self.ended = count, ended

    def __len__(self) -> int:
        return self.length


def test_who_takes_nothing_stays_on_schedule_even_at_the_end_of_a_log_that_grows() -> None:
    pacer = playing(log(60, ended=False))
    assert turns(pacer, 1, room=False) == [(0.0, None)]
    assert pacer.due == pytest.approx(1 / 30)
    assert pacer.advance(pacer.due, room=True) == Emission(0, 60, 0)


def test_a_rate_set_after_frames_that_were_held_back_counts_what_was_waited_since() -> None:
    pacer = playing(log(400), speed=1.0, fps=5.0)
    turns(pacer, 1, room=False)
    assert turns(pacer, 1) == [(0.2, (0, 12))]
    control(pacer, '"cmd":"fps","fps":10', 0.25)
    assert pacer.due == pytest.approx(0.3)


def test_a_rate_set_between_the_frame_of_a_seek_and_the_next_counts_what_was_waited_since() -> None:
    pacer = playing(log(400), speed=1.0, fps=5.0)
    turns(pacer, 2)
    pacer.seek(Position(index=100), 1.0)
    assert turns(pacer, 1) == [(1.0, (100, 101))]
    control(pacer, '"cmd":"fps","fps":10', 1.05)
    assert pacer.due == pytest.approx(1.1)


def test_a_large_remainder_of_a_run_that_has_ended_comes_as_frames_a_catch_up_apart() -> None:
    count = 4 * MAX_STRIDE + 100
    pacer = playing(LongLog(count, ended=True), speed=3600.0)
    turns(pacer, 4, room=False)
    now = pacer.due
    assert pacer.advance(now, room=True) == Emission(0, MAX_COVERED, 4)
    assert pacer.due == pytest.approx(now + 1 / 30 / 1.25)
    assert [sent for _, sent in turns(pacer, 3)] == [(MAX_COVERED, 2 * MAX_COVERED), (2 * MAX_COVERED, count), "end"]


def test_a_large_remainder_of_a_log_that_grows_comes_as_frames_a_period_apart_and_counts_once() -> None:
    pacer = playing(LongLog(5 * MAX_STRIDE + 100, ended=False), speed=3600.0)
    turns(pacer, 5, room=False)
    now = pacer.due
    assert pacer.advance(now, room=True) == Emission(0, MAX_COVERED, 4)
    assert pacer.due == pytest.approx(now + 1 / 30)
    assert pacer.advance(pacer.due, room=True) == Emission(MAX_COVERED, 2 * MAX_COVERED, 4)


def test_what_a_starved_viewer_did_not_take_is_one_frame_of_those_it_was_spared() -> None:
    pacer = playing(log(100, ended=False))
    while pacer.due < 0.6:  # by then the second frame, which is not whole, would have been sent as it is
        turns(pacer, 1, room=False)
    assert pacer.advance(pacer.due, room=True) == Emission(0, 100, 1)


def test_who_was_sent_what_there_was_catches_up_when_there_is_more() -> None:
    growing = log(100, ended=False)
    pacer = playing(growing)
    assert [sent for _, sent in turns(pacer, 3)] == [(0, 60), None, (60, 100)]
    grow(growing, 400)
    pacer.on_growth(5.0)
    came = [at for at, _ in turns(pacer, 4)]
    assert came == pytest.approx([5.0, *(5.0 + number / 30 / 1.25 for number in range(1, 4))], abs=1e-5)


def test_a_step_to_a_frame_that_is_not_there_yet_waits_for_it() -> None:
    growing = log(100, ended=False)
    pacer = Pacer(growing, cursor=100)
    control(pacer, '"cmd":"step","val":1', 1.0)
    assert turns(pacer, 1) == [(1.0, None)]
    assert (pacer.is_starved, pacer.due) == (True, 1.0 + SEEK_SECONDS)
    grow(growing, 10)
    pacer.on_growth(2.0)
    assert turns(pacer, 2) == [(2.0, (100, 101))]


def test_a_step_forward_is_no_jump_and_one_back_is() -> None:
    pacer = Pacer(log(100), cursor=50)
    control(pacer, '"cmd":"step","val":1', 1.0)
    turns(pacer, 1)
    assert pacer.jumps == 0
    control(pacer, '"cmd":"step","val":-1', 2.0)
    assert pacer.jumps == 1


def test_in_a_changed_run_that_comes_late_the_place_is_found_by_time() -> None:
    pacer = playing(log(400))
    turns(pacer, 2)
    changed = log(90, ended=False)
    pacer.switch(changed, FRAMES[99].micros, 1.0)
    assert turns(pacer, 1) == [(round(1 + 1 / 30, 6), None)]
    grow(changed, 200)
    pacer.on_growth(2.0)
    assert turns(pacer, 1) == [(2.0, (100, 120))]


def test_a_step_back_from_the_end_of_what_is_there_shows_the_frame_before_the_last() -> None:
    pacer = Pacer(log(100), cursor=100)
    control(pacer, '"cmd":"step","val":-1', 1.0)
    assert turns(pacer, 1) == [(1.0, (98, 99))]


def test_play_and_pause_are_controls_and_who_is_paused_is_not_late() -> None:
    pacer = Pacer(log(400))
    control(pacer, '"cmd":"play"', 1.0)
    assert repr(pacer) == "<Pacer playing cursor=0 speed=60 fps=30 due=1.000>"
    assert (pacer.lag(0.5), pacer.lag(3.0)) == (0.0, 2.0)
    control(pacer, '"cmd":"pause"', 2.0)
    assert (pacer.state, pacer.due, pacer.lag(3.0)) == ("paused", NEVER, 0.0)
    pacer.seek(Position(index=50), 4.0)
    assert (pacer.due, pacer.lag(9.0)) == (4.0, 0.0)


def test_play_and_pause_take_effect_as_controls_too() -> None:
    pacer = Pacer(log(10))
    control(pacer, '"cmd":"play"', 1.0)
    assert (pacer.state, pacer.due) == ("playing", 1.0)
    control(pacer, '"cmd":"pause"', 1.0)
    assert (pacer.state, pacer.due) == ("paused", NEVER)
    assert repr(pacer) == f"<Pacer paused cursor=0 speed={pacer.speed:g} fps={pacer.fps:g} due=inf>"


def test_a_seek_that_nobody_has_turned_to_yet_is_no_lag_while_nothing_plays() -> None:
    pacer = Pacer(log(10))
    pacer.seek(Position(index=5), 1.0)
    assert pacer.due < NEVER
    assert pacer.lag(9.0) == 0.0
