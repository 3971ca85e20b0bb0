"""The process of a service: how it starts, refuses bad settings and ends. Uses the proxy as the service."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator

import httpx
import pytest

QUIET = {"BFF_LOG_FORMAT": "json", "BFF_PORT": "0", "BFF_BACKEND_URL": "http://127.0.0.1:9"}


class Process:
    """A service's process and what it has said so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""

    async def until(self, pattern: str) -> re.Match[str]:
        assert self.process.stderr is not None
        async with asyncio.timeout(100):
            while not (match := re.search(pattern, self.said)):
                line = await self.process.stderr.readline()
                assert line, f"ended before it said {pattern!r}: {self.said}"
                self.said += line.decode()
        return match

    async def origin(self) -> str:
        return (await self.until(r"running on (http://127\.0\.0\.1:\d+)|Listening at: (http://127\.0\.0\.1:\d+)"))[1]


@contextlib.asynccontextmanager
async def service(**environment: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bff_proxy", env={**os.environ, **QUIET, **environment}, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_bad_setting_is_one_line_and_exit_status_2() -> None:
    async with service(BFF_PORT="seventy") as running:
        _, error = await running.process.communicate()
    assert running.process.returncode == 2
    (line,) = error.decode().splitlines()
    assert line.startswith("error: BFF_PORT: ")


async def test_sigterm_ends_the_process() -> None:
    async with service() as running:
        origin = await running.origin()
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"{origin}/health/live")).status_code == 200
        running.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            await running.process.wait()


async def test_draining_process_still_answers_and_is_not_ready() -> None:
    async with service(BFF_DRAIN_SECONDS="30") as running:
        origin = await running.origin()
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"{origin}/health/live")).status_code == 200  # started, not just listening
            running.process.send_signal(signal.SIGTERM)
            await running.until("draining")
            assert (await client.get(f"{origin}/health/ready")).status_code == 503
            assert (await client.get(f"{origin}/health/live")).status_code == 200
        running.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            await running.process.wait()


async def test_two_workers_answer_with_metrics_of_both() -> None:
    with contextlib.closing(__import__("socket").socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with service(BFF_WORKERS="2", BFF_PORT=str(port)) as running:
        await running.until(r"(?s)startup complete.*startup complete")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            for _ in range(10):
                assert (await client.get("/nowhere", headers={"connection": "close"})).status_code == 404
            text = (await client.get("/metrics")).text
        assert 'bff_http_requests_total{method="GET",route="unmatched",status="404"} 10.0' in text
        running.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            await running.process.wait()


@pytest.mark.parametrize("name", ["proxy", "aggregator", "wsrelay"])
async def test_every_service_tells_its_name_and_version(name: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"bff_{name}", env={**os.environ, **QUIET}, stderr=asyncio.subprocess.PIPE
    )
    running = Process(process)
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            report = (await client.get(f"{await running.origin()}/health")).json()
        assert report["service"] == name
        assert re.fullmatch(r"\d+\.\d+\.\d+", report["version"])
        assert report["status"] == "degraded"
    finally:
        process.kill()
        await process.communicate()
