"""Chart data out of the cache: the same answers as without it, for the right user, with few calls to the backend."""

import asyncio
import gzip
import random
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import httpx
import pytest
from redis import RedisCluster

from bff_aggregator.cache.entry import NO_GENERATION, Scope, pack_entry, unpack_entry
from bff_aggregator.charts import chunk_codec
from bff_aggregator.charts.query import ChartQuery
from bff_aggregator.charts.timeframes import Timeframe
from bff_aggregator.http import content_coding
from bff_demo.options import Options
from bff_demo.server import DemoServer
from tests.aggregator.charts.test_chart_data import PATH, as_rows, direct, parameters, random_query
from tests.aggregator.conftest import Demo, StartAggregator
from tests.support.redis_server import SLOTS, RedisServer

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

WEEK = {"symbol": "AAPL", "timeframe": "1M", "from_date": "2024-07-08", "to_date": "2024-07-14"}
SETTINGS = {"chart_timeout": 30}


async def get(client: httpx.AsyncClient, query: ChartQuery, **headers: str) -> dict[str, Any]:
    answer = await client.get(PATH, params=parameters(query), headers=headers)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def parts(query: ChartQuery) -> list[ChartQuery]:
    """Return windows that leave a gap in the middle of a query's and reach out of it."""
    middle = query.first + (query.last - query.first) / 2
    before = ChartQuery(query.symbol, query.timeframe, query.first - timedelta(days=3), middle, 100, query.rth_only)
    after = ChartQuery(query.symbol, query.timeframe, middle + timedelta(days=3), query.last, 100, query.rth_only)
    return [part for part in (before, after) if part.first <= part.last]


@pytest.mark.parametrize("seed", range(100, 112))
@pytest.mark.parametrize("with_redis", [True, False])
async def test_cold_partly_cached_and_warm_answers_are_the_direct_one(
    demo: Demo, redis: RedisServer, start_aggregator: StartAggregator, seed: int, with_redis: bool
) -> None:
    client = await start_aggregator(backend_url=demo.url, redis_url=redis.url if with_redis else "", **SETTINGS)
    query = random_query(random.Random(seed))  # noqa: S311  repeatable windows, no secret
    expected = as_rows(direct(demo, query))
    for part in parts(query):
        await client.get(PATH, params=parameters(part))
    first, second, third = [await get(client, query) for _ in range(3)]
    assert first["bars"] == second["bars"] == third["bars"] == expected
    assert second["metadata"]["cache_hit"]
    assert second["metadata"]["backend_calls"] == third["metadata"]["backend_calls"] == 0
    assert {**third["metadata"], "load_time_ms": 0} == {**second["metadata"], "load_time_ms": 0}


async def test_two_processes_at_once_make_one_call_and_give_one_answer(
    demo: Demo, redis: RedisServer, start_aggregator: StartAggregator
) -> None:
    settings = {"backend_url": demo.url, "redis_url": redis.url, **SETTINGS}
    clients = [await start_aggregator(**settings) for _ in range(2)]
    demo.faults({"path_prefix": "/bars", "latency_ms": 300})
    answers = await asyncio.gather(*(client.get(PATH, params=WEEK) for client in clients * 5))
    bars = [answer.json()["bars"] for answer in answers]
    assert len(bars[0]) == 5 * 390
    assert all(other == bars[0] for other in bars)
    assert len(demo.seen()) == 1


async def test_second_process_finds_what_the_first_one_fetched(
    demo: Demo, redis: RedisServer, start_aggregator: StartAggregator
) -> None:
    one, two = [await start_aggregator(backend_url=demo.url, redis_url=redis.url, **SETTINGS) for _ in range(2)]
    first = await one.get(PATH, params=WEEK)
    with redis.client() as look:
        while len(look.keys("*minute*")) < 5 or any(b":lock" in key for key in look.keys()):  # noqa: SIM118  Redis's command
            await asyncio.sleep(0.005)
    second = await two.get(PATH, params=WEEK)
    assert second.json()["bars"] == first.json()["bars"]
    assert second.json()["metadata"]["data_source"] == "cache"
    assert len(demo.seen()) == 1


