"""When the backend's hours stand in for its minutes: a chart of years has no bar shorter than an hour. Pure.

A bucket of whole hours, counted from the open, has the same bars in it either way: the backend makes its hours of the
same minutes, beginning at half past the hour UTC, which is where New York opens all year round. What hours cannot tell
is whether a bucket shorter than an hour would have fitted the target. For a symbol that trades all the time the number
of sessions answers that; any other is charted from its minutes.
"""

from datetime import date, timedelta

import numpy as np

from bff_aggregator.backend.bars import Bars, Source
from bff_aggregator.charts import sessions
from bff_aggregator.charts.query import ChartQuery
from bff_shared.trading_sessions import BAR_MINUTES, REGULAR_MINUTES

HOUR = 60
BELOW = max(size for size in BAR_MINUTES if size < HOUR)
PARTS = -(-REGULAR_MINUTES // BELOW)
# Of so many sessions one may lack hours: the one that is under way, a listing's first, one with a halt.
SESSIONS_PER_GAP = 50


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


def require_fit(bars: Bars, rejected: int, target: int) -> None:
    """Raise NotInterchangeable unless these hours make the same buckets as their minutes would.

    They are if no hour had to be put right or left out, each lies on the grid of its session, none after its close, the
    sessions have all of their hours, and 39 minutes are too many buckets for `target`.
    """
    if rejected or not len(bars):
        raise NotInterchangeable("none, or not all as they should be")
    found = sessions.find(bars.t)
    counts = np.diff(found.first, append=len(bars))
    hour, rest = np.divmod(bars.t - np.repeat(found.open, counts), HOUR * 60)
    expected = -(-found.minutes // HOUR)
    if bool(np.any(rest != 0) or np.any(hour < 0) or np.any(hour >= np.repeat(expected, counts))):
        raise NotInterchangeable("not on the grid of the sessions")
    whole = counts == expected
    if len(whole) - int(np.count_nonzero(whole)) > max(1, len(whole) // SESSIONS_PER_GAP):
        raise NotInterchangeable("too many gaps")
    if int(np.sum(-(-found.minutes[whole] // BELOW))) <= target:
        raise NotInterchangeable("a shorter bucket fits")
