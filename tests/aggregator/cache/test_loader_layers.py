"""What the loader takes from memory, from Redis and from flights under way, and how it counts that."""

import asyncio
import logging

import pytest

from bff_aggregator.cache import leased_fill
from bff_aggregator.cache.entry import FillResult, Scope
from bff_aggregator.cache.loader import MAX_REFRESHES, RESERVE
from bff_shared.errors import BackendTimeout, BackendUnavailable
from tests.support.cache import LIFETIME, SCOPE, Bench, SharedTier, entry, ticks


@pytest.fixture
def tier() -> SharedTier:
    return SharedTier()


@pytest.fixture
def bench(tier: SharedTier) -> Bench:
    return Bench(tier)


@pytest.fixture
def other(tier: SharedTier) -> Bench:
    """Another process with the same Redis."""
    return Bench(tier)


async def test_each_key_counts_for_where_it_came_from(bench: Bench, other: Bench) -> None:
    await bench.load("a", "b")
    await bench.settle()
    await other.load("b", "c")
    await other.settle()
    assert other.calls == [["c"]]
    loaded = await bench.load("a", "b", "c", "d", "e")
    assert (loaded.hits, loaded.made, loaded.stale, loaded.error) == (3, 2, 0, None)
    assert {key: item.value for key, item in loaded.entries.items()} == {
        **dict.fromkeys("ab", b"1"),  # as it was
        "c": b"1",  # the other's
        **dict.fromkeys("de", b"2"),
    }
    assert bench.calls == [["a", "b"], ["d", "e"]]
    assert (bench.count("hits", "memory"), bench.count("hits", "redis"), bench.count("misses")) == (2, 1, 4)


async def test_what_memory_has_fresh_asks_nobody(bench: Bench, tier: SharedTier) -> None:
    bench.put("a", "b")
    assert (await bench.load("a", "b")).hits == 2
    assert (tier.calls["read"], bench.calls, bench.busy()) == (0, [], False)
    assert bench.count("hits", "memory") == 2


@pytest.mark.parametrize(("theirs", "served", "layer"), [(10, b"theirs", "redis"), (-10, b"old", "memory")])
async def test_what_was_made_last_is_served_of_two_stale_entries(
    bench: Bench, other: Bench, theirs: float, served: bytes, layer: str
) -> None:
    other.now += theirs
    other.answers["a"] = FillResult(b"theirs", LIFETIME)
    await other.load()
    await other.settle()
    bench.put("a")
    bench.now += 120
    loaded = await bench.load()
    assert (loaded.entries["a"].value, loaded.hits, loaded.stale) == (served, 1, 1)
    assert bench.count("hits", layer) == 1
    await bench.settle()
    assert len(bench.calls) == 1  # it was made anew


async def test_an_entry_that_redis_has_as_well_counts_as_found_there(bench: Bench) -> None:
    await bench.load()
    await bench.settle()
    bench.now += 120
    await bench.load()
    assert (bench.count("hits", "memory"), bench.count("hits", "redis")) == (0, 1)
    await bench.settle()


async def test_stale_entries_are_counted_and_made_anew_together(bench: Bench) -> None:
    bench.put("a", "b")
    bench.now += 120
    bench.gate.clear()
    for _ in range(2):  # before they are being made, and while
        loaded = await bench.load("a", "b")
        assert (loaded.hits, loaded.stale, loaded.made) == (2, 2, 0)
    assert bench.count("stale", "revalidate") == 4
    assert bench.count("refreshes", "stale") == 2
    bench.gate.set()
    await bench.settle()
    assert bench.calls == [["a", "b"]]
    assert (await bench.load("a", "b")).stale == 0


async def test_entries_made_early_are_counted_as_that(bench: Bench) -> None:
    bench.put("a", "b")
    bench.now += 100 - 1e-6
    bench.cost = 1.0
    bench.draw = 1 - 1e-12
    await bench.load("a")
    assert bench.count("refreshes", "early") == 0  # making it took no time
    await bench.load("c")
    bench.now += 90 - 1e-6
    loaded = await bench.load("c")
    assert (loaded.hits, loaded.stale, bench.count("refreshes", "early")) == (1, 0, 1)
    await bench.settle()
    assert bench.calls == [["c"], ["c"]]


async def test_nothing_is_made_ahead_where_much_is_being_made_already(bench: Bench) -> None:
    bench.put("x", "y")
    bench.now += 120
    bench.gate.clear()
    waiting = [bench.begin(f"key {number}") for number in range(MAX_REFRESHES - 1)]
    await bench.called(MAX_REFRESHES - 1)
    for key in ("x", "y"):
        assert (await bench.load(key)).stale == 1
    await ticks()
    assert bench.calls[MAX_REFRESHES - 1 :] == [["x"]]
    assert repr(bench.loader) == f"<Loader 0 look-ups and {MAX_REFRESHES} fills under way>"
    assert bench.count("refreshes", "stale") == 1
    bench.gate.set()
    await asyncio.gather(*waiting)
    await bench.settle()