async def test_hundred_concurrent_cold_requests_make_one_call(demo: Demo, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url, **SETTINGS)
    demo.faults({"path_prefix": "/bars", "latency_ms": 500})
    answers = await asyncio.gather(*(client.get(PATH, params=WEEK) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(demo.seen()) == 1
    assert sum(answer.json()["metadata"]["backend_calls"] for answer in answers) == 1


async def test_missing_neighbours_are_one_call_and_distant_gaps_are_concurrent_calls(
    demo: Demo, start_aggregator: StartAggregator
) -> None:
    client = await start_aggregator(backend_url=demo.url, **SETTINGS)
    await client.get(PATH, params={**WEEK, "from_date": "2024-07-10", "to_date": "2024-07-11"})
    demo.forget()
    answer = await client.get(PATH, params=WEEK)
    calls = sorted((dict(httpx.QueryParams(seen["query"])) for seen in demo.seen()), key=lambda call: call["from"])
    assert [(call["from"], call["to"]) for call in calls] == [
        ("2024-07-08", "2024-07-09"),
        ("2024-07-12", "2024-07-14"),
    ]
    assert answer.headers["cache-status"].startswith("bff-aggregator; fwd=partial; stored; ttl=")
    assert answer.json()["metadata"]["data_source"] == "mixed"


async def test_pan_and_zoom_session_makes_few_calls(demo: Demo, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url, **SETTINGS)
    first, last, requests = date(2024, 1, 1), date(2024, 12, 31), 0
    windows = [(first, last)]
    for _ in range(5):
        quarter = (windows[-1][1] - windows[-1][0]) / 4
        windows.append((windows[-1][0] + quarter, windows[-1][1] - quarter))
    for step in range(40):
        width = windows[-1][1] - windows[-1][0]
        shift = width / 2 if step // 10 % 2 else -width / 2
        windows.append((windows[-1][0] + shift, windows[-1][1] + shift))
    for begin, end in windows:
        answer = await client.get(PATH, params={**WEEK, "from_date": f"{begin}", "to_date": f"{end}"})
        assert answer.status_code == 200
        requests += 1
    assert requests == 46
    assert len(demo.seen()) <= requests * 0.05


async def test_users_never_see_each_others_chunks(redis: RedisServer, start_aggregator: StartAggregator) -> None:
    with DemoServer(Options(faults=True, tokens={"alice": "tokA", "bob": "tokB"})) as server:
        demo = Demo(server)
        client = await start_aggregator(backend_url=demo.url, redis_url=redis.url, **SETTINGS)
        for name, token in (("alice", "tokA"), ("bob", "tokB")):
            answer = await client.get(PATH, params=WEEK, headers={"authorization": f"Bearer {token}"})
            assert answer.json()["metadata"]["data_source"] == "backend", name
            assert "Authorization" in answer.headers["vary"]
        seen = [dict(item["headers"])["authorization"] for item in demo.seen()]
        assert seen == ["Bearer tokA", "Bearer tokB"]
        for _ in range(2):
            denied = await client.get(PATH, params=WEEK)
            assert denied.status_code == 401
            assert denied.json() == {"detail": "Not authenticated"}
            assert denied.headers["www-authenticate"] == "Bearer"
        assert len(demo.seen()) == 4
        with redis.client() as look:
            everything = b" ".join(look.keys()) + b" ".join(look.get(key) or b"" for key in look.keys("*chart*"))
        assert b"tokA" not in everything
        demo.close()


async def test_refused_answers_are_asked_again(demo: Demo, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url, **SETTINGS)
    demo.faults({"path_prefix": "/bars", "error_status": 403, "times": 1})
    assert (await client.get(PATH, params=WEEK)).status_code == 403
    assert (await client.get(PATH, params=WEEK)).status_code == 200


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"error_status": 500}, 502, "BACKEND_UNAVAILABLE"),
        ({"error_status": 404}, 404, "DATASET_NOT_FOUND"),
        ({"wrong_json": "shape"}, 502, "BACKEND_UNAVAILABLE"),
        ({"wrong_json": "syntax"}, 502, "BACKEND_UNAVAILABLE"),
        ({"cut_after_bytes": 1000}, 502, "BACKEND_UNAVAILABLE"),
        ({"refuse": True}, 502, "BACKEND_UNAVAILABLE"),
        ({"latency_ms": 60_000}, 504, "BACKEND_TIMEOUT"),
        ({"drip_bytes_per_s": 100}, 504, "BACKEND_TIMEOUT"),
    ],
)
async def test_backend_faults_give_clear_errors_that_are_not_cached(
    demo: Demo, start_aggregator: StartAggregator, fault: dict[str, Any], status: int, code: str
) -> None:
    seconds = 1.0 if status == 504 else 20.0
    client = await start_aggregator(backend_url=demo.url, chart_timeout=seconds, chart_late_timeout=seconds)
    demo.faults({"path_prefix": "/bars", **fault})
    answer = await client.get(PATH, params={**WEEK, "symbol": "TSLA"})
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert answer.headers["cache-control"] == "no-store"
    assert "127.0.0.1" not in answer.text
    demo.faults()
    if status != 404:
        async with asyncio.timeout(30):
            while (again := await client.get(PATH, params={**WEEK, "symbol": "TSLA"})).status_code != 200:
                assert again.status_code == status == 504, "a busy machine may need longer than the short deadline"


