"""Generated minute bars of five stocks over two years, the days made of them, and the instruments beside them.

Pure and deterministic: the same seed gives the same bars.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bff_demo.bars import FIRST_YEAR, LAST_YEAR, TICKS, Bars
from bff_demo.instruments import INSTRUMENTS, build_instrument
from bff_demo.sessions import MINUTES_PER_DAY, Session, list_sessions

__all__ = ["SYMBOLS", "TICKS", "Bars", "Market", "build_market", "pick_stride"]

_PRE_MARKET, _POST_MARKET = 330, 240
_BRIDGED_NIGHT = 0.55

# The largest that calendar minutes / target allows is taken; all divide a day, so buckets keep to the clock.
_STRIDES = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60, 120, 180, 240, 360, 480, 720, 1440)


@dataclass(frozen=True, slots=True)
class _Profile:
    """What a symbol looks like: first and last price in dollars, volatility per day, shares and shares per trade."""

    first: float
    last: float
    volatility: float
    shares: float
    lot: int


SYMBOLS: dict[str, _Profile] = {
    "AAPL": _Profile(187.15, 271.86, 0.012, 6.5e6, 66),
    "MSFT": _Profile(373.86, 483.62, 0.0105, 3.1e6, 48),
    "TSLA": _Profile(250.08, 449.72, 0.025, 1.4e7, 71),
    "NVDA": _Profile(49.24, 186.50, 0.023, 3.6e7, 92),
    "SPY": _Profile(472.16, 681.92, 0.0065, 9.5e6, 110),
}


@dataclass(frozen=True, slots=True)
class Market:
    """Minute and daily bars of the stocks by symbol, over `sessions`; `seed` makes those of other instruments."""

    sessions: tuple[Session, ...]
    minutes: dict[str, Bars]
    days: dict[str, Bars]
    seed: int

    def minutes_of(self, symbol: str) -> Bars | None:
        """Return the minutes of a stock or an instrument, None of what is neither."""
        return build_instrument(self.seed, symbol)[0] if symbol in INSTRUMENTS else self.minutes.get(symbol)

    def days_of(self, symbol: str) -> Bars | None:
        """Return the days of a stock or an instrument, None of what is neither."""
        return build_instrument(self.seed, symbol)[1] if symbol in INSTRUMENTS else self.days.get(symbol)


def pick_stride(first: date, last: date, target: int) -> int:
    """Return the stride in minutes for a window of dates, both included: from calendar minutes, not session minutes."""
    calendar = ((last - first).days + 1) * MINUTES_PER_DAY
    return max((stride for stride in _STRIDES if stride * target <= calendar), default=1)


@lru_cache(maxsize=1)
def build_market(seed: int, *, early_closes: bool = True) -> Market:
    """Make all stocks from `seed`; about a second of work, kept for the last seed because restarts ask for it again.

    Without `early_closes` the minutes after an early close are there and flagged as regular hours, to 16:00.
    """
    sessions = list_sessions(FIRST_YEAR, LAST_YEAR, early_closes=early_closes)
    grid = _Grid.over(sessions)
    minutes = {
        symbol: _symbol_bars(grid, profile, np.random.default_rng([seed, index]))
        for index, (symbol, profile) in enumerate(SYMBOLS.items())
    }
    days = {symbol: _daily(minutes[symbol], profile.lot) for symbol, profile in SYMBOLS.items()}
    return Market(sessions, minutes, days, seed)


@dataclass(frozen=True, slots=True)
class _Grid:
    """Every minute of every session from pre-market to post-market.

    `place` is the position in the regular session (0 at the open, 1 at the close, outside of it before and after),
    `edge` 1 at the first regular minute, 2 at the last, else 0; `session` numbers the sessions from 0.
    """

    minute: NDArray[np.int32]
    place: NDArray[np.float64]
    edge: NDArray[np.int8]
    session: NDArray[np.int32]

    @staticmethod
    def over(sessions: Sequence[Session]) -> "_Grid":
        """Lay out the grid of `sessions`."""
        opens = np.array([session.open for session in sessions], dtype=np.int32)
        lengths = np.array([session.minutes for session in sessions], dtype=np.int32)
        counts = lengths + _PRE_MARKET + _POST_MARKET
        session = np.repeat(np.arange(len(sessions), dtype=np.int32), counts)
        first_rows = np.cumsum(counts) - counts
        offset = (np.arange(len(session)) - first_rows[session] - _PRE_MARKET).astype(np.int32)
        edge = np.zeros(len(session), dtype=np.int8)
        edge[offset == 0] = 1
        edge[offset == lengths[session] - 1] = 2
        return _Grid(opens[session] + offset, offset / lengths[session], edge, session)


def _symbol_bars(grid: _Grid, profile: _Profile, rng: np.random.Generator) -> Bars:
    regular = (grid.place >= 0) & (grid.place < 1)
    distance = np.where(grid.place < 0, -grid.place, grid.place - 1)
    traded = regular | (rng.random(len(regular)) < 0.45 * np.exp(-6 * distance))
    rows = np.flatnonzero(traded)
    place, edge, session = grid.place[rows], grid.edge[rows], grid.session[rows]
    busy = np.where(regular[rows], 0.55 + 1.8 * np.abs(2 * place - 1) ** 3, 0.4)
    spread = profile.volatility / np.sqrt(390) * np.sqrt(busy)
    close = _walk(profile, session, spread, rng)
    o, h, low, c = _candles(close, session, spread, rng)
    v = _volumes(profile, busy, edge, regular[rows], rng)
    return Bars(grid.minute[rows], o, h, low, c, v, regular[rows])


def _walk(
    profile: _Profile, session: NDArray[np.int32], spread: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return closes in dollars: a random walk of logarithms with overnight gaps, bridged from first to last price."""
    steps = rng.standard_normal(len(session)) * spread
    nights = np.diff(session, prepend=-1) != 0
    steps[nights] += rng.standard_normal(int(nights.sum())) * profile.volatility * _BRIDGED_NIGHT
    path = np.cumsum(steps)
    share = np.linspace(0.0, 1.0, len(path))
    drift = np.log(profile.last / profile.first)
    return np.asarray(profile.first * np.exp(path - path[0] - share * (path[-1] - path[0] - drift)))


