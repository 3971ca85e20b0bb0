"""When a pacer sends what, to the tick: what it is told and, turn by turn, what it answers and when it is due again."""

import pytest

from bff_shared.lru import ByteLRU
from bff_wsrelay.framelog.frame import parse_frame
from bff_wsrelay.framelog.frame_log import FrameLog
from bff_wsrelay.playback.messages import Control, ControlRefused, Position, parse_message
from bff_wsrelay.playback.pacer import NEVER, SEEK_SECONDS, Emission, Pacer
from tests.support.runs import source

FRAMES = [parse_frame(frame) for frame in source(2500)]
MEBI = 1024 * 1024
Turn = tuple[float, tuple[int, int] | ControlRefused | str | None]


def log(count: int, *, ended: bool = True) -> FrameLog:
    made = FrameLog("epoch", 64 * MEBI, ByteLRU(MEBI))
    grow(made, count)
    made.ended = ended
    return made


def grow(made: FrameLog, count: int) -> None:
    for frame in FRAMES[len(made) : len(made) + count]:
        made.append(frame)


def control(pacer: Pacer, fields: str, now: float) -> None:
    said = parse_message(f'{{"t":"ctrl",{fields}}}')
    assert isinstance(said, Control)
    pacer.apply(said, now)


def turns(pacer: Pacer, count: int, *, room: bool = True) -> list[Turn]:
    """Give a pacer so many turns, each when it is due, and return when that was and what it sent."""
    had: list[Turn] = []
    for _ in range(count):
        now = pacer.due
        if now == NEVER:
            break
        step = pacer.advance(now, room=room)
        had.append((round(now, 6), step[:2] if isinstance(step, Emission) else step))
    return had


def playing(made: FrameLog, at: float = 0.0, speed: float = 60.0, fps: float = 30.0, cursor: int = 0) -> Pacer:
    pacer = Pacer(made, speed=speed, fps=fps, cursor=cursor)
    pacer.play(at)
    return pacer


def test_the_first_frame_comes_at_once_and_the_others_on_a_grid_that_viewers_share() -> None:
    pacer = playing(log(400), at=0.001)
    assert turns(pacer, 4) == [
        (0.001, (0, 60)),
        (round(1 / 240 + 1 / 30, 6), (60, 120)),
        (round(1 / 240 + 2 / 30, 6), (120, 180)),
        (round(1 / 240 + 3 / 30, 6), (180, 240)),
    ]


def test_a_frame_reaches_the_next_multiple_of_the_stride_from_wherever_the_viewer_began() -> None:
    assert [sent for _, sent in turns(playing(log(400), cursor=59), 3)] == [(59, 60), (60, 120), (120, 180)]
    assert [sent for _, sent in turns(playing(log(400), cursor=60), 2)] == [(60, 120), (120, 180)]
    assert [sent for _, sent in turns(playing(log(400), cursor=61), 2)] == [(61, 120), (120, 180)]


def test_a_stride_that_is_no_whole_number_is_rounded_down_and_does_not_drift() -> None:
    pacer = playing(log(400), speed=2.5)
    assert [sent for _, sent in turns(pacer, 5)] == [(0, 2), (2, 5), (5, 7), (7, 10), (10, 12)]


def test_where_frames_are_rarer_than_ticks_only_those_ticks_are_due_that_have_one() -> None:
    pacer = playing(log(400), speed=0.5, fps=60.0)
    assert turns(pacer, 3) == [(0.0, (0, 1)), (round(4 / 60, 6), (1, 2)), (round(8 / 60, 6), (2, 3))]


def test_a_turn_that_comes_too_early_sends_nothing_and_one_within_half_a_millisecond_does() -> None:
    pacer = playing(log(400))
    turns(pacer, 1)
    due = pacer.due
    assert pacer.advance(due - 0.0006, room=True) is None
    assert pacer.due == due
    assert pacer.advance(due - 0.0004, room=True) == Emission(60, 120, 0)


def test_after_a_turn_that_came_late_the_next_comes_no_sooner_than_catching_up_allows() -> None:
    pacer = playing(log(400))
    turns(pacer, 1)
    assert pacer.advance(0.5, room=True) == Emission(60, 120, 0)
    assert pacer.due == pytest.approx(0.5 + 1 / 30 / 1.25)
    assert pacer.advance(pacer.due, room=True) == Emission(120, 180, 0)
    assert pacer.due == pytest.approx(0.5 + 2 / 30 / 1.25)


