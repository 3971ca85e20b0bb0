"""Relays that share what they have read, through a real Redis-protocol server; and that do without."""

from collections.abc import Iterator

import pytest

from bff_wsrelay.frames import take
from bff_wsrelay.log import BLOCK, ByteLru, FrameLog
from bff_wsrelay.packing import Damaged, pack, unpack
from tests.support.playback import relaying, watching
from tests.support.redis_server import RedisServer, running
from tests.support.runs import RunBackend, assert_conserved, source

FAST = "?speed=3600&autoplay=1"
MEBI = 1024 * 1024


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with running() as server:
        yield server


def whole(count: int) -> FrameLog:
    log = FrameLog("epoch", MEBI, ByteLru(MEBI))
    for frame in source(count):
        log.append(take(frame))
    log.ended = True
    return log


@pytest.mark.parametrize("count", [1, BLOCK, BLOCK * 3 + 5])
def test_a_log_comes_back_as_it_was(count: int) -> None:
    log = whole(count)
    head, parts = pack(log, b"secret")
    again = FrameLog("epoch", MEBI, ByteLru(MEBI))
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


async def test_the_backend_is_read_once_for_two_relays(redis_server: RedisServer) -> None:
    backend = RunBackend(source(3000))
    await backend.start()
    async with relaying(backend.url, redis_url=redis_server.url) as first, watching(first.stream(FAST)) as client:
        await client.until_type("end")
        async with relaying(backend.url, redis_url=redis_server.url) as second:
            seq = client.frames[len(client.frames) // 2]["seq"]
            epoch = client.messages[0]["epoch"]
            async with watching(second.stream(f"{FAST}&epoch={epoch}&seq={seq}")) as other:
                await other.until_type("end")
                assert other.messages[0]["resumed"] is True
                assert_conserved(other.frames, backend.frames, start=seq + 1)
    assert backend.connections == 1
    await backend.stop()


async def test_other_credentials_do_not_find_what_was_shared(redis_server: RedisServer) -> None:
    backend = RunBackend(source(100), tokens={"a": 200, "b": 200, "c": 403})
    await backend.start()
    for token, connections in (("a", 1), ("b", 2), ("c", 2), ("a", 2)):
        async with (
            relaying(backend.url, redis_url=redis_server.url, digest_key="k") as relay,
            watching(relay.stream(FAST), token) as client,
        ):
            if token == "c":
                assert await client.until_closed() == 4403
            else:
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
