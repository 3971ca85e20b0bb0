"""What one client address takes of the reading side: readings, turns, bytes of logs; and what nobody watches."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import pytest

from bff_shared.telemetry.metrics import Metrics
from bff_shared.upstream.client import Upstream
from bff_wsrelay.framelog.fair_semaphore import FairSemaphore
from bff_wsrelay.framelog.frame import parse_frame
from bff_wsrelay.framelog.frame_log import FrameLog
from bff_wsrelay.framelog.log_budget import Eviction, Ledger, LogUse
from bff_wsrelay.framelog.registry import Registry
from bff_wsrelay.metrics import StreamMetrics
from bff_wsrelay.settings import RelaySettings
from bff_wsrelay.websocket.connector import ConnectionOptions, Connector
from tests.support.playback import FAST, Relay, play_through, playing, watching
from tests.support.runs import Fate, RunBackend, assert_conserved, source

MEBI = 1024 * 1024


def log(key: str, size: int, *clients: str, watched: bool = True, since: float = 0.0) -> LogUse[str]:
    return LogUse(key, size, clients, watched, since)


def judge(logs: Sequence[LogUse[str]], growing: str, limit: int, client_limit: int) -> Eviction[str]:
    """Return the verdict of a ledger in which every log is booked, each after one that was smaller and another's."""
    ledger: Ledger[str] = Ledger(limit, client_limit)
    for each in logs:
        ledger.book(log(each.key, each.size // 2, "nobody", watched=False))
        ledger.book(each)
    assert ledger.size == sum(each.size for each in logs)
    return ledger.judge(growing)


def test_where_there_is_space_nothing_goes() -> None:
    logs = [log("a", 40, "1"), log("b", 40, "1", watched=False)]
    assert judge(logs, "a", limit=100, client_limit=90) == judge(logs, "b", limit=100, client_limit=90)
    assert judge(logs, "a", limit=100, client_limit=90).drop == ()


def test_what_nobody_watches_goes_first_and_the_longest_left_before_others() -> None:
    logs = [log("a", 60, "1"), log("b", 30, "2", watched=False, since=2), log("c", 30, "3", watched=False, since=1)]
    assert judge(logs, "a", limit=100, client_limit=100).drop == ["c"]
    assert judge(logs, "a", limit=80, client_limit=100).drop == ["c", "b"]


def test_an_address_that_takes_too_much_is_refused_though_there_is_space() -> None:
    logs = [log(f"a{number}", 10, "1", since=number) for number in range(8)]
    assert judge(logs, "a7", limit=1000, client_limit=75).refused
    idle = [*logs[:-1], log("a7", 10, "1"), log("left", 10, "1", watched=False)]
    assert judge(idle, "a7", limit=1000, client_limit=85).drop == ["left"]
    assert not judge(idle, "a7", limit=1000, client_limit=85).refused


def test_a_log_counts_once_however_many_pages_of_an_address_watch_it_and_in_shares_for_several() -> None:
    assert not judge([log("a", 60, "1")], "a", limit=100, client_limit=60).refused
    shared = [log("a", 60, "1", "2"), log("b", 30, "1")]
    assert not judge(shared, "b", limit=100, client_limit=60).refused
    assert judge(shared, "b", limit=100, client_limit=59).refused


def test_the_greediest_address_makes_room_for_another_and_not_for_itself() -> None:
    logs = [*(log(f"a{number}", 24, "1", since=number) for number in range(4)), log("b", 10, "2")]
    verdict = judge(logs, "b", limit=100, client_limit=1000)
    assert (list(verdict.drop), verdict.refused) == (["a3"], False)
    assert judge(logs, "a0", limit=100, client_limit=1000).refused


async def test_a_log_that_grows_has_no_other_log_looked_at_while_all_keep_to_the_limits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings, metrics = RelaySettings(), Metrics()
    upstream = Upstream(settings, metrics)
    connector = Connector(settings.backend_url, ConnectionOptions())
    registry = Registry(settings, upstream, connector, StreamMetrics(metrics.registry))
    monkeypatch.setattr(Registry, "_start_ingester", lambda *_: None)
    looks, size = Counter[int](), vars(FrameLog)["size"]

    def counted(log: FrameLog) -> int:
        looks[id(log)] += 1
        return int(size.fget(log))

    with ExitStack() as stack:
        opened = [
            stack.enter_context(registry.open(f"run{number}", [], f"192.0.2.{number % 250}")) for number in range(300)
        ]
        monkeypatch.setattr(FrameLog, "size", property(counted))
        growing = opened[150]
        for each in source(1_000):
            growing.topic.log.append(parse_frame(each))
            registry._limit(growing)
        assert set(looks) == {id(growing.topic.log)}
        assert abs(registry.size - registry._ledger.size) < 256
        assert registry._ledger.size > 50_000
    await registry.aclose()
    assert registry._ledger.size == 0
    await upstream.aclose()


def test_at_the_limit_what_is_freed_lasts_for_a_while() -> None:
    ledger: Ledger[str] = Ledger(16_000, 16_000)
    for number in range(1601):
        ledger.book(log(f"left{number}", 10, "1", watched=False, since=number))
    ledger.book(log("growing", 0, "2"))
    dropped = ledger.judge("growing").drop
    assert list(dropped) == [f"left{number}" for number in range(101)]


async def test_slots_go_round_between_clients_however_many_each_asks_for() -> None:
    semaphore, order = FairSemaphore(1, 1), []

    async def work(client: str) -> None:
        async with semaphore.slot(client):
            order.append(client)
            await asyncio.sleep(0)

    await asyncio.gather(*(work("greedy") for _ in range(10)), work("modest"), work("modest"))
    assert order[:5] == ["greedy", "greedy", "modest", "greedy", "modest"]
    assert order.count("greedy") == 10
    assert (semaphore.active, semaphore.waiting) == (0, 0)


async def test_a_client_holds_no_more_slots_than_it_may_and_a_cancelled_wait_takes_none() -> None:
    semaphore = FairSemaphore(4, 2)
    await semaphore.acquire("a")
    await semaphore.acquire("a")
    third, fourth = (asyncio.create_task(semaphore.acquire("a")) for _ in range(2))
    await semaphore.acquire("b")
    await asyncio.sleep(0)
    assert (semaphore.active, semaphore.waiting) == (3, 2)
    third.cancel()
    await asyncio.wait([third])
    semaphore.release("a")
    await fourth
    semaphore.release("a")
    fifth = asyncio.create_task(semaphore.acquire("a"))
    await fifth
    for client in ("a", "a", "b"):
        semaphore.release(client)
    assert (semaphore.active, semaphore.waiting) == (0, 0)


async def test_a_client_alone_has_half_of_the_slots_and_several_leave_some_to_one_that_holds_less() -> None:
    semaphore, held, ended = FairSemaphore(64, 32), Counter[str](), asyncio.Event()

    async def hold(client: str) -> None:
        async with semaphore.slot(client):
            held[client] += 1
            await ended.wait()

    waiting = [asyncio.create_task(hold("a")) for _ in range(100)]
    while semaphore.waiting < 68:
        await asyncio.sleep(0)
    assert held == {"a": 32}
    waiting += [asyncio.create_task(hold(client)) for client in "bc" for _ in range(100)]
    while semaphore.waiting + semaphore.active < 300:
        await asyncio.sleep(0)
    assert held["b"] > 10
    newcomer = semaphore.acquire("d")
    async with asyncio.timeout(20):
        await newcomer
        semaphore.release("d")
        ended.set()
        await asyncio.gather(*waiting)
    assert held == dict.fromkeys("abc", 100)
    assert (semaphore.active, semaphore.waiting) == (0, 0)


async def test_a_slot_handed_over_to_a_wait_that_is_cancelled_at_once_is_not_lost() -> None:
    semaphore = FairSemaphore(1, 1)
    await semaphore.acquire("a")
    waiting = asyncio.create_task(semaphore.acquire("b"))
    await asyncio.sleep(0)
    semaphore.release("a")
    waiting.cancel()
    await asyncio.wait([waiting])
    async with asyncio.timeout(30):
        await semaphore.acquire("c")


async def test_a_reading_that_nobody_watches_stops_and_goes_on_when_somebody_comes() -> None:
    backend = RunBackend(source(600), lambda n: Fate(stall_after=300) if n == 0 else Fate())
    async with playing(backend, read_unwatched_seconds=0.2, read_quiet_seconds=1000) as relay:
        async with watching(relay.stream(FAST)) as client:
            await client.control(cmd="play")
            await client.until(lambda message: message["t"] == "frame" and message["seq"] == 299)
            assert backend.open == 1
        async with asyncio.timeout(30):
            while backend.open:
                await asyncio.sleep(0.01)
        assert relay.value("bff_stream_recordings") == 1
        async with watching(relay.stream(FAST)) as again:
            await play_through(again)
            assert_conserved(again.frames, backend.frames)
        assert backend.connections == 2


async def test_runs_beyond_those_that_one_address_may_have_read_at_once_wait_and_others_do_not() -> None:
    backend = RunBackend(
        source(50), lambda n: Fate(stall_after=0) if n < 2 else Fate(), tokens=dict.fromkeys("abcd", 200)
    )
    async with (
        playing(backend, read_max_per_client=2, beat_seconds=1000, read_quiet_seconds=1000) as relay,
        AsyncExitStack() as stack,
    ):
        greedy = [await stack.enter_async_context(visitor(relay, token, "203.0.113.1")) for token in "abc"]
        async with asyncio.timeout(30):
            while backend.connections < 2 or relay.value("bff_stream_readings_waiting") != 1:
                await asyncio.sleep(0.01)
        async with visitor(relay, "d", "203.0.113.2") as other:
            await play_through(other)
            assert_conserved(other.frames, backend.frames)
        backend.stall_over.set()
        for client in greedy:
            await play_through(client)
            assert_conserved(client.frames, backend.frames)


@pytest.mark.slow
@pytest.mark.parametrize("fate", [Fate(stall_after=0), Fate(pause_seconds=0.02)], ids=["silent", "trickling"])
async def test_a_run_that_brings_little_keeps_no_other_of_its_address_waiting(
    monkeypatch: pytest.MonkeyPatch, fate: Fate
) -> None:
    monkeypatch.setattr("bff_wsrelay.framelog.ingester.READING_SECONDS", 0.5)
    backend = RunBackend(source(10_000), lambda n: fate if n == 0 else Fate(), more={"short": source(50)})
    async with (
        playing(backend, read_max_per_client=1, beat_seconds=1000, read_stall_seconds=1000) as relay,
        watching(relay.stream(FAST)),
    ):
        async with asyncio.timeout(30):
            while not backend.connections:
                await asyncio.sleep(0.01)
        async with watching(relay.stream("?speed=3600&autoplay=1", "short")) as other:
            await other.until(lambda message: message.get("state") == "waiting" and "retry_ms" in message)
            await other.until_type("end")
            assert_conserved(other.frames, backend.more["short"])
        assert relay.value("bff_stream_upstream_breaks_total") == 0


async def test_a_run_of_which_enough_was_read_keeps_no_other_of_its_address_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bff_wsrelay.framelog.read_ahead.READING_FRAMES", 20)
    for name in ("ingester.READING_SECONDS", "replay_pass.CAUGHT_UP_SECONDS"):
        monkeypatch.setattr(f"bff_wsrelay.framelog.{name}", 1000.0)
    stalled = Fate(stall_after=40)
    backend = RunBackend(source(100), lambda n: stalled if n == 0 else Fate(), more={"short": source(50)})
    url = "?speed=10&autoplay=1"
    options: dict[str, Any] = {"read_max_per_client": 1, "read_quiet_seconds": 1000}
    async with playing(backend, **options) as relay, watching(relay.stream(url)) as long:
        await long.until_type("frame")
        async with watching(relay.stream(url, "short")) as other:
            await other.until_type("end")
            assert_conserved(other.frames, backend.more["short"])
        assert backend.open == 1, "the long run is still being read"


async def test_one_address_with_many_credentials_leaves_room_for_another() -> None:
    tokens = {f"t{number}": 200 for number in range(40)} | {"honest": 200}
    backend = RunBackend(source(6000), tokens=tokens)
    async with (
        playing(backend, log_total_bytes=4 * MEBI, log_client_bytes=3 * MEBI) as relay,
        AsyncExitStack() as stack,
    ):
        for number in range(12):
            client = await stack.enter_async_context(visitor(relay, f"t{number}", "203.0.113.1"))
            await client.until(lambda message: message["t"] in {"extent", "err"})
        assert 2 * MEBI < relay.value("bff_stream_log_bytes") <= 3 * MEBI + 256 * 1024
        assert relay.value("bff_stream_logs_refused_total") >= 1
        async with visitor(relay, "honest", "203.0.113.2") as other:
            await play_through(other)
            assert_conserved(other.frames, backend.frames)


def visitor(relay: Relay, token: str, address: str) -> Any:
    """Watch with a user's credentials, from an address that the edge names."""
    headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": address}
    return watching(relay.stream(FAST), additional_headers=headers)


@pytest.mark.parametrize("share", [0, 0.05])
async def test_a_log_that_was_read_whole_is_kept_for_its_linger(share: float) -> None:
    backend = RunBackend(source(100))
    async with playing(backend, read_unwatched_seconds=share, log_linger=1000) as relay:
        async with watching(relay.stream(FAST)) as client:
            await play_through(client)
        async with asyncio.timeout(30):
            while relay.value("bff_stream_viewers"):
                await asyncio.sleep(0.01)
        await asyncio.sleep(2 * share)
        async with watching(relay.stream(FAST)) as again:
            await play_through(again)
        assert backend.connections == 1
