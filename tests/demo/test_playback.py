import pytest

from bff_demo.playback import Command, interpret


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        ("not json", '{"t": "err", "code": "VALIDATION", "msg": "invalid JSON"}'),
        ("", '{"t": "err", "code": "VALIDATION", "msg": "invalid JSON"}'),
        (b"\xff", '{"t": "err", "code": "VALIDATION", "msg": "invalid JSON"}'),
        ('{"t":"hello"}', '{"t": "err", "code": "VALIDATION", "msg": "unsupported message"}'),
        ("[1]", '{"t": "err", "code": "VALIDATION", "msg": "unsupported message"}'),
        ('{"t":"ready"}', '{"t": "err", "code": "VALIDATION", "msg": "unsupported message"}'),
        ('{"t":"ctrl","cmd":"dance"}', '{"t": "err", "code": "VALIDATION", "msg": "invalid ctrl.cmd"}'),
        ('{"t":"ctrl","cmd":["play"]}', '{"t": "err", "code": "VALIDATION", "msg": "invalid ctrl.cmd"}'),
        ('{"t":"ctrl","cmd":"speed","val":60}', '{"t": "ctrl", "cmd": "speed", "val": 60, "echo": true}'),
        (
            '{"t":"ctrl","cmd":"seek","pos":"2025-03-03T14:30:00Z"}',
            '{"t": "ctrl", "cmd": "seek", "pos": "2025-03-03T14:30:00Z", "echo": true}',
        ),
    ],
)
def test_messages_are_answered_as_observed(said: str | bytes, answered: str) -> None:
    assert interpret(said, "observed", ready=False) == Command(answered)


@pytest.mark.parametrize("command", ["play", "pause"])
def test_play_and_pause_act_and_are_echoed(command: str) -> None:
    decided = interpret(f'{{"t":"ctrl","cmd":"{command}"}}', "observed", ready=False)
    assert (decided.action, decided.answer) == (command, f'{{"t": "ctrl", "cmd": "{command}", "echo": true}}')


def test_heartbeat_of_a_client_is_not_answered() -> None:
    assert interpret('{"t":"hb"}', "observed", ready=False) == Command()


def test_newer_protocol_ignores_play_until_ready() -> None:
    play = '{"t":"ctrl","cmd":"play"}'
    assert interpret(play, "newer", ready=False) == Command()
    assert interpret('{"t":"ready"}', "newer", ready=False) == Command('{"t": "ready_ack"}', ready=True)
    assert interpret(play, "newer", ready=True).action == "play"
