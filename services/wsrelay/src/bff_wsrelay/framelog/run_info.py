"""What the backend says about a run besides its frames: status, dates, identity, the end of its equity. Pure."""

import re
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import blake2b
from typing import Any

import orjson

from bff_shared.backend_keys import dataset_symbol, is_symbol
from bff_wsrelay.framelog.frame import format_time, parse_time

FINISHED = frozenset(("DONE", "COMPLETED", "ERROR", "FAILED", "CANCELLED"))
_STAMP = re.compile(rb'"(?:timestamp|ts|ts_utc|t)"\s*:\s*"([^"]*)"')
_DAY = 86_400_000_000
"""In µs."""
_DAYS_BEFORE = 14
"""Days before `run_to` among which the last session is looked for; no exchange closes for so long."""
_IDENTITY = ("created_at", "dataset_id", "strategy_id", "params", "seed", "code_hash")


@dataclass(frozen=True, slots=True)
class RunDetail:
    """What the backend says about a run: whether it may still grow, the epoch of its first log, dates, instrument."""

    finished: bool
    epoch: str
    run_from: str | None = None
    run_to: str | None = None
    symbol: str | None = None


def read_detail(run_id: str, body: Any) -> RunDetail:
    """Read a run's detail; what is missing or strange in it is treated as missing."""
    fields = body if isinstance(body, dict) else {}
    status = fields.get("status")
    identity = orjson.dumps([run_id, *(fields.get(name) for name in _IDENTITY)])
    first, last = (
        value if isinstance(value, str) else None for value in (fields.get("run_from"), fields.get("run_to"))
    )
    finished = not isinstance(status, str) or status.upper() in FINISHED
    symbol = fields.get("symbol")
    if not isinstance(symbol, str) or not is_symbol(symbol):
        symbol = dataset_symbol(fields.get("dataset_id"))
    return RunDetail(finished, epoch_of(identity), first, last, symbol)


def is_different_run(known: RunDetail, found: RunDetail) -> bool:
    """Return whether a run is not the one that was known under its id, but was run anew."""
    return known.epoch != found.epoch or (known.finished and not found.finished)


def renewed_epoch(epoch: str) -> str:
    """Return the epoch of a run that was run anew and is described as the one before."""
    return epoch_of(b"%b again" % epoch.encode())


def bars_window(detail: RunDetail) -> tuple[str, str] | None:
    """Return the dates among which the last bar of a run is looked for, None where `run_to` is no date.

    Where `run_to` is a time, bars of its day may be later than it.
    """
    try:
        last = date.fromisoformat(detail.run_to or "")
        first = last - timedelta(days=_DAYS_BEFORE)
    except (ValueError, OverflowError):
        return None
    return first.isoformat(), last.isoformat()


def latest_time(run_to: str | None) -> int | None:
    """Return the time in µs after which a run to a date, or a time, has no frame in any time zone; None if unknown."""
    try:
        return parse_time(run_to) + 2 * _DAY if run_to is not None else None
    except ValueError:
        return None


def date_of(micros: int) -> str:
    """Return the UTC date of a time in µs, `2025-01-02`."""
    return format_time(micros)[: len("2025-01-02")]


def falls_short(last: int, known_end: int | None, run_to: str | None) -> bool:
    """Return whether a pass that stopped at the time `last` lacks frames, by what the backend says of the run.

    `known_end` is the time of the last point of the run's equity, or of its last bar, None if both are unknown; then
    `run_to`, the date or time up to which the run was to go, has to do. Times in µs; without either nothing speaks
    against it.
    """
    if known_end is not None:
        return last < known_end
    try:
        return run_to is not None and last < parse_time(_weekday(run_to))
    except ValueError:
        return False


def _weekday(day: str) -> str:
    """Return a date that is a Saturday or Sunday as the Friday before it: few instruments trade then."""
    if len(day) != len("2025-01-02"):
        return day
    known = date.fromisoformat(day)
    return (known - timedelta(days=max(0, known.weekday() - _FRIDAY))).isoformat()


_FRIDAY = 4


def last_stamp(body: bytes) -> int | None:
    """Return the time in µs of the last point or bar in a response with many, None if it has none.

    Only its end is read: a curve has megabytes.
    """
    stamps = _STAMP.findall(body[-2000:])
    try:
        return parse_time(stamps[-1].decode()) if stamps else None
    except ValueError:
        return None


def epoch_of(identity: bytes) -> str:
    """Return the epoch, 12 hexadecimal digits, of what identifies a run."""
    return blake2b(identity, digest_size=6).hexdigest()
