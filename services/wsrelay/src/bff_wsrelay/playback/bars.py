"""The bars that frames touch, finished or under way, in the buckets of charts. Pure.

A bar under way tells of all its frames so far, also of those before the frame that carries it: whoever draws what comes
last draws no bar that there never was. Where a frame is the last that the log has, nobody knows whether its bar is
finished; the next frame then repeats that bar, if it begins another one.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from bff_shared.trading_sessions import SESSION, BarSize, TradedSessions, bar_bounds, stretch_of
from bff_wsrelay.framelog.candles import Candle, followed
from bff_wsrelay.framelog.frame import Standing, format_time
from bff_wsrelay.framelog.frame_log import BLOCK, SECOND, FrameLog

NO_PRICES = (None, None, None, None, 0)

Bar = dict[str, Any]
"""`t`, its start in UTC seconds; `o`, `h`, `l`, `c`, `v` of its frames so far, prices null where there are none; and
whether it is `closed`."""


class BarView(NamedTuple):
    """Which bars a frame carries.

    `repeats`: also the one before its first, as closed now; `is_known`: whether what follows its last frame is known.
    """

    size: BarSize
    repeats: bool = False
    is_known: bool = True


class BarTracker:
    """What a client that asked for bars of a size has been told. With `size` None it asked for none."""

    __slots__ = ("_is_last_open", "_told", "size")

    def __init__(self, size: BarSize | None) -> None:
        self.size = size
        self._told = -1
        self._is_last_open = False

    def needs_position(self, jumps: int) -> bool:
        """Return whether the client is to be told the position, having jumped so often in all."""
        return self.size is not None and self._told != jumps

    def position(self, log: FrameLog, length: int, jumps: int) -> bytes:
        """Return the position after the first `length` frames, which needs not be told again before the next jump."""
        assert self.size is not None  # noqa: S101  asked only where it is needed
        self._told, self._is_last_open = jumps, False
        return position_message(log, length, self.size)

    def change(self, size: BarSize | None) -> None:
        """Begin to tell of bars of another size, from a position on."""
        self.size, self._told = size, -1

    def view(self, log: FrameLog, end: int) -> BarView | None:
        """Return which bars the next frame carries, which ends before `end`; None for none."""
        if self.size is None:
            return None
        repeats, self._is_last_open = self._is_last_open, end >= len(log) and not log.ended
        return BarView(self.size, repeats, not self._is_last_open)


def bars_of(log: FrameLog, start: int, end: int, size: BarSize) -> list[Bar]:
    """Return each bar that the frames of a range touch, as it is after them; the range is in the log and not empty."""
    pieces = _pieces(log.times(start, end), size, log.sessions)
    candles = _candles_of(log, start, [stop for stop, _ in pieces])
    candles[0] = followed(_earlier(log, start, size), candles[0])
    bars = [
        {"t": t, "o": o, "h": h, "l": low, "c": c, "v": v, "closed": True}
        for (_, t), (o, h, low, c, v) in zip(pieces, [candle or NO_PRICES for candle in candles], strict=True)
    ]
    bars[-1]["closed"] = _is_closed(log, end, size)
    return bars


def _pieces(times: Sequence[int], size: BarSize, sessions: TradedSessions) -> list[tuple[int, int]]:
    """Return for each bar in turn the row before which it ends, and its start in UTC seconds.

    The arithmetic is that of `bar_bounds`, spelled out: a frame may have thousands of bars.
    """
    pieces: list[tuple[int, int]] = []
    row, count, low, high = 0, len(times), 0, 0
    width = 0 if size == SESSION else 60 * size
    while row < count:
        seconds = times[row] // SECOND
        if not low <= seconds < high:
            low, high, anchor, opened, whole = stretch_of(seconds, sessions)
        if width:
            begin = anchor + (seconds - anchor) // width * width
            end = min(high, begin + width)
            begin = max(low, begin)
        else:
            begin, end = opened, whole[1]
        row += 1
        if row < count and times[row] < end * SECOND:
            row = bisect_left(times, end * SECOND, row, count)
        pieces.append((row, begin))
    return pieces


def _candles_of(log: FrameLog, start: int, stops: Sequence[int]) -> list[Candle | None]:
    """Return the candle of each of the ranges that end before these rows after `start`."""
    begins = [0, *stops[:-1]]
    if stops[-1] >= BLOCK * len(stops):
        return [log.candle(start + row, start + stop) for row, stop in zip(begins, stops, strict=True)]
    columns = log.candles(start, start + stops[-1])
    if len(stops) == stops[-1] and not columns.has_gaps:
        return list(zip(*columns.columns, strict=True))
    return [columns.merged(row, stop) for row, stop in zip(begins, stops, strict=True)]


def bar_under_way(log: FrameLog, length: int, size: BarSize) -> Bar | None:
    """Return the bar of the last of the first `length` frames, as it is after that one; None before the first."""
    return bars_of(log, length - 1, length, size)[-1] if length else None


def bar_fields(log: FrameLog, start: int, end: int, view: BarView) -> bytes:
    """Return what a frame that covers a range says besides the usual fields, as JSON: its bars, the peak up to it."""
    bars = bars_of(log, start - 1 if view.repeats and start else start, end, view.size)
    return b'"bars":%b,"peak":%b' % (orjson.dumps(bars), orjson.dumps(_peak(log.standing(end))))


def position_message(log: FrameLog, length: int, size: BarSize) -> bytes:
    """Return what a client needs to be right from a place on: how the run stands after its first `length` frames."""
    standing = log.standing(length)
    ts = format_time(log.time_of(length - 1)) if length else None
    place = {"t": "position", "seq": length - 1, "ts": ts, "peak": _peak(standing), "orders": standing.orders}
    return orjson.dumps({**place, "size": size, "bar": bar_under_way(log, length, size)})


def _peak(standing: Standing) -> dict[str, Any] | None:
    return None if standing.peak is None else {"ts": standing.peak[0], "value": standing.peak[1]}


def _earlier(log: FrameLog, start: int, size: BarSize) -> Candle | None:
    """Return the candle that the first bar of a range has from the frames before it."""
    seconds = log.time_of(start) // SECOND
    begin = bar_bounds(stretch_of(seconds, log.sessions), seconds, size)[0]
    first = log.first_at(begin * SECOND, 0, start)
    return log.candle(first, start) if first < start else None


def _is_closed(log: FrameLog, end: int, size: BarSize) -> bool:
    """Return whether the bar of the last frame before `end` is known to be finished: the next frame is in another."""
    if end >= len(log):
        return log.ended
    seconds = log.time_of(end - 1) // SECOND
    begin, bound = bar_bounds(stretch_of(seconds, log.sessions), seconds, size)
    return not begin <= log.time_of(end) // SECOND < bound
