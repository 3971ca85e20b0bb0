"""Instruments that are no US stocks, as data and as the API tells of them."""

import itertools
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import numpy as np
import pytest

from bff_demo.bars import Bars
from bff_demo.instruments import INSTRUMENTS, build_instrument, instrument_sessions
from bff_demo.market import Market
from bff_demo.sessions import MINUTES_PER_DAY, date_to_minute

Find = Callable[..., str]
RUNS = {
    "X:BTCUSD": ("2024-03-04", "2024-03-17"),
    "PNNY": ("2024-03-01", "2024-03-29"),
    "C:EURUSD": ("2024-03-04", "2024-03-16"),
    "CL=F": ("2024-02-01", "2024-03-31"),
    "ES=F": ("2024-03-04", "2024-03-15"),
    "BRK.b": ("2024-03-01", "2024-03-31"),
}


def minutes(symbol: str) -> Bars:
    return build_instrument(42, symbol)[0]


def new_york(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * 60, UTC).astimezone(ZoneInfo("America/New_York"))


@pytest.mark.parametrize("symbol", INSTRUMENTS)
def test_same_seed_gives_same_candles_that_hold_their_open_and_close(symbol: str) -> None:
    bars = minutes(symbol)
    build_instrument.cache_clear()
    again = minutes(symbol)
    assert again is not bars
    assert all(
        np.array_equal(getattr(bars, name), getattr(again, name)) for name in ("minute", "o", "h", "l", "c", "v")
    )
    assert (np.diff(bars.minute) > 0).all()
    assert (bars.h >= np.maximum(bars.o, bars.c)).all()
    assert (bars.l <= np.minimum(bars.o, bars.c)).all()


def test_around_the_clock_there_are_minutes_of_every_day_and_hour() -> None:
    minute = minutes("X:BTCUSD").minute
    assert len(np.unique(minute // MINUTES_PER_DAY)) == 366
    assert len(np.unique(minute % MINUTES_PER_DAY)) == MINUTES_PER_DAY


def test_overnight_session_begins_the_evening_before_and_pauses_for_an_hour() -> None:
    sessions = instrument_sessions("overnight", 2024)
    monday = next(session for session in sessions if session.day == date(2024, 3, 11))
    assert new_york(monday.open).isoformat() == "2024-03-10T18:00:00-04:00"
    assert new_york(monday.close).isoformat() == "2024-03-11T17:00:00-04:00"
    assert {new_york(minute).hour for minute in minutes("ES=F").minute[:20_000].tolist()} == set(range(24)) - {17}
    assert min(after.open - before.close for before, after in itertools.pairwise(sessions)) == 60


def test_currencies_trade_from_sunday_evening_to_friday_evening_without_a_pause() -> None:
    sessions = instrument_sessions("week", 2024)
    pauses = {after.open - before.close for before, after in itertools.pairwise(sessions)}
    assert pauses == {0, 2 * MINUTES_PER_DAY, 2 * MINUTES_PER_DAY - 60, 2 * MINUTES_PER_DAY + 60}
    assert minutes("C:EURUSD").volumes()[:2] == [None, None]


def test_day_carries_the_date_on_which_its_session_ends() -> None:
    bars, days = build_instrument(42, "ES=F")
    (row,) = np.flatnonzero(days.minute == date_to_minute(date(2024, 3, 11)))
    session = next(one for one in instrument_sessions("overnight", 2024) if one.day == date(2024, 3, 11))
    inside = (bars.minute >= session.open) & (bars.minute < session.close)
    assert (days.o[row], days.h[row]) == (bars.o[inside][0], bars.h[inside].max())
    assert (days.l[row], days.c[row], days.v[row]) == (bars.l[inside].min(), bars.c[inside][-1], bars.v[inside].sum())


def test_each_has_what_it_is_there_for(client: httpx.Client, market: Market) -> None:
    def bars(symbol: str, day: str) -> list[dict[str, Any]]:
        answer = client.get("/bars/minute", params={"symbol": symbol, "from": day, "to": day})
        found: list[dict[str, Any]] = answer.json()["bars"]
        return found

    coin = bars("X:BTCUSD", "2024-03-09")
    assert coin[0]["t"] == "2024-03-09T00:00:00Z"
    assert coin[-1]["t"] == "2024-03-09T23:59:00Z"
    assert len(coin) > 1400
    assert any(bar["v"] != int(bar["v"]) for bar in coin)
    assert max(len(repr(bar["c"]).partition(".")[2]) for bar in bars("PNNY", "2024-03-08")) == 6
    assert {bar["v"] for bar in bars("C:EURUSD", "2024-03-08")} == {None}
    assert min(bar["l"] for bar in bars("CL=F", "2024-02-23")) < 0
    assert {bar["o"] * 4 % 1 for bar in bars("ES=F", "2024-03-08")} == {0}
    assert bars("BRK.b", "2024-03-08")
    assert client.get("/bars/daily", params={"symbol": "BRK.B"}).status_code == 404
    assert market.minutes_of("brk.b") is None


@pytest.mark.parametrize("symbol", RUNS)
def test_each_has_a_run_whose_frames_tell_the_same_as_its_bars(
    client: httpx.Client, find_run: Find, symbol: str
) -> None:
    first, last = RUNS[symbol]
    run = find_run(symbol, first, last)
    window = {"symbol": symbol, "from": first, "to": last}
    candles = client.get("/bars/minute", params=window).json()["bars"]
    events = client.get(f"/backtests/{run}/stream").text.split("\n\n")
    assert events[-2].startswith("event: end\n")
    frames = [json.loads(event.partition("\ndata: ")[2]) for event in events[:-2]]
    assert [{"t": frame["ts"], **frame["ohlc"]} for frame in frames if frame["ohlc"] is not None] == candles
    equity = client.get(f"/backtests/{run}/equity").json()["equity"]
    assert len(equity) == len(frames)
    orders = client.get(f"/backtests/{run}/orders").json()["orders"]
    assert len(orders) == sum(len(frame["orders"]) for frame in frames) > 10
    assert client.get(f"/backtests/{run}").json()["dataset_id"] == f"{symbol}-2024-1m"


def test_a_run_of_what_seldom_trades_has_a_frame_without_candle_for_each_quiet_minute(
    client: httpx.Client, find_run: Find
) -> None:
    run = find_run("PNNY", *RUNS["PNNY"])
    events = client.get(f"/backtests/{run}/stream").text.split("\n\n")[:-2]
    frames = [json.loads(event.partition("\ndata: ")[2]) for event in events]
    assert len(frames) == 20 * 390
    quiet = [index for index, frame in enumerate(frames) if frame["ohlc"] is None]
    assert 0.4 < len(quiet) / len(frames) < 0.7
    assert not [index for index in quiet if frames[index]["orders"]]
    assert all(frames[index]["equity"]["value"] == frames[index - 1]["equity"]["value"] for index in quiet)
