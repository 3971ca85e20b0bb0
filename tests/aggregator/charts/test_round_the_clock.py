"""Instruments that do not keep the hours of New York's exchange: sessions come from their bars, and no bar is lost."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from bff_aggregator.backend.bars import Bars
from bff_aggregator.charts.resample import Clock, Span, bucket
from bff_shared.upstream.call import Call
from bff_shared.upstream.client import BackendResponse, Upstream
from tests.aggregator.charts.test_chart_data import PATH
from tests.aggregator.charts.test_long_charts import PATIENT, Backend
from tests.aggregator.conftest import StartAggregator
from tests.conftest import Start
from tests.support.chart_reference import NEW_YORK

EXTENDED = Clock(1, extended=True)


def minutes_when(first: date, last: date, trades: Callable[[datetime], bool]) -> Bars:
    """Return a bar for each minute of some UTC dates in which New York's clocks say that there is trading."""
    begin = int(datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp())
    count = ((last - first).days + 1) * 1440
    t = np.array(
        [
            begin + 60 * minute
            for minute in range(count)
            if trades(datetime.fromtimestamp(begin + 60 * minute, NEW_YORK))
        ],
        np.int64,
    )
    prices = 100 + np.arange(len(t)) % 97 / 8
    return Bars(t, prices, prices + 1, prices - 1, prices + 0.5, np.arange(len(t)) % 7 / 10)


def always(_: datetime) -> bool:
    return True


def futures(clock: datetime) -> bool:
    """From Sunday 18:00 to Friday 17:00, without the hour from 17:00."""
    if (
        clock.weekday() == 5
        or (clock.weekday() == 6 and clock.hour < 18)
        or (clock.weekday() == 4 and clock.hour >= 17)
    ):
        return False
    return clock.hour != 17


def currencies(clock: datetime) -> bool:
    """From Sunday 17:00 to Friday 17:00."""
    return not (
        clock.weekday() == 5
        or (clock.weekday() == 6 and clock.hour < 17)
        or (clock.weekday() == 4 and clock.hour >= 17)
    )


def tokyo(clock: datetime) -> bool:
    """From 09:00 to 15:00 in Tokyo, which is 20:00 to 02:00 in a summer of New York's."""
    return clock.hour >= 20 or clock.hour < 2


def stamps(bars: Bars) -> list[str]:
    return [datetime.fromtimestamp(t, NEW_YORK).strftime("%a %H:%M") for t in bars.t.tolist()]


def test_overnight_futures_have_sessions_from_18_to_17() -> None:
    bars = minutes_when(date(2024, 6, 2), date(2024, 6, 8), futures)
    sessions = bucket(bars, Span.SESSION, EXTENDED)
    assert stamps(sessions) == ["Sun 18:00", "Mon 18:00", "Tue 18:00", "Wed 18:00", "Thu 18:00"]
    assert np.diff(np.append(np.searchsorted(bars.t, sessions.t), len(bars))).tolist() == [23 * 60] * 5
    assert stamps(bucket(bars, 180, EXTENDED))[:9] == [
        *("Sun 18:00", "Sun 21:00", "Mon 00:00", "Mon 03:00", "Mon 06:00", "Mon 09:00", "Mon 12:00", "Mon 15:00"),
        "Mon 18:00",
    ]
    assert len(bucket(bars, Span.WEEK, EXTENDED)) == 1


def test_currencies_have_no_session_of_a_sunday() -> None:
    bars = minutes_when(date(2024, 6, 2), date(2024, 6, 8), currencies)
    assert stamps(bucket(bars, Span.SESSION, EXTENDED)) == [
        *("Sun 17:00", "Tue 00:00", "Wed 00:00", "Thu 00:00", "Fri 00:00")
    ]


def test_shares_of_tokyo_have_one_session_a_day_though_it_is_midnight_in_new_york() -> None:
    bars = minutes_when(date(2024, 6, 4), date(2024, 6, 6), tokyo)
    assert stamps(bucket(bars, 180, EXTENDED)) == [
        *("Mon 20:00", "Mon 23:00", "Tue 20:00", "Tue 23:00", "Wed 20:00", "Wed 23:00")
    ]
    assert len(bucket(bars, Span.SESSION, EXTENDED)) == 3


