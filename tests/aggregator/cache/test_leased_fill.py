"""Entries are made by one process at a time, shared once the response is out, and failures are those of their keys."""

import asyncio

import pytest

from bff_aggregator.cache import leased_fill
from bff_aggregator.cache.entry import FillResult
from bff_shared.errors import BackendTimeout, BackendUnavailable, Internal, NotFound
from tests.support.cache import LIFETIME, SCOPE, Bench, SharedTier, ticks


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


async def polled(tier: SharedTier, times: int = 2) -> None:
    """Wait until another process's lease has been looked at so often."""
    before = tier.calls["locked"]
    async with asyncio.timeout(20):
        while tier.calls["locked"] < before + times:
            await asyncio.sleep(0.001)


async def test_what_is_made_is_measured_and_written_once(bench: Bench, tier: SharedTier) -> None:
    bench.cost = 2.0
    bench.answers["b"] = FillResult(b"12345", LIFETIME)
    loaded = await bench.load("a", "b")
    assert {item.cost for item in loaded.entries.values()} == {2.0}
    await bench.settle()
    assert (tier.calls["write"], len(tier.values), tier.leases) == (1, 2, {})
    seconds = bench.metrics.fill_seconds.labels(SCOPE.namespace)
    assert (seconds._sum.get(), bench.count("filled_bytes"), bench.count("misses")) == (2.0, 6, 2)


async def test_one_process_makes_what_two_miss_and_the_other_waits_for_it(
    bench: Bench, other: Bench, tier: SharedTier
) -> None:
    bench.gate.clear()
    theirs = bench.begin("a", "b")
    await bench.called(1)
    ours = other.begin("a", "b", "c")
    await polled(tier)
    assert other.calls == [["c"]]
    bench.gate.set()
    assert {item.value for item in (await theirs).entries.values()} == {b"1"}
    loaded = await ours
    assert sorted(loaded.entries) == ["a", "b", "c"]
    assert (bench.calls, other.calls) == ([["a", "b"]], [["c"]])
    assert other.count("coalesced", "elsewhere") == 2
    assert (await other.load("a", "b", "c")).hits == 3  # and has them in memory
    assert other.calls == [["c"]]


async def test_what_another_process_made_between_look_up_and_lease_is_taken(
    bench: Bench, other: Bench, tier: SharedTier
) -> None:
    await bench.load("a")
    await bench.settle()
    tier.blind = True
    loaded = await other.load("a", "b")
    assert (loaded.entries["a"].value, other.calls) == (b"1", [["b"]])
    assert other.count("coalesced", "elsewhere") == 0


async def test_one_of_two_keys_that_another_process_makes_is_there_already(
    bench: Bench, other: Bench, tier: SharedTier
) -> None:
    bench.answers["a"] = FillResult(b"quick", LIFETIME)
    await bench.load("a")
    await bench.settle()
    bench.gate.clear()
    theirs = bench.begin("b")
    await bench.called(2)
    tier.blind = True
    ours = other.begin("a", "b")
    await polled(tier)
    tier.blind = False
    bench.gate.set()
    await theirs
    assert {key: item.value for key, item in (await ours).entries.items()} == {"a": b"quick", "b": b"2"}
    assert other.calls == []


async def test_what_a_process_gives_up_is_made_by_who_waited_at_once(
    bench: Bench, other: Bench, tier: SharedTier
) -> None:
    bench.gate.clear()
    theirs = bench.begin("a", "b")
    await bench.called(1)
    ours = other.begin("a", "b")
    await polled(tier)
    bench.answers["a"] = BackendUnavailable("for this one")
    bench.gate.set()
    with pytest.raises(BackendUnavailable):
        await theirs
    loaded = await ours  # its clock stands still: it has not waited until the end of its patience
    assert {key: item.value for key, item in loaded.entries.items()} == {"a": b"1", "b": b"1"}
    assert other.calls == [["a"]]


