"""Long charts of minutes over HTTP: made from hours where these stand in for minutes, with the same bars."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bff_aggregator.backend.bars import Bars, concatenate
from bff_aggregator.cache.entry import pack_entry, unpack_entry
from bff_aggregator.charts import chunk_codec
from tests.aggregator.charts.test_chart_data import PATH
from tests.aggregator.charts.test_hourly_source import by_the_hour, minutes_of
from tests.aggregator.charts.test_resample import EPOCH, as_dicts
from tests.aggregator.conftest import Demo, StartAggregator
from tests.conftest import Start
from tests.support.redis_server import RedisServer

YEAR = {"symbol": "NVDA", "timeframe": "1M", "from": "2024-01-01", "to": "2024-12-31", "target": "2000"}
QUARTER = {"symbol": "NVDA", "timeframe": "1M", "from": "2024-04-01", "to": "2024-06-30", "target": "500"}
DAY = 86_400
PATIENT = {"chart_timeout": 30}


def asked(demo: Demo) -> list[str]:
    return [str(item["path"]) for item in demo.seen()]


async def chart(client: httpx.AsyncClient, query: dict[str, str], **headers: str) -> dict[str, Any]:
    answer = await client.get(PATH, params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def test_year_is_one_call_for_hours_and_has_the_bars_of_the_minutes(
    demo: Demo, start_aggregator: StartAggregator
) -> None:
    by_hours, by_minutes = [
        await start_aggregator(backend_url=demo.url, chart_hours=on, **PATIENT) for on in (True, False)
    ]
    ours = await chart(by_hours, YEAR)
    assert asked(demo) == ["/bars/hour"]
    theirs = await chart(by_minutes, YEAR)
    assert asked(demo) == ["/bars/hour", "/bars/minute"]
    assert ours["bars"] == theirs["bars"]
    told = {name: ours["metadata"][name] for name in ("decimated", "decimation_stride", "total_bars", "backend_calls")}
    assert told == {"decimated": True, "decimation_stride": 60, "total_bars": 1755, "backend_calls": 1}
    assert (ours["metadata"]["source_timeframe"], ours["metadata"]["source_bars"]) == ("1H", 1755)
    assert (theirs["metadata"]["source_timeframe"], theirs["metadata"]["source_bars"]) == ("1M", 97_740)
    assert theirs["metadata"]["decimation_stride"] == 60
    for target, stride in ((1100, 120), (800, 180), (300, 390), (100, 1950)):
        fewer = {**YEAR, "timeframe": "1M_DECIMATED", "target": f"{target}"}
        ours, theirs = [await chart(client, fewer) for client in (by_hours, by_minutes)]
        assert ours["bars"] == theirs["bars"]
        assert ours["metadata"]["decimation_stride"] == stride
    # The last week of the year ends in the next one: the chunk of hours holds it, those of minutes end with the year.
    assert asked(demo) == ["/bars/hour", "/bars/minute", "/bars/minute"]


async def test_hours_of_both_timeframes_are_the_same_chunks(demo: Demo, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url, **PATIENT)
    hours = await chart(client, {**YEAR, "timeframe": "1H"})
    minutes = await chart(client, YEAR)
    assert asked(demo) == ["/bars/hour"]
    assert minutes["bars"] == hours["bars"]
    assert minutes["metadata"]["cache_hit"]
    assert (hours["metadata"]["decimated"], minutes["metadata"]["decimated"]) == (False, True)
    shorter = await chart(client, {**YEAR, "timeframe": "1H", "target": "800"})
    assert shorter["metadata"]["decimation_stride"] == 180
    assert shorter["metadata"]["source_timeframe"] == "1H"


@pytest.mark.parametrize(("target", "source", "stride"), [(209, "1H", 60), (210, "1M", 39)])
async def test_minutes_are_read_as_soon_as_a_shorter_bucket_fits(
    demo: Demo, start_aggregator: StartAggregator, target: int, source: str, stride: int
) -> None:
    client = await start_aggregator(backend_url=demo.url, **PATIENT)
    # January has 21 sessions and 23 weekdays, so that only its bars can tell.
    document = await chart(client, {**YEAR, "to": "2024-01-31", "target": f"{target}"})
    metadata = document["metadata"]
    assert (metadata["source_timeframe"], metadata["decimation_stride"]) == (source, stride)
    assert asked(demo) == ["/bars/hour", "/bars/minute"][: metadata["backend_calls"]]
    again = await chart(client, {**YEAR, "to": "2024-01-31", "target": f"{target}"})
    assert (metadata["cache_hit"], again["metadata"]["cache_hit"]) == (False, True)
    assert again["metadata"]["backend_calls"] == 0


@pytest.mark.parametrize("fault", [{}, {"wrong_json": "shape"}])
async def test_answer_that_took_a_call_for_hours_is_no_hit_though_its_minutes_were_there(
    demo: Demo, start_aggregator: StartAggregator, fault: dict[str, Any]
) -> None:
    client = await start_aggregator(backend_url=demo.url, **PATIENT)
    january = {**YEAR, "to": "2024-01-31"}
    await chart(client, january)
    demo.faults({"path_prefix": "/bars/hour", **fault})
    metadata = (await chart(client, {**january, "target": "210"}))["metadata"]
    assert (metadata["source_timeframe"], metadata["cache_hit"], metadata["data_source"]) == ("1M", False, "mixed")
    assert "/bars/hour" in asked(demo)


async def test_what_dates_rule_out_asks_for_no_hours(demo: Demo, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url, **PATIENT)
    await chart(client, {**QUARTER, "target": "1000"})
    await chart(client, {**QUARTER, "rth_only": "false"})
    assert asked(demo) == ["/bars/minute", "/bars/minute"]


@pytest.mark.parametrize("fault", [{"error_status": 404}, {"wrong_json": "shape"}, {"wrong_json": "syntax"}])
async def test_minutes_are_read_where_hours_cannot_be_had(
    demo: Demo, start_aggregator: StartAggregator, fault: dict[str, Any]
) -> None:
    client = await start_aggregator(backend_url=demo.url, **PATIENT)
    demo.faults({"path_prefix": "/bars/hour", **fault})
    document = await chart(client, QUARTER)
    assert document["metadata"]["source_timeframe"] == "1M"
    assert not document["metadata"]["cache_hit"]
    paths = asked(demo)
    assert (paths[0], paths[-1], paths.count("/bars/minute")) == ("/bars/hour", "/bars/minute", 1)
    demo.faults()
    by_minutes = await start_aggregator(backend_url=demo.url, chart_hours=False, **PATIENT)
    assert document["bars"] == (await chart(by_minutes, QUARTER))["bars"]


async def test_backend_that_cannot_be_reached_is_not_asked_for_minutes_too(
    demo: Demo, start_aggregator: StartAggregator
) -> None:
    client = await start_aggregator(backend_url=demo.url, **PATIENT)
    demo.faults({"path_prefix": "/bars", "refuse": True})
    answer = await client.get(PATH, params=QUARTER, timeout=30)
    assert answer.json()["error"]["code"] == "BACKEND_UNAVAILABLE"
    assert set(asked(demo)) == {"/bars/hour"}


@pytest.mark.parametrize(
    ("fault", "settings"),
    [
        ({"error_status": 500}, PATIENT),
        ({"error_status": 503}, PATIENT),
        ({"latency_ms": 60_000}, {"chart_timeout": 8}),
    ],
)
async def test_hours_that_fail_are_no_outage(
    demo: Demo, start_aggregator: StartAggregator, fault: dict[str, Any], settings: dict[str, Any]
) -> None:
    client = await start_aggregator(backend_url=demo.url, **settings)
    demo.faults({"path_prefix": "/bars/hour", **fault})
    document = await chart(client, QUARTER)
    assert (document["metadata"]["source_timeframe"], document["metadata"]["cache_hit"]) == ("1M", False)
    assert asked(demo)[-1] == "/bars/minute"


async def test_minutes_that_hang_end_with_the_deadline_that_began_with_the_hours(
    demo: Demo, start_aggregator: StartAggregator
) -> None:
    client = await start_aggregator(backend_url=demo.url, chart_timeout=1)
    demo.faults(
        {"path_prefix": "/bars/hour", "error_status": 404},
        {"path_prefix": "/bars/minute", "latency_ms": 60_000},
    )
    answer = await client.get(PATH, params=QUARTER, timeout=30)
    assert answer.json()["error"]["code"] == "BACKEND_TIMEOUT"
    assert asked(demo).count("/bars/minute") == 1


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_refusals_are_passed_on_without_another_call(
    demo: Demo, start_aggregator: StartAggregator, status: int
) -> None:
    client = await start_aggregator(backend_url=demo.url, **PATIENT)
    demo.faults({"path_prefix": "/bars/hour", "error_status": status})
    assert (await client.get(PATH, params=QUARTER)).status_code == status
    assert "/bars/minute" not in asked(demo)


async def test_stale_hours_stand_in_for_a_failed_backend(
    demo: Demo, redis: RedisServer, start_aggregator: StartAggregator
) -> None:
    settings = {"backend_url": demo.url, "redis_url": redis.url, **PATIENT}
    fresh = await chart(await start_aggregator(**settings), QUARTER)
    with redis.client() as look:
        while look.dbsize() < 13 or any(b":lock" in key for key in look.keys()):  # noqa: SIM118  Redis's command
            await asyncio.sleep(0.005)
        generation = look.get(*look.keys("*:generation")) or b""
        for name in look.keys("*hour*"):
            item = unpack_entry(look.get(name) or b"", name.decode(), generation)
            assert item is not None
            expired = replace(item, fresh_until=item.made, revalidate_until=item.made)
            look.set(name, pack_entry(expired, name.decode(), generation))
    demo.faults({"path_prefix": "/bars", "error_status": 500})
    demo.forget()
    stale = await chart(await start_aggregator(**settings), QUARTER)
    assert stale["bars"] == fresh["bars"]
    assert (stale["metadata"]["stale"], stale["metadata"]["source_timeframe"]) == (True, "1H")
    assert set(asked(demo)) == {"/bars/hour"}


async def test_unknown_symbol_is_not_found_without_asking_for_its_minutes(
    demo: Demo, start_aggregator: StartAggregator
) -> None:
    client = await start_aggregator(backend_url=demo.url, **PATIENT)
    answer = await client.get(PATH, params={**YEAR, "symbol": "NOPE"})
    assert answer.status_code == 404
    assert answer.json()["error"]["details"]["known"] is None
    assert asked(demo) == ["/bars/hour", "/bars/daily"]


class Backend:
    """A backend with some minutes, and the hours and days that are made of them."""

    def __init__(self, minutes: Bars) -> None:
        midnight = minutes.t // 86_400 * 86_400
        days = Bars(midnight, minutes.o, minutes.h, minutes.l, minutes.c, minutes.v)
        self._bars = {"minute": minutes, "hour": by_the_hour(minutes), "daily": days}
        self.app = Starlette(routes=[Route("/bars/{kind}", self._answer)])
        self.asked: list[str] = []
        self.broken = set[str]()
        self.gates: dict[str, asyncio.Event] = {}

    async def _answer(self, request: Request) -> Response:
        kind = request.path_params["kind"]
        self.asked.append(kind)
        if kind in self.broken:
            return Response(status_code=500)
        if kind in self.gates:
            await self.gates[kind].wait()
        first, last = request.query_params.get("from", "1970-01-01"), request.query_params.get("to", "2100-01-01")
        start, end = ((date.fromisoformat(day) - EPOCH).days * 86_400 for day in (first, last))
        bars = self._bars[kind].between(start, end + 86_400)
        return JSONResponse({"symbol": "X", "bars": as_dicts(bars)}, 200 if len(bars) else 404)


@pytest.mark.parametrize("share", [0.03, 0.01])
async def test_symbol_that_trades_seldom_is_charted_from_its_minutes(
    start_app: Start, start_aggregator: StartAggregator, share: float
) -> None:
    bars = minutes_of(date(2024, 4, 1), date(2024, 6, 30))
    backend = Backend(bars.take(np.random.default_rng(7).random(len(bars)) < share))
    url = await start_app(backend.app)
    clients = [await start_aggregator(backend_url=url, chart_hours=on, **PATIENT) for on in (True, False)]
    ours, theirs = [await chart(client, {**QUARTER, "target": "250"}) for client in clients]
    assert backend.asked == ["hour", "minute", "minute"]
    assert ours["metadata"]["source_timeframe"] == "1M"
    assert ours["bars"] == theirs["bars"]


async def test_window_that_reaches_beyond_the_data_is_charted_from_what_there_is(
    demo: Demo, start_aggregator: StartAggregator
) -> None:
    clients = [await start_aggregator(backend_url=demo.url, chart_hours=on, **PATIENT) for on in (True, False)]
    few = {**YEAR, "from": "2023-01-01", "to": "2024-01-31", "target": "500"}
    ours, theirs = [await chart(client, few) for client in clients]
    assert ours["metadata"]["source_timeframe"] == "1M"
    assert ours["bars"] == theirs["bars"]
    enough = await chart(clients[0], {**few, "target": "200"})
    assert enough["metadata"]["source_timeframe"] == "1H"
    assert enough["bars"] == (await chart(clients[1], {**few, "target": "200"}))["bars"]


def trading_on(first: date, last: date) -> Bars:
    """Return regular minutes of a backend that trades on to 16:00 after an early close."""
    minutes = minutes_of(first, last)
    parts = [minutes]
    for day in (date(2024, 7, 3), date(2024, 11, 29), date(2024, 12, 24)):
        if first <= day <= last:
            there = minutes.between(*((day - EPOCH).days * 86_400 + DAY * n for n in (0, 1)))
            late = there.take(np.arange(180) % len(there))
            parts.append(replace(late, t=int(there.t[-1]) + 60 * (1 + np.arange(180, dtype=np.int64))))
    both = concatenate(parts)
    return both.take(np.argsort(both.t, kind="stable"))


async def test_minutes_of_days_that_trade_on_take_the_place_of_their_hours_alone(
    start_app: Start, start_aggregator: StartAggregator
) -> None:
    backend = Backend(trading_on(date(2024, 7, 1), date(2024, 12, 31)))
    url = await start_app(backend.app)
    by_hours, by_minutes = [await start_aggregator(backend_url=url, chart_hours=on, **PATIENT) for on in (True, False)]
    half = {**YEAR, "from": "2024-07-01"}
    ours = await chart(by_hours, {**half, "target": "1000"})
    assert sorted(backend.asked) == ["hour", "minute", "minute", "minute"]
    assert (ours["metadata"]["source_timeframe"], ours["metadata"]["decimation_stride"]) == ("1H", 60)
    for target in (100, 150, 300, 500, 1000):
        ours, theirs = [await chart(client, {**half, "target": f"{target}"}) for client in (by_hours, by_minutes)]
        assert ours["bars"] == theirs["bars"]
        assert ours["metadata"]["source_timeframe"] == "1H"
    again = await chart(by_hours, {**half, "target": "1000"})
    assert (again["metadata"]["cache_hit"], again["metadata"]["backend_calls"]) == (True, 0)


async def test_minutes_of_a_day_that_cannot_be_had_fail_the_chart_rather_than_leave_a_day_out(
    start_app: Start, start_aggregator: StartAggregator
) -> None:
    backend = Backend(trading_on(date(2024, 7, 1), date(2024, 12, 31)))
    backend.broken.add("minute")
    client = await start_aggregator(backend_url=await start_app(backend.app), **PATIENT)
    answer = await client.get(PATH, params={**YEAR, "from": "2024-07-01", "target": "500"})
    assert answer.json()["error"]["code"] == "BACKEND_UNAVAILABLE"


async def test_ten_years_almost_without_bars_are_made_beside_the_event_loop(
    demo: Demo, start_aggregator: StartAggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of empty chunks take as long as full ones, though they hold nothing."""
    real, at_work = chunk_codec.split, list[tuple[int, threading.Thread]]()

    def split(bars: Bars, bounds: Sequence[tuple[int, int]], rejected: int) -> list[bytes]:
        at_work.append((len(bounds), threading.current_thread()))
        return real(bars, bounds, rejected)

    monkeypatch.setattr(chunk_codec, "split", split)
    client = await start_aggregator(backend_url=demo.url, chart_hours=False, **PATIENT)
    await chart(client, {**YEAR, "from": "2014-02-01", "to": "2024-01-31"})
    assert sum(chunks for chunks, _ in at_work if chunks > 128) > 1_000
    assert threading.main_thread() not in {thread for chunks, thread in at_work if chunks > 128}
