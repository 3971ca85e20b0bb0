"""Trading sessions of the New York Stock Exchange, as minutes of the Unix epoch.

Pure. Closed days and early closes come from the `holidays` package (categories `public` and `half_day`), which also
knows one-off closures such as the day of mourning of 2025-01-09; the clocks come from zoneinfo. Regular hours are
09:30-16:00 New York, 13:00 on early closes (NYSE Rule 7.2).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import holidays

__all__ = ["MINUTES_PER_DAY", "Session", "date_to_minute", "list_sessions", "minute_to_date"]

MINUTES_PER_DAY = 1440
_EPOCH = date(1970, 1, 1)
_NEW_YORK = ZoneInfo("America/New_York")
_OPEN, _CLOSE, _EARLY_CLOSE = time(9, 30), time(16, 0), time(13, 0)


@dataclass(frozen=True, slots=True)
class Session:
    """One trading day: `day` in New York, `open` and `close` in minutes since the Unix epoch, `close` excluded."""

    day: date
    open: int
    close: int

    @property
    def minutes(self) -> int:
        """Length of the regular session in minutes: 390, or 210 on an early close."""
        return self.close - self.open


def date_to_minute(day: date) -> int:
    """Return midnight UTC of `day` in minutes since the epoch."""
    return (day - _EPOCH).days * MINUTES_PER_DAY


def minute_to_date(minute: int) -> date:
    """Return the UTC date that holds `minute` (minutes since the epoch)."""
    return _EPOCH + timedelta(days=minute // MINUTES_PER_DAY)


def list_sessions(first_year: int, last_year: int, *, early_closes: bool = True) -> tuple[Session, ...]:
    """Return the sessions of whole years, both included, ascending; without early closes all end at 16:00."""
    years = range(first_year, last_year + 1)
    closed = holidays.financial_holidays("NYSE", years=years)
    early = holidays.financial_holidays("NYSE", years=years, categories=("half_day",)) if early_closes else ()
    return tuple(
        Session(day, _minute(day, _OPEN), _minute(day, _EARLY_CLOSE if day in early else _CLOSE))
        for day in _weekdays(first_year, last_year)
        if day not in closed
    )


def _weekdays(first_year: int, last_year: int) -> Iterator[date]:
    day = date(first_year, 1, 1)
    while day.year <= last_year:
        if day.weekday() < 5:
            yield day
        day += timedelta(days=1)


def _minute(day: date, clock: time) -> int:
    return int(datetime.combine(day, clock, _NEW_YORK).timestamp()) // 60
