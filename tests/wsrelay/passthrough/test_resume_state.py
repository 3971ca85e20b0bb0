"""What a session restores after a break, without sockets: message by message."""

import json
from typing import Any

import pytest

from bff_wsrelay.passthrough.messages import busy_error, connection_status
from bff_wsrelay.passthrough.resume_state import BufferFull, Dialect, MessageCounts, ResumeState

READY = '{"t":"ready"}'
PLAY = '{"t":"ctrl","cmd":"play"}'
PAUSE = '{"t":"ctrl","cmd":"pause"}'
SPEED = '{"t":"ctrl","cmd":"speed","val":60}'
OLD_SPEED = '{"t":"ctrl","cmd":"speed","speed":10}'
SEEK = '{"t":"ctrl","cmd":"seek","pos":"2025-01-02T14:31:00Z"}'


def frame(minute: int, spelling: str = '{{"t": "frame", "ts": "2025-01-02T14:{:02d}:00Z", "ohlc": null}}') -> str:
    return spelling.format(minute)


def echo(control: str) -> str:
    return json.dumps({**json.loads(control), "echo": True})


def heard(state: ResumeState, *messages: str | bytes) -> list[str | bytes]:
    """Return which of the backend's messages the viewer gets."""
    return [message for message in messages if state.should_forward(message)]


def say(state: ResumeState, *messages: str | bytes) -> None:
    for message in messages:
        state.note_sent(message)


def held(state: ResumeState) -> list[Any]:
    return [*iter(state.next_held, None)]


def playing(*frames: str) -> ResumeState:
    state = ResumeState()
    say(state, READY, SPEED, PLAY)
    messages: tuple[str, ...] = ('{"t": "ready_ack"}', echo(SPEED), echo(PLAY), *frames)
    assert heard(state, *messages) == list(messages)
    return state


def test_everything_passes_while_nothing_breaks() -> None:
    state = playing(frame(30), frame(31))
    messages: list[str | bytes] = [
        '{"t":"hb"}',
        echo(SPEED),
        '{"t":"err","code":"VALIDATION"}',
        '{"t":"new"}',
        b"\x00",
        "text",
        "{",
    ]
    assert heard(state, *messages) == messages


def test_a_new_connection_is_sent_ready_speed_and_play_in_this_order() -> None:
    state = ResumeState()
    say(state, PLAY, OLD_SPEED, READY, SPEED)
    heard(state, echo(PLAY), echo(OLD_SPEED), '{"t":"ready_ack"}', echo(SPEED))
    state.connection_lost()
    assert state.restore() == [READY, SPEED, PLAY]
    assert held(state) == []


def test_only_the_answers_to_the_restoring_are_swallowed() -> None:
    state = playing()
    state.connection_lost()
    state.restore()
    say(state, SPEED)
    answers = ['{"t":"ready_ack"}', echo(SPEED), '{"t":"hb"}', echo(PLAY), echo(SPEED), echo(PLAY)]
    assert heard(state, *answers) == ['{"t":"hb"}', echo(SPEED), echo(PLAY)]
    assert state.counts.swallowed == 3


def test_the_answer_of_an_older_backend_to_ready_is_swallowed_only_after_a_break() -> None:
    state = ResumeState()
    say(state, READY, SPEED)
    refused = '{"t": "err", "code": "VALIDATION", "msg": "unsupported message"}'
    assert heard(state, refused, echo(SPEED)) == [refused, echo(SPEED)]
    state.connection_lost()
    assert state.restore() == [READY, SPEED]
    assert heard(state, refused, echo(SPEED), refused) == [refused]


def test_what_was_asked_and_never_answered_is_asked_again_and_its_answer_passes() -> None:
    state = playing()
    say(state, OLD_SPEED, SEEK)
    state.connection_lost()
    state.hold(SPEED)
    assert state.restore() == [READY, SPEED, PLAY]
    assert held(state) == [OLD_SPEED, SEEK, SPEED]
    say(state, OLD_SPEED)
    assert heard(state, echo(PLAY), echo(OLD_SPEED)) == [echo(OLD_SPEED)]


def test_a_message_the_backend_refuses_does_not_lose_the_control_after_it() -> None:
    state = ResumeState()
    say(state, "not json", SPEED)
    heard(state, '{"t":"err","code":"VALIDATION","msg":"invalid JSON"}', echo(SPEED))
    state.connection_lost()
    assert state.restore() == [SPEED]
    assert held(state) == []


