"""What the door makes of a conversation, without sockets: message by message."""

import json
from typing import Any

import pytest

from bff_wsrelay.passthrough.resume_state import Dialogue, Language, Overflow, busy, status

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


def heard(dialogue: Dialogue, *messages: str | bytes) -> list[str | bytes]:
    """Return which of the backend's messages the viewer gets."""
    return [message for message in messages if dialogue.passes(message)]


def say(dialogue: Dialogue, *messages: str | bytes) -> None:
    for message in messages:
        dialogue.sending(message)


def held(dialogue: Dialogue) -> list[Any]:
    return [*iter(dialogue.next_held, None)]


def playing(*frames: str) -> Dialogue:
    dialogue = Dialogue()
    say(dialogue, READY, SPEED, PLAY)
    messages: tuple[str, ...] = ('{"t": "ready_ack"}', echo(SPEED), echo(PLAY), *frames)
    assert heard(dialogue, *messages) == list(messages)
    return dialogue


def test_everything_passes_while_nothing_breaks() -> None:
    dialogue = playing(frame(30), frame(31))
    messages: list[str | bytes] = [
        '{"t":"hb"}',
        echo(SPEED),
        '{"t":"err","code":"VALIDATION"}',
        '{"t":"new"}',
        b"\x00",
        "text",
        "{",
    ]
    assert heard(dialogue, *messages) == messages


def test_a_new_connection_is_told_ready_speed_and_play_in_this_order() -> None:
    dialogue = Dialogue()
    say(dialogue, PLAY, OLD_SPEED, READY, SPEED)
    heard(dialogue, echo(PLAY), echo(OLD_SPEED), '{"t":"ready_ack"}', echo(SPEED))
    dialogue.broke()
    assert dialogue.restore() == [READY, SPEED, PLAY]
    assert held(dialogue) == []


def test_only_the_answers_to_the_restoring_are_swallowed() -> None:
    dialogue = playing()
    dialogue.broke()
    dialogue.restore()
    say(dialogue, SPEED)
    answers = ['{"t":"ready_ack"}', echo(SPEED), '{"t":"hb"}', echo(PLAY), echo(SPEED), echo(PLAY)]
    assert heard(dialogue, *answers) == ['{"t":"hb"}', echo(SPEED), echo(PLAY)]
    assert dialogue.tally.swallowed == 3


def test_the_answer_of_an_older_backend_to_ready_is_swallowed_only_after_a_break() -> None:
    dialogue = Dialogue()
    say(dialogue, READY, SPEED)
    refused = '{"t": "err", "code": "VALIDATION", "msg": "unsupported message"}'
    assert heard(dialogue, refused, echo(SPEED)) == [refused, echo(SPEED)]
    dialogue.broke()
    assert dialogue.restore() == [READY, SPEED]
    assert heard(dialogue, refused, echo(SPEED), refused) == [refused]


def test_what_was_asked_and_never_answered_is_asked_again_and_its_answer_passes() -> None:
    dialogue = playing()
    say(dialogue, OLD_SPEED, SEEK)
    dialogue.broke()
    dialogue.hold(SPEED)
    assert dialogue.restore() == [READY, SPEED, PLAY]
    assert held(dialogue) == [OLD_SPEED, SEEK, SPEED]
    say(dialogue, OLD_SPEED)
    assert heard(dialogue, echo(PLAY), echo(OLD_SPEED)) == [echo(OLD_SPEED)]


def test_a_message_the_backend_refuses_does_not_lose_the_control_after_it() -> None:
    dialogue = Dialogue()
    say(dialogue, "not json", SPEED)
    heard(dialogue, '{"t":"err","code":"VALIDATION","msg":"invalid JSON"}', echo(SPEED))
    dialogue.broke()
    assert dialogue.restore() == [SPEED]
    assert held(dialogue) == []


def test_a_play_the_backend_ignored_is_not_restored() -> None:
    dialogue = Dialogue()
    say(dialogue, PLAY, READY)
    heard(dialogue, '{"t":"ready_ack"}')
    dialogue.broke()
    assert dialogue.restore() == [READY]
    assert held(dialogue) == []


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
    dialogue = playing(*frames[:3])
    dialogue.broke()
    dialogue.restore()
    assert heard(dialogue, *frames) == frames[3:]
    assert dialogue.tally.skipped == 3


def test_a_break_while_catching_up_skips_to_the_same_place_again() -> None:
    frames = [frame(minute) for minute in range(30, 40)]
    dialogue = playing(*frames[:6])
    for cut in (2, 4, 1):
        dialogue.broke()
        dialogue.restore()
        assert heard(dialogue, *frames[:cut]) == []
    dialogue.broke()
    dialogue.restore()
    assert heard(dialogue, *frames) == frames[6:]


def test_a_replay_that_ends_where_the_viewer_was_skips_no_further() -> None:
    frames = [frame(minute) for minute in range(30, 33)]
    dialogue = playing(*frames)
    dialogue.broke()
    dialogue.restore()
    assert heard(dialogue, *frames) == []
    say(dialogue, PLAY)
    assert heard(dialogue, echo(PLAY), *frames)[-3:] == frames


def test_a_play_after_the_viewers_own_pause_shows_the_run_from_its_first_frame() -> None:
    frames = [frame(minute) for minute in range(30, 36)]
    dialogue = playing(*frames[:4])
    dialogue.broke()
    dialogue.restore()
    assert heard(dialogue, *frames[:2]) == []
    say(dialogue, PAUSE)
    assert heard(dialogue, frames[2], echo(PAUSE)) == [echo(PAUSE)]
    say(dialogue, PLAY)
    assert heard(dialogue, echo(PLAY), *frames) == [echo(PLAY), *frames]


