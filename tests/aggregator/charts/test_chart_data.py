"""Chart data over HTTP, beside the backend's own answers."""

import random
from datetime import date, timedelta
from typing import Any

import pytest

from bff_aggregator.backend.bars import Source
from bff_aggregator.charts.query import ChartQuery
from bff_aggregator.charts.timeframes import Timeframe
from tests.aggregator.conftest import Demo, StartAggregator
from tests.support import chart_reference as reference

PATH = "/api/v1/chart-data"
ENDPOINTS = {"1D": "daily", "1H": "hour", "5M": "minute", "1M": "minute", "1M_DECIMATED": "minute"}


def closes_early(day: date) -> bool:
    return day in {
        date(2024, 7, 3),
        date(2024, 11, 29),
        date(2024, 12, 24),
        date(2025, 7, 3),
        date(2025, 11, 28),
        date(2025, 12, 24),
    }


MARGIN = {Source.DAILY: 40, Source.HOUR: 10, Source.MINUTE: 3}
"""Days around a window in which its first and its last bucket lie wholly."""


def direct(demo: Demo, query: ChartQuery) -> list[dict[str, Any]]:
    """Compute the bars of an answer from the backend's own, the obvious way."""
    source = query.timeframe.source
    around = timedelta(days=MARGIN[source])
    fields: dict[str, Any] = {"symbol": query.symbol, "from": query.first - around, "to": query.last + around}
    if source is not Source.DAILY:
        fields["rth_only"] = query.rth_only
    answer = demo.get(f"/bars/{ENDPOINTS[query.timeframe]}", **fields)
    bars: list[dict[str, Any]] = answer.json()["bars"] if answer.status_code == 200 else []
    asked = reference.Asked(query.first, query.last, query.target, query.timeframe.minutes, query.rth_only)
    daily = source is Source.DAILY
    return reference.chart(bars, asked, minutes=source.minutes, daily=daily, early=closes_early)[0]


