"""Measure chart data beside direct backend calls and beside nginx serving the same bytes.

Usage: python -m bench.scenarios.charts [--help]

One process per part, over loopback; the load generator is wrk where the machine has it. The demo backend answers about
four times as fast as the deployed one, so the cold request is measured against both paces.
"""

import argparse
import contextlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import httpx
import numpy as np
from bench.lib.figures import figure
from bench.lib.processes import free_port

from bff_aggregator.backend.bars import Bars
from bff_aggregator.charts import chunk_codec
from bff_aggregator.charts.resample import Clock, resample
from bff_aggregator.http import content_coding
from bff_demo.market import SYMBOLS, TICKS, build_market
from bff_tools.servers import find_nginx, find_valkey

TOKEN = "bench"  # noqa: S105  the admin token of a process that lives for a minute
WINDOW = {"symbol": "AAPL", "from": "2024-01-01", "to": "2024-04-14"}
# So few sessions that buckets shorter than an hour fit, so that this is made from minutes.
CHART = {**WINDOW, "timeframe": "1M", "target": "10000"}
YEAR = {"symbol": "AAPL", "from": "2024-01-01", "to": "2024-12-31", "timeframe": "1M", "target": "2000"}
DEPLOYED_MS = 256.0
PATH = "/api/v1/chart-data"


