"""Two aggregator processes on one Redis, asked at once."""

import asyncio
import contextlib
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.aggregator.charts.test_chart_data import PATH, as_rows, direct, parameters, random_query
from tests.aggregator.conftest import Demo
from tests.support.redis_server import RedisServer

OWN = {"BFF_HOST": "127.0.0.1", "BFF_PORT": "0", "BFF_CHART_TIMEOUT": "30", "BFF_LOG_FORMAT": "json"}
LISTENING = re.compile(r"running on (http://127\.0\.0\.1:\d+)")


@contextlib.contextmanager
def process(log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run an aggregator that logs to a file until the block ends."""
    with log.open("wb") as stderr:
        command = [sys.executable, "-m", "bff_aggregator"]
        started = subprocess.Popen(command, env={**os.environ, **OWN, **environment}, stderr=stderr)  # noqa: S603  ours
        try:
            yield started
        finally:
            started.terminate()
            started.wait(10)


def origin_of(log: Path, running: subprocess.Popen[bytes]) -> str:
    """Return where a process listens, once it does."""
    until = time.monotonic() + 30
    while not (match := LISTENING.search(log.read_text())):
        assert running.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.02)
    return match[1]


@pytest.fixture
def origins(demo: Demo, redis: RedisServer, tmp_path: Path) -> Iterator[list[str]]:
    """Start two processes and return where they listen."""
    logs = [tmp_path / "one.log", tmp_path / "two.log"]
    with contextlib.ExitStack() as stack:
        own = {"BFF_BACKEND_URL": demo.url, "BFF_REDIS_URL": redis.url}
        running = [stack.enter_context(process(log, **own)) for log in logs]
        yield [origin_of(log, one) for log, one in zip(logs, running, strict=True)]


async def test_two_processes_asked_at_once_answer_as_the_backend_does(demo: Demo, origins: list[str]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=60)) for url in origins]
        for seed in range(200, 203):
            query = random_query(random.Random(seed))  # noqa: S311  repeatable windows, no secret
            expected = as_rows(direct(demo, query))
            demo.forget()
            demo.faults({"path_prefix": "/bars", "latency_ms": 100})
            answers = await asyncio.gather(*(client.get(PATH, params=parameters(query)) for client in clients * 2))
            demo.faults()
            assert [answer.status_code for answer in answers] == [200] * 4, seed
            assert all(answer.json()["bars"] == expected for answer in answers), seed
            # One, unless Redis or a process was so slow that the other one went on alone; an empty window asks twice.
            assert len(demo.seen()) <= 4, seed
