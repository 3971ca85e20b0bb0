"""The life of an entry: fresh, stale while refreshed, stale when the backend fails, gone."""

import asyncio
import time
from collections.abc import Mapping, Sequence

import pytest
from prometheus_client import CollectorRegistry

from bff_aggregator.cache.entry import Entry, FillResult, Lifetime, Scope, make_entry, pack_entry, unpack_entry
from bff_aggregator.cache.loader import Loaded, Loader
from bff_aggregator.cache.metrics import CacheMetrics
from bff_aggregator.cache.redis_tier import RedisClient, RedisTier
from bff_aggregator.cache.store import Memory, PurgeEpoch, Store
from bff_shared.errors import BackendTimeout, BackendUnavailable, NotFound

SCOPE = Scope("chart", "AAPL", "somebody")


class Bench:
    """A loader without Redis, with a clock that the test moves, and a backend that it scripts."""

    def __init__(self) -> None:
        metrics = CacheMetrics.create(CollectorRegistry())
        memory = Memory(1_000_000, lambda _: None)
        link = RedisClient("", metrics, time.monotonic)
        self.now, self.draw, self.calls = 1_000_000.0, 0.0, 0
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.store = Store(memory, RedisTier(link), b"secret", metrics, lambda: self.now)
        self.loader = Loader(self.store, metrics, clock=lambda: self.now, draw=lambda: self.draw)

    async def fill(self, keys: Sequence[str]) -> Mapping[str, FillResult | Exception]:
        """Answer the number of the call, or fail."""
        self.calls += 1
        number = self.calls
        await self.gate.wait()
        await asyncio.sleep(0.001)
        if self.failure:
            raise self.failure
        return dict.fromkeys(keys, FillResult(b"%d" % number, Lifetime(100.0, 50.0, 1000.0)))

    async def load(self, *keys: str, seconds: float = 5.0) -> Loaded:
        """Load keys."""
        return await self.loader.load(SCOPE, keys or ("a",), self.fill, time.monotonic() + seconds)

    async def settle(self) -> None:
        """Let flights in the background end."""
        while len(self.loader._fills) or len(self.loader._filler._writes):
            await asyncio.sleep(0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_fresh_entry_is_served_without_a_call(bench: Bench) -> None:
    await bench.load()
    bench.now += 99
    loaded = await bench.load()
    assert (loaded.hits, loaded.made, loaded.stale, bench.calls) == (1, 0, 0, 1)


async def test_stale_entry_is_refreshed_and_the_fresh_one_served_without_redis_at_hand(bench: Bench) -> None:
    await bench.load()
    bench.now += 120
    loaded = await bench.load()
    assert (loaded.entries["a"].value, loaded.stale) == (b"1", 1)
    await bench.settle()
    assert bench.calls == 2
    assert (await bench.load()).entries["a"].value == b"2"


@pytest.mark.parametrize("redis_has_it", [False, True])
async def test_stale_entry_is_served_at_once_while_its_refresh_is_under_way(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, redis_has_it: bool
) -> None:
    async def get_shared(scope: Scope, keys: Sequence[str], epoch: PurgeEpoch) -> tuple[dict[str, Entry], PurgeEpoch]:
        return bench.store.get_local(scope, keys) if redis_has_it else {}, epoch

    monkeypatch.setattr(bench.store, "get_shared", get_shared)
    await bench.load()
    bench.now += 120
    bench.gate.clear()
    await bench.load()
    async with asyncio.timeout(2):
        loaded = await bench.load(seconds=60)
    assert (loaded.entries["a"].value, loaded.stale, loaded.hits) == (b"1", 1, 1)
    bench.gate.set()
    await bench.settle()
    assert bench.calls == 2


async def test_expired_entry_stands_in_for_a_failed_backend_and_says_so(bench: Bench) -> None:
    await bench.load()
    bench.now += 500
    bench.failure = BackendUnavailable("gone")
    loaded = await bench.load()
    assert (loaded.entries["a"].value, loaded.stale, loaded.error) == (b"1", 1, bench.failure)
    bench.failure = None
    assert (await bench.load()).entries["a"].value == b"3"


async def test_nothing_stands_in_for_a_refusal_and_the_entry_is_forgotten(bench: Bench) -> None:
    await bench.load()
    bench.now += 500
    bench.failure = NotFound("not yours any more")
    with pytest.raises(NotFound):
        await bench.load()
    await bench.settle()
    bench.failure = BackendUnavailable("gone")
    with pytest.raises(BackendUnavailable):
        await bench.load()


async def test_entry_that_is_gone_stands_in_for_nothing(bench: Bench) -> None:
    await bench.load()
    bench.now += 5000
    bench.failure = BackendUnavailable("gone")
    with pytest.raises(BackendUnavailable):
        await bench.load()


async def test_errors_are_never_kept(bench: Bench) -> None:
    bench.failure = BackendUnavailable("gone")
    with pytest.raises(BackendUnavailable):
        await bench.load()
    bench.failure = None
    assert (await bench.load()).entries["a"].value == b"2"


async def test_late_draw_refreshes_early_in_the_background(bench: Bench) -> None:
    await bench.load()
    bench.now += 99.9999999
    bench.draw = 1 - 1e-12
    loaded = await bench.load()
    assert (loaded.hits, loaded.stale) == (1, 0)
    bench.draw = 0.0
    await bench.settle()
    assert bench.calls == 2


async def test_request_does_not_wait_past_its_deadline_and_the_flight_goes_on(bench: Bench) -> None:
    bench.gate.clear()
    with pytest.raises(BackendTimeout):
        await bench.load(seconds=0.05)
    bench.gate.set()
    await bench.settle()
    assert (await bench.load()).hits == 1
    assert bench.calls == 1


async def test_purge_ends_entries_and_keeps_flights_from_before_out(bench: Bench) -> None:
    await bench.load()
    bench.gate.clear()
    waiting = asyncio.create_task(bench.load("b"))
    while bench.calls < 2:
        await asyncio.sleep(0)
    await bench.store.purge("chart", "AAPL")
    bench.gate.set()
    await waiting
    await bench.settle()
    assert bench.store.get_local(SCOPE, ["a", "b"]) == {}


def test_entry_survives_redis_and_fits_one_key_generation_and_version_only() -> None:
    item = make_entry(FillResult(b"value", Lifetime(100, 50, 10)), 1000.0, 0.5, 0.5)
    assert item.fresh_until == 1095.0
    data = pack_entry(item, "key", b"generation"[:8])
    assert unpack_entry(data, "key", b"generation"[:8]) == item
    assert unpack_entry(data, "other", b"generation"[:8]) is None
    assert unpack_entry(data, "key", bytes(8)) is None
    assert unpack_entry(b"BFC\x02" + data[4:], "key", b"generation"[:8]) is None
    for place in range(len(data)):
        damaged = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        assert unpack_entry(damaged, "key", b"generation"[:8]) is None
        assert unpack_entry(data[:place], "key", b"generation"[:8]) is None


async def test_what_nobody_waits_for_comes_after_the_answer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = asyncio.Event()

    async def share(*_: object) -> None:
        shared.set()

    monkeypatch.setattr(bench.store, "put_shared", share)
    monkeypatch.setattr("bff_aggregator.cache.leased_fill.SHARE_DELAY_SECONDS", 60.0)
    with bench.loader.answering():
        await bench.load()
        with bench.loader.answering():
            await bench.load("b")
        for _ in range(20):
            await asyncio.sleep(0)
        assert not shared.is_set()
    async with asyncio.timeout(5):
        await shared.wait()


async def test_what_nobody_waits_for_does_not_wait_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bff_aggregator.cache.leased_fill.SHARE_DELAY_SECONDS", 0.001)
    with bench.loader.answering():
        await bench.load()
        async with asyncio.timeout(5):
            await bench.settle()