@contextlib.contextmanager
def process(command: Sequence[str], url: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; it is ready when `url` answers."""
    started = subprocess.Popen(  # noqa: S603  our own programs
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 30
        while True:
            try:
                httpx.get(url)
            except httpx.TransportError:
                if started.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.02)
            else:
                break
        yield started
    finally:
        started.terminate()
        started.wait(30)


def timed(call: Callable[[], object]) -> float:
    """Return the milliseconds that a call takes."""
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1000


def line(name: str, value: str) -> None:
    """Print one value."""
    print(f"{name:<58} {value:>24}", flush=True)


def spread(values: Sequence[float]) -> str:
    """Return the median and the range of milliseconds."""
    return f"{statistics.median(values):.2f} ms ({min(values):.2f} to {max(values):.2f})"


class ChartService:
    """The aggregator and the backend, as a client sees them."""

    def __init__(self, backend: str, aggregator: str) -> None:
        self._backend = httpx.Client(base_url=backend, timeout=60)
        self.aggregator = httpx.Client(base_url=aggregator, timeout=60, headers={"accept-encoding": "identity"})

    def direct(self) -> None:
        """Ask the backend for the window's minutes."""
        self._backend.get("/bars/minute", params=WINDOW).raise_for_status()

    def chart(self, query: Mapping[str, str] = CHART) -> None:
        """Ask the aggregator for a chart."""
        self.aggregator.get(PATH, params=query).raise_for_status()

    def purge(self) -> None:
        """Empty the cache of the symbol."""
        headers = {"authorization": f"Bearer {TOKEN}"}
        self.aggregator.delete("/api/v1/cache/chart-data?symbol=AAPL", headers=headers).raise_for_status()

    def slow_down(self, milliseconds: float) -> None:
        """Let the backend take so much longer."""
        rule = {"path_prefix": "/bars", "latency_ms": milliseconds}
        self._backend.put("/__faults", json={"rules": [rule] if milliseconds else []}).raise_for_status()


def cold_against_direct(charts: ChartService, rounds: int) -> tuple[float, float]:
    """Return the medians of a direct call and of a cold request, measured in turns."""
    direct, cold = [], []
    for _ in range(rounds):
        direct.append(timed(charts.direct))
        charts.purge()
        cold.append(timed(charts.chart))
    return statistics.median(direct), statistics.median(cold)


def measure_requests(charts: ChartService, rounds: int) -> None:
    """Print cold and warm requests beside direct ones."""
    charts.direct()
    charts.chart()
    direct, cold = cold_against_direct(charts, rounds)
    line("direct call, 27,600 minutes of the demo backend", f"{direct:.1f} ms")
    line("cold request, same window, at the demo's pace", f"{cold:.1f} ms")
    figure("cold beside the direct call", cold / direct, "x", goal=1.1)
    charts.slow_down(max(0.0, DEPLOYED_MS - direct))
    direct_slow, cold_slow = cold_against_direct(charts, max(3, rounds // 2))
    charts.slow_down(0)
    line(f"cold request, at the deployed backend's pace ({direct_slow:.0f} ms)", f"{cold_slow:.1f} ms")
    figure("cold beside the direct call, at the deployed backend's pace", cold_slow / direct_slow, "x", goal=1.1)
    charts.chart()
    charts.chart()
    warm = [timed(charts.chart) for _ in range(50)]
    line("warm request, identity", spread(warm))
    took = statistics.median(warm)
    figure("warm, times faster than direct", direct / took, "x", better="higher", goal=50)
    pace = "warm, times faster than direct, at the deployed backend's pace"
    figure(pace, direct_slow / took, "x", better="higher", goal=50)


def measure_year(by_hours: ChartService, by_minutes: ChartService, rounds: int) -> None:
    """Print a cold year of minutes at 2,000 points, made from hours and, where that is turned off, from minutes."""
    took: list[list[float]] = [[], []]
    for _ in range(rounds):
        for charts, times in zip((by_hours, by_minutes), took, strict=True):
            charts.purge()
            times.append(timed(lambda charts=charts: charts.chart(YEAR)))  # type: ignore[misc]
    by_hours.chart(YEAR)
    line("cold year of minutes at 2,000 points, from minutes", spread(took[1]))
    line("the same from hours", spread(took[0]))
    line("warm", spread([timed(lambda: by_hours.chart(YEAR)) for _ in range(50)]))
    hours, minutes = (statistics.median(times) for times in took)
    figure("cold year of minutes at 2,000 points", hours, "ms")
    figure("cold year from hours beside minutes", hours / minutes, "x", goal=0.5)


def wrk(url: str, coding: str, seconds: int) -> float:
    """Return requests per second over 16 connections."""
    command = ["wrk", "-t1", "-c16", f"-d{seconds}s", "-H", f"Accept-Encoding: {coding}", url]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603  built above
    found = re.search(r"Requests/sec:\s+([0-9.]+)", told)
    if found is None or "Non-2xx" in told:
        raise RuntimeError(told)
    return float(found[1])


def measure_throughput(charts: ChartService, base: str, folder: Path, seconds: int) -> None:
    """Print warm requests per second beside nginx serving the same compressed bytes as a file."""
    if shutil.which("wrk") is None:
        line("warm requests per second", "wrk is not installed")
        return
    query = str(httpx.QueryParams(CHART))
    for coding in content_coding.CODINGS:
        headers = {"accept-encoding": coding}
        with charts.aggregator.stream("GET", PATH, params=CHART, headers=headers) as answer:
            (folder / f"chart.{coding}").write_bytes(b"".join(answer.iter_raw()))
    port = free_port()
    (folder / "nginx.conf").write_text(
        f"worker_processes 1; daemon off; pid {folder}/pid; error_log /dev/null; events {{}}\n"
        f"http {{ access_log off; keepalive_requests 1000000; sendfile on; client_body_temp_path {folder}/b;\n"
        f"proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;\n"
        f"uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n"
        f"server {{ listen 127.0.0.1:{port}; root {folder}; }} }}\n"
    )
    command = [find_nginx(), "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    with process(command, f"http://127.0.0.1:{port}/chart.gzip"):
        for coding in content_coding.CODINGS:
            file = wrk(f"http://127.0.0.1:{port}/chart.{coding}", coding, seconds)
            ours = wrk(f"{base}{PATH}?{query}", coding, seconds)
            line(f"warm requests per second, {coding}", f"{ours:.0f} of nginx's {file:.0f}")
            figure(f"warm requests/s beside nginx with a file, {coding}", ours / file, "x", better="higher", goal=0.33)


def minutes() -> Bars:
    """Return the demo's two years of minutes."""
    bars = build_market(42).minutes["AAPL"]
    o, h, low, c = (column / TICKS for column in (bars.o, bars.h, bars.l, bars.c))
    everything = Bars(bars.minute.astype(np.int64) * 60, o, h, low, c, bars.v)
    return everything.take(bars.rth)


def measure_decimation() -> None:
    """Print the time to decimate 100,000 bars."""
    bars = minutes().take(slice(0, 100_000))
    for target in (500, 10_000):
        resample(bars, target, Clock(1))
        times = [timed(lambda target=target: resample(bars, target, Clock(1))) for _ in range(30)]  # type: ignore[misc]
        line(f"decimate 100,000 minutes to {target:,}", spread(times))
        figure(f"decimating 100,000 minutes to {target:,}", statistics.median(times), "ms", goal=5)


def measure_chunks() -> None:
    """Print what chunk sizes cost: the time to put a year of minutes together, by days in a chunk."""
    bars = minutes()
    first = date(2024, 1, 1)
    for days in (1, 7, 31):
        starts = [(first + timedelta(days=n) - date(1970, 1, 1)).days * 86_400 for n in range(0, 366, days)]
        values = chunk_codec.split(bars, [(start, start + days * 86_400) for start in starts], 0)
        times = [timed(lambda values=values: chunk_codec.join(values)) for _ in range(20)]  # type: ignore[misc]
        size = sum(map(len, values)) / len(values)
        line(f"a year of minutes from chunks of {days} days ({size / 1024:.1f} KiB)", spread(times))


def measure_bytes(charts: ChartService) -> None:
    """Print bytes on the wire by format and coding."""
    for form in ("rows", "columns", "points", "arrow"):
        sizes = []
        for coding in (content_coding.IDENTITY, *content_coding.CODINGS):
            query = {**CHART, "format": form}
            with charts.aggregator.stream("GET", PATH, params=query, headers={"accept-encoding": coding}) as answer:
                sizes.append(f"{coding} {sum(map(len, answer.iter_raw())):,}")
        line(f"bytes of {form}", ", ".join(sizes))


def resident(pid: int) -> float:
    """Return a process's resident memory in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def fill_cache(charts: ChartService) -> None:
    """Ask for more than the cache may hold."""
    for symbol in SYMBOLS:
        for rth_only in ("true", "false"):
            for month in range(24):
                begin = date(2024 + month // 12, month % 12 + 1, 1)
                query = {"symbol": symbol, "timeframe": "1M", "rth_only": rth_only, "from": f"{begin}"}
                for _ in range(2):
                    charts.aggregator.get(
                        PATH, params={**query, "to": f"{begin + timedelta(days=30)}"}
                    ).raise_for_status()


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="cold requests that are measured")
    parser.add_argument("--seconds", type=int, default=4, help="how long each load lasts")
    chosen = parser.parse_args()
    backend, port, redis_port = free_port(), free_port(), free_port()
    base = f"http://127.0.0.1:{port}"
    settings = {
        "BFF_PORT": f"{port}",
        "BFF_BACKEND_URL": f"http://127.0.0.1:{backend}",
        "BFF_ADMIN_TOKEN": TOKEN,
        "BFF_LOG_LEVEL": "WARNING",
        "BFF_CHART_TIMEOUT": "30",
    }
    measure_decimation()
    measure_chunks()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        if valkey := find_valkey():
            command = [valkey, "--port", f"{redis_port}", "--save", "", "--dir", str(folder)]
            redis = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603  found above
            stack.callback(redis.wait, 10)
            stack.callback(redis.terminate)
            settings["BFF_REDIS_URL"] = f"redis://127.0.0.1:{redis_port}"
        demo = [sys.executable, "-m", "bff_demo", "--host", "127.0.0.1", "--port", f"{backend}", "--faults"]
        stack.enter_context(process(demo, f"http://127.0.0.1:{backend}/healthz"))
        begun = time.perf_counter()
        service = stack.enter_context(
            process([sys.executable, "-m", "bff_aggregator"], f"{base}/health/live", **settings)
        )
        figure("aggregator ready after", time.perf_counter() - begun, "s", goal=2)
        figure("memory, idle", resident(service.pid), "MB", goal=90)
        charts = ChartService(f"http://127.0.0.1:{backend}", base)
        measure_requests(charts, chosen.rounds)
        second = f"http://127.0.0.1:{(second_port := free_port())}"
        settings |= {"BFF_PORT": f"{second_port}", "BFF_CHART_HOURS": "false"}
        with process([sys.executable, "-m", "bff_aggregator"], f"{second}/health/live", **settings):
            measure_year(charts, ChartService(f"http://127.0.0.1:{backend}", second), chosen.rounds)
        measure_throughput(charts, base, folder, chosen.seconds)
        measure_bytes(charts)
        fill_cache(charts)
        line("memory, cache full (64 MiB of chunks, 32 of answers)", f"{resident(service.pid):.0f} MB")


if __name__ == "__main__":
    main()