async def test_request_timeout_header_shortens_the_wait_and_not_the_flight(
    demo: Demo, start_aggregator: StartAggregator
) -> None:
    client = await start_aggregator(backend_url=demo.url, **SETTINGS)
    demo.faults({"path_prefix": "/bars", "latency_ms": 700})
    hasty = await client.get(PATH, params=WEEK, headers={"x-request-timeout": "0.1"})
    assert hasty.status_code == 504
    assert (await client.get(PATH, params=WEEK)).status_code == 200
    assert len(demo.seen()) == 1
    assert (await client.get(PATH, params=WEEK, headers={"x-request-timeout": "soon"})).status_code == 422


async def test_conditional_requests_are_answered_with_304_per_coding(
    demo: Demo, start_aggregator: StartAggregator
) -> None:
    client = await start_aggregator(backend_url=demo.url, **SETTINGS)
    unpack: dict[str, Callable[[bytes], bytes]] = {"identity": bytes, "gzip": gzip.decompress, "zstd": zstd.decompress}
    tags, bodies = {}, {}
    for coding in [*unpack, *unpack]:
        async with client.stream("GET", PATH, params=WEEK, headers={"accept-encoding": coding}) as answer:
            raw = b"".join([part async for part in answer.aiter_raw()])
        assert answer.headers.get("content-encoding", "identity") == coding
        assert "max-age=" in answer.headers["cache-control"]
        assert "private" in answer.headers["cache-control"]
        assert re.search(r"total;dur=[0-9.]+", answer.headers["server-timing"])
        tags[coding], bodies[coding] = answer.headers["etag"], unpack[coding](raw)
        conditional = {"accept-encoding": coding, "if-none-match": f'"other", {tags[coding]}'}
        known = await client.get(PATH, params=WEEK, headers=conditional)
        assert known.status_code == 304
        assert known.content == b""
        assert known.headers["etag"] == tags[coding]
    assert len(set(tags.values())) == 3
    assert bodies["gzip"] == bodies["zstd"]
    other = {"accept-encoding": "gzip", "if-none-match": tags["zstd"]}
    assert (await client.get(PATH, params=WEEK, headers=other)).status_code == 200


async def test_tag_of_a_cold_answer_is_good_for_the_warm_one(demo: Demo, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url, **SETTINGS)
    cold = await client.get(PATH, params=WEEK)
    warm = await client.get(PATH, params=WEEK)
    assert cold.headers["etag"] != warm.headers["etag"]
    known = await client.get(PATH, params=WEEK, headers={"if-none-match": cold.headers["etag"]})
    assert (known.status_code, known.headers["etag"]) == (304, cold.headers["etag"])


async def test_purge_needs_the_token_and_reaches_every_process(
    demo: Demo, redis: RedisServer, start_aggregator: StartAggregator
) -> None:
    settings = {"backend_url": demo.url, "redis_url": redis.url, "admin_token": "sesame", **SETTINGS}
    one, two = [await start_aggregator(**settings) for _ in range(2)]
    purge = "/api/v1/cache/chart-data?symbol=AAPL"
    with redis.client() as look:
        while look.pubsub_numsub("bff:1:purge")[0][1] < 2:
            await asyncio.sleep(0.005)
    for client in (one, two):
        await client.get(PATH, params=WEEK)
        await client.get(PATH, params=WEEK)
    assert (await one.delete(purge)).status_code == 401
    assert (await one.delete(purge, headers={"authorization": "Bearer wrong"})).status_code == 401
    assert (await two.get(PATH, params=WEEK)).json()["metadata"]["cache_hit"]
    done = await one.delete(purge, headers={"authorization": "Bearer sesame"})
    assert done.json() == {"symbol": "AAPL", "purged": True, "everywhere": True}
    assert not (await one.get(PATH, params=WEEK)).json()["metadata"]["cache_hit"]
    async with asyncio.timeout(30):
        while 'origin="elsewhere"' not in (await two.get("/metrics")).text:
            await asyncio.sleep(0.005)
    demo.forget()
    await one.delete(purge, headers={"authorization": "Bearer sesame"})
    await asyncio.sleep(0)
    fresh = await start_aggregator(**settings)
    assert not (await fresh.get(PATH, params=WEEK)).json()["metadata"]["cache_hit"]


