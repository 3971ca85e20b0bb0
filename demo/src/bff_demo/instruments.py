"""Generated minute bars of instruments that are not US stocks: other hours, other digits, other volumes.

Pure and deterministic like `market`, whose stocks trade by the calendar of New York. Each instrument here has what a
data vendor really delivers and a stock does not: a market that never closes, sessions that begin the evening before,
volumes that are fractions or unknown, prices of six decimals or below zero, a key in mixed case. Bars are made when
they are first asked for, because most starts of a demo never do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from bff_demo.bars import FIRST_YEAR, LAST_YEAR, Bars
from bff_demo.sessions import MINUTES_PER_DAY, Session, date_to_minute, list_sessions

__all__ = ["INSTRUMENTS", "Instrument", "build_instrument", "instrument_sessions"]

_NEW_YORK = ZoneInfo("America/New_York")
_FRIDAY, _SATURDAY = 4, 5
# The one evening and day of the year on which futures do not trade at all (CME Globex), as month and day.
_FUTURES_HOLIDAYS = ((1, 1), (12, 25))

Hours = Literal["stock", "pit", "overnight", "week", "always"]


@dataclass(frozen=True, slots=True)
class Instrument:
    """What an instrument looks like.

    Attributes:
        hours: `stock` 09:30-16:00 New York with early closes, `pit` 09:00-14:30, `overnight` 18:00-17:00 from the
            evening before, `week` 17:00-17:00 from Sunday evening without a pause, `always` whole UTC days.
        first: the price at the start, in the instrument's currency.
        last: the price at the end.
        volatility: of a day, as a share of the price; of an `additive` instrument, in its currency.
        ticks: how many ticks make one unit of the currency.
        step: the smallest step of a price, in ticks.
        volume: units traded in a usual minute.
        volume_units: how many counts of `v` make one unit; 0 where no volume is known.
        traded: the share of minutes in which anything trades.
        wave: the height of a monthly wave on the price of an `additive` instrument, which takes it below zero.
        quiet_frames: whether a run has a frame, without a candle, for each minute of a session in which nothing trades.
        last_year: until when there are bars; a year without a night has as many as two with.
    """

    hours: Hours
    first: float
    last: float
    volatility: float
    ticks: int
    step: int = 1
    volume: float = 1000.0
    volume_units: int = 1
    traded: float = 1.0
    additive: bool = False
    wave: float = 0.0
    quiet_frames: bool = False
    last_year: int = LAST_YEAR


INSTRUMENTS: dict[str, Instrument] = {
    # Trades around the clock, in fractions of a coin.
    "X:BTCUSD": Instrument(
        "always",
        42_280.0,
        93_400.0,
        0.025,
        ticks=100,
        volume=1.4,
        volume_units=10**8,
        traded=0.995,
        last_year=FIRST_YEAR,
    ),
    # Costs less than a cent: six decimals tell its prices apart, and in most minutes nobody trades it.
    "PNNY": Instrument(
        "stock", 0.004312, 0.001876, 0.06, ticks=1_000_000, volume=250_000, traded=0.45, quiet_frames=True
    ),
    # Has no volume, since nobody counts what currencies trade.
    "C:EURUSD": Instrument(
        "week", 1.10427, 1.03542, 0.004, ticks=100_000, volume_units=0, traded=0.98, last_year=FIRST_YEAR
    ),
    # Has been below zero, as crude oil was in April 2020.
    "CL=F": Instrument("pit", 4.2, 5.1, 0.6, ticks=100, volume=420, additive=True, wave=12.0),
    # A session begins at 18:00 in New York and carries the date of the day after.
    "ES=F": Instrument(
        "overnight", 4820.25, 5935.5, 0.008, ticks=100, step=25, volume=900, traded=0.97, last_year=FIRST_YEAR
    ),
    # A class share whose key is in mixed case; `BRK.B` is not known.
    "BRK.b": Instrument("stock", 356.7, 502.4, 0.009, ticks=100, volume=8_000),
}


@lru_cache(maxsize=2 * len(INSTRUMENTS))
def build_instrument(seed: int, symbol: str) -> tuple[Bars, Bars]:
    """Make the minutes and the days of an instrument from `seed`; up to a fifth of a second of work, then kept.

    Raises:
        KeyError: there is no such instrument.
    """
    instrument = INSTRUMENTS[symbol]
    rng = np.random.default_rng([seed, 1_000 + list(INSTRUMENTS).index(symbol)])
    sessions = instrument_sessions(instrument.hours, instrument.last_year)
    minute, session = _traded_minutes(sessions, instrument.traded, rng)
    close = _walk(instrument, minute, session, len(sessions), rng)
    minutes = _candles(instrument, minute, close, session, rng)
    return minutes, _daily(minutes, sessions, session)


def instrument_sessions(hours: Hours, last_year: int) -> Sequence[Session]:
    """Return the sessions until the end of a year, in ascending order; `day` is the date that a daily bar carries."""
    if hours == "stock":
        return list_sessions(FIRST_YEAR, last_year)
    first, last = date(FIRST_YEAR, 1, 1), date(last_year, 12, 31)
    days = (first + timedelta(days=n) for n in range((last - first).days + 1))
    return [_HOURS[hours](day) for day in days if _trades(hours, day)]


def _trades(hours: Hours, day: date) -> bool:
    if hours == "always":
        return True
    closed = hours != "week" and (day.month, day.day) in _FUTURES_HOLIDAYS
    return day.weekday() < _SATURDAY and not closed


def _always(day: date) -> Session:
    midnight = date_to_minute(day)
    return Session(day, midnight, midnight + MINUTES_PER_DAY)


def _pit(day: date) -> Session:
    return Session(day, _minute(day, time(9)), _minute(day, time(14, 30)))


def _overnight(day: date) -> Session:
    return Session(day, _minute(day - timedelta(days=1), time(18)), _minute(day, time(17)))


def _week(day: date) -> Session:
    return Session(day, _minute(day - timedelta(days=1), time(17)), _minute(day, time(17)))


_HOURS: dict[Hours, Callable[[date], Session]] = {
    "always": _always,
    "pit": _pit,
    "overnight": _overnight,
    "week": _week,
}


def _minute(day: date, clock: time) -> int:
    return int(datetime.combine(day, clock, _NEW_YORK).timestamp()) // 60


def _traded_minutes(
    sessions: Sequence[Session], share: float, rng: np.random.Generator
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the minutes with a trade, and the number of the session of each; a session's ends always have one."""
    lengths = np.array([session.minutes for session in sessions])
    number = np.repeat(np.arange(len(sessions), dtype=np.int32), lengths)
    minute = np.concatenate([np.arange(session.open, session.close, dtype=np.int32) for session in sessions])
    kept = rng.random(len(minute)) < share
    ends = np.cumsum(lengths)
    kept[ends - 1] = kept[ends - lengths] = True
    return minute[kept], number[kept]


