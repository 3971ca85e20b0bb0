"""Servers in processes of their own, and the CPU that a process has used; Linux only."""

import contextlib
import math
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def with_children(pid: int) -> list[int]:
    """Return a process and its children: nginx works in one of them."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds, user and system, that a process and its children have used, to the microsecond.

    The numbers are those of their CPU clocks, clock_getcpuclockid(3), which Python has no name for; nan once it is
    gone.
    """
    with contextlib.suppress(OSError):
        return sum(time.clock_gettime((~each << 3) | 2) for each in with_children(pid))
    return math.nan


@contextlib.contextmanager
def serving(module: str, *arguments: str) -> Iterator[tuple[str, int]]:
    """Run `python -m module arguments…` until the block ends; yield its base URL and process id.

    The module prints its port as its first line, as `serve_app` does.
    """
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603  our own module
    try:
        assert process.stdout is not None  # noqa: S101  asked for above
        yield f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid
    finally:
        process.terminate()
        process.wait(10)


def serve_app(app: Callable[..., Any]) -> None:
    """Serve an ASGI app on a free port, printed as the first line, until the process is terminated."""
    sock = socket.create_server(("127.0.0.1", 0), backlog=512)
    sys.stdout.write(f"{sock.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[sock])
