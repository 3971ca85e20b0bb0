"""Logging: one JSON object a line (or a readable line on a terminal), with the ids of the request it belongs to."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from bff_shared.context import current

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """Return what the caller passed as `extra`."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object: time (ISO 8601 UTC), level, service, logger, message, ids, extra fields."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a value that JSON has no spelling for becomes its `str`."""
        line: dict[str, Any] = {"time": _time(record), "level": record.levelname.lower(), "service": self.service}
        line |= {"logger": record.name, "message": record.getMessage()}
        if context := current():
            trace = context.trace
            line |= {"request_id": context.request_id, "trace_id": trace.trace_id, "span_id": trace.span_id}
        line |= _extra(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class ConsoleFormatter(logging.Formatter):
    """Formats a record for a person: time, level, message, then `key=value` for ids and extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, followed by the traceback if there is one."""
        fields = _extra(record)
        if context := current():
            fields["request_id"] = context.request_id
        pairs = "".join(f" {key}={value}" for key, value in fields.items())
        line = f"{_time(record)[11:23]} {record.levelname:7} {record.getMessage()}{pairs}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure(service: str, level: str, style: Literal["auto", "json", "console"]) -> None:
    """Send all logging of this process, the libraries' too, to standard error in one format."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ConsoleFormatter() if console else JsonFormatter(service))
    # None of this is shown, and finding it out costs as much as the rest of a line (logging's docs, "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    if sys.version_info >= (3, 12):
        logging.logAsyncioTasks = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "gunicorn.error"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    for noisy in ("httpx", "httpcore", "uvicorn.access", "gunicorn.access", "asyncio"):
        logging.getLogger(noisy).setLevel("WARNING")
