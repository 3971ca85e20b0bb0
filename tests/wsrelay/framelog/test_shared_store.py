"""Relays that share what they have read, through a real Redis-protocol server; and that do without."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest
from pydantic import SecretStr
from websockets.exceptions import InvalidStatus

from bff_shared.lru import ByteLRU
from bff_wsrelay.framelog import codec
from bff_wsrelay.framelog.codec import Damaged, pack, part_count, unpack
from bff_wsrelay.framelog.frame import parse_frame
from bff_wsrelay.framelog.frame_log import BLOCK, FrameLog, LogFull
from bff_wsrelay.framelog.shared_store import SharedStore, credentials_digest
from bff_wsrelay.settings import RelaySettings
from tests.support.playback import relaying, watching
from tests.support.redis_server import RedisServer, cluster, running
from tests.support.runs import Fate, RunBackend, assert_conserved, source

FAST = "?speed=3600&autoplay=1"
MEBI = 1024 * 1024


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with running() as server:
        yield server


def whole(count: int) -> FrameLog:
    log = FrameLog("epoch", MEBI, ByteLRU(MEBI))
    for frame in source(count):
        log.append(parse_frame(frame))
    log.ended = True
    return log


@pytest.mark.parametrize("count", [1, BLOCK, BLOCK * 3 + 5])
def test_a_log_comes_back_as_it_was(count: int) -> None:
    log = whole(count)
    head, parts = pack(log, b"secret")
    again = FrameLog("epoch", MEBI, ByteLRU(MEBI))
    again.restore(unpack(head, parts, "epoch", b"secret"))
    assert (len(again), again.span, again.total, again.size) == (count, log.span, count, log.size)
    assert again.head(0, count) == log.head(0, count)
    assert again.head(count - 1, count) == log.head(count - 1, count)


def test_what_somebody_else_has_written_is_not_believed() -> None:
    head, parts = pack(whole(100), b"secret")
    for forged in ((head, [parts[0][:-1] + b"x"], "epoch", b"secret"), (head, parts, "other", b"secret")):
        with pytest.raises(Damaged):
            unpack(*forged)
    with pytest.raises(Damaged):
        unpack(head, parts, "epoch", b"guess")


@pytest.mark.parametrize("head", [b"", b"[]", b"{}", b'{"parts":"many"}'])
def test_a_head_that_names_no_parts_is_damaged(head: bytes) -> None:
    with pytest.raises(Damaged):
        part_count(head)


class Closed:
    """A client whose connection the server has just closed: uvloop's word for a write to it, through redis-py."""

    async def eval(self, *_: object) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")


async def test_a_connection_that_is_being_closed_counts_as_redis_away(redis_server: RedisServer) -> None:
    store = SharedStore(RelaySettings(redis_url=redis_server.url, digest_key=SecretStr("key")))
    store._client = Closed()  # type: ignore[assignment]
    assert await store.acquire("run", []) is None


def test_no_two_runs_and_credentials_have_one_key() -> None:
    run, name, value = "X", b"authorization", b"v"
    assert credentials_digest(b"k", f"{run}\n{name.decode()}:{value.decode()}", []) != credentials_digest(
        b"k", run, [(name, value)]
    )
    assert credentials_digest(b"k", run, [(name, b"v:w")]) != credentials_digest(b"k", run, [(name + b":v", b"w")])
    assert credentials_digest(b"k", run, [(b"Authorization", value)]) == credentials_digest(b"k", run, [(name, value)])


class Deliberate:
    """A client each of whose commands takes a while, and whose logs may not be written."""

    def __init__(self, seconds: float, error: Exception | None = None) -> None:
        self.values: dict[str, bytes] = {}
        self._seconds, self._error = seconds, error

    async def set(self, name: str, value: bytes, **_: object) -> None:
        await asyncio.sleep(self._seconds)
        if self._error is not None:
            raise self._error
        self.values[name] = value

    async def get(self, name: str) -> bytes | None:
        await asyncio.sleep(self._seconds)
        return self.values.get(name)

    async def eval(self, *_: object) -> int:
        return 1


def shared_by(client: Deliberate) -> SharedStore:
    store = SharedStore(RelaySettings(redis_url="redis://127.0.0.1:1", digest_key=SecretStr("key")))
    store._client = client  # type: ignore[assignment]
    return store