async def test_an_entry_is_taken_before_its_lease_is_given_back(
    bench: Bench, other: Bench, tier: SharedTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def kept(*_: object) -> None:
        """Give nothing back."""

    monkeypatch.setattr(bench.store, "release", kept)
    bench.gate.clear()
    theirs = bench.begin()
    await bench.called(1)
    ours = other.begin()
    await polled(tier)
    bench.gate.set()
    assert (await theirs).entries == (await ours).entries
    assert (other.calls, len(tier.leases)) == ([], 1)


async def test_who_waits_for_another_process_in_vain_makes_the_entry_after_a_while(
    bench: Bench, other: Bench, tier: SharedTier
) -> None:
    bench.gate.clear()
    theirs = bench.begin()
    await bench.called(1)
    ours = other.begin()
    await polled(tier)
    other.monotonic += leased_fill.FOLLOW_SECONDS
    assert (await ours).entries["a"].value == b"1"
    assert other.calls == [["a"]]
    bench.gate.set()
    await theirs


async def test_an_entry_that_is_no_longer_fresh_is_not_what_was_waited_for(
    bench: Bench, other: Bench, tier: SharedTier
) -> None:
    await bench.load()
    await bench.settle()
    bench.now = other.now = bench.now + 500
    bench.gate.clear()
    theirs = bench.begin()
    await bench.called(2)
    ours = other.begin()
    await polled(tier)
    bench.gate.set()
    assert (await theirs).entries["a"].value == b"2"
    assert (await ours).entries["a"].value == b"2"
    assert other.calls == []


async def test_a_failure_is_that_of_its_key(bench: Bench, tier: SharedTier) -> None:
    bench.answers["a"] = NotFound("no such thing")
    loaded = await bench.load("b")
    with pytest.raises(NotFound, match="no such thing"):
        await bench.load("a", "b", "c")
    await bench.settle()
    assert loaded.made == 1
    assert sorted(bench.store.get_local(SCOPE, ["a", "b", "c"])) == ["b", "c"]
    assert len(tier.values) == 2


async def test_what_the_backend_denies_is_forgotten_everywhere_and_what_it_fails_at_is_not(
    bench: Bench, other: Bench, tier: SharedTier
) -> None:
    await bench.load("denied", "failed")
    await bench.settle()
    bench.now = other.now = bench.now + 500
    bench.answers |= {"denied": NotFound("not yours"), "failed": BackendUnavailable("gone")}
    assert (await bench.load("failed")).stale == 1
    with pytest.raises(NotFound):
        await bench.load("denied")
    await bench.settle()
    assert sorted(bench.store.get_local(SCOPE, ["denied", "failed"])) == ["failed"]
    assert list(tier.values) == [SCOPE.redis_key("failed")]


async def test_a_defect_is_logged_once_however_many_keys_have_it_and_its_text_is_not_told(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    defect = ZeroDivisionError("secret")
    bench.answers |= {"a": defect, "b": defect, "c": KeyError("secret")}
    with pytest.raises(Internal) as told:
        await bench.load("a", "b", "c")
    assert "secret" not in str(told.value)
    assert caplog.messages == ["making cache entries failed"] * 2
    assert caplog.records[0].exc_info is not None
    assert caplog.records[0].exc_info[1] is defect


async def test_a_defect_of_the_whole_call_is_that_of_every_key(bench: Bench) -> None:
    bench.put("known")
    bench.now += 500
    bench.failure = ZeroDivisionError()
    loaded = await bench.load("known")
    assert isinstance(loaded.error, Internal)
    assert loaded.stale == 1
    bench.failure = BackendUnavailable("gone")
    assert (await bench.load("known")).error is bench.failure


async def test_a_call_that_takes_too_long_is_a_time_out(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leased_fill, "FILL_SECONDS", 0.01)
    bench.gate.clear()
    with pytest.raises(BackendTimeout, match="in time"):
        await bench.load()


async def test_a_failing_store_is_a_defect_of_ours(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(bench.store, "acquire", broken)
    with pytest.raises(Internal):
        await bench.load()


async def test_sharing_waits_for_all_who_are_being_answered(
    bench: Bench, tier: SharedTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leased_fill, "SHARE_DELAY_SECONDS", 60.0)
    first, second = bench.loader.answering(), bench.loader.answering()
    first.__enter__()
    second.__enter__()
    await bench.load()
    first.__exit__(None, None, None)
    await ticks()
    assert (tier.calls["write"], len(tier.leases)) == (0, 1)
    second.__exit__(None, None, None)
    await bench.settle()
    assert (tier.calls["write"], len(tier.leases)) == (1, 0)
    with bench.loader.answering():
        await bench.load("b")
        await ticks()
        assert tier.calls["write"] == 1
    await bench.settle()
    assert tier.calls["write"] == 2


async def test_closing_ends_what_is_still_to_be_shared(
    bench: Bench, tier: SharedTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leased_fill, "SHARE_DELAY_SECONDS", 60.0)
    with bench.loader.answering():
        await bench.load()
        assert bench.busy()
        await bench.loader.aclose()
        assert not bench.busy()
    assert tier.calls["write"] == 0


async def test_sharing_waits_for_nothing_where_nobody_is_being_answered(
    bench: Bench, tier: SharedTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leased_fill, "SHARE_DELAY_SECONDS", 60.0)
    await bench.load()
    await bench.settle()
    assert tier.calls["write"] == 1


async def test_sharing_does_not_wait_where_too_much_does(tier: SharedTier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leased_fill, "WRITERS", 0)
    bench = Bench(tier)
    await bench.load()
    assert not bench.busy()
    assert (len(tier.values), tier.leases) == (1, {})