def test_a_play_the_backend_ignored_is_not_restored() -> None:
    state = ResumeState()
    say(state, PLAY, READY)
    heard(state, '{"t":"ready_ack"}')
    state.connection_lost()
    assert state.restore() == [READY]
    assert held(state) == []


@pytest.mark.parametrize(
    "spelling",
    [
        '{{"t": "frame", "ts": "2025-01-02T14:{:02d}:00Z", "ohlc": null}}',
        '{{"t":"frame","ts":"2025-01-02T14:{:02d}:00Z","ohlc":null}}',
        '{{"t":"frame","ts":"2025-01-02T14:{:02d}:00+00:00"}}',
        '{{"ts":"2025-01-02T14:{:02d}:00Z","t":"frame"}}',
        ' {{"t" : "frame", "n":1, "ts" : "2025-01-02T14:{:02d}:00"}}',
    ],
)
def test_frames_the_viewer_has_are_skipped_by_their_ts(spelling: str) -> None:
    frames = [frame(minute, spelling) for minute in range(30, 36)]
    state = playing(*frames[:3])
    state.connection_lost()
    state.restore()
    assert heard(state, *frames) == frames[3:]
    assert state.counts.skipped == 3


def test_a_break_while_catching_up_skips_to_the_same_frame_again() -> None:
    frames = [frame(minute) for minute in range(30, 40)]
    state = playing(*frames[:6])
    for cut in (2, 4, 1):
        state.connection_lost()
        state.restore()
        assert heard(state, *frames[:cut]) == []
    state.connection_lost()
    state.restore()
    assert heard(state, *frames) == frames[6:]


def test_a_replay_that_ends_where_the_viewer_was_skips_no_further() -> None:
    frames = [frame(minute) for minute in range(30, 33)]
    state = playing(*frames)
    state.connection_lost()
    state.restore()
    assert heard(state, *frames) == []
    say(state, PLAY)
    assert heard(state, echo(PLAY), *frames)[-3:] == frames


def test_a_play_after_the_viewers_own_pause_shows_the_run_from_its_first_frame() -> None:
    frames = [frame(minute) for minute in range(30, 36)]
    state = playing(*frames[:4])
    state.connection_lost()
    state.restore()
    assert heard(state, *frames[:2]) == []
    say(state, PAUSE)
    assert heard(state, frames[2], echo(PAUSE)) == [echo(PAUSE)]
    say(state, PLAY)
    assert heard(state, echo(PLAY), *frames) == [echo(PLAY), *frames]


def test_a_paused_viewer_is_not_set_playing_by_a_break() -> None:
    state = playing(frame(30))
    say(state, PAUSE)
    heard(state, echo(PAUSE))
    state.connection_lost()
    assert state.restore() == [READY, SPEED]
    say(state, PLAY)
    assert heard(state, echo(PLAY), frame(30)) == [echo(PLAY), frame(30)]


def test_a_pause_sent_during_the_outage_stops_the_restored_play() -> None:
    state = playing(frame(30))
    state.connection_lost()
    state.hold(PAUSE)
    assert state.restore() == [READY, SPEED]
    assert held(state) == [PAUSE]


def test_after_the_end_nothing_plays() -> None:
    state = playing(frame(30))
    heard(state, '{"t":"end"}')
    state.connection_lost()
    assert state.restore() == [READY, SPEED]


def test_an_unknown_run_is_not_played_again() -> None:
    state = playing()
    message = '{"t":"err","code":"STREAM_ERROR","msg":"run not found: x"}'
    assert heard(state, message) == [message]
    state.connection_lost()
    assert state.restore() == [READY, SPEED]


def test_a_seek_that_takes_effect_while_catching_up_ends_the_skipping() -> None:
    frames = [frame(minute) for minute in range(30, 40)]
    state = playing(*frames[:8])
    state.connection_lost()
    state.restore()
    heard(state, echo(PLAY), *frames[:4])
    say(state, SEEK)
    assert heard(state, echo(SEEK), *frames[1:4]) == [echo(SEEK), *frames[1:4]]


def test_frames_on_their_way_when_a_seek_is_answered_are_skipped_until_the_run_goes_back() -> None:
    frames = [frame(minute) for minute in range(30, 40)]
    state = playing(*frames[:8])
    state.connection_lost()
    state.restore()
    heard(state, echo(PLAY), *frames[:3])
    say(state, SEEK)
    on_their_way = [frames[3], frames[3] + " ", frames[4]]
    assert heard(state, echo(SEEK), *on_their_way, frames[1]) == [echo(SEEK), frames[1]]