def test_early_closes_of_the_exchange_mean_nothing_to_a_session_that_began_the_evening_before() -> None:
    bars = minutes_when(date(2024, 7, 2), date(2024, 7, 4), futures)
    wednesday = [stamp for stamp in stamps(bucket(bars, 120, EXTENDED)) if stamp.startswith("Wed")]
    assert wednesday == [f"Wed {hour:02}:00" for hour in range(0, 24, 2)]


@pytest.mark.parametrize("rth_only", ["true", "false"])
@pytest.mark.parametrize("trades", [always, futures, currencies, tokyo])
@pytest.mark.parametrize("target", [100, 400])
async def test_candles_around_the_clock_hold_all_bars_and_are_the_same_in_every_window(
    start_app: Start,
    start_aggregator: StartAggregator,
    trades: Callable[[datetime], bool],
    rth_only: str,
    target: int,
) -> None:
    bars = minutes_when(date(2024, 3, 4), date(2024, 3, 17), trades)
    client = await start_aggregator(backend_url=await start_app(Backend(bars).app), **PATIENT)
    query = {"symbol": "X", "timeframe": "1M", "target": f"{target}", "rth_only": rth_only, "format": "columns"}
    windows = []
    # New York's clocks went forward on 10 March.
    for first, last in (("2024-03-08", "2024-03-11"), ("2024-03-09", "2024-03-12"), ("2024-03-07", "2024-03-10")):
        answer = await client.get(PATH, params={**query, "from": first, "to": last})
        document: dict[str, Any] = answer.json()
        windows.append(document)
        t = np.array(document["t"])
        assert bool(np.all(np.diff(t) > 0))
        begin, end = (datetime.fromisoformat(f"{day}T00:00Z") for day in (first, last))
        own = bars.between(int(begin.timestamp()), int((end + timedelta(days=1)).timestamp()))
        assert document["metadata"]["source_bars"] >= len(own)
        # Every bar lies in a candle, which has it within its prices.
        rows = np.searchsorted(t, own.t, side="right") - 1
        assert rows.min() >= 0
        assert bool(np.all(own.h <= np.array(document["h"])[rows]))
        assert bool(np.all(own.l >= np.array(document["l"])[rows]))
    for one in windows:
        known = dict(zip(one["t"], zip(*(one[key] for key in "ohlcv"), strict=True), strict=True))
        for other in windows:
            if other["metadata"]["decimation_stride"] == one["metadata"]["decimation_stride"]:
                for row in zip(*(other[key] for key in "tohlcv"), strict=True):
                    assert known.get(row[0], row[1:]) == row[1:]


async def test_response_larger_than_expected_is_asked_for_in_halves(
    start_app: Start, start_aggregator: StartAggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = Upstream.fetch

    async def small(self: Upstream, call: Call) -> BackendResponse:
        return await fetch(self, call, 500_000)

    monkeypatch.setattr(Upstream, "fetch", small)
    backend = Backend(minutes_when(date(2024, 3, 4), date(2024, 3, 17), always))
    client = await start_aggregator(backend_url=await start_app(backend.app), **PATIENT)
    query = {"symbol": "X", "timeframe": "1M", "from": "2024-03-04", "to": "2024-03-17", "target": "50000"}
    answer = await client.get(PATH, params=query)
    assert answer.json()["metadata"]["total_bars"] == 14 * 1440
    assert backend.asked == ["minute"] * 7


async def test_candle_that_is_not_over_is_marked(start_app: Start, start_aggregator: StartAggregator) -> None:
    today = datetime.now(UTC).date()
    now = datetime.now(UTC).timestamp()
    bars = minutes_when(today - timedelta(days=3), today, lambda clock: clock.timestamp() < now)
    client = await start_aggregator(backend_url=await start_app(Backend(bars).app), **PATIENT)
    query = {
        "symbol": "X",
        "timeframe": "1M",
        "target": "100",
        "format": "columns",
        "from": f"{today - timedelta(days=2)}",
    }
    document = (await client.get(PATH, params={**query, "to": f"{today}"})).json()
    last = datetime.fromtimestamp(document["t"][-1], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert document["metadata"]["forming"] == last
    over = (await client.get(PATH, params={**query, "to": f"{today - timedelta(days=2)}"})).json()
    assert over["metadata"]["forming"] is None