async def test_requests_that_miss_together_share_one_look_up_and_one_call_and_count_once(
    bench: Bench, tier: SharedTier
) -> None:
    bench.gate.clear()
    tier.readable.clear()
    first, second = bench.begin("a", "b"), bench.begin("b", "c")
    await ticks()
    assert repr(bench.loader) == "<Loader 2 look-ups and 0 fills under way>"
    tier.readable.set()
    await bench.called(2)
    third = bench.begin("b")
    await ticks()
    assert tier.calls["read"] == 2  # what is being made is asked of nobody
    bench.gate.set()
    loaded = await asyncio.gather(first, second, third)
    assert [each.made for each in loaded] == [2, 2, 1]
    assert bench.calls == [["a", "b"], ["c"]]
    assert bench.count("coalesced", "process") == 2  # the second request and the third, for "b"


async def test_a_request_that_waited_with_another_and_has_time_left_tries_anew(bench: Bench) -> None:
    bench.gate.clear()
    first = bench.begin()
    await bench.called(1)
    second = bench.begin(seconds=600)
    await ticks()
    bench.failure = BackendTimeout("of the first")
    bench.gate.set()
    with pytest.raises(BackendTimeout, match="of the first"):
        await first
    bench.failure = None
    assert (await second).entries["a"].value == b"2"
    assert bench.calls == [["a"], ["a"]]
    assert bench.count("coalesced", "process") == 1


async def test_a_request_without_time_left_begins_nothing_for_others(bench: Bench) -> None:
    bench.gate.clear()
    first = bench.begin()
    await bench.called(1)
    second = bench.begin()
    await ticks()
    bench.failure = BackendTimeout("of the first")
    bench.monotonic = bench.monotonic + 60.0 + RESERVE - RESERVE
    bench.gate.set()
    for request in (first, second):
        with pytest.raises(BackendTimeout):
            await request
    assert len(bench.calls) == 1


@pytest.mark.parametrize("seconds", [0.0, -5.0])
async def test_a_request_keeps_a_little_of_its_time_for_what_comes_after(bench: Bench, seconds: float) -> None:
    bench.put("fresh")
    with pytest.raises(BackendTimeout, match="within the deadline"):
        await bench.load(seconds=seconds)
    assert (await bench.load("fresh", seconds=seconds)).hits == 1
    await bench.settle()
    assert (await bench.load(seconds=seconds)).hits == 1  # it came all the same


async def test_an_entry_that_ends_while_the_backend_fails_stands_in_for_nothing(bench: Bench) -> None:
    bench.put("a", "b")
    usable_until = entry(b"", bench.now).usable_until
    bench.now, bench.failure = usable_until - 1, BackendUnavailable("gone")
    loaded = await bench.load("a", "b")
    assert (loaded.stale, loaded.hits, loaded.made, loaded.error) == (2, 0, 0, bench.failure)
    assert bench.count("stale", "error") == 2
    bench.gate.clear()
    waiting = bench.begin()
    await bench.called(2)
    bench.now = usable_until
    bench.gate.set()
    with pytest.raises(BackendUnavailable):
        await waiting


async def test_a_failure_of_ours_to_read_redis_costs_a_call_and_is_logged(
    bench: Bench, tier: SharedTier, caplog: pytest.LogCaptureFixture
) -> None:
    tier.failure = ZeroDivisionError()
    assert (await bench.load()).made == 1
    assert "shared cache entries could not be read" in caplog.messages


async def test_a_purge_parts_the_requests_before_it_from_those_after() -> None:
    bench = Bench()
    bench.gate.clear()
    before = bench.begin()
    await bench.called(1)
    await bench.store.purge(SCOPE.namespace, "MSFT")
    await bench.store.purge("run", SCOPE.subject)
    joined = bench.begin()
    await ticks()
    assert len(bench.calls) == 1
    await bench.store.purge(SCOPE.namespace, SCOPE.subject)
    after = bench.begin()
    await bench.called(2)
    bench.gate.set()
    values = [(await request).entries["a"].value for request in (before, joined, after)]
    assert values == [b"1", b"1", b"2"]


async def test_principals_share_nothing(bench: Bench) -> None:
    await bench.load()
    other = await bench.load(scope=Scope(SCOPE.namespace, SCOPE.subject, "somebody else"))
    assert (other.hits, other.made) == (0, 1)


async def test_closing_ends_whatever_is_under_way_and_who_waits_for_it_is_told(
    bench: Bench, tier: SharedTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leased_fill, "SHARE_DELAY_SECONDS", 60.0)
    others = asyncio.all_tasks()
    with bench.loader.answering():
        await bench.load("written")
        bench.gate.clear()
        filling = bench.begin("filling")
        await bench.called(2)
        tier.readable.clear()
        looking = bench.begin("looking")
        await ticks()
        assert len(asyncio.all_tasks() - others) == 5  # two requests, and for each of the three what goes on for it
        await bench.loader.aclose()
        assert not bench.busy()
        with pytest.raises(BackendTimeout):
            await filling
        looking.cancel()


async def test_a_load_says_what_it_found_where_somebody_debugs(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.put("a")
    await bench.load("a", "b")
    assert not caplog.records
    with caplog.at_level(logging.DEBUG):
        await bench.load("a", "c")
    said = [record.__dict__ for record in caplog.records if record.message == "cache entries loaded"]
    assert [{name: each[name] for name in ("namespace", "subject", "hits", "made", "stale")} for each in said] == [
        {"namespace": "chart", "subject": "AAPL", "hits": 1, "made": 1, "stale": 0}
    ]
