"""The aggregator beside another version of itself: what that left in Redis is read, or refused; never misread.

There is no backend in these tests, so an answer that is right can only have come from what the other version wrote.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.compat.golden import DIGEST_KEY, Recording, recordings
from tests.support.redis_server import RedisServer, free_port, running

RECORDINGS = recordings("aggregator")
NEWEST = RECORDINGS[-1]
REFUSED = {502, 503, 504}
# Between a recording and its use pass a few seconds at most: entries of then are still fresh.
LATER = 1.0


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running() as server:
        yield server


@pytest.fixture(scope="module", params=RECORDINGS, ids=lambda recording: f"N-1={recording.version}")
def recording(request: pytest.FixtureRequest) -> Recording:
    found: Recording = request.param
    return found


@pytest.fixture(scope="module")
def aggregator(redis: RedisServer, recording: Recording) -> Iterator[httpx.Client]:
    """Run the current aggregator as a process whose clock stands at the time of the recording; nobody is behind it."""
    port = free_port()
    settings = {"BFF_PORT": str(port), "BFF_REDIS_URL": redis.url, "BFF_DIGEST_KEY": DIGEST_KEY}
    settings |= {"BFF_BACKEND_URL": "http://127.0.0.1:9", "BFF_BREAKER_MIN_CALLS": "100000", "BFF_RETRIES": "0"}
    # Nothing is kept in the process, so that each test meets what is in Redis at its time.
    settings |= {"BFF_CACHE_BYTES": "0", "BFF_CHART_ANSWER_BYTES": "0", "BFF_RUN_ANSWER_BYTES": "0"}
    script, offset = Path(__file__).with_name("backdated.py"), recording.at + LATER - time.time()
    process = subprocess.Popen(  # noqa: S603  our own script
        [sys.executable, script, "bff_aggregator", str(offset)],
        env={**os.environ, **settings},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            until_ready(client, process)
            yield client
    finally:
        process.terminate()
        process.wait(20)


def until_ready(client: httpx.Client, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 20
    while True:
        try:
            client.get("/health/ready").raise_for_status()
        except httpx.TransportError:
            assert process.poll() is None, "it did not start"
            assert time.monotonic() < until, "it does not answer"
            time.sleep(0.02)
        else:
            return


def content(body: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without what tells how it came about."""
    return {key: value for key, value in body.items() if key != "metadata"}


def ask(client: httpx.Client, recording: Recording) -> dict[str, bool]:
    """Ask for all that was recorded; return which answers were read. Each has to be the recorded one, or an error."""
    read = {}
    for path, recorded in recording.answers.items():
        answer = client.get(path)
        read[path] = answer.status_code not in REFUSED
        if read[path]:
            assert answer.status_code == recorded["status"], path
            assert content(json.loads(answer.content, parse_float=str)) == content(
                json.loads(json.dumps(recorded["body"]), parse_float=str)
            )
        else:
            assert answer.json()["error"]["code"].startswith("BACKEND_")
    return read


def fill(redis: RedisServer, recording: Recording) -> None:
    with redis.client() as client:
        client.flushall()
        recording.restore(client)


def test_what_another_version_wrote_is_read_or_refused(
    redis: RedisServer, aggregator: httpx.Client, recording: Recording
) -> None:
    fill(redis, recording)
    read = ask(aggregator, recording)
    if recording is NEWEST:
        # A format that has changed got another number, and its version a recording of its own.
        assert all(read.values()), "record the current version: python -m tests.compat.record aggregator"


@pytest.mark.parametrize("place", [3, -1], ids=["another number of the format", "a damaged value"])
def test_what_a_later_version_wrote_is_refused(
    redis: RedisServer, aggregator: httpx.Client, recording: Recording, place: int
) -> None:
    fill(redis, recording)
    with redis.client() as client:
        for key, value in recording.values.items():
            changed = bytearray(value)
            changed[place] ^= 0 if key.endswith(b":generation") else 0x10
            client.set(key, bytes(changed))
    assert not any(ask(aggregator, recording).values())


def test_another_key_of_digests_finds_nothing(
    redis: RedisServer, aggregator: httpx.Client, recording: Recording
) -> None:
    with redis.client() as client:
        client.flushall()
        for key, value in recording.values.items():
            owner = key.split(b":")[-2]
            client.set(key if key.endswith(b":generation") else key.replace(owner, owner[::-1]), value)
    assert not any(ask(aggregator, recording).values())