@pytest.mark.slow
async def test_a_log_of_many_parts_has_as_much_time_as_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bff_wsrelay.framelog.codec.PART", 512)
    monkeypatch.setattr("bff_wsrelay.framelog.shared_store.DEADLINE", 0.5)
    store, log = shared_by(client := Deliberate(0.01)), whole(2000)
    await store.offer("run", [], log)
    assert len(client.values) > 60
    again = FrameLog("epoch", MEBI, ByteLRU(MEBI))
    assert await store.fetch("run", [], again)
    assert again.head(0, 2000) == log.head(0, 2000)


async def test_a_log_that_cannot_be_shared_does_not_hold_up_leases() -> None:
    store = shared_by(Deliberate(0, OSError("no space")))
    await store.offer("run", [], whole(10))
    assert await store.acquire("run", []) is True


@pytest.fixture(scope="module", params=[running, cluster], ids=["single", "cluster"])
def store(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A server of its own, or one that is a whole cluster."""
    with request.param() as server:
        yield server


async def test_the_backend_is_read_once_for_two_relays(store: RedisServer) -> None:
    backend = RunBackend(source(3000))
    await backend.start()
    async with relaying(backend.url, redis_url=store.url) as first, watching(first.stream(FAST)) as client:
        await client.until_type("end")
        async with relaying(backend.url, redis_url=store.url) as second:
            seq = client.frames[len(client.frames) // 2]["seq"]
            epoch = client.messages[0]["epoch"]
            async with watching(second.stream(f"{FAST}&epoch={epoch}&seq={seq}")) as other:
                await other.until_type("end")
                assert other.messages[0]["resumed"] is True
                assert_conserved(other.frames, backend.frames, start=seq + 1)
    assert backend.connections == 1
    await backend.stop()


async def test_relays_that_want_a_run_at_the_same_time_read_it_once(store: RedisServer) -> None:
    backend = RunBackend(source(900), lambda _: Fate(stall_after=500), created_at="2025-09-28T00:00:00+00:00")
    await backend.start()
    async with AsyncExitStack() as stack:
        # While it stalls, nothing is taken for the end.
        options: dict[str, Any] = {"redis_url": store.url, "read_quiet_seconds": 1000}
        relays = [await stack.enter_async_context(relaying(backend.url, **options)) for _ in range(2)]
        clients = [await stack.enter_async_context(watching(relay.stream(FAST))) for relay in relays]
        waiting = [asyncio.create_task(client.until(lambda one: one.get("state") == "waiting")) for client in clients]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        backend.stall_over.set()
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.gather(*(client.until_type("end") for client in clients))
        for client in clients:
            assert_conserved(client.frames, backend.frames)
    assert backend.connections == 1
    await backend.stop()


async def test_commands_that_come_at_once_open_one_client_and_the_end_closes_it(redis_server: RedisServer) -> None:
    def connections() -> int:
        with redis_server.client() as client:
            return len(client.client_list())

    store = SharedStore(RelaySettings(redis_url=redis_server.url))
    before = connections()
    assert await asyncio.gather(*(store.acquire(f"run-{n}", []) for n in range(8))) == [True] * 8
    await store.aclose()
    async with asyncio.timeout(30):
        while connections() > before:
            await asyncio.sleep(0.01)


async def test_the_lease_of_a_relay_that_is_gone_expires(redis_server: RedisServer) -> None:
    backend = RunBackend(source(100), created_at="2025-09-29T00:00:00+00:00")
    await backend.start()
    settings = RelaySettings(backend_url=backend.url, redis_url=redis_server.url, digest_key=SecretStr("gone"))
    gone = SharedStore(settings, lease=0.3)
    assert await gone.acquire("run", []) is True
    options: dict[str, Any] = {"redis_url": redis_server.url, "digest_key": "gone"}
    async with relaying(backend.url, **options) as relay, watching(relay.stream(FAST)) as client:
        await client.until(lambda message: message.get("state") == "waiting")
        await client.until_type("end")
        async with asyncio.timeout(30):
            while not await gone.acquire("run", []):  # whoever has read gives the turn back
                await asyncio.sleep(0.01)
    assert backend.connections == 1
    await gone.aclose()
    await backend.stop()


async def test_a_relay_that_waits_too_long_for_another_reads_for_itself(redis_server: RedisServer) -> None:
    backend = RunBackend(source(100), created_at="2025-09-30T00:00:00+00:00")
    await backend.start()
    settings = RelaySettings(backend_url=backend.url, redis_url=redis_server.url, digest_key=SecretStr("busy"))
    busy = SharedStore(settings, lease=60)
    assert await busy.acquire("run", []) is True
    options: dict[str, Any] = {"redis_url": redis_server.url, "digest_key": "busy", "log_claim_seconds": 0.1}
    async with relaying(backend.url, **options) as relay, watching(relay.stream(FAST)) as client:
        await client.until_type("end")
    await busy.aclose()
    await backend.stop()


async def test_waiting_for_another_relay_keeps_no_other_run_of_the_address_from_being_read(
    redis_server: RedisServer,
) -> None:
    backend = RunBackend(source(200), more={"other": source(50)})
    await backend.start()
    settings = RelaySettings(backend_url=backend.url, redis_url=redis_server.url, digest_key=SecretStr("slot"))
    busy = SharedStore(settings, lease=60)
    assert await busy.acquire("run", []) is True
    options: dict[str, Any] = {"redis_url": redis_server.url, "digest_key": "slot", "log_claim_seconds": 1000}
    async with (
        relaying(backend.url, read_max_per_client=1, **options) as relay,
        watching(relay.stream(FAST)) as waits,
        watching(relay.stream(FAST, "other")) as other,
    ):
        await waits.until(lambda message: message.get("state") == "waiting" and "retry_ms" in message)
        await other.until_type("end")
        assert_conserved(other.frames, backend.more["other"])
        assert waits.frames == []
    await busy.aclose()
    await backend.stop()


async def test_other_credentials_do_not_find_what_was_shared(redis_server: RedisServer) -> None:
    backend = RunBackend(source(100), tokens={"a": 200, "b": 200, "c": 403})
    await backend.start()
    for token, connections in (("a", 1), ("b", 2), ("c", 2), ("a", 2)):
        async with relaying(backend.url, redis_url=redis_server.url, digest_key="k") as relay:
            if token == "c":
                with pytest.raises(InvalidStatus):
                    async with watching(relay.stream(FAST), token):
                        pass
            else:
                async with watching(relay.stream(FAST), token) as client:
                    await client.until_type("end")
        assert backend.connections == connections
    await backend.stop()


async def test_a_redis_that_is_away_costs_nothing_but_the_sharing() -> None:
    backend = RunBackend(source(100))
    await backend.start()
    async with relaying(backend.url, redis_url="redis://127.0.0.1:1") as relay, watching(relay.stream(FAST)) as client:
        await client.until_type("end")
        assert_conserved(client.frames, backend.frames)
    await backend.stop()


def test_what_is_signed_and_yet_of_another_layout_is_damaged() -> None:
    head, parts = pack(whole(100), b"secret")
    body = b"".join(parts)[:-1]
    signed = orjson.dumps({**orjson.loads(head), "sum": codec._sum(body, b"secret")})
    with pytest.raises(Damaged, match="of another layout"):
        unpack(signed, [body], "epoch", b"secret")


async def test_a_log_whose_parts_are_lost_or_changed_is_none() -> None:
    store, log = shared_by(client := Deliberate(0)), whole(10)
    await store.offer("run", [], log)
    again = FrameLog("epoch", MEBI, ByteLRU(MEBI))
    [name] = [key for key in client.values if key.endswith(":0")]
    kept = client.values.pop(name)
    assert not await store.fetch("run", [], again)
    client.values[name] = kept[:-1]
    assert not await store.fetch("run", [], again)
    client.values[name] = kept
    assert await store.fetch("run", [], again)
    client.values[name.removesuffix(":0")] = b"{}"
    assert not await store.fetch("run", [], FrameLog("epoch", MEBI, ByteLRU(MEBI)))


async def test_a_shared_log_that_is_larger_than_ours_may_be_is_not_taken(caplog: pytest.LogCaptureFixture) -> None:
    store = shared_by(Deliberate(0))
    await store.offer("run", [], whole(1000))
    with pytest.raises(LogFull):
        await store.fetch("run", [], FrameLog("epoch", 1000, ByteLRU(MEBI)))
    assert "a shared log is larger than this relay keeps" in caplog.text


def test_a_log_that_is_full_takes_no_more_frames() -> None:
    log = FrameLog("epoch", 1000, ByteLRU(MEBI))
    frames = map(parse_frame, source(1000))
    while log.size <= 1000:
        log.append(next(frames))
    with pytest.raises(LogFull):
        log.append(next(frames))
    assert len(log) < 100
