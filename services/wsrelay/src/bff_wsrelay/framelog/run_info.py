"""What the backend says about a run besides its frames: status, dates, identity, the end of its equity. Pure."""

import re
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import blake2b
from typing import Any

import orjson

from bff_wsrelay.framelog.frame import parse_time

FINISHED = frozenset(("DONE", "COMPLETED", "ERROR", "FAILED", "CANCELLED"))
_STAMP = re.compile(rb'"(?:timestamp|ts|ts_utc)"\s*:\s*"([^"]*)"')
_IDENTITY = ("created_at", "dataset_id", "strategy_id", "params", "seed", "code_hash")


@dataclass(frozen=True, slots=True)
class RunDetail:
    """What the backend says about a run: whether it may still grow, its dates, and the epoch of its first log."""

    finished: bool
    epoch: str
    run_from: str | None = None
    run_to: str | None = None


def read_detail(run_id: str, body: Any) -> RunDetail:
    """Read a run's detail; what is missing or strange in it is treated as missing."""
    fields = body if isinstance(body, dict) else {}
    status = fields.get("status")
    identity = orjson.dumps([run_id, *(fields.get(name) for name in _IDENTITY)])
    dates = (value if isinstance(value, str) else None for value in (fields.get("run_from"), fields.get("run_to")))
    return RunDetail(not isinstance(status, str) or status.upper() in FINISHED, epoch_of(identity), *dates)


def is_different_run(known: RunDetail, found: RunDetail) -> bool:
    """Return whether a run is not the one that was known under its id, but was run anew."""
    return known.epoch != found.epoch or (known.finished and not found.finished)


def renewed_epoch(epoch: str) -> str:
    """Return the epoch of a run that was run anew and is described as the one before."""
    return epoch_of(b"%b again" % epoch.encode())


def falls_short(last: int, curve_end: int | None, run_to: str | None) -> bool:
    """Return whether a pass that stopped at the time `last` lacks frames, by what the backend says of the run.

    `curve_end` is the time of the last point of the run's equity, None if it is unknown; then
    `run_to`, the date or time up to which the run was to go, has to do. Times in µs; without either nothing speaks
    against it.
    """
    if curve_end is not None:
        return last < curve_end
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


def equity_end(body: bytes) -> int | None:
    """Return the time in µs of the last point in a response with an equity curve, None if it has none.

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
