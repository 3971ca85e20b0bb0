"""How many returns of an equity curve make a year, from the spacing of its points. Pure, NumPy.

A figure of returns is annualised by the number of them in a year, so a curve of days must not be taken for one of
minutes. The number is read off the curve; where its points are not evenly spaced there is none, and no such figure.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from bff_aggregator.backend.timestamps import MICROSECONDS

Times = NDArray[np.int64]
Counts = NDArray[np.intp]
SESSIONS_PER_YEAR: Final = 252
DAYS_PER_YEAR: Final = 365
WEEKS_PER_YEAR: Final = 52
FEWEST: Final = 3
EVEN: Final = 0.8
"""The share of distances that have to be equal: fewer are not where hours begin on the half, or pause at noon."""
SHORTEST_SESSION: Final = 6 * 3600 * MICROSECONDS
"""One or two dates may both be parts of a session; what covers less than this is no session that tells its length."""
_DAY: Final = 86_400 * MICROSECONDS
_NEARLY_A_DAY: Final = 23.5 * 3600 * MICROSECONDS
_DAYS_PER_WEEK: Final = 7
_WEEKDAYS: Final = 5
_SATURDAY: Final = 2  # of days since the epoch, a Thursday, modulo 7
_BUSY: Final = 0.9


def periods_per_year(at: Times) -> float | None:
    """Return how many of a curve's points make a year; None where they are too few, uneven, or do not tell.

    Args:
        at: times in microseconds since the Unix epoch, strictly ascending.
    """
    if len(at) < FEWEST:
        return None
    dates, counts = np.unique(at // _DAY, return_counts=True)
    if np.median(counts) == 1:
        return _by_days(dates)
    return _within_days(at, dates, counts)


def _by_days(dates: Times) -> float | None:
    """Return it for a curve of one point a date: of days, with or without weekends, or of weeks."""
    days = np.diff(dates)
    if _are_all(days, _DAYS_PER_WEEK):
        return WEEKS_PER_YEAR
    if _trades_on_saturdays(dates):
        return DAYS_PER_YEAR if _are_all(days, 1) else None
    return SESSIONS_PER_YEAR if _are_all(np.diff(_weekdays_before(dates)), 1) else None


def _within_days(at: Times, dates: Times, counts: Counts) -> float | None:
    """Return it for a curve of several points a date: those of a whole session times the sessions of a year."""
    distances = np.diff(at)[np.diff(at // _DAY) == 0]
    distance = int(np.median(distances))
    if not _are_all(distances, distance):
        return None
    # Partial and early closed dates have fewer points, so the fullest count; not the very fullest, which may be odd.
    session = int(np.quantile(counts, _BUSY, method="higher"))
    if len(dates) <= 2 and session * distance < SHORTEST_SESSION:
        return None
    if _trades_on_saturdays(dates):
        return session * DAYS_PER_YEAR
    if session * distance >= _NEARLY_A_DAY and not _spans_a_saturday(dates):
        return None
    return session * SESSIONS_PER_YEAR


def _are_all(distances: Times, one: int) -> bool:
    """Tell whether distances are the same, but for a few: holidays, breaks, points that are lacking."""
    return len(distances) > 0 and bool(np.mean(distances == one) >= EVEN)


def _trades_on_saturdays(dates: Times) -> bool:
    """Tell whether at least every other Saturday has points."""
    return bool(2 * _DAYS_PER_WEEK * np.sum(dates % _DAYS_PER_WEEK == _SATURDAY) > np.ptp(dates))


def _spans_a_saturday(dates: Times) -> bool:
    return bool((dates[0] - _SATURDAY - 1) // _DAYS_PER_WEEK != (dates[-1] - _SATURDAY) // _DAYS_PER_WEEK)


def _weekdays_before(dates: Times) -> Times:
    """Return how many days from Monday to Friday lie before each date, from a Monday on."""
    days = dates - _SATURDAY - 2
    return days // _DAYS_PER_WEEK * _WEEKDAYS + np.minimum(days % _DAYS_PER_WEEK, _WEEKDAYS)
