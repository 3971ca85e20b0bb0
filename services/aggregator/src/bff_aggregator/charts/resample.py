"""Fewer bars that tell the same: first open, highest high, lowest low, last close, summed volume. Pure, NumPy only.

Sessions are cut into equal buckets anchored at their open, in sizes from one ladder, so that neighbouring zooms agree
and no bucket crosses a session; the last one of a session is what is left. The finest size that fits the target is
taken. A size below a session is possible only where whole source bars fit into it, and from 60 minutes on all are whole
hours, so that they can be made from hours as well.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from bff_aggregator.backend.bars import Bars, Floats, Ints
from bff_aggregator.charts import sessions
from bff_shared.trading_sessions import BAR_MINUTES, DAY, REGULAR_MINUTES

_MINUTE = 60
_LARGEST_SUM = 2.0**62


class Span(Enum):
    """Bucket sizes of whole sessions; the value is the nominal number of session minutes in one.

    Quarters and years are the way out when even months are more than the target.
    """

    SESSION = 390
    WEEK = 390 * 5
    MONTH = 390 * 21
    QUARTER = 390 * 63
    YEAR = 390 * 252


Size = int | Span


@dataclass(frozen=True, slots=True, eq=False)
class Decimated:
    """Bars of `stride` minutes of trading; `decimated` if these are more than the finest that was asked for."""

    bars: Bars
    decimated: bool
    stride: int


@dataclass(frozen=True, slots=True, eq=False)
class Clock:
    """What the bars of one source mean: their length in minutes, and whether they are stamped by date or by moment.

    No bucket is shorter than `finest` minutes. With `extended` hours a session reaches from midnight to midnight in New
    York; regular ones from 09:30 to the close. An hour reaches over an early close, unless bars were `cut_at_close`.
    """

    minutes: int
    finest: int = 1
    daily: bool = False
    extended: bool = False
    cut_at_close: bool = False

    @property
    def shortest(self) -> int:
        """Minutes of the shortest bars to be made."""
        return max(self.finest, self.minutes)

    def are_few(self, count: int, target: int) -> bool:
        """Tell whether so many bars are an answer as they come."""
        return not count or (self.shortest == self.minutes and count <= target)


def resample(bars: Bars, target: int, clock: Clock) -> Decimated:
    """Return at most `target` bars, 100 or more over at most 50 years.

    Raises ValueError where not even years are few enough.
    """
    if clock.are_few(len(bars), target):
        return Decimated(bars, decimated=False, stride=clock.shortest)
    buckets = Buckets(bars, slice(0, len(bars)), clock)
    size = buckets.finest(target)
    return Decimated(buckets.merged(size), decimated=minutes_of(size) > clock.shortest, stride=minutes_of(size))


def minutes_of(size: Size) -> int:
    """Return the nominal minutes of trading of a bucket."""
    return size.value if isinstance(size, Span) else size


def sizes(clock: Clock) -> list[Size]:
    """Return the ladder for bars of one source, finest first."""
    least = max(clock.minutes + 1, clock.finest)
    inner: list[Size] = [] if clock.daily else [m for m in BAR_MINUTES if m >= least and m % clock.minutes == 0]
    return [*inner, *(span for span in Span if not (clock.daily and span is Span.SESSION))]


def bucket(bars: Bars, size: Size, clock: Clock) -> Bars:
    """Return the buckets of one size; cut where buckets begin, parts have the buckets of the whole."""
    return Buckets(bars, slice(0, len(bars)), clock).merged(size) if len(bars) else bars


def span_dates(first: int, last: int, span: Span) -> tuple[int, int]:
    """Return the first and the last date of the spans that two dates lie in, all in days since the epoch."""
    day = np.array((first, last), np.int64)
    return int(_span_start(day, span)[0]), int(_next_span(day, span)[1]) - 1


class Buckets:
    """Bars, one at least, in buckets of any size; only those that hold one of the `rows` asked for are looked at."""

    def __init__(self, bars: Bars, rows: slice, clock: Clock) -> None:
        self._bars, self._rows, self._clock = bars, rows, clock
        self._days = _Days(bars.t, clock)

    def finest(self, target: int) -> Size:
        """Return the finest size of which there are at most `target` buckets. Raises ValueError if there is none."""
        count = self._rows.stop - self._rows.start
        for size in sizes(self._clock):
            # A bucket of s minutes holds at most s / minutes bars, so most sizes are ruled out without a look at them.
            if isinstance(size, int) and count * self._clock.minutes > target * size:
                continue
            touched = self._touched(self._days.cut(size)[0])
            if touched.stop - touched.start <= target:
                return size
        raise ValueError(f"{count} bars do not fit {target} points in any size")

    def merged(self, size: Size) -> Bars:
        """Return one bar for each bucket."""
        first, stamps = self._days.cut(size)
        touched, rows = self._touched(first), self.source_rows(size)
        return merge(self._bars.take(rows), first[touched] - rows.start, stamps[touched])

    def source_rows(self, size: Size | None) -> slice:
        """Return the rows that the buckets of a size hold; those asked for without a size."""
        if size is None:
            return self._rows
        first, _ = self._days.cut(size)
        touched = self._touched(first)
        end = int(first[touched.stop]) if touched.stop < len(first) else len(self._bars)
        return slice(int(first[touched.start]), end)

    def dates(self, size: Size) -> tuple[int, int]:
        """Return the first and the last date, in days since the epoch, that buckets of a size are made of."""
        first, last = self._days.day_of(np.array([self._rows.start, self._rows.stop - 1])).tolist()
        return span_dates(first, last, size) if isinstance(size, Span) else (first, last)

    def end(self, size: Size | None) -> int:
        """Return when, in UTC seconds, the last bucket is over: at the latest, where its session ends by no rule."""
        return self._days.end(self._rows.stop - 1, self._clock.shortest if size is None else size)

    def _touched(self, first: Ints) -> slice:
        begin, last = np.searchsorted(first, (self._rows.start, self._rows.stop - 1), side="right") - 1
        return slice(int(begin), int(last) + 1)


def merge(bars: Bars, first: Ints, stamps: Ints) -> Bars:
    """Return one bar for each run of rows that begins at `first`, stamped `stamps`."""
    last = np.append(first[1:], len(bars)) - 1
    return Bars(
        stamps,
        bars.o[first],
        np.maximum.reduceat(bars.h, first),
        np.minimum.reduceat(bars.l, first),
        bars.c[last],
        total_volume(bars.v, first),
        None if bars.n is None else np.add.reduceat(bars.n, first),
    )


def total_volume(v: Ints | Floats, first: Ints) -> Ints | Floats:
    """Return the sum of each run of rows that begins at `first`.

    NaN where no row has a volume; in floats where whole numbers are too large to add up.
    """
    if v.dtype.kind == "i":
        if float(np.sum(np.abs(v), dtype=np.float64)) < _LARGEST_SUM:
            return np.add.reduceat(v, first)
        v = v.astype(np.float64)
    present = ~np.isnan(v)
    with np.errstate(over="ignore"):  # held to the largest float below
        sums = np.add.reduceat(np.where(present, v, 0.0), first)
    largest = np.finfo(np.float64).max
    return np.where(np.logical_or.reduceat(present, first), np.clip(sums, -largest, largest), np.nan)


class _Days:
    """The sessions of ascending moments `t`, and where buckets of any size begin in them."""

    def __init__(self, t: Ints, clock: Clock) -> None:
        self._t, self._clock = t, clock
        self._sessions = sessions.of_dates(t) if clock.daily else sessions.find(t, clock.minutes)
        self._minute: NDArray[np.int32] | None = None
        self._cuts: dict[Size, tuple[Ints, Ints]] = {}

    def cut(self, size: Size) -> tuple[Ints, Ints]:
        """Return the first row of each bucket and its stamp, UTC seconds of its nominal start."""
        if size not in self._cuts:
            self._cuts[size] = self._cut_days(size) if isinstance(size, Span) else self._cut_minutes(size)
        return self._cuts[size]

    def day_of(self, rows: Ints) -> Ints:
        """Return the dates, in days since the epoch, of the sessions that rows belong to."""
        return self._sessions.day[self._session(rows)]

    def end(self, row: int, size: Size) -> int:
        """Return when the bucket of a row is over, in UTC seconds."""
        session = int(self._session(np.array([row]))[0])
        day, length = self._sessions.day[session : session + 1], int(self._sessions.minutes[session])
        regular = not self._clock.extended and not self._clock.daily
        close = int(self._sessions.open[session]) + length * _MINUTE
        if isinstance(size, Span) or self._clock.daily:
            span = size if isinstance(size, Span) else Span.SESSION
            over = int(sessions.starts(_next_span(day, span))[0][0])
            return min(over, close) if regular and span is Span.SESSION else over
        first, stamps = self.cut(size)
        stamp = int(stamps[np.searchsorted(first, row, side="right") - 1])
        over = stamp + size * _MINUTE
        return min(over, close) if regular and stamp < close else over

    def _session(self, rows: Ints) -> Ints:
        return np.searchsorted(self._sessions.first, rows, side="right") - 1

    def _cut_days(self, span: Span) -> tuple[Ints, Ints]:
        start = _span_start(self._sessions.day, span)
        rows = np.flatnonzero(np.diff(start, prepend=start[0] - 1))
        return self._sessions.first[rows], self._day_stamps(start, rows, span)

    def _day_stamps(self, start: Ints, rows: Ints, span: Span) -> Ints:
        if self._clock.daily:
            return start[rows] * DAY
        if span is Span.SESSION and self._clock.extended:
            return self._sessions.begin[rows]
        midnight, opened = sessions.starts(start[rows])
        return midnight if self._clock.extended else opened

    def _cut_minutes(self, size: int) -> tuple[Ints, Ints]:
        """Count buckets from the open, backwards before it, and anew from an early close that falls within one.

        Bars that do not begin at that close, as hours do not, are counted anew from the first one after it.
        """
        if self._minute is None:
            counts = np.diff(self._sessions.first, append=len(self._t))
            self._minute = ((self._t - np.repeat(self._sessions.open, counts)) // _MINUTE).astype(np.int32)
        index = self._minute // np.int32(size)
        starts = np.empty(len(index), np.bool_)
        np.not_equal(index[1:], index[:-1], out=starts[1:])
        starts[self._sessions.first] = True
        offset = index * np.int32(size)
        for row in np.flatnonzero(self._sessions.minutes != REGULAR_MINUTES).tolist():
            self._restart_at_close(row, size, starts, offset)
        first = np.flatnonzero(starts)
        session = self._session(first)
        stamps = self._sessions.open[session] + offset[first].astype(np.int64) * _MINUTE
        # The first bucket of a session that trades around the clock begins with it, not in the one before.
        return first, np.maximum(stamps, self._sessions.begin[session])

    def _restart_at_close(self, row: int, size: int, starts: NDArray[np.bool_], offset: NDArray[np.int32]) -> None:
        """Anchor the minutes after one session's early close at that close, in place."""
        assert self._minute is not None  # noqa: S101  the caller computed it
        begin = int(self._sessions.first[row])
        end = int(self._sessions.first[row + 1]) if row + 1 < len(self._sessions.first) else len(self._t)
        length = 1 if self._clock.cut_at_close else self._clock.minutes
        close = np.int32(-(-self._sessions.minutes[row] // length) * length)
        late = begin + int(np.searchsorted(self._minute[begin:end], close))
        if late == end:
            return
        offset[late:end] = (self._minute[late:end] - close) // np.int32(size) * np.int32(size) + close
        starts[late] = True
        starts[late + 1 : end] = offset[late + 1 : end] != offset[late : end - 1]


def _span_start(day: Ints, span: Span) -> Ints:
    """Return the first day of the week (Monday), month, quarter or year that each day (since the epoch) lies in."""
    if span is Span.SESSION:
        return day
    if span is Span.WEEK:
        return (day + 3) // 7 * 7 - 3  # 1970-01-01 was a Thursday
    months = {Span.MONTH: 1, Span.QUARTER: 3, Span.YEAR: 12}[span]
    month = day.astype("M8[D]").astype("M8[M]").astype(np.int64) // months * months
    return month.astype("M8[M]").astype("M8[D]").astype(np.int64)


def _next_span(day: Ints, span: Span) -> Ints:
    """Return the first day after the session, week, month, quarter or year that each day lies in."""
    longest = {Span.SESSION: 1, Span.WEEK: 7, Span.MONTH: 31, Span.QUARTER: 92, Span.YEAR: 366}[span]
    start = _span_start(day, span)
    return _span_start(start + longest, span)
