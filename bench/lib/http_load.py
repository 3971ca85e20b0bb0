"""Load a server with wrk: latency one request at a time, throughput, tail latency and CPU at 16 connections."""

import re
import statistics
import subprocess
from typing import NamedTuple

from bench.lib.processes import cpu_seconds

CONCURRENCY = 16


class Figures(NamedTuple):
    """Median at one request at a time (ms); at 16: requests a second, 99th percentile (ms), CPU per request (µs)."""

    p50: float
    rate: float
    p99: float
    cpu: float


def wrk(base: str, pid: int, seconds: float) -> Figures:
    """Measure a server, the process `pid`, with wrk."""

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