@pytest.mark.parametrize("room", [True, False])
def test_of_a_stall_ten_seconds_are_made_up_for_and_no_more(room: bool) -> None:
    pacer = playing(log(2500), speed=1.0)
    turns(pacer, 1)
    pacer.advance(100.0, room=room)
    before, now = 100.0, pacer.due
    while now - before < 1 / 30 - 1e-6:
        assert now - before == pytest.approx(1 / 30 / 1.25)
        pacer.advance(now, room=True)
        before, now = now, pacer.due
    assert before - 100.0 == pytest.approx(40, abs=0.05)  # 10 s, a quarter more each second


def test_lag_is_what_a_playing_viewer_is_late_and_nothing_else() -> None:
    pacer = Pacer(log(400))
    assert pacer.lag(9.0) == 0.0
    pacer.play(1.0)
    assert (pacer.lag(0.5), pacer.lag(3.5)) == (0.0, 2.5)
    pacer.pause()
    assert pacer.lag(9.0) == 0.0
    starved = playing(log(0, ended=False))
    turns(starved, 1)
    assert (starved.due, starved.lag(9.0)) == (NEVER, 0.0)


def test_what_a_slow_viewer_was_spared_is_in_its_next_frame_and_counted() -> None:
    pacer = playing(log(400), speed=1.0)
    assert [sent for _, sent in turns(pacer, 5, room=False)] == [None] * 5
    assert pacer.advance(pacer.due, room=True) == Emission(0, 6, 5)
    assert pacer.advance(pacer.due, room=True) == Emission(6, 7, 5)
    turns(pacer, 1, room=False)
    assert pacer.advance(pacer.due, room=True) == Emission(7, 9, 6)


def test_a_pause_owes_nothing_of_what_was_held_back_and_play_goes_on_from_the_frame_shown() -> None:
    pacer = playing(log(400), speed=1.0)
    turns(pacer, 2)
    turns(pacer, 3, room=False)
    pacer.pause()
    assert (pacer.state, pacer.due, pacer.advance(5.0, room=True)) == ("paused", NEVER, None)
    pacer.play(10.0)
    assert pacer.advance(10.0, room=True) == Emission(2, 3, 0)


def test_play_while_playing_changes_nothing() -> None:
    pacer = playing(log(400))
    turns(pacer, 2)
    due = pacer.due
    pacer.play(0.04)
    assert pacer.due == due


def test_a_pause_before_play_and_after_the_end_changes_nothing() -> None:
    pacer = Pacer(log(10))
    pacer.pause()
    assert (pacer.state, pacer.due) == ("idle", NEVER)
    pacer.play(0.0)
    while pacer.state == "playing":
        pacer.advance(pacer.due, room=True)
    pacer.pause()
    assert (pacer.state, pacer.due) == ("ended", NEVER)


def test_the_end_is_told_once_and_right_after_a_last_frame_that_is_not_whole() -> None:
    pacer = playing(log(100))
    assert turns(pacer, 9) == [(0.0, (0, 60)), (round(1 / 30, 6), (60, 100)), (round(1 / 30, 6), "end")]
    assert (pacer.state, pacer.due) == ("ended", NEVER)
    assert pacer.advance(9.0, room=True) is None


def test_the_last_frame_waits_for_room_and_the_end_comes_after_it() -> None:
    pacer = playing(log(100))
    turns(pacer, 1)
    had = turns(pacer, 3, room=False)
    assert [sent for _, sent in had] == [None] * 3
    assert pacer.due == pytest.approx(had[-1][0] + 1 / 30, abs=1e-5)
    assert pacer.state == "playing"
    assert [sent for _, sent in turns(pacer, 2)] == [(60, 100), "end"]
    assert pacer.dropped == 0


# ── A run that grows ──


def test_a_starved_viewer_is_shown_what_is_there_half_a_second_later() -> None:
    made = log(60, ended=False)
    pacer = playing(made)
    turns(pacer, 1)
    assert turns(pacer, 1) == [(round(1 / 30, 6), None)]
    assert (pacer.is_starved, pacer.due) == (True, NEVER)
    grow(made, 7)
    pacer.on_growth(0.2)
    assert turns(pacer, 1) == [(0.2, None)]
    assert pacer.due == pytest.approx(1 / 30 + 0.5)
    assert turns(pacer, 1) == [(round(1 / 30 + 0.5, 6), (60, 67))]
    assert (pacer.is_starved, pacer.due) == (True, NEVER)
    grow(made, 60)
    pacer.on_growth(0.9)
    assert turns(pacer, 1) == [(0.9, (67, 120))]
    assert not pacer.is_starved