def _walk(
    instrument: Instrument,
    minute: NDArray[np.int32],
    session: NDArray[np.int32],
    sessions: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return closes: a random walk, of logarithms unless `additive`, bridged from first to last price."""
    path = np.cumsum(rng.standard_normal(len(session)) * instrument.volatility / np.sqrt(len(session) / sessions))
    share = np.linspace(0.0, 1.0, len(path))
    bridge = path - path[0] - share * (path[-1] - path[0])
    if not instrument.additive:
        trend = np.log(instrument.last / instrument.first) * share
        return np.asarray(instrument.first * np.exp(bridge + trend))
    month = (minute - minute[0]) / (30 * MINUTES_PER_DAY)
    trend = (instrument.last - instrument.first) * share
    return np.asarray(instrument.first + bridge + trend + instrument.wave * np.sin(2 * np.pi * month))


def _candles(
    instrument: Instrument,
    minute: NDArray[np.int32],
    close: NDArray[np.float64],
    session: NDArray[np.int32],
    rng: np.random.Generator,
) -> Bars:
    """Return minutes around these closes; an open is near the close before it."""
    size = len(close)
    scale = 1.0 if instrument.additive else close
    reach = scale * instrument.volatility / np.sqrt(size / (session[-1] + 1))
    opened = np.append(close[:1], close[:-1]) + rng.standard_normal(size) * reach * 0.08
    top = np.maximum(opened, close) + rng.exponential(0.45, size) * reach
    bottom = np.minimum(opened, close) - rng.exponential(0.45, size) * reach
    o, h, low, c = (_to_ticks(instrument, price) for price in (opened, top, bottom, close))
    if not instrument.additive:
        o, h, low, c = (np.maximum(column, instrument.step) for column in (o, h, low, c))
    volume = instrument.volume * max(instrument.volume_units, 1) * rng.lognormal(0.0, 0.6, size)
    v = np.maximum(1, volume).astype(np.int64) if instrument.volume_units else np.zeros(size, np.int64)
    h, low = np.maximum(h, np.maximum(o, c)), np.minimum(low, np.minimum(o, c))
    return Bars(minute, o, h, low, c, v, np.ones(size, np.bool_), None, instrument.ticks, instrument.volume_units)


def _to_ticks(instrument: Instrument, price: NDArray[np.float64]) -> NDArray[np.int32]:
    steps = np.rint(price * instrument.ticks / instrument.step)
    return np.asarray(steps * instrument.step).astype(np.int32)


def _daily(minutes: Bars, sessions: Sequence[Session], session: NDArray[np.int32]) -> Bars:
    """Merge sessions into days stamped midnight UTC of the session's date; there is no number of trades."""
    days = np.array([date_to_minute(one.day) for one in sessions], dtype=np.int32)
    return minutes.bucket(days[session])