async def test_purge_is_not_there_without_an_admin_token(demo: Demo, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url)
    answer = await client.delete("/api/v1/cache/chart-data?symbol=AAPL", headers={"authorization": "Bearer x"})
    assert answer.status_code == 404


async def test_frozen_redis_costs_little_and_wrong_bytes_in_it_nothing(
    demo: Demo, redis: RedisServer, start_aggregator: StartAggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await start_aggregator(backend_url=demo.url, redis_url=redis.url, **SETTINGS)
    query = ChartQuery("SPY", Timeframe.MINUTE, date(2024, 3, 4), date(2024, 3, 8))
    expected = as_rows(direct(demo, query))
    assert (await get(client, query))["bars"] == expected
    with redis.client() as look:
        async with asyncio.timeout(30):
            while not (keys := [key for key in look.keys("*minute*") if b"lock" not in key]):
                await asyncio.sleep(0.005)
        for key in keys:
            look.set(key, b"\x00garbage" * 10)
    other = await start_aggregator(backend_url=demo.url, redis_url=redis.url, **SETTINGS)
    assert (await get(other, query))["bars"] == expected
    monkeypatch.setattr("bff_aggregator.cache.redis_tier.TIMEOUT", 0.05)
    monkeypatch.setattr("bff_aggregator.cache.redis_tier.WRITE_TIMEOUT", 1.0)
    redis.freeze()
    third = await start_aggregator(backend_url=demo.url, redis_url=redis.url, **SETTINGS)
    assert (await get(third, query))["bars"] == expected
    assert (await get(other, query))["bars"] == expected
    metrics = (await third.get("/metrics")).text
    assert "bff_cache_redis_bypassed 1.0" in metrics


async def test_redis_cluster_serves_as_a_single_server_does(
    demo: Demo, redis_cluster: RedisServer, start_aggregator: StartAggregator
) -> None:
    settings = {"backend_url": demo.url, "redis_url": redis_cluster.url, "admin_token": "sesame", **SETTINGS}
    one, two = [await start_aggregator(**settings) for _ in range(2)]
    symbols = ("AAPL", "SPY", "MSFT")
    first = [(await one.get(PATH, params={**WEEK, "symbol": symbol})).json()["bars"] for symbol in symbols]
    with RedisCluster.from_url(redis_cluster.url) as look:
        assert len({look.keyslot(f"{{chart:{symbol}}}") * 3 // SLOTS for symbol in symbols}) > 1, "several nodes"
        async with asyncio.timeout(30):
            while any(len(chunks_in(look, symbol)) < 7 for symbol in symbols):
                await asyncio.sleep(0.005)
    second = [await two.get(PATH, params={**WEEK, "symbol": symbol}) for symbol in symbols]
    assert [answer.json()["bars"] for answer in second] == first
    assert all(answer.json()["metadata"]["cache_hit"] for answer in second)
    purged = await one.delete("/api/v1/cache/chart-data?symbol=SPY", headers={"authorization": "Bearer sesame"})
    assert purged.json()["everywhere"]
    async with asyncio.timeout(30):
        while 'origin="elsewhere"' not in (await two.get("/metrics")).text:
            await asyncio.sleep(0.005)
    assert not (await two.get(PATH, params={**WEEK, "symbol": "SPY"})).json()["metadata"]["cache_hit"]


def chunks_in(look: "RedisCluster", symbol: str) -> list[bytes]:
    """Return the names of a symbol's chunks, once none of them is locked."""
    found = look.keys(f"*{{chart:{symbol}}}*minute*", target_nodes="all")
    names = [name for name in found if isinstance(name, bytes)]
    return [] if any(name.endswith(b":lock") for name in names) else names


async def test_metrics_tell_what_the_cache_did(demo: Demo, start_aggregator: StartAggregator) -> None:
    client = await start_aggregator(backend_url=demo.url, **SETTINGS)
    for target in ("10000", "5000", "10000"):
        await client.get(PATH, params={**WEEK, "target_points": target})
    text = (await client.get("/metrics")).text
    assert 'bff_cache_misses_total{cache="chart"} 7.0' in text
    assert 'bff_cache_hits_total{cache="chart",layer="memory"} 7.0' in text
    assert 'bff_cache_hits_total{cache="answer",layer="memory"} 1.0' in text
    for name in ("coalesced", "stale", "refreshes", "filled_bytes", "evictions", "redis_errors", "purges"):
        assert f"bff_cache_{name}_total" in text
    assert "bff_cache_fill_seconds_bucket" in text
    assert Scope("chart", "A/B", "x").redis_key("k") == "bff:1:{chart:A%2FB}:x:k"


async def test_stale_chart_stands_in_for_a_failed_backend_and_is_marked(
    demo: Demo, redis: RedisServer, start_aggregator: StartAggregator
) -> None:
    client = await start_aggregator(backend_url=demo.url, redis_url=redis.url, **SETTINGS)
    first = await client.get(PATH, params=WEEK)
    with redis.client() as look:
        while look.dbsize() < 7 or any(b":lock" in key for key in look.keys()):  # noqa: SIM118  Redis's command
            await asyncio.sleep(0.005)
        for name in [key for key in look.keys("*minute*") if b"lock" not in key]:
            generation = look.get(name.partition(b"}")[0] + b"}:generation") or NO_GENERATION
            item = unpack_entry(look.get(name) or b"", name.decode(), generation)
            assert item is not None
            expired = replace(item, fresh_until=item.made, revalidate_until=item.made)
            look.set(name, pack_entry(expired, name.decode(), generation))
    other = await start_aggregator(backend_url=demo.url, redis_url=redis.url, **SETTINGS)
    demo.faults({"path_prefix": "/bars", "error_status": 500})
    stale = await other.get(PATH, params=WEEK)
    assert stale.status_code == 200
    assert stale.json()["bars"] == first.json()["bars"]
    assert stale.json()["metadata"]["stale"]
    assert "fwd=stale" in stale.headers["cache-status"]
    assert "max-age=0" in stale.headers["cache-control"]
    demo.faults()
    again = await other.get(PATH, params=WEEK)
    assert not again.json()["metadata"]["stale"]


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_twenty_who_ask_for_a_large_window_share_one_assembly_and_its_compressions(
    demo: Demo, start_aggregator: StartAggregator, monkeypatch: pytest.MonkeyPatch, coding: str
) -> None:
    joins, compressed = list[object](), list[object]()
    join, compress_steps = chunk_codec.join, content_coding.compress_steps

    def counted(values: Any) -> Any:
        joins.append(values)
        return join(values)

    def compressing(*arguments: Any, **more: Any) -> Any:
        compressed.append(arguments)
        return compress_steps(*arguments, **more)

    monkeypatch.setattr(chunk_codec, "join", counted)
    monkeypatch.setattr(content_coding, "compress_steps", compressing)
    client = await start_aggregator(backend_url=demo.url, **SETTINGS)
    window = {**WEEK, "from_date": "2024-04-01", "to_date": "2024-07-14", "target_points": "50000"}
    headers = {"accept-encoding": coding}
    answers = await asyncio.gather(*(client.get(PATH, params=window, headers=headers) for _ in range(20)))
    later = [await client.get(PATH, params=window, headers=headers) for _ in range(3)]
    assert {answer.status_code for answer in [*answers, *later]} == {200}
    bars = answers[0].json()["bars"]
    assert all(answer.json()["bars"] == bars for answer in [*answers, *later])
    assert len(joins) == 1
    # One for who asked the backend, one for who waited for the same bars, one for who came later.
    assert len(compressed) <= (3 if coding == "gzip" else 0)
    assert len({answer.content for answer in later}) == 1
    assert later[0].json()["metadata"]["cache_hit"] is True
    bodies: dict[str, set[bytes]] = {}
    for answer in [*answers, *later]:
        bodies.setdefault(answer.headers["etag"], set()).add(answer.content)
    assert all(len(of_one_tag) == 1 for of_one_tag in bodies.values()), "a strong tag is of the very bytes"
