"""Positions of a seek: which lie outside the run, and which frame is meant. Pure."""

from bff_wsrelay.framelog.frame import format_time
from bff_wsrelay.framelog.frame_log import FrameLog
from bff_wsrelay.playback.messages import ControlRefused, Position

DAY = 86_400_000_000
"""One day in µs."""


def check_range(log: FrameLog, position: Position) -> None:
    """Refuse what lies outside the run, as far as that is known already. Raises ControlRefused (RANGE)."""
    if position.index is not None:
        if position.index < 0 or (log.total is not None and position.index >= log.total):
            raise out_of_range(log)
    elif position.micros is not None and log.latest is not None and position.micros > log.latest:
        raise out_of_range(log, times=True)
    elif position.micros is not None and log.span is not None:
        first, last = log.span
        if position.coarse:
            first, last = first - first % DAY, last - last % DAY
        if position.micros < first or (log.ended and position.micros > last):
            raise out_of_range(log, times=True)
    elif log.ended:
        raise out_of_range(log)


def resolve_index(log: FrameLog, position: Position) -> int | None:
    """Return the index of the frame that a position means, the nearest in time; None while the log has no such yet."""
    if position.index is not None:
        return position.index if position.index < len(log) else None
    if position.micros is None or log.span is None or (position.micros > log.span[1] and not log.ended):
        return None
    return log.nearest(position.micros)


def out_of_range(log: FrameLog, *, times: bool = False) -> ControlRefused:
    """Return the refusal of a position, with the bounds known so far as `times` or as frame indexes."""
    if times and log.span is not None:
        first, last = log.span
        return ControlRefused("RANGE", "pos is outside the run", {"min": format_time(first), "max": format_time(last)})
    known = log.total if log.total is not None else len(log)
    most = known - 1 if known else None
    return ControlRefused("RANGE", "pos is outside the run", {"min": 0, "max": most})
