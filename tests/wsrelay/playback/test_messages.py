"""What a viewer says is understood as it is meant, or refused by what is wrong with it."""

import orjson
import pytest

from bff_wsrelay.playback.messages import ControlRefused, Position, parse_message, parse_position


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "invalid JSON"),
        ("[1]", "unsupported message"),
        ('"play"', "unsupported message"),
        ('{"t":"frame"}', "unsupported message"),
        ('{"t":"ctrl","cmd":"dance"}', "invalid ctrl.cmd"),
        ('{"t":"ctrl","cmd":"step","val":0.5}', "step must be 1 or -1"),
        ('{"t":"ctrl","cmd":"step","val":0}', "step must be 1 or -1"),
    ],
)
def test_what_is_no_message_is_refused(text: str, why: str) -> None:
    with pytest.raises(ControlRefused, match=why) as caught:
        parse_message(text)
    assert orjson.loads(caught.value.payload)["code"] == "VALIDATION"


@pytest.mark.parametrize("number", [7, "7", 0, "0"])
def test_digits_are_an_index_as_a_number_is(number: int | str) -> None:
    assert parse_position(number) == Position(index=int(number))


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "tomorrow", "", None])
def test_a_time_that_no_calendar_has_is_refused(time: str | None) -> None:
    with pytest.raises(ControlRefused) as caught:
        parse_position(time)
    assert orjson.loads(caught.value.payload)["code"] == "VALIDATION"