def as_rows(bars: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = {"t": "timestamp", "o": "open", "h": "high", "l": "low", "c": "close", "v": "volume", "n": "trades"}
    return [{names[key]: value for key, value in bar.items()} for bar in bars]


def parameters(query: ChartQuery) -> dict[str, Any]:
    return {
        "symbol": query.symbol,
        "timeframe": query.timeframe,
        "from_date": query.first,
        "to_date": query.last,
        "target_points": query.target,
        "rth_only": query.rth_only,
        "format": query.format,
    }


def random_query(rng: random.Random) -> ChartQuery:
    timeframe = rng.choice([*Timeframe])
    longest = {"1D": 800, "1H": 400}.get(timeframe, 40)
    first = date(2023, 12, 20) + timedelta(days=rng.randrange(740))
    last = first + timedelta(days=rng.randrange(longest))
    symbol = rng.choice(["AAPL", "SPY"])
    return ChartQuery(symbol, timeframe, first, last, rng.choice([100, 250, 1000, 10_000]), rng.random() < 0.7)


@pytest.mark.parametrize("seed", range(20))
async def test_answer_is_the_one_computed_from_direct_calls(
    demo: Demo, start_aggregator: StartAggregator, seed: int
) -> None:
    client = await start_aggregator(backend_url=demo.url, chart_timeout=30)
    query = random_query(random.Random(seed))  # noqa: S311  repeatable windows, no secret
    answer = await client.get(PATH, params=parameters(query))
    expected = direct(demo, query)
    assert answer.status_code == 200, answer.text
    assert answer.json()["bars"] == as_rows(expected)
    assert answer.json()["metadata"]["total_bars"] == len(expected)


WHOLE = {"symbol": "AAPL", "timeframe": "1M", "to_date": "2024-12-20"}


@pytest.mark.parametrize(
    ("one", "other", "query"),
    [
        # The second window begins in the middle of a week that the first one has whole.
        pytest.param("2024-01-02", "2024-01-10", {"timeframe": "1D", "target": "100"}, id="weeks of days"),
        pytest.param("2024-01-17", "2024-01-31", {"timeframe": "1H", "target": "100"}, id="weeks of hours"),
        pytest.param("2024-01-17", "2024-01-25", {"timeframe": "1M", "target": "100"}, id="weeks of minutes"),
        pytest.param(
            *("2024-12-12", "2024-12-13"),
            {"timeframe": "1M", "target": "160", "rth_only": "false"},
            id="minutes in extended hours",
        ),
    ],
)
async def test_stamps_candle_is_the_same_in_every_window(
    demo: Demo, start_aggregator: StartAggregator, one: str, other: str, query: dict[str, str]
) -> None:
    client = await start_aggregator(backend_url=demo.url, chart_timeout=30)
    wide, narrow = [
        (await client.get(PATH, params={**WHOLE, **query, "from_date": first})).json() for first in (one, other)
    ]
    assert wide["metadata"]["decimation_stride"] == narrow["metadata"]["decimation_stride"] > 1
    known = {bar["timestamp"]: bar for bar in wide["bars"]}
    shared = [bar for bar in narrow["bars"] if bar["timestamp"] in known]
    assert shared
    assert all(bar == known[bar["timestamp"]] for bar in shared)
    assert narrow["metadata"]["window"]["from_date"] <= other
    assert narrow["metadata"]["window"]["to_date"] >= "2024-12-20"


FIVE_MINUTES = {"symbol": "AAPL", "timeframe": "5M", "from_date": "2024-07-01", "to_date": "2024-07-05"}


async def test_bars_of_five_minutes_are_made_from_minutes_and_anchored_at_each_open(
    demo: Demo, start_aggregator: StartAggregator
) -> None:
    client = await start_aggregator(backend_url=demo.url)
    answer = (await client.get(PATH, params=FIVE_MINUTES)).json()
    minutes = demo.get("/bars/minute", symbol="AAPL", **{"from": "2024-07-01", "to": "2024-07-05"}, rth_only=True)
    how: dict[str, Any] = {"daily": False, "extended": False, "early": closes_early, "minutes": 1}
    assert answer["bars"] == as_rows(reference.buckets(minutes.json()["bars"], 5, **how))
    # Three whole sessions of 78, and the one of 3 July, which ends at 13:00, of 42.
    assert answer["metadata"]["total_bars"] == 3 * 78 + 42
    assert [answer["bars"][row]["timestamp"][11:] for row in (0, 1, 78, 156)] == [
        *("13:30:00Z", "13:35:00Z", "13:30:00Z", "13:30:00Z")
    ]
    told = {name: answer["metadata"][name] for name in ("decimated", "decimation_stride", "source_timeframe")}
    assert told == {"decimated": False, "decimation_stride": 5, "source_timeframe": "1M"}


async def test_five_minutes_and_minutes_share_their_chunks(demo: Demo, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url)
    await client.get(PATH, params={**FIVE_MINUTES, "timeframe": "1M"})
    demo.forget()
    answer = (await client.get(PATH, params=FIVE_MINUTES)).json()
    assert answer["metadata"]["cache_hit"] is True
    assert demo.seen() == []


async def test_more_five_minute_bars_than_fit_are_merged_as_minutes_are(
    demo: Demo, start_aggregator: StartAggregator
) -> None:
    client = await start_aggregator(backend_url=demo.url)
    fewer: dict[str, Any] = {**FIVE_MINUTES, "target_points": 100}
    fives = (await client.get(PATH, params=fewer)).json()
    ones = (await client.get(PATH, params={**fewer, "timeframe": "1M"})).json()
    assert fives["bars"] == ones["bars"]
    assert fives["metadata"]["decimated"] is True
    assert fives["metadata"]["decimation_stride"] == ones["metadata"]["decimation_stride"] == 15


async def test_bad_fields_are_all_named(demo: Demo, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url, chart_timeout=30)
    answer = await client.get(
        PATH, params={"symbol": "A\tB", "timeframe": "2D", "from": "x", "target": 99, "format": "csv"}
    )
    error = answer.json()["error"]
    assert answer.status_code == 422
    assert error["code"] == "VALIDATION"
    assert error["details"]["fields"].keys() == {
        "symbol",
        "timeframe",
        "from_date",
        "to_date",
        "target_points",
        "format",
    }
    assert demo.seen() == []


async def test_unknown_symbol_is_not_found(demo: Demo, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url, chart_timeout=30)
    for timeframe in Timeframe:
        answer = await client.get(
            PATH, params={"symbol": "NOPE", "timeframe": timeframe, "from": "2024-01-01", "to": "2024-01-31"}
        )
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "DATASET_NOT_FOUND"
        assert answer.json()["error"]["details"]["known"] is None


async def test_window_outside_of_the_data_is_not_found_and_tells_what_there_is(
    demo: Demo, start_aggregator: StartAggregator
) -> None:
    client = await start_aggregator(backend_url=demo.url, chart_timeout=30)
    answer = await client.get(
        PATH, params={"symbol": "AAPL", "timeframe": "1H", "from": "2019-01-01", "to": "2019-02-01"}
    )
    assert answer.status_code == 404
    assert answer.json()["error"]["details"]["known"] == {"from_date": "2024-01-02", "to_date": "2025-12-31"}


async def test_weekend_inside_of_the_data_has_no_bars(demo: Demo, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url, chart_timeout=30)
    for timeframe in Timeframe:
        answer = await client.get(
            PATH, params={"symbol": "AAPL", "timeframe": timeframe, "from": "2024-07-06", "to": "2024-07-07"}
        )
        assert answer.status_code == 200
        assert answer.json()["bars"] == []


async def test_daily_bars_keep_the_number_of_trades(demo: Demo, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url, chart_timeout=30)
    answer = await client.get(
        PATH, params={"symbol": "AAPL ", "timeframe": "1d", "from": "2024-02-01", "to": "2024-02-02"}
    )
    assert answer.json()["symbol"] == "AAPL"
    assert [bar["trades"] for bar in answer.json()["bars"]] == [
        bar["n"]
        for bar in demo.get("/bars/daily", symbol="AAPL", **{"from": "2024-02-01", "to": "2024-02-02"}).json()["bars"]
    ]
