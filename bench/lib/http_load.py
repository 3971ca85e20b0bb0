"""Load a server: latency one request at a time, throughput, tail latency and CPU at 16 connections.

With wrk where the machine has it, else from this process, which then is the slower one of the two where the server does
next to nothing. The CPU of a request is the server's own with either.
"""

import re
import shutil
import statistics
import subprocess
from typing import NamedTuple

import uvloop
from bench.lib.http_client import keep_busy
from bench.lib.processes import cpu_seconds

CONCURRENCY = 16


class Figures(NamedTuple):
    """Median at one request at a time (ms); at 16: requests a second, 99th percentile (ms), CPU per request (µs)."""

    p50: float
    rate: float
    p99: float
    cpu: float


def tool() -> str:
    """Return what makes the load on this machine."""
    return "wrk" if shutil.which("wrk") else "this process"


def load(base: str, pid: int, seconds: float) -> Figures:
    """Measure a server, the process `pid`."""
    return _wrk(base, pid, seconds) if shutil.which("wrk") else _ourselves(f"{base}/backtests", pid, seconds)


def _ourselves(url: str, pid: int, seconds: float) -> Figures:
    uvloop.run(keep_busy(url, CONCURRENCY, 1))
    one = uvloop.run(keep_busy(url, 1, seconds))
    cpu = cpu_seconds(pid)
    many = sorted(uvloop.run(keep_busy(url, CONCURRENCY, seconds)))
    cpu = cpu_seconds(pid) - cpu
    p99 = many[int(len(many) * 0.99)]
    return Figures(statistics.median(one) * 1e3, len(many) / seconds, p99 * 1e3, cpu / len(many) * 1e6)


def _wrk(base: str, pid: int, seconds: float) -> Figures:
    def run(connections: int, duration: float) -> str:
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(duration))}s", "--latency", f"{base}/backtests"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603  fixed command

    run(CONCURRENCY, 1)
    one = run(1, seconds)
    cpu = cpu_seconds(pid)
    many = run(CONCURRENCY, seconds)
    cpu = cpu_seconds(pid) - cpu
    count = re.search(r"(\d+) requests in", many)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", many)
    if count is None or rate is None or "Non-2xx" in many:
        raise RuntimeError(f"wrk saw errors: {many}")
    return Figures(_percentile(one, 50), float(rate[1]), _percentile(many, 99), cpu / int(count[1]) * 1e6)


def show(title: str, rows: dict[str, list[Figures]]) -> None:
    """Print one table: each row the medians of its rounds."""
    print(f"{title:36} {'c=1 p50 ms':>10} {'c=16 req/s':>12} {'p99 ms':>10} {'CPU µs/req':>12}")
    for name, rounds in rows.items():
        p50, rate, p99, cpu = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"  {name:34} {p50:10.2f} {rate:12,.0f} {p99:10.1f} {cpu:12.0f}", flush=True)


def medians(rounds: list[Figures]) -> Figures:
    """Return the median of each figure."""
    return Figures(*(statistics.median(column) for column in zip(*rounds, strict=True)))


def _percentile(report: str, percent: int) -> float:
    found = re.search(rf"\s{percent}%\s+([\d.]+)(us|ms|s)", report)
    if found is None:
        raise RuntimeError(f"no latency in wrk's report: {report}")
    return float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[found[2]]
