"""Servers as processes, a blocking HTTP client for them, and medians of what they take."""

import http.client
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.lib.processes import free_port

from bff_tools.servers import find_valkey

Answer = tuple[int, bytes, dict[str, str]]
TOKEN = "bench-token"  # noqa: S105  of a server that lives as long as this script


@contextmanager
def server(module: str, port: int, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m module` until the block ends."""
    with running([sys.executable, "-m", module, *arguments], port, **environment) as process:
        yield process


@contextmanager
def valkey() -> Iterator[str]:
    """Run a Redis-protocol server until the block ends, and return its URL."""
    program, port = find_valkey(), free_port()
    if program is None:
        raise SystemExit("there is no valkey-server")
    with TemporaryDirectory() as folder:
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]
        with running([str(program), *options], port):
            yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def running(command: list[str], port: int, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends."""
    variables, null = {**os.environ, **environment}, subprocess.DEVNULL
    process = subprocess.Popen(command, env=variables, stdout=null, stderr=null)  # noqa: S603  our own commands
    try:
        wait_for(port)
        yield process
    finally:
        process.terminate()
        process.wait(20)


def wait_for(port: int) -> None:
    """Wait until something listens."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            http.client.HTTPConnection("127.0.0.1", port, timeout=5).connect()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"nothing listens on {port}")


class Client:
    """Asks one server; a connection for each thread."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.pool = ThreadPoolExecutor(50)

    def ask(
        self, path: str, method: str = "GET", body: Any = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        """Return status, body and headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        text = None if body is None else json.dumps(body)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, text, {"content-type": "application/json", **sent})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content, {name.lower(): value for name, value in answer.getheaders()}

    def all(self, paths: list[str]) -> list[Answer]:
        """Ask for several things at once."""
        return list(self.pool.map(self.ask, paths))


def median_ms(times: int, action: Callable[[], Any], before: Callable[[], Any] = lambda: None) -> float:
    """Return the median milliseconds of an action."""
    taken = []
    for _ in range(times):
        before()
        begun = time.perf_counter()
        action()
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


def in_turns(
    times: int, actions: list[Callable[[], Any]], before: Callable[[], Any] = lambda: None
) -> list[list[float]]:
    """Return the milliseconds of each action, sorted; they take turns, so that whatever else goes on concerns all."""
    taken: list[list[float]] = [[] for _ in actions]
    for _ in range(times):
        before()
        for action, found in zip(actions, taken, strict=True):
            begun = time.perf_counter()
            action()
            found.append((time.perf_counter() - begun) * 1000)
    return [sorted(found) for found in taken]


def memory_mb(process: subprocess.Popen[bytes], field: str = "VmRSS") -> float:
    """Return a process's resident memory, or with `VmHWM` the most it ever had."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(field)).split()[1]) / 1024


def settings(port: int, backend: int, redis_url: str) -> dict[str, str]:
    """Return the environment of an aggregator on `port` in front of the backend on another."""
    return {
        "BFF_PORT": str(port),
        "BFF_BACKEND_URL": f"http://127.0.0.1:{backend}",
        "BFF_REDIS_URL": redis_url,
        "BFF_ADMIN_TOKEN": TOKEN,
        "BFF_LOG_LEVEL": "ERROR",
    }