def test_a_starved_viewer_without_room_is_spared_and_shown_all_of_it_when_there_is_room() -> None:
    made = log(60, ended=False)
    pacer = playing(made)
    turns(pacer, 2)
    grow(made, 7)
    pacer.on_growth(0.2)
    turns(pacer, 1)
    assert turns(pacer, 1, room=False) == [(round(1 / 30 + 0.5, 6), None)]
    assert pacer.due == pytest.approx(1 / 30 + 0.5 + 1 / 30)
    assert turns(pacer, 1) == [(round(2 / 30 + 0.5, 6), (60, 67))]
    assert pacer.dropped == 0


def test_growth_wakes_who_waits_for_it_and_nobody_else() -> None:
    made = log(120, ended=False)
    idle, paused, shown = Pacer(made), playing(made), playing(made)
    paused.pause()
    turns(shown, 1)
    due = shown.due
    for pacer in (idle, paused, shown):
        pacer.on_growth(0.01)
    assert (idle.due, paused.due, shown.due) == (NEVER, NEVER, due)


def test_who_began_before_the_run_did_begins_its_schedule_with_the_first_frame() -> None:
    made = log(0, ended=False)
    pacer = playing(made)
    assert turns(pacer, 1) == [(0.0, None)]
    grow(made, 200)
    pacer.on_growth(7.0)
    assert turns(pacer, 3) == [(7.0, (0, 60)), (round(7 + 1 / 30, 6), (60, 120)), (round(7 + 2 / 30, 6), (120, 180))]


def test_growth_that_brings_nothing_new_leaves_who_waits_waiting() -> None:
    made = log(0, ended=False)
    pacer = playing(made)
    turns(pacer, 1)
    pacer.on_growth(1.0)
    assert pacer.due == 1.0
    assert turns(pacer, 1) == [(1.0, None)]
    assert (pacer.is_starved, pacer.due) == (True, NEVER)


def test_a_run_that_ends_while_a_viewer_waits_ends_for_it() -> None:
    made = log(60, ended=False)
    pacer = playing(made)
    turns(pacer, 2)
    made.ended = True
    pacer.on_growth(1.0)
    assert turns(pacer, 2) == [(1.0, "end")]


# ── Seeks and steps ──


def test_a_seek_of_a_paused_viewer_shows_one_frame_and_plays_no_further() -> None:
    pacer = Pacer(log(400))
    pacer.seek(Position(index=250), 3.0)
    assert (pacer.due, pacer.jumps) == (3.0, 1)
    assert turns(pacer, 2) == [(3.0, (250, 251))]
    assert (pacer.due, pacer.state) == (NEVER, "idle")
    pacer.play(4.0)
    assert turns(pacer, 2) == [(4.0, (251, 300)), (round(4 + 1 / 30, 6), (300, 360))]


def test_a_seek_without_room_waits_a_frame_long_for_it() -> None:
    pacer = playing(log(400))
    pacer.seek(Position(index=250), 1.0)
    assert turns(pacer, 1, room=False) == [(1.0, None)]
    assert pacer.due == pytest.approx(1 + 1 / 30)
    assert turns(pacer, 2) == [(round(1 + 1 / 30, 6), (250, 251)), (round(1 + 2 / 30, 6), (251, 300))]


def test_a_seek_after_the_end_pauses_there() -> None:
    pacer = playing(log(100))
    turns(pacer, 3)
    pacer.seek(Position(index=10), 5.0)
    assert turns(pacer, 2) == [(5.0, (10, 11))]
    assert pacer.state == "paused"
    pacer.play(6.0)
    assert turns(pacer, 1) == [(6.0, (11, 60))]


def test_a_pause_right_after_a_seek_still_shows_its_frame() -> None:
    pacer = playing(log(400))
    pacer.seek(Position(index=250), 1.0)
    pacer.pause()
    assert turns(pacer, 2) == [(1.0, (250, 251))]
    assert (pacer.state, pacer.due) == ("paused", NEVER)


BEYOND = [
    (Position(index=250), b'"min":0,"max":99'),
    (Position(micros=FRAMES[250].micros), b'"min":"2025-01-02T14:30:00Z","max":"2025-01-02T16:09:00Z"'),
]


@pytest.mark.parametrize(("position", "limits"), BEYOND, ids=["index", "time"])
def test_a_seek_to_what_is_not_read_yet_waits_and_is_refused_if_the_run_ends_before(
    position: Position, limits: bytes
) -> None:
    made = log(90, ended=False)
    pacer = Pacer(made, cursor=5)
    pacer.seek(position, 1.0)
    assert turns(pacer, 1) == [(1.0, None)]
    assert (pacer.is_starved, pacer.due, pacer.peek()) == (True, 1.0 + SEEK_SECONDS, None)
    grow(made, 10)
    pacer.on_growth(2.0)
    assert turns(pacer, 1) == [(2.0, None)]
    made.ended = True
    pacer.on_growth(3.0)
    ((at, refused),) = turns(pacer, 1)
    assert isinstance(refused, ControlRefused)
    assert (at, limits in refused.payload, b"RANGE" in refused.payload) == (3.0, True, True)
    assert (pacer.is_starved, pacer.due, pacer.cursor) == (False, NEVER, 5)


