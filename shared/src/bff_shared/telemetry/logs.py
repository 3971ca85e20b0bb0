"""Logging: one JSON object a line (or a readable line on a terminal), with the ids of the request it belongs to."""

import logging
import re
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, TextIO

import orjson

from bff_shared.http.context import current

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What could end a line, move a terminal's cursor, or turn the order of what is read around."""


def _escape(found: re.Match[str]) -> str:
    """Return a character as Python spells it in a string."""
    return repr(found[0])[1:-1]


class LineFormatter(logging.Formatter, ABC):
    """Formats what is to be told as one line; `line` does without a record."""

    @abstractmethod
    def line(self, moment: float, level: str, logger: str, message: str, extra: Mapping[str, Any]) -> str:
        """Return the line; `moment` is in seconds since the Unix epoch, `level` in capitals."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record's line."""
        return self.line(record.created, record.levelname, record.name, record.getMessage(), _extra(record))


class JsonFormatter(LineFormatter):
    """Formats as one JSON object: time (ISO 8601 UTC), level, service, logger, message, ids, extra fields."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service

    def line(self, moment: float, level: str, logger: str, message: str, extra: Mapping[str, Any]) -> str:
        """Return the object; a value that JSON has no spelling for becomes its `str`."""
        line: dict[str, Any] = {"time": _time(moment), "level": level.lower(), "service": self.service}
        line["logger"], line["message"] = logger, message
        if context := current():
            trace = context.trace
            line["request_id"], line["trace_id"], line["span_id"] = context.request_id, trace.trace_id, trace.span_id
        line |= extra
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()

    def format(self, record: logging.LogRecord) -> str:
        """Return a record's line, its traceback as `exception`."""
        if record.exc_info:
            record.exception = self.formatException(record.exc_info)
        return super().format(record)


class ConsoleFormatter(LineFormatter):
    """Formats for a person: time, level, message, then `key=value` for ids and extra fields."""

    def line(self, moment: float, level: str, logger: str, message: str, extra: Mapping[str, Any]) -> str:  # noqa: ARG002  as declared
        """Return the line."""
        context = current()
        fields = {**extra, "request_id": context.request_id} if context else extra
        pairs = "".join(f" {key}={value}" for key, value in fields.items())
        return f"{_time(moment)[11:23]} {level:7} {_CONTROLS.sub(_escape, message + pairs)}"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, followed by the traceback if there is one."""
        line = super().format(record)
        if not record.exc_info:
            return line
        # The lines of a traceback stay lines; what an exception's text may hold besides does not.
        trace = "\n".join(_CONTROLS.sub(_escape, part) for part in self.formatException(record.exc_info).split("\n"))
        return f"{line}\n{trace}"


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes lines, of records or at once."""

    def __init__(self, stream: TextIO, formatter: LineFormatter) -> None:
        super().__init__(stream)
        self.setFormatter(formatter)
        self._line = formatter.line

    def write(self, level: int, logger: str, message: str, extra: Mapping[str, Any]) -> None:
        """Write a line now, without a record."""
        line = self._line(time.time(), logging.getLevelName(level), logger, message, extra)
        self.acquire()
        try:
            self.stream.write(line + self.terminator)
            self.stream.flush()
        except (OSError, ValueError):  # Nobody reads any more, or the stream is closed; a request must not fail of it.
            pass
        finally:
            self.release()


def tell(logger: logging.Logger, level: int, message: str, extra: Mapping[str, Any]) -> None:
    """Log a message with extra fields, at once where nobody but our own handler would hear of it.

    That costs a quarter of what a record on its way through the loggers does, and each request has a line.
    """
    handlers = logging.root.handlers
    if len(handlers) == 1 and isinstance(handlers[0], LineHandler) and not logger.handlers and logger.propagate:
        handlers[0].write(level, logger.name, message, extra)
    else:
        logger.log(level, message, extra=dict(extra))


def configure(service: str, level: str, style: Literal["auto", "json", "console"]) -> None:
    """Send all logging of this process, the libraries' too, to standard error in one format."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    # None of this is shown, and finding it out costs as much as the rest of a line (logging's docs, "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    if sys.version_info >= (3, 12):
        logging.logAsyncioTasks = False
    root = logging.getLogger()
    root.handlers[:] = [LineHandler(sys.stderr, ConsoleFormatter() if console else JsonFormatter(service))]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "gunicorn.error"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    for noisy in ("httpx", "httpcore", "uvicorn.access", "gunicorn.access", "asyncio"):
        logging.getLogger(noisy).setLevel("WARNING")


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """Return what the caller passed as `extra`."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _time(moment: float) -> str:
    second = int(moment)
    return f"{_second(second)}.{int((moment - second) * 1000):03d}Z"


@lru_cache(maxsize=2)
def _second(moment: int) -> str:
    """Return the time up to its seconds, which is the same for many lines."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S")
