"""The relay beside another version of itself: logs that it shared are read or refused, and its viewers go on here."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from hashlib import blake2b

import orjson
import pytest

from bff_wsrelay.framelog.codec import VERSION, Damaged, unpack
from tests.compat.golden import DIGEST_KEY, Recording, recordings
from tests.support.playback import Client, relaying, watching
from tests.support.redis_server import RedisServer, running
from tests.support.runs import RunBackend, assert_conserved

RECORDINGS = recordings("wsrelay")
NEWEST = RECORDINGS[-1]
every_version = pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: f"N-1={recording.version}")


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running() as server:
        yield server


@asynccontextmanager
async def resuming(redis: RedisServer, recording: Recording) -> AsyncIterator[tuple[Client, RunBackend]]:
    """Let a viewer that the other version had come back to a relay of this one."""
    more = recording.more
    backend = RunBackend(more["frames"], created_at=more["created_at"])
    await backend.start()
    query = f"?speed=3600&autoplay=1&epoch={more['epoch']}&seq={more['seq']}"
    async with (
        relaying(backend.url, redis_url=redis.url, digest_key=DIGEST_KEY) as relay,
        watching(relay.stream(query)) as viewer,
    ):
        await viewer.until_type("end")
        yield viewer, backend
    await backend.stop()


@every_version
async def test_a_viewer_of_another_version_goes_on_from_its_place(redis: RedisServer, recording: Recording) -> None:
    with redis.client() as client:
        client.flushall()
        recording.restore(client)
    async with resuming(redis, recording) as (viewer, backend):
        assert viewer.messages[0]["resumed"] is True
        assert_conserved(viewer.frames, recording.more["frames"], start=recording.more["seq"] + 1)
    if recording is NEWEST:
        # What has changed in the shared log got another number, and its version a recording of its own.
        assert backend.connections == 0, "record the current version: python -m tests.compat.record wsrelay"


@every_version
async def test_a_viewer_goes_on_where_the_other_versions_log_cannot_be_read(
    redis: RedisServer, recording: Recording
) -> None:
    with redis.client() as client:
        client.flushall()
        for key, value in recording.values.items():
            head = value.replace(b'"sum":"', b'"sum":"0') if value.startswith(b"{") else value
            client.set(key, head)
    async with resuming(redis, recording) as (viewer, backend):
        assert viewer.messages[0]["resumed"] is True
        assert_conserved(viewer.frames, recording.more["frames"], start=recording.more["seq"] + 1)
    assert backend.connections == 1


def test_logs_lie_under_keys_of_their_format() -> None:
    for key in NEWEST.values:
        assert key.startswith(f"bff:stream:{VERSION}:{{".encode())


@pytest.mark.parametrize("extra", [b"\0\0\0\x01x", b"\0\0\0\x02[]" * 3, b"\xff"])
def test_a_log_of_another_layout_is_refused_as_damaged(extra: bytes) -> None:
    secret = DIGEST_KEY.encode()
    (name,) = (key for key, value in NEWEST.values.items() if value.startswith(b"{"))
    head = orjson.loads(NEWEST.values[name])
    body = b"".join(NEWEST.values[name + b":%d" % number] for number in range(head["parts"]))
    assert unpack(orjson.dumps(head), [body], head["epoch"], secret).blocks
    signed = head | {"sum": blake2b(body + extra, key=secret, digest_size=16).hexdigest()}
    with pytest.raises(Damaged):
        unpack(orjson.dumps(signed), [body + extra], head["epoch"], secret)