def test_a_replay_that_begins_again_by_itself_is_skipped_as_well() -> None:
    frames = [frame(minute) for minute in range(30, 34)]
    state = playing(*frames[:3])
    say(state, SEEK)
    heard(state, echo(SEEK))  # before the break, whose end nobody has seeked since
    state.connection_lost()
    state.restore()
    assert heard(state, *frames[:2], *frames) == [frames[3]]


def test_a_frame_without_a_time_passes_though_others_are_skipped() -> None:
    nameless = '{"t": "frame", "ohlc": null}'
    state = playing(frame(30), frame(31))
    state.connection_lost()
    state.restore()
    assert heard(state, frame(30), nameless, frame(31), frame(32)) == [nameless, frame(32)]


def test_a_break_right_after_the_first_new_frame_does_not_show_it_again() -> None:
    state = playing(frame(30))
    for _ in range(2):
        state.connection_lost()
        state.restore()
        heard(state, frame(30), frame(31))
    assert heard(state, frame(32)) == [frame(32)]
    assert state.counts.skipped == 1 + 2


def test_a_replay_without_the_frame_shown_last_goes_on_after_it_through_another_break_too() -> None:
    state = playing(frame(30), frame(31))
    state.connection_lost()
    state.restore()
    assert heard(state, frame(30), frame(32)) == [frame(32)]
    state.connection_lost()
    state.restore()
    assert heard(state, frame(30), frame(32), frame(33)) == [frame(33)]


def test_a_break_right_after_a_play_from_the_start_skips_nothing() -> None:
    frames = [frame(30), frame(31)]
    state = playing(*frames)
    say(state, PAUSE, PLAY)
    heard(state, echo(PAUSE), echo(PLAY))
    state.connection_lost()
    state.restore()
    assert heard(state, *frames) == frames


def test_an_older_backend_refuses_the_restored_ready_once() -> None:
    state = ResumeState()
    say(state, READY)
    refused = '{"t": "err", "code": "VALIDATION", "msg": "unsupported message"}'
    heard(state, refused)
    state.connection_lost()
    state.restore()
    assert heard(state, refused, refused) == [refused]


def test_messages_for_an_absent_backend_are_bounded_in_number_and_bytes() -> None:
    state = ResumeState(max_held=2, max_bytes=1000)
    state.hold(PLAY)
    with pytest.raises(BufferFull):
        state.hold("x" * 1000)
    state.hold(SPEED)
    with pytest.raises(BufferFull):
        state.hold(PAUSE)
    assert held(state) == [PLAY, SPEED]
    state.hold(PAUSE)
    assert state.counts.refused == 2


def test_256_messages_of_a_mebibyte_together_are_held_and_not_a_byte_more() -> None:
    state = ResumeState()
    for number in range(256):
        state.hold(f"{number}")
    with pytest.raises(BufferFull):
        state.hold("one more")
    state = ResumeState()
    before = state.holds
    state.hold(b"x" * 1024 * 1024)
    assert (before, state.holds) == (False, True)
    with pytest.raises(BufferFull):
        state.hold("y")
    state.next_held()
    state.hold(b"x" * 1024 * 1024)  # its room is there again
    assert len(held(state)) == 1


def test_what_is_to_be_asked_again_takes_room_for_what_is_held() -> None:
    state = ResumeState(max_bytes=len(SPEED) + len(PLAY))
    say(state, SPEED)
    state.connection_lost()
    state.hold(PLAY)
    with pytest.raises(BufferFull):
        state.hold("x")
    assert held(state) == [SPEED, PLAY]
    state.connection_lost()
    assert held(state) == []


def test_what_is_asked_again_after_a_break_is_what_the_backend_answers() -> None:
    state = ResumeState()
    assert [state.note_sent(message) for message in (READY, SEEK, '{"t":"hb"}', "text")] == [True, True, False, False]


@pytest.mark.parametrize(("message", "dialect"), [(PLAY, Dialect.FRAMES), ("text", Dialect.FOREIGN)])
def test_a_message_that_is_held_tells_the_protocol_as_one_that_is_sent_does(message: str, dialect: Dialect) -> None:
    sent, waiting = ResumeState(), ResumeState()
    sent.note_sent(message)
    waiting.hold(message)
    assert sent.dialect is waiting.dialect is dialect


