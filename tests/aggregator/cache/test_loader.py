"""The life of an entry: fresh, stale while refreshed, stale when the backend fails, gone."""

import asyncio
import importlib
import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from bff_aggregator.cache.entry import Entry, FillResult, Lifetime, Scope, make_entry, pack_entry, unpack_entry
from bff_aggregator.cache.store import PurgeEpoch
from bff_shared.errors import BackendTimeout, BackendUnavailable, NotFound
from bff_shared.turns import PIECE
from tests.support.cache import SCOPE, Bench, SharedTier

MANY = 3_700


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_fresh_entry_is_served_without_a_call(bench: Bench) -> None:
    await bench.load()
    bench.now += 99
    loaded = await bench.load()
    assert (loaded.hits, loaded.made, loaded.stale, len(bench.calls)) == (1, 0, 0, 1)


async def test_stale_entry_is_refreshed_and_the_fresh_one_served_without_redis_at_hand(bench: Bench) -> None:
    await bench.load()
    bench.now += 120
    loaded = await bench.load()
    assert (loaded.entries["a"].value, loaded.stale) == (b"1", 1)
    await bench.settle()
    assert len(bench.calls) == 2
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
    async with asyncio.timeout(20):
        loaded = await bench.load()
    assert (loaded.entries["a"].value, loaded.stale, loaded.hits) == (b"1", 1, 1)
    bench.gate.set()
    await bench.settle()
    assert len(bench.calls) == 2


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
    bench.cost = 0.001
    await bench.load()
    bench.now += 99.9999999
    bench.draw = 1 - 1e-12
    loaded = await bench.load()
    assert (loaded.hits, loaded.stale) == (1, 0)
    bench.draw = 0.0
    await bench.settle()
    assert len(bench.calls) == 2


async def test_request_does_not_wait_past_its_deadline_and_the_flight_goes_on(bench: Bench) -> None:
    bench.gate.clear()
    with pytest.raises(BackendTimeout):
        await bench.load(seconds=0.0)
    bench.gate.set()
    await bench.settle()
    assert (await bench.load()).hits == 1
    assert len(bench.calls) == 1


async def test_purge_ends_entries_and_keeps_flights_from_before_out(bench: Bench) -> None:
    await bench.load()
    bench.gate.clear()
    waiting = bench.begin("b")
    await bench.called(2)
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
    assert unpack_entry(b"BFC\x03" + data[4:], "key", b"generation"[:8]) is None
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
    async with asyncio.timeout(30):
        await shared.wait()


async def test_what_nobody_waits_for_does_not_wait_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bff_aggregator.cache.leased_fill.SHARE_DELAY_SECONDS", 0.001)
    with bench.loader.answering():
        await bench.load()
        async with asyncio.timeout(30):
            await bench.settle()


async def test_thousands_of_entries_are_made_and_shared_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chart of ten years has as many, and everybody's responses are made on the same event loop."""
    worked = Counter[str]()
    seen: list[Counter[str]] = []

    def counting(module: str, name: str) -> None:
        real = getattr(importlib.import_module(module), name)

        def work(*arguments: Any) -> Any:
            worked[name] += 1
            return real(*arguments)

        monkeypatch.setattr(f"{module}.{name}", work)

    async def watch() -> None:
        while True:
            seen.append(worked.copy())
            await asyncio.sleep(0)

    counting("bff_aggregator.cache.leased_fill", "make_entry")
    counting("bff_aggregator.cache.store", "pack_entry")
    bench = Bench(SharedTier())
    watching = asyncio.create_task(watch())
    await bench.load(*(f"k{number}" for number in range(MANY)))
    await bench.settle()
    watching.cancel()
    assert worked == {"make_entry": MANY, "pack_entry": MANY}
    for name in worked:
        assert max(later[name] - at[name] for at, later in itertools.pairwise([*seen, worked])) <= PIECE
