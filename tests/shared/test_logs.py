import json
import logging
import sys

from bff_shared.context import RequestContext, enter
from bff_shared.ids import Trace
from bff_shared.logs import ConsoleFormatter, JsonFormatter


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("some.logger", logging.INFO, "file.py", 1, message, None, None)
    made.created = 0.0
    vars(made).update(extra)
    return made


def test_json_line_has_the_fields() -> None:
    line = json.loads(JsonFormatter("proxy").format(record("hello", status=200)))
    assert line == {
        "time": "1970-01-01T00:00:00.000Z",
        "level": "info",
        "service": "proxy",
        "logger": "some.logger",
        "message": "hello",
        "status": 200,
    }


def test_json_line_stays_one_line() -> None:
    assert "\n" not in JsonFormatter("proxy").format(record("two\nlines", other="a\nb"))


async def test_ids_of_the_request_are_in_the_line() -> None:
    enter(RequestContext("id-1", Trace("a" * 32, "b" * 16)))
    line = json.loads(JsonFormatter("proxy").format(record("hello")))
    assert (line["request_id"], line["trace_id"], line["span_id"]) == ("id-1", "a" * 32, "b" * 16)


def test_exception_is_in_the_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        made = record("failed")
        made.exc_info = sys.exc_info()
    assert "ValueError: broken" in json.loads(JsonFormatter("proxy").format(made))["exception"]


def test_value_without_a_json_spelling_becomes_text() -> None:
    assert (
        json.loads(JsonFormatter("proxy").format(record("hello", thing={1, 2}.__class__)))["thing"] == "<class 'set'>"
    )


def test_console_line_is_for_people() -> None:
    assert ConsoleFormatter().format(record("hello", status=200)) == "00:00:00.000 INFO    hello status=200"