def test_messages_are_counted_for_what_became_of_them() -> None:
    assert ResumeState().counts == MessageCounts(0, 0, 0, 0, 0, 0)
    state = playing(frame(30), frame(31))
    say(state, *[SEEK] * 65)
    state.connection_lost()
    state.restore()
    heard(state, '{"t":"err","code":"VALIDATION"}', echo(SPEED), frame(30), frame(31), frame(32))
    counts = MessageCounts(from_viewer=68, from_backend=10, skipped=2, swallowed=2, refused=1, breaks=1)
    assert state.counts == counts


def test_a_message_that_could_not_be_sent_is_kept_though_others_took_its_room() -> None:
    state = ResumeState(max_held=1)
    state.hold("later")
    state.hold("first", first=True)
    assert held(state) == ["first", "later"]


def test_of_a_hundred_unanswered_controls_the_last_are_asked_again_and_the_others_counted() -> None:
    state = playing()
    seeks = [f'{{"t":"ctrl","cmd":"seek","pos":{number}}}' for number in range(100)]
    say(state, *seeks)
    assert state.connection_lost() == 36
    assert held(state) == seeks[36:]
    assert state.connection_lost() == 0
    assert json.loads(busy_error(36)) == {**json.loads(busy_error()), "count": 36}


def test_answers_to_controls_that_are_only_counted_pass_and_take_nothing_of_the_others() -> None:
    state = playing()
    say(state, *[OLD_SPEED] * 70)
    answers = [echo(OLD_SPEED)] * 70
    assert heard(state, *answers) == answers
    assert state.connection_lost() == 0
    assert held(state) == []
    assert state.restore() == [READY, OLD_SPEED, PLAY]


@pytest.mark.parametrize("answer", [echo(SEEK), '{"t":"err","code":"RANGE"}'])
def test_each_answer_to_a_control_that_is_only_counted_takes_one_from_those(answer: str) -> None:
    state = playing()
    say(state, *[SEEK] * 70)
    assert heard(state, *[answer] * 2) == [answer] * 2
    assert state.connection_lost() == 4
    assert len(held(state)) == 64


@pytest.mark.parametrize("count", [2, 3])
def test_frames_of_one_time_are_neither_doubled_nor_lost_by_a_break(count: int) -> None:
    twins = [frame(31) + " " * number for number in range(3)]
    state = playing(frame(30), *twins[:count])
    state.connection_lost()
    state.restore()
    assert heard(state, frame(30), *twins, frame(32)) == [*twins[count:], frame(32)]


def test_heartbeats_are_not_held_for_an_absent_backend() -> None:
    state = ResumeState()
    state.hold('{"t":"hb"}')
    assert held(state) == []


def test_a_message_that_could_not_be_sent_goes_first() -> None:
    state = ResumeState()
    state.hold("second")
    state.hold("first", first=True)
    assert held(state) == ["first", "second"]


@pytest.mark.parametrize("message", ["hello", b"\x01", '{"a":1}', '{"t":"ctrl","cmd":"play"}', "[1]", "{", '{"t":1}'])
def test_an_echo_servers_words_are_another_protocol(message: str | bytes) -> None:
    state = ResumeState()
    assert state.is_resumable
    state.should_forward(message)
    assert state.dialect is Dialect.FOREIGN
    assert not state.is_resumable


@pytest.mark.parametrize("name", ["[]", "{}", "1", "null", '[{"t":"ctrl"}]'])
def test_what_names_its_kind_by_no_text_passes_from_either_side(name: str) -> None:
    state = playing(frame(30))
    asked = f'{{"t":{name}}}'
    say(state, asked)
    answers = [f'{{"t":{name}}}', f'{{"t":"err","code":{name}}}', f'{{"t":"ctrl","echo":true,"cmd":{name}}}']
    assert heard(state, *answers) == answers
    state.connection_lost()
    state.hold(asked)
    assert (state.restore(), held(state)) == ([READY, SPEED, PLAY], [asked])


@pytest.mark.parametrize("message", [frame(30), '{"t":"hb"}', echo(PLAY), '{"t":"err","code":"X"}', '{"t":"end"}'])
def test_a_word_of_the_backend_makes_it_the_backends_protocol(message: str) -> None:
    state = ResumeState()
    state.note_sent("not json")
    assert not state.is_resumable
    state.should_forward(message)
    assert state.dialect is Dialect.FRAMES


def test_a_status_says_state_attempt_and_milliseconds() -> None:
    assert json.loads(connection_status("reconnecting", 2, 1.5)) == {
        "t": "status",
        "state": "reconnecting",
        "attempt": 2,
        "retry_ms": 1500,
    }
    assert json.loads(busy_error())["code"] == "BUSY"