@pytest.mark.parametrize(("position", "limits"), BEYOND, ids=["index", "time"])
def test_a_seek_beyond_what_comes_is_refused_when_nothing_has_come_for_two_seconds(
    position: Position, limits: bytes
) -> None:
    made = log(90, ended=False)
    pacer = playing(made, cursor=5)
    pacer.seek(position, 1.0)
    turns(pacer, 1)
    grow(made, 10)
    pacer.on_growth(2.5)
    assert turns(pacer, 1) == [(2.5, None)]
    ((at, refused),) = turns(pacer, 1)
    assert isinstance(refused, ControlRefused)
    assert (at, limits in refused.payload) == (4.5, True)
    assert turns(pacer, 2) == [(4.533333, (5, 60)), (pytest.approx(4.566667, abs=0.01), None)]


def test_a_seek_waits_longer_while_the_backend_is_away_and_for_a_frame_that_was_announced() -> None:
    made = log(100, ended=False)
    away, told = Pacer(made), Pacer(made)
    away.fed = False
    away.seek(Position(index=250), 0.0)
    assert turns(away, 4) == [(0.0, None), (2.0, None), (4.0, None), (6.0, None)]
    away.fed = True
    assert isinstance(turns(away, 1)[0][1], ControlRefused)
    made.expected = 300
    told.seek(Position(index=250), 0.0)
    assert turns(told, 3) == [(0.0, None), (2.0, None), (4.0, None)]
    grow(made, 200)
    told.on_growth(5.0)
    assert turns(told, 1) == [(5.0, (250, 251))]


def test_a_step_beyond_the_last_frame_is_refused_when_the_run_turns_out_to_end_there() -> None:
    made = log(100, ended=False)
    pacer = Pacer(made, cursor=100)
    control(pacer, '"cmd":"step","val":1', 1.0)
    assert turns(pacer, 1) == [(1.0, None)]
    made.ended = True
    pacer.on_growth(1.5)
    ((at, refused),) = turns(pacer, 1)
    assert (at, isinstance(refused, ControlRefused), pacer.cursor) == (1.5, True, 100)


def test_a_seek_to_a_time_that_is_not_read_yet_waits_where_it_is_and_goes_there() -> None:
    made = log(100, ended=False)
    pacer = Pacer(made, cursor=5)
    wanted = FRAMES[150].micros
    pacer.seek(Position(micros=wanted), 1.0)
    assert (turns(pacer, 1), pacer.cursor) == ([(1.0, None)], 5)
    grow(made, 100)
    pacer.on_growth(2.0)
    assert turns(pacer, 1) == [(2.0, (150, 151))]


def test_steps_show_the_frame_after_and_the_one_before_and_stop_the_playing() -> None:
    pacer = playing(log(400))
    turns(pacer, 1)
    control(pacer, '"cmd":"step","val":1', 1.0)
    assert (pacer.state, pacer.due) == ("paused", 1.0)
    assert turns(pacer, 2) == [(1.0, (60, 61))]
    control(pacer, '"cmd":"step","val":-1', 2.0)
    assert turns(pacer, 2) == [(2.0, (59, 60))]
    assert pacer.due == NEVER
    pacer.play(3.0)
    assert turns(pacer, 1) == [(3.0, (60, 120))]


def test_steps_beyond_either_end_are_refused_and_change_nothing() -> None:
    pacer = playing(log(100))
    turns(pacer, 1)
    pacer.seek(Position(index=1), 1.0)
    turns(pacer, 1)
    control(pacer, '"cmd":"step","val":-1', 1.5)
    assert turns(pacer, 1) == [(1.5, (0, 1))]
    with pytest.raises(ControlRefused):
        control(pacer, '"cmd":"step","val":-1', 2.0)
    pacer.seek(Position(index=98), 3.0)
    turns(pacer, 1)
    control(pacer, '"cmd":"step","val":1', 4.0)
    assert turns(pacer, 1) == [(4.0, (99, 100))]
    with pytest.raises(ControlRefused):
        control(pacer, '"cmd":"step","val":1', 5.0)
    assert (pacer.state, pacer.due, pacer.cursor) == ("paused", NEVER, 100)


# ── Rates ──


