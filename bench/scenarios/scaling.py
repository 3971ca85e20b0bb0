"""What one request, chart, run and viewer costs each process: the table that docs/scaling.md calculates with.

Usage: python -m bench.scenarios.scaling [--seconds 5] [--viewers 300]

The whole stack as `make run` starts it, asked through nginx: microseconds of CPU of each process, over what was
answered meanwhile; proxied requests before a backend that only sends bytes. CPU is what tells how many cores a load
needs; latency does not, on a machine that also runs load and backend. Cold charts are months of minutes, and cold runs
are runs, that nobody has asked for yet.
"""

import argparse
import asyncio
import json
import os
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import uvloop
from bench.lib.figures import figure
from bench.lib.http_client import keep_busy
from bench.lib.processes import cpu_seconds, serving, with_children
from bench.lib.viewers import close, connect, until

from bff_tools import Stack, StackOptions
from bff_tools.nginx import UNLIMITED

PROCESSES = ("nginx", "proxy", "aggregator", "wsrelay", "redis", "backend")
SETTINGS = {"BFF_LOG_LEVEL": "WARNING", "BFF_STREAM_MAX_PER_CLIENT": "20000", "BFF_STREAM_MAX_CONNECTIONS": "20000"}
CONNECTIONS = 16
CHART = "/api/v1/chart-data?symbol=AAPL&timeframe=1M&from=2024-01-01&to=2024-12-31&target=2000"
SYMBOLS, MONTHS, RUNS = ("MSFT", "NVDA", "TSLA"), 12, 30
FRAMES = 30
"""A second, of each viewer (speed 1)."""

Costs = dict[str, float]


def resident(pid: int) -> float:
    """Return the resident memory of a process and its children in MB."""
    pages = sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in with_children(pid))
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def spent(pids: Mapping[str, int]) -> Iterator[Callable[[int], Costs]]:
    """Yield what returns the microseconds of CPU that each process has used since, for each of `count` things."""
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    yield lambda count: {name: 1e6 * (cpu_seconds(pid) - before[name]) / count for name, pid in pids.items()}


class Measured:
    """The stack's processes and origin, and the rows of the table so far."""

    def __init__(self, stack: Stack, rows: dict[str, Costs]) -> None:
        self.stack, self.rows = stack, rows
        self.pids = {child.name: child.pid or 0 for child in stack}

    def get(self, path: str) -> Any:
        """Ask the origin."""
        asked = urllib.request.Request(f"{self.stack.origin}{path}", headers={"Accept-Encoding": "gzip"})  # noqa: S310  our own origin
        with urllib.request.urlopen(asked, timeout=60) as answer:  # noqa: S310  as above
            return answer.read()

    def load(self, name: str, path: str, seconds: float, *headers: str) -> None:
        """Ask for one path as fast as it goes."""
        self.get(path)
        lines = "".join(f"{header}\r\n" for header in headers)
        with spent(self.pids) as each:
            took = uvloop.run(keep_busy(self.stack.origin + path, CONNECTIONS, seconds, lines))
            self.rows[name] = each(len(took))

    def once(self, name: str, paths: list[str]) -> None:
        """Ask for each path once."""
        with spent(self.pids) as each:
            for path in paths:
                self.get(path)
            self.rows[name] = each(len(paths))

    async def watch(self, run: str, count: int, seconds: float) -> tuple[float, float]:
        """Let so many watch a run; return the KB of memory that each takes of the relay and of nginx."""
        before = {name: resident(self.pids[name]) for name in ("wsrelay", "nginx")}
        viewers = []
        for _ in range(count):
            viewers.append(await connect(self.stack.origin_port, f"/api/v1/runs/{run}/stream?speed=1&autoplay=1"))
            if len(viewers) % 50 == 0:
                await asyncio.sleep(0.02)
        await until(lambda: all(viewer.frames for viewer in viewers))
        await asyncio.sleep(2)
        frames = sum(viewer.frames for viewer in viewers)
        with spent(self.pids) as each:
            await asyncio.sleep(seconds)
            sent = sum(viewer.frames for viewer in viewers) - frames
            self.rows["a frame to a viewer"] = each(sent)
        memory = [1e3 * (resident(self.pids[name]) - before[name]) / count for name in ("wsrelay", "nginx")]
        close(viewers)
        print(f"{count} viewers got {sent / seconds / count:.1f} frames/s each")
        return memory[0], memory[1]

    def show(self) -> None:
        """Print the table."""
        print(f"\n| µs of CPU for | {' | '.join(PROCESSES)} |\n|---|{'---|' * len(PROCESSES)}")
        for name, costs in self.rows.items():
            print(f"| {name} | " + " | ".join(f"{costs.get(process, 0):,.0f}" for process in PROCESSES) + " |")
        print()