def test_a_paused_viewer_is_not_set_playing_by_a_break() -> None:
    dialogue = playing(frame(30))
    say(dialogue, PAUSE)
    heard(dialogue, echo(PAUSE))
    dialogue.broke()
    assert dialogue.restore() == [READY, SPEED]
    say(dialogue, PLAY)
    assert heard(dialogue, echo(PLAY), frame(30)) == [echo(PLAY), frame(30)]


def test_a_pause_said_during_the_outage_stops_the_restored_play() -> None:
    dialogue = playing(frame(30))
    dialogue.broke()
    dialogue.hold(PAUSE)
    assert dialogue.restore() == [READY, SPEED]
    assert held(dialogue) == [PAUSE]


def test_after_the_end_nothing_plays() -> None:
    dialogue = playing(frame(30))
    heard(dialogue, '{"t":"end"}')
    dialogue.broke()
    assert dialogue.restore() == [READY, SPEED]


def test_an_unknown_run_is_not_played_again() -> None:
    dialogue = playing()
    message = '{"t":"err","code":"STREAM_ERROR","msg":"run not found: x"}'
    assert heard(dialogue, message) == [message]
    dialogue.broke()
    assert dialogue.restore() == [READY, SPEED]


def test_a_seek_that_takes_effect_while_catching_up_ends_the_skipping() -> None:
    frames = [frame(minute) for minute in range(30, 40)]
    dialogue = playing(*frames[:8])
    dialogue.broke()
    dialogue.restore()
    heard(dialogue, echo(PLAY), *frames[:4])
    say(dialogue, SEEK)
    assert heard(dialogue, echo(SEEK), *frames[1:4]) == [echo(SEEK), *frames[1:4]]


def test_messages_for_an_absent_backend_are_bounded_in_number_and_bytes() -> None:
    dialogue = Dialogue(max_held=2, max_bytes=1000)
    dialogue.hold(PLAY)
    with pytest.raises(Overflow):
        dialogue.hold("x" * 1000)
    dialogue.hold(SPEED)
    with pytest.raises(Overflow):
        dialogue.hold(PAUSE)
    assert held(dialogue) == [PLAY, SPEED]
    dialogue.hold(PAUSE)
    assert dialogue.tally.refused == 2


def test_a_message_that_could_not_be_sent_is_kept_though_others_took_its_room() -> None:
    dialogue = Dialogue(max_held=1)
    dialogue.hold("later")
    dialogue.hold("first", first=True)
    assert held(dialogue) == ["first", "later"]


def test_of_a_hundred_unanswered_controls_the_last_are_asked_again_and_the_others_counted() -> None:
    dialogue = playing()
    seeks = [f'{{"t":"ctrl","cmd":"seek","pos":{number}}}' for number in range(100)]
    say(dialogue, *seeks)
    assert dialogue.broke() == 36
    assert held(dialogue) == seeks[36:]
    assert dialogue.broke() == 0
    assert json.loads(busy(36)) == {**json.loads(busy()), "count": 36}


def test_answers_to_controls_that_are_only_counted_pass_and_take_nothing_of_the_others() -> None:
    dialogue = playing()
    say(dialogue, *[OLD_SPEED] * 70)
    answers = [echo(OLD_SPEED)] * 70
    assert heard(dialogue, *answers) == answers
    assert dialogue.broke() == 0
    assert held(dialogue) == []
    assert dialogue.restore() == [READY, OLD_SPEED, PLAY]


@pytest.mark.parametrize("count", [2, 3])
def test_frames_of_one_time_are_neither_doubled_nor_lost_by_a_break(count: int) -> None:
    twins = [frame(31) + " " * number for number in range(3)]
    dialogue = playing(frame(30), *twins[:count])
    dialogue.broke()
    dialogue.restore()
    assert heard(dialogue, frame(30), *twins, frame(32)) == [*twins[count:], frame(32)]


def test_heartbeats_are_not_kept_for_an_absent_backend() -> None:
    dialogue = Dialogue()
    dialogue.hold('{"t":"hb"}')
    assert held(dialogue) == []


def test_a_message_that_could_not_be_sent_goes_first() -> None:
    dialogue = Dialogue()
    dialogue.hold("second")
    dialogue.hold("first", first=True)
    assert held(dialogue) == ["first", "second"]


@pytest.mark.parametrize("message", ["hello", b"\x01", '{"a":1}', '{"t":"ctrl","cmd":"play"}', "[1]", "{", '{"t":1}'])
def test_an_echo_servers_words_are_another_protocol(message: str | bytes) -> None:
    dialogue = Dialogue()
    assert dialogue.is_ours
    dialogue.passes(message)
    assert dialogue.language is Language.FOREIGN
    assert not dialogue.is_ours


@pytest.mark.parametrize("message", [frame(30), '{"t":"hb"}', echo(PLAY), '{"t":"err","code":"X"}', '{"t":"end"}'])
def test_a_word_of_the_backend_makes_it_the_backends_protocol(message: str) -> None:
    dialogue = Dialogue()
    dialogue.sending("not json")
    assert not dialogue.is_ours
    dialogue.passes(message)
    assert dialogue.language is Language.FRAMES


def test_a_status_says_state_attempt_and_milliseconds() -> None:
    assert json.loads(status("reconnecting", 2, 1.5)) == {
        "t": "status",
        "state": "reconnecting",
        "attempt": 2,
        "retry_ms": 1500,
    }
    assert json.loads(busy())["code"] == "BUSY"
