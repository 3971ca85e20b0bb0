"""`python -m bff_tools.trace ID`: a request's way through the logs of `make run`, in the order in which it was taken.

ID is a request id, as every error names it, or a trace id, which several requests may share. Each line stands at its
beginning, counted from that of the first; where a line tells no duration it took none.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bff_tools.origin import ROOT

_CONSOLE = re.compile(r"(\d\d):(\d\d):(\d\d)\.(\d{3}) (DEBUG|INFO|WARNING|ERROR|CRITICAL) +(.*)")
_PAIR = re.compile(r" (\w+)=(\S*)")
_SAID = ("time", "ended_s", "service", "logger", "level", "message", "request_id", "trace_id", "span_id", "traceparent")
_HEAD = ("method", "uri", "path", "status", "duration_ms", "duration_s")


@dataclass(frozen=True)
class Step:
    """One line of a log: when it began and how long it took (seconds since the epoch, seconds), and what it says."""

    source: str
    begun: float
    seconds: float
    fields: dict[str, Any] = field(compare=False)

    @property
    def ids(self) -> set[str]:
        """The request id and trace id that it carries."""
        trace = str(self.fields.get("traceparent") or "").split("-")
        found = {self.fields.get("request_id"), self.fields.get("trace_id"), trace[1] if len(trace) == 4 else None}
        return {str(name) for name in found if name}


def read(source: str, text: str, written: datetime) -> Step | None:
    """Return what a line says, None for one without a time; `written` gives the day to lines that tell none."""
    try:
        fields = json.loads(text)
    except ValueError:
        fields = _console(text, written)
    if not isinstance(fields, dict) or "time" not in fields:
        return None
    seconds = float(fields.get("duration_s") or float(fields.get("duration_ms") or 0) / 1000)
    ended = fields.get("ended_s") or datetime.fromisoformat(str(fields["time"])).timestamp()
    return Step(source, float(ended) - seconds, seconds, fields)


def _console(text: str, written: datetime) -> dict[str, Any] | None:
    """Return the fields of a line made for a terminal: `12:34:56.789 INFO    message key=value`."""
    match = _CONSOLE.fullmatch(text)
    if match is None:
        return None
    hour, minute, second, milliseconds = (int(match[n]) for n in range(1, 5))
    day = written.astimezone(UTC)
    time = day.replace(hour=hour, minute=minute, second=second, microsecond=milliseconds * 1000)
    if time > day + timedelta(seconds=1):
        time -= timedelta(days=1)
    pairs = _PAIR.findall(match[6])
    return {"time": time.isoformat(), "level": match[5].lower(), "message": _PAIR.sub("", match[6]), **dict(pairs)}


def steps(folder: Path) -> Iterator[Step]:
    """Yield everything that the logs of a folder say."""
    for log in sorted(folder.glob("*.log")):
        written = datetime.fromtimestamp(log.stat().st_mtime, UTC)
        with log.open(errors="replace") as lines:
            for text in lines:
                if (step := read(log.stem, text.rstrip("\n"), written)) is not None:
                    yield step


def of(wanted: str, known: Iterable[Step]) -> list[Step]:
    """Return the steps of one request or trace by their beginning, the longer of two that begin together first."""
    return sorted((step for step in known if wanted in step.ids), key=lambda step: (step.begun, -step.seconds))


def show(wanted: str, found: Sequence[Step]) -> Iterator[str]:
    """Yield the lines to print."""
    first, last = found[0].begun, max(step.begun + step.seconds for step in found)
    yield f"{wanted}: {len(found)} lines, {1000 * (last - first):.1f} ms, from {_clock(first)}"
    yield f"{'begins at':>12} {'takes':>10}"
    for step in found:
        fields = step.fields
        told = [fields.get("method"), fields.get("uri") or fields.get("path"), fields.get("status")]
        head = " ".join(str(part) for part in told if part) if any(told[1:]) else str(fields.get("message", ""))
        rest = " ".join(
            f"{key}={value}" for key, value in fields.items() if key not in (*_SAID, *_HEAD) and value != ""
        )
        took = f"{1000 * step.seconds:.1f} ms" if step.seconds else ""
        yield f"{1000 * (step.begun - first):9.1f} ms {took:>10}  {step.source:<12} {head}  {rest}".rstrip()


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def newest(root: Path) -> Path | None:
    """Return the folder of the stack that wrote a log last."""
    logs = sorted(root.glob("*/*.log"), key=lambda path: path.stat().st_mtime)
    return logs[-1].parent if logs else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the way of one request; return 1 where no log knows it."""
    parser = argparse.ArgumentParser(prog="python -m bff_tools.trace", description=__doc__)
    parser.add_argument("id", help="request id or trace id")
    parser.add_argument("--logs", type=Path, help="folder of the logs; by default that of the newest `make run`")
    chosen = parser.parse_args(arguments)
    folder = chosen.logs or newest(ROOT / ".local")
    if folder is None or not folder.is_dir():
        sys.stderr.write("error: there are no logs yet; `make run` writes them\n")
        return 1
    found = of(chosen.id, steps(folder))
    if not found:
        sys.stderr.write(f"error: no log in {folder} knows {chosen.id}\n")
        return 1
    sys.stdout.writelines(f"{line}\n" for line in show(chosen.id, found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
