import io
import json
import logging.handlers
import sys
from collections.abc import Iterator

import pytest

from bff_shared.http.context import RequestContext, enter
from bff_shared.http.ids import Trace
from bff_shared.telemetry.logs import ConsoleFormatter, JsonFormatter, configure, tell


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


@pytest.mark.parametrize("mark", ["\n", "\r", "\x1b[2J", "\x9b", "\u2028", "\u202e"], ids=ascii)
def test_what_somebody_else_wrote_forges_no_console_line(mark: str) -> None:
    line = ConsoleFormatter().format(record(f"run{mark}", run_id=f"a{mark}00:00:00.000 INFO    all is well"))
    assert mark[0] not in line
    assert len(line.splitlines()) == 1


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Configure logging as a service does, into a string, and put everything back."""
    written, root, handlers = io.StringIO(), logging.getLogger(), logging.getLogger().handlers[:]
    level = root.level
    monkeypatch.setattr(sys, "stderr", written)
    for name in ("logThreads", "logProcesses", "logMultiprocessing", "_srcfile", "logAsyncioTasks"):
        if hasattr(logging, name):
            monkeypatch.setattr(logging, name, getattr(logging, name))
    configure("proxy", "INFO", "json")
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)


async def test_what_is_told_is_the_line_of_its_record(configured: io.StringIO) -> None:
    enter(RequestContext("id-2", Trace("a" * 32, "b" * 16)))
    logger = logging.getLogger("bff.some")
    tell(logger, logging.INFO, "hello", {"status": 200, "route": "/a"})
    logger.info("hello", extra={"status": 200, "route": "/a"})
    told, recorded = [json.loads(line) for line in configured.getvalue().splitlines()]
    assert told.pop("time") <= recorded.pop("time")
    assert told == recorded


def test_what_is_told_becomes_a_record_where_others_listen(configured: io.StringIO) -> None:
    listener = logging.handlers.BufferingHandler(2)
    logger = logging.getLogger("bff.other")
    logger.addHandler(listener)
    tell(logger, logging.INFO, "hello", {"status": 200})
    logger.removeHandler(listener)
    assert [vars(record)["status"] for record in listener.buffer] == [200]
    assert json.loads(configured.getvalue())["status"] == 200


def test_reader_of_the_log_that_went_away_harms_nobody(configured: io.StringIO) -> None:
    configured.close()
    tell(logging.getLogger("bff.third"), logging.INFO, "hello", {})


@pytest.mark.parametrize(
    "text", ["a\nFORGED", "a\rFORGED", "a\x1b[2J", "a\x9b2J", "a\u2028FORGED", "a\x00", "a\x7f", "\u202eb"]
)
def test_nobody_forges_a_console_line(text: str) -> None:
    for line in (
        ConsoleFormatter().format(record(text)),
        ConsoleFormatter().format(record("hello", run_id=text)),
        ConsoleFormatter().format(record("hello", heads=[(text, text)])),
    ):
        assert line.isprintable()
        assert line.count("\n") == 0


def test_text_beyond_ascii_is_shown_as_it_is() -> None:
    assert ConsoleFormatter().format(record("größe 漢", key="é")).endswith("größe 漢 key=é")


def test_a_traceback_keeps_its_lines_and_no_other_control_characters() -> None:
    try:
        raise ValueError("broken \x1b[2J")
    except ValueError:
        made = record("failed")
        made.exc_info = sys.exc_info()
    line = ConsoleFormatter().format(made)
    assert "\x1b" not in line
    assert line.count("\n") >= 3