def _candles(
    close: NDArray[np.float64], session: NDArray[np.int32], spread: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return open, high, low, close in ticks; an open stays near the close before it, except overnight."""
    reach = close * spread
    opened = np.append(close[:1], close[:-1])
    nights = np.diff(session, prepend=-1) != 0
    opened[nights] = close[nights]
    opened += rng.standard_normal(len(close)) * reach * 0.08
    top = np.maximum(opened, close) + rng.exponential(0.45, len(close)) * reach
    bottom = np.minimum(opened, close) - rng.exponential(0.45, len(close)) * reach
    o, c = _to_ticks(opened, rng), _to_ticks(close, rng)
    h = np.maximum(_to_ticks(top, rng), np.maximum(o, c))
    low = np.minimum(_to_ticks(bottom, rng), np.minimum(o, c))
    return o, h, low, c


def _to_ticks(price: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int32]:
    """Round dollars to ticks: mostly whole cents, one price in twenty to half a cent, one in 250 to a single tick."""
    kind = rng.random(len(price))
    unit = np.where(kind < 0.946, 100, np.where(kind < 0.996, 50, 1))
    return np.asarray(np.rint(price * TICKS / unit) * unit).astype(np.int32)


def _volumes(
    profile: _Profile,
    busy: NDArray[np.float64],
    edge: NDArray[np.int8],
    regular: NDArray[np.bool_],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Return shares per minute: a U over the session, the auctions at its ends, little outside regular hours."""
    level = profile.shares / 520 * busy * np.choose(edge, (1.0, 9.0, 8.0)) * np.where(regular, 1.0, 0.06)
    return np.asarray(np.maximum(1, level * rng.lognormal(0.0, 0.45, len(busy))), dtype=np.int64)


def _daily(minutes: Bars, lot: int) -> Bars:
    """Merge regular hours into days stamped midnight UTC of the session date, with a number of trades."""
    regular = minutes.take(np.flatnonzero(minutes.rth))
    days = regular.bucket(regular.minute // MINUTES_PER_DAY * MINUTES_PER_DAY)
    return Bars(days.minute, days.o, days.h, days.l, days.c, days.v, days.rth, days.v // lot + 1)