def months() -> list[str]:
    """Return charts of one month of minutes each, which share no chunk."""
    paths = []
    for symbol in SYMBOLS:
        for month in range(1, MONTHS + 1):
            first, last = date(2024, month, 2), date(2024 + month // 12, month % 12 + 1, 1) - timedelta(days=2)
            paths.append(f"/api/v1/chart-data?symbol={symbol}&timeframe=1M&from={first}&to={last}&target=2000")
    return paths


def measure(measured: Measured, seconds: float, viewers: int) -> None:
    """Make all measurements."""
    runs = json.loads(measured.get("/backtests?limit=100"))["items"]
    year = next(run["run_id"] for run in runs if (run["run_from"], run["run_to"]) == ("2024-01-01", "2024-12-31"))
    idle = {name: resident(measured.pids[name]) for name in PROCESSES}
    measured.once("a cold chart, a month of minutes", months())
    measured.load("a warm chart", CHART, seconds, "Accept-Encoding: gzip")
    measured.once("a cold run", [f"/api/v1/runs/{run['run_id']}/complete" for run in runs[:RUNS]])
    measured.load("a warm run", f"/api/v1/runs/{year}/complete", seconds, "Accept-Encoding: gzip")
    relay, nginx = uvloop.run(measured.watch(year, viewers, 2 * seconds))
    measured.show()
    print("MB resident, idle: " + ", ".join(f"{name} {size:.0f}" for name, size in idle.items()))
    print("MB resident, after: " + ", ".join(f"{name} {resident(measured.pids[name]):.0f}" for name in PROCESSES))
    figure("CPU of the proxy for a request", measured.rows["a proxied request, 20 kB"]["proxy"], "µs")
    figure("CPU of the aggregator for a warm chart", measured.rows["a warm chart"]["aggregator"], "µs")
    figure(
        "CPU of the aggregator for a cold chart", measured.rows["a cold chart, a month of minutes"]["aggregator"], "µs"
    )
    figure("CPU of the relay for a viewer's second", FRAMES * measured.rows["a frame to a viewer"]["wsrelay"], "µs")
    figure("CPU of nginx for a viewer's second", FRAMES * measured.rows["a frame to a viewer"]["nginx"], "µs")
    figure("memory of the relay for a viewer", relay, "kB", goal=65)
    figure("memory of nginx for a viewer", nginx, "kB")


def main() -> int:
    """Start a stack and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5, help="length of each load")
    parser.add_argument("--viewers", type=int, default=300)
    chosen = parser.parse_args()
    rows: dict[str, Costs] = {}
    environment = {"*": SETTINGS}
    with (
        serving("bench.lib.json_backend") as (base, _),
        Stack(StackOptions(backend_url=base, environment=environment, route_map=UNLIMITED)) as stack,
    ):
        Measured(stack, rows).load("a proxied request, 20 kB", "/api/v1/backtests", chosen.seconds)
    with Stack(StackOptions(environment=environment, route_map=UNLIMITED)) as stack:
        measure(Measured(stack, rows), chosen.seconds, chosen.viewers)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
