"""When the backend's hours stand in for its minutes: a chart of years has no bar shorter than an hour. Pure.

A bucket of whole hours, counted from the open, has the same bars in it either way: the backend makes its hours of the
same minutes, beginning at half past the hour UTC, which is where New York opens all year round. Where trading goes on
after an early close an hour reaches over it, so the minutes of that date take the place of its hours.

What hours cannot tell is whether a bucket shorter than an hour would have fitted the target. For a symbol that trades
all the time the number of sessions answers that; any other is charted from its minutes.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from bff_aggregator.backend.bars import Bars, Ints, Source, concatenate, empty
from bff_aggregator.charts import sessions
from bff_aggregator.charts.chunk_codec import Piece
from bff_aggregator.charts.query import ChartQuery
from bff_aggregator.charts.resample import Clock, bucket
from bff_shared.trading_sessions import BAR_MINUTES, DAY, REGULAR_MINUTES

HOUR = 60
BELOW = max(size for size in BAR_MINUTES if size < HOUR)
PARTS = -(-REGULAR_MINUTES // BELOW)
# Of so many sessions one may lack hours: the one that is under way, a listing's first, one with a halt.
SESSIONS_PER_GAP = 50
# Of so many sessions one may be charted from its minutes, and a few always: a year has up to three early closes.
SESSIONS_PER_ODD, FEW_ODD = 20, 3
_EPOCH = date(1970, 1, 1)


class NotInterchangeable(ValueError):
    """These hours do not stand in for minutes."""


def may_stand_in(query: ChartQuery, today: date) -> bool:
    """Tell from dates alone whether a chart of minutes may be made from hours; `today` is the UTC date.

    It may not while 39 minutes fit even if every weekday were a session. Outside of regular hours a UTC date may end
    within an hour.
    """
    if query.timeframe.source is not Source.MINUTE or not query.rth_only:
        return False
    end = min(query.last, today) + timedelta(days=1)
    weekdays = int(np.busday_count(query.first, end)) if query.first < end else 0
    return weekdays * PARTS > query.target


def odd_dates(bars: Bars, rejected: int) -> list[date]:
    """Return the UTC dates whose hours do not lie on the hours of a session: those after an early close.

    Raises NotInterchangeable where there are many, no hours, or some that had to be put right or left out.
    """
    if rejected or not len(bars):
        raise NotInterchangeable("none, or not all as they should be")
    found = sessions.find(bars.t, HOUR)
    odd = np.logical_or.reduceat(_odd_rows(bars.t, found), found.first)
    if int(np.count_nonzero(odd)) > max(FEW_ODD, len(odd) // SESSIONS_PER_ODD):
        raise NotInterchangeable("not on the grid of the sessions")
    counts = np.diff(found.first, append=len(bars))
    return [_EPOCH + timedelta(days=day) for day in np.unique(bars.t[np.repeat(odd, counts)] // DAY).tolist()]


@dataclass(frozen=True, slots=True, eq=False)
class Hours:
    """Hours, where a session ends early cut at its close, in place of minutes.

    `minutes` are those that they were made from in part; `rejected` of these were put right or left out.
    """

    bars: Bars
    minutes: Bars
    rejected: int

    def require_fit(self, asked: Ints, target: int) -> None:
        """Raise NotInterchangeable unless 39 minutes are too short for `target`, and nothing but minutes tells more.

        `asked` are the hours that were asked for; nearly all of their sessions have to be whole.
        """
        if not len(asked):
            raise NotInterchangeable("none")
        own = self.minutes.between(int(asked[0]), int(asked[-1]) + HOUR * 60)
        shorter = len(bucket(own, BELOW, Clock(1)))
        rest = asked[~np.isin(asked // DAY, np.unique(own.t // DAY))]
        if len(rest):
            found = sessions.find(rest, HOUR)
            counts = np.diff(found.first, append=len(rest))
            whole = counts == -(-found.minutes // HOUR)
            if len(whole) - int(np.count_nonzero(whole)) > max(1, len(whole) // SESSIONS_PER_GAP):
                raise NotInterchangeable("too many gaps")
            shorter += int(np.sum(-(-found.minutes[whole] // BELOW)))
        if shorter <= target:
            raise NotInterchangeable("a shorter bucket fits")


def with_minutes(bars: Bars, dates: Collection[date], minutes: Piece) -> Hours:
    """Return hours whose bars of some UTC dates are made from minutes.

    Raises NotInterchangeable where these tell of trading out of regular hours.
    """
    if not dates:
        return Hours(bars, empty(), 0)
    if not len(minutes.bars):
        raise NotInterchangeable("hours without minutes")
    numbers = np.array([(day - _EPOCH).days for day in dates], np.int64)
    rest = bars.take(~np.isin(bars.t // DAY, numbers))
    fits = not len(rest) or not bool(np.any(_odd_rows(rest.t, sessions.find(rest.t, HOUR))))
    if not fits or not sessions.are_regular(minutes.bars.t):
        raise NotInterchangeable("not in regular hours")
    both = concatenate([rest, bucket(minutes.bars, HOUR, Clock(1))])
    return Hours(both.take(np.argsort(both.t, kind="stable")), minutes.bars, minutes.rejected)


def _odd_rows(t: Ints, found: sessions.Sessions) -> np.typing.NDArray[np.bool_]:
    """Tell which hours do not lie on the hours of their session, or lie after its close."""
    counts = np.diff(found.first, append=len(t))
    hour, rest = np.divmod(t - np.repeat(found.open, counts), HOUR * 60)
    late = hour >= np.repeat(-(-found.minutes // HOUR), counts)
    overnight = np.repeat(found.open != sessions.starts(found.day)[1], counts)
    return np.asarray((rest != 0) | (hour < 0) | late | overnight, np.bool_)
