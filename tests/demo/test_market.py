from datetime import date

import numpy as np
import pytest

from bff_demo.market import SYMBOLS, TICKS, Bars, Market, build_market, pick_stride
from bff_demo.sessions import MINUTES_PER_DAY, date_to_minute

OCTOBER = (date(2024, 10, 1), date(2024, 10, 31))


def columns(bars: Bars) -> list[np.ndarray]:
    return [bars.minute, bars.o, bars.h, bars.l, bars.c, bars.v, bars.rth]


def test_same_seed_gives_same_bars_and_another_seed_others(market: Market) -> None:
    build_market.cache_clear()
    again = build_market(42)
    assert again is not market
    for symbol in SYMBOLS:
        for one, other in zip(columns(market.minutes[symbol]), columns(again.minutes[symbol]), strict=True):
            assert np.array_equal(one, other)
    different = build_market(43).minutes["AAPL"]
    assert not np.array_equal(market.minutes["AAPL"].c[:100], different.c[:100])


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_every_regular_minute_of_every_session_is_there_once(market: Market, symbol: str) -> None:
    bars = market.minutes[symbol]
    expected = np.concatenate([np.arange(session.open, session.close) for session in market.sessions])
    assert np.array_equal(bars.minute[bars.rth], expected)
    assert (np.diff(bars.minute) > 0).all()


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_candles_hold_their_open_and_close(market: Market, symbol: str) -> None:
    bars = market.minutes[symbol]
    assert (bars.h >= np.maximum(bars.o, bars.c)).all()
    assert (bars.l <= np.minimum(bars.o, bars.c)).all()
    assert (bars.l > 0).all()
    assert (bars.v > 0).all()


def test_some_but_few_prices_are_below_a_cent(market: Market) -> None:
    share = float((market.minutes["AAPL"].c % (TICKS // 100) != 0).mean())
    assert 0.01 < share < 0.1


def test_some_minutes_lie_outside_regular_hours_but_not_all(market: Market) -> None:
    day = market.minutes["MSFT"].window(date(2024, 10, 1), date(2024, 10, 1), rth_only=False)
    before, after = int((day.minute < day.minute[day.rth][0]).sum()), int((day.minute > day.minute[day.rth][-1]).sum())
    assert 10 < before < 330
    assert 10 < after < 240


def test_volume_is_largest_at_the_ends_of_a_session(market: Market) -> None:
    bars = market.minutes["SPY"]
    by_minute = bars.v[bars.rth & (bars.minute < date_to_minute(date(2024, 7, 3)))].reshape(-1, 390).mean(axis=0)
    assert by_minute[0] > by_minute[1:-1].max()
    assert by_minute[-1] > by_minute[1:-1].max()
    assert by_minute[1:31].mean() > 1.5 * by_minute[180:210].mean()


def test_coarser_bars_agree_with_an_obvious_reference(market: Market) -> None:
    bars = market.minutes["TSLA"].window(*OCTOBER, rth_only=False)
    merged = bars.hourly()
    groups: dict[int, list[int]] = {}
    for row, minute in enumerate(bars.minute.tolist()):
        groups.setdefault((minute - 30) // 60 * 60 + 30, []).append(row)
    assert merged.minute.tolist() == list(groups)
    for index, rows in enumerate(groups.values()):
        assert merged.o[index] == bars.o[rows[0]]
        assert merged.h[index] == max(bars.h[row] for row in rows)
        assert merged.l[index] == min(bars.l[row] for row in rows)
        assert merged.c[index] == bars.c[rows[-1]]
        assert merged.v[index] == sum(int(bars.v[row]) for row in rows)


def test_month_has_seven_hours_a_day_from_the_open(market: Market) -> None:
    hours = market.minutes["AAPL"].window(*OCTOBER, rth_only=True).hourly()
    assert len(hours) == 161
    clocks = hours.minute.reshape(23, 7) % MINUTES_PER_DAY
    assert (clocks == 810 + 60 * np.arange(7)).all()


def test_days_sum_up_regular_hours(market: Market) -> None:
    days = market.days["NVDA"]
    assert [int(minute) // MINUTES_PER_DAY * MINUTES_PER_DAY for minute in days.minute] == days.minute.tolist()
    assert len(days) == len(market.sessions)
    day = market.minutes["NVDA"].window(date(2024, 7, 3), date(2024, 7, 3), rth_only=True)
    (row,) = np.flatnonzero(days.minute == date_to_minute(date(2024, 7, 3)))
    assert (days.o[row], days.c[row], days.v[row]) == (day.o[0], day.c[-1], day.v.sum())
    assert len(day) == 210
    assert days.n is not None
    assert 0 < days.n[row] < days.v[row]


def test_month_at_1000_points_has_a_stride_of_30_minutes_and_299_bars(market: Market) -> None:
    assert pick_stride(*OCTOBER, 1000) == 30
    bars = market.minutes["AAPL"].window(*OCTOBER, rth_only=True).strided(30)
    assert len(bars) == 299
    assert bars.minute[0] % MINUTES_PER_DAY == 810


@pytest.mark.parametrize(
    ("target", "stride"), [(10_000, 4), (44_640, 1), (100_000, 1), (744, 60), (500, 60), (10, 1440), (1, 1440)]
)
def test_stride_comes_from_calendar_minutes(target: int, stride: int) -> None:
    assert pick_stride(*OCTOBER, target) == stride


def test_hour_stride_straddles_the_open(market: Market) -> None:
    bars = market.minutes["AAPL"].window(*OCTOBER, rth_only=True).strided(60)
    assert bars.minute[0] % MINUTES_PER_DAY == 780


def test_window_without_sessions_is_empty(market: Market) -> None:
    holiday = market.minutes["AAPL"].window(date(2025, 1, 9), date(2025, 1, 9), rth_only=True)
    assert len(holiday) == 0
    assert len(holiday.hourly()) == 0