def test_another_rate_counts_what_was_waited_already() -> None:
    pacer = playing(log(400), speed=1.0, fps=5.0)
    turns(pacer, 2)  # the second at 0.2
    control(pacer, '"cmd":"fps","fps":10', 0.25)
    assert pacer.due == pytest.approx(0.3)
    control(pacer, '"cmd":"fps","fps":20', 0.29)
    assert pacer.due == pytest.approx(0.29)
    assert pacer.advance(0.29, room=True) == Emission(12, 13, 0)


def test_another_rate_of_who_has_seen_nothing_yet_delays_nothing() -> None:
    pacer = playing(log(400), at=1.0)
    control(pacer, '"cmd":"speed","val":1', 1.0)
    assert (pacer.due, pacer.speed, pacer.stride) == (1.0, 1.0, 1.0)
    assert turns(pacer, 1) == [(1.0, (0, 1))]


def test_another_rate_of_a_paused_viewer_waits_for_its_play() -> None:
    pacer = Pacer(log(400))
    control(pacer, '"cmd":"speed","val":2', 1.0)
    assert (pacer.due, pacer.speed, pacer.fps, pacer.stride) == (NEVER, 2.0, 30.0, 2.0)
    control(pacer, '"cmd":"fps","fps":60', 1.0)
    assert (pacer.speed, pacer.fps, pacer.stride) == (2.0, 60.0, 1.0)
    control(pacer, '"cmd":"speed","val":4', 1.0)
    assert (pacer.fps, pacer.stride) == (60.0, 2.0)


def test_another_rate_between_a_seek_and_its_frame_shows_the_frame_first() -> None:
    pacer = playing(log(400))
    pacer.seek(Position(index=250), 1.0)
    control(pacer, '"cmd":"speed","val":1', 1.0)
    assert turns(pacer, 2) == [(1.0, (250, 251)), (round(1 + 1 / 30, 6), (251, 252))]


# ── Another epoch, and what is made ready ──


def test_a_changed_run_goes_on_after_the_time_that_was_shown_last() -> None:
    pacer = playing(log(400))
    turns(pacer, 2)
    changed = log(400)
    pacer.switch(changed, FRAMES[99].micros, 1.0)
    assert (pacer.log, pacer.jumps, pacer.cursor) == (changed, 1, 100)
    assert turns(pacer, 2) == [(round(1 + 1 / 30, 6), (100, 120)), (round(1.0375 + 1 / 30, 6), (120, 180))]


def test_a_changed_run_that_has_not_come_so_far_is_waited_for() -> None:
    pacer = playing(log(400))
    turns(pacer, 2)
    changed = log(100, ended=False)
    pacer.switch(changed, FRAMES[119].micros, 1.0)
    assert turns(pacer, 1) == [(round(1 + 1 / 30, 6), None)]
    assert (pacer.is_starved, pacer.due) == (True, NEVER)
    grow(changed, 100)
    pacer.on_growth(2.0)
    assert turns(pacer, 2) == [(2.0, (120, 180)), (round(2 + 1 / 30 / 1.25, 6), None)]


def test_a_changed_run_that_ends_before_what_was_shown_has_nothing_more_to_show() -> None:
    pacer = playing(log(400))
    turns(pacer, 2)
    pacer.switch(log(100), FRAMES[119].micros, 1.0)
    assert turns(pacer, 2) == [(round(1 + 1 / 30, 6), "end")]


def test_who_was_shown_nothing_begins_a_changed_run_at_its_first_frame() -> None:
    pacer = playing(log(400), cursor=70)
    pacer.switch(log(400), None, 1.0)
    assert turns(pacer, 1) == [(round(1 + 1 / 30, 6), (0, 60))]


def test_who_had_seen_the_end_is_paused_in_a_changed_run_and_who_stood_still_stands_still() -> None:
    ended, idle = playing(log(10)), Pacer(log(10))
    turns(ended, 2)
    for pacer in (ended, idle):
        pacer.switch(log(400), FRAMES[9].micros, 1.0)
        assert pacer.due == NEVER
    assert (ended.state, idle.state) == ("paused", "idle")
    ended.play(2.0)
    assert turns(ended, 1) == [(2.0, (10, 60))]


def test_what_is_made_ready_early_is_what_is_sent() -> None:
    pacer = playing(log(100))
    assert pacer.peek() == (0, 60)
    turns(pacer, 1)
    assert pacer.peek() == (60, 100)
    turns(pacer, 1)
    assert pacer.peek() is None
    pacer.seek(Position(index=3), 1.0)
    assert pacer.peek() is None
    assert Pacer(log(100)).peek() is None
