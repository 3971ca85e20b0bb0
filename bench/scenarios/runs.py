"""Measure complete runs beside the four calls that they replace, and how long reading equity holds up the event loop.

Usage: python -m bench.scenarios.runs [--quick]

The backend, Redis and the aggregator are a process each; the client reads every byte and parses none. Cold answers are
made cold by purging the run from the cache. Ratios are of medians from the same minute.
"""

import argparse
import asyncio
import http.client
import json
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
from bench.lib.figures import figure
from bench.lib.processes import free_port
from bench.lib.recorded_backend import PARTS, record
from bench.lib.servers import TOKEN, Client, in_turns, median_ms, memory_mb, server, settings, valkey

from bff_aggregator.backend import equity_reader
from bff_aggregator.backend.part import ASKED, Part, State, skipped_part
from bff_aggregator.http.steps import finish
from bff_aggregator.runs import downsample, encode, revision
from bff_aggregator.runs.encode import Shape
from bff_aggregator.runs.revision import RunBundle

# A backend with one worker that needs 4 s for 50 runs, nearly all of them for the curves.
WORK = {"": 0.002, "/metrics": 0.005, "/equity": 0.065, "/orders": 0.008}
# Seconds that the deployed backend was seen to take; of the curve's 324 ms some are the way of its 4.4 MB.
PACE = {"": 0.005, "/metrics": 0.005, "/equity": 0.318, "/orders": 0.03}
LATE = 1000


def one_run(backend: Client, aggregator: Client, run: str, times: int) -> None:
    """Print how a complete run compares with its four calls."""
    direct = [f"/backtests/{run}{part}" for part in PARTS]
    complete = f"/api/v1/runs/{run}/complete"

    def purge() -> None:
        aggregator.ask(f"/api/v1/cache/runs?run_id={run}", "DELETE", authorization=f"Bearer {TOKEN}")

    points = len(json.loads(backend.ask(direct[2])[1])["equity"])
    sequence = median_ms(times, lambda: [backend.ask(path) for path in direct])
    parallel = median_ms(times, lambda: backend.all(direct))
    slowest = max(median_ms(times, lambda path=path: backend.ask(path)) for path in direct)  # type: ignore[misc]
    cold = median_ms(times, lambda: aggregator.ask(complete), purge)
    etag = aggregator.ask(complete)[2]["etag"]
    warm = median_ms(times * 10, lambda: aggregator.ask(complete))
    known = median_ms(times * 10, lambda: aggregator.ask(complete, if_none_match=etag))
    print(f"{points:,} points of equity")
    print(f"  four calls: in sequence {sequence:.0f} ms, in parallel {parallel:.0f} ms, slowest alone {slowest:.0f} ms")
    print(f"  complete, cold: {cold:.0f} ms = {cold / slowest:.2f} x slowest, {cold / parallel:.2f} x parallel")
    figure(f"complete with {points:,} points, cold, beside its slowest part", cold / slowest, "x", goal=1.1)
    figure(f"complete with {points:,} points, warm", warm, "ms", goal=10)
    figure(
        f"complete with {points:,} points, warm, times faster than four calls", sequence / warm, "x", better="higher"
    )
    print(f"  complete, warm: {warm:.2f} ms ({sequence / warm:.0f} times faster than in sequence); 304: {known:.2f} ms")


def at_the_backends_pace(backend: Client, redis_url: str, run: str, times: int) -> None:
    """Print how a complete run compares with its calls where each takes the time that it was seen to take."""
    ports = free_port(), free_port()
    with TemporaryDirectory() as folder:
        copy = record(backend, run, Path(folder), PACE)[0]
        with (
            server("bench.lib.recorded_backend", ports[0], str(ports[0]), folder),
            server("bff_aggregator", ports[1], **settings(ports[1], ports[0], redis_url)),
        ):
            print("recorded answers after", ", ".join(f"{1e3 * t:.0f} ms {p or 'detail'}" for p, t in PACE.items()))
            one_run(Client(ports[0]), Client(ports[1]), copy, times)


def one_late_part(backend: Client, aggregator: Client, run: str) -> None:
    """Print what one part that is a second late costs."""
    for part in ("metrics", "equity"):
        backend.ask("/__faults", "PUT", {"path_pattern": f"{run}/{part}$", "latency_ms": LATE})
        direct = median_ms(1, lambda: backend.all([f"/backtests/{run}{part}" for part in PARTS]))
        for timeout in ("1.5", "0.5"):
            aggregator.ask(f"/api/v1/cache/runs?run_id={run}", "DELETE", authorization=f"Bearer {TOKEN}")
            begun = time.perf_counter()
            answer = json.loads(aggregator.ask(f"/api/v1/runs/{run}/complete", x_request_timeout=timeout)[1])
            taken = (time.perf_counter() - begun) * 1000
            states = {name: told["state"] for name, told in answer["metadata"]["parts"].items()}
            print(f"{part} {LATE} ms late, deadline {timeout} s: {taken:.0f} ms (direct {direct:.0f} ms), {states}")
            time.sleep(LATE / 1000)
    backend.ask("/__faults", "DELETE")


def the_list(backend: Client, aggregator: Client, times: int) -> None:
    """Print how the list with key metrics compares with the plain one."""
    plain, ours = "/backtests?limit=20", "/api/v1/runs?limit=20"
    users = iter(range(1_000_000))

    def settled(user: int) -> None:
        """Wait until nothing is asked for in the background any more."""
        while json.loads(aggregator.ask(ours, authorization=f"Bearer {user}")[1])["metadata"]["metrics_pending"]:
            time.sleep(0.05)
        time.sleep(1.05)

    def new_user() -> Any:
        return aggregator.ask(ours, authorization=f"Bearer {next(users) + 1}")

    print("the list of runs with key metrics beside the plain one, by the time since it was asked for last:")
    for name, ask, before, count in (
        ("under a second", lambda: aggregator.ask(ours, authorization="Bearer 0"), lambda: None, 20 * times),
        ("over a second", lambda: aggregator.ask(ours, authorization="Bearer 0"), lambda: time.sleep(1.05), 2 * times),
        ("never by this user", new_user, lambda: settled(0), 2 * times),
    ):
        settled(0)
        alone, taken = in_turns(count, [lambda: backend.ask(plain), ask], before)
        middles = statistics.median(taken), statistics.median(alone)
        print(
            f"  {name}: "
            + ", ".join(
                f"{what} {ours_ms:.1f} ms against {plain_ms:.1f} ms = {ours_ms / plain_ms:.2f}"
                for what, ours_ms, plain_ms in (("median", *middles), ("fastest", taken[0], alone[0]))
            )
        )


def bytes_on_the_wire(backend: Client, aggregator: Client, run: str) -> None:
    """Print sizes per format and coding."""
    direct = sum(len(content) for _, content, _ in backend.all([f"/backtests/{run}{part}" for part in PARTS]))
    print(f"four calls {direct:,} bytes")
    for query in ("", "?format=columns", "?equity_points=0", "?equity_points=0&format=columns"):
        plain = len(aggregator.ask(f"/api/v1/runs/{run}/complete{query}")[1])
        packed = len(aggregator.ask(f"/api/v1/runs/{run}/complete{query}", accept_encoding="gzip")[1])
        print(f"  complete{query}: {plain:,}, gzip {packed:,} ({direct / packed:.0f} times less)")


def many_runs(backend: Client, aggregator: Client, process: subprocess.Popen[bytes], count: int) -> None:
    """Print how many different runs at once fare, and the memory that they take."""
    runs = []
    for number in range(count):
        inputs = {
            "strategy_id": "sma_crossover",
            "symbol": "SPY",
            "year": 2024,
            "params": {"fast": 5, "slow": 20 + number},
        }
        window = {"from": "2024-03-01", "to": "2024-05-31"}
        runs.append(json.loads(backend.ask("/backtests", "POST", {**inputs, **window})[1])["run_id"])
    while json.loads(backend.ask(f"/backtests/{runs[-1]}")[1])["status"] != "DONE":
        time.sleep(0.1)
    idle = memory_mb(process)
    direct = median_ms(1, lambda: backend.all([f"/backtests/{run}{part}" for run in runs for part in PARTS]))
    for name in ("cold", "again"):
        begun = time.perf_counter()
        found = aggregator.all([f"/api/v1/runs/{run}/complete" for run in runs])
        taken = (time.perf_counter() - begun) * 1000
        kinds = Counter(kind_of(status, content) for status, content, _ in found)
        print(f"{count} runs at once, {name}: {taken:.0f} ms, {dict(kinds)} (direct calls: {direct:.0f} ms)")
        time.sleep(10 if name == "cold" else 0)
    most = memory_mb(process, "VmHWM")
    figure("memory at most, with many runs", most, "MB")
    print(f"memory of the aggregator: {idle:.0f} MB before, {memory_mb(process):.0f} MB after, {most:.0f} MB at most")


def many_at_a_slow_backend(backend: Client, redis_url: str, run: str, count: int) -> None:
    """Print which parts come in time when far more runs are asked for at once than the backend can give."""
    ports = free_port(), free_port()
    with TemporaryDirectory() as folder:
        runs = record(backend, run, Path(folder), WORK, count)
        with (
            server("bench.lib.recorded_backend", ports[0], str(ports[0]), folder, "1"),
            server("bff_aggregator", ports[1], **settings(ports[1], ports[0], redis_url)),
        ):
            client = Client(ports[1])
            print(f"{count} runs at once, of a backend that needs {count * sum(WORK.values()):.1f} s for them:")
            for name in ("cold", "again"):
                begun = time.perf_counter()
                found = client.all([f"/api/v1/runs/{run}/complete" for run in runs])
                taken = (time.perf_counter() - begun) * 1000
                told = [json.loads(content)["metadata"]["parts"] for status, content, _ in found if status == 200]
                parts = {name: Counter(each[name]["state"] for each in told) for name in ("run", *ASKED)}
                failed = Counter(status for status, *_ in found if status != 200)
                print(
                    f"  {name}: {taken:.0f} ms,", {part: dict(states) for part, states in parts.items()}, dict(failed)
                )
                time.sleep(6 if name == "cold" else 0)


def kind_of(status: int, content: bytes) -> str:
    """Name what became of an answer."""
    if status != http.client.OK:
        return str(status)
    return "partial" if json.loads(content)["metadata"]["partial_data"] else "whole"


async def largest_gap(work: Callable[[], Any]) -> tuple[float, float]:
    """Return the milliseconds that a loop beating every millisecond stood still at most while `work` ran beside it."""
    done = False
    gaps: list[float] = []

    async def beat() -> None:
        before = time.perf_counter()
        while not done:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            gaps.append((now - before) * 1000 - 1)
            before = now

    heart = asyncio.create_task(beat())
    await asyncio.sleep(0.01)
    begun = time.perf_counter()
    result = work()
    if asyncio.iscoroutine(result):
        await result
    taken = (time.perf_counter() - begun) * 1000
    await asyncio.sleep(0.01)
    done = True
    await heart
    return max(gaps), taken


def read_whole(text: bytes) -> None:
    """Read, thin out and encode a curve, as one answer does."""
    curve, _ = equity_reader.parse_curve(text)
    part = Part("equity", State.OK, curve, count=len(curve))
    rest = {name: skipped_part(name) for name in ("metrics", "orders")}
    sighting = revision.take_snapshot({"run_id": "r", "status": "DONE"}, None, 0.0)
    finish(encode.encode_sections(RunBundle(sighting, {**rest, "equity": part}), Shape()))


def hold_ups(text: bytes, times: int) -> None:
    """Print how long the loop stands still for a year of minutes, by ways to read it."""
    ways: dict[str, Callable[[], Any]] = {
        "orjson in the loop": lambda: orjson.loads(text),
        "orjson in a thread": lambda: asyncio.to_thread(orjson.loads, text),
        "columns in the loop": lambda: read_whole(text),
        "columns in a thread (ours)": lambda: asyncio.to_thread(read_whole, text),
    }
    print(f"equity of {len(text):,} bytes; the last two include thinning out and encoding")
    for name, way in ways.items():
        found = [asyncio.run(largest_gap(way)) for _ in range(times)]
        gap, taken = (statistics.median(values) for values in zip(*found, strict=True))
        worst = max(found)[0]
        print(f"  {name}: {taken:.0f} ms, the loop stood still for {gap:.1f} ms (worst of {times}: {worst:.1f})")
    curve, _ = equity_reader.parse_curve(text)
    thin = median_ms(times, lambda: downsample.downsample(curve, 2000))
    print(f"  decimating {len(curve):,} points to 2,000: {thin:.2f} ms")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    times = 3 if parser.parse_args().quick else 7
    ports = free_port(), free_port()
    demo = ("--host", "127.0.0.1", "--port", str(ports[0]), "--faults")
    with (
        valkey() as redis_url,
        server("bff_demo", ports[0], *demo),
        server("bff_aggregator", ports[1], **settings(ports[1], ports[0], redis_url)) as process,
    ):
        backend, aggregator = Client(ports[0]), Client(ports[1])
        items = json.loads(backend.ask("/backtests?limit=100")[1])["items"]
        windows = {(item["symbol"], item["run_from"], item["run_to"]): item["run_id"] for item in items}
        months, year = windows["TSLA", "2025-01-01", "2025-09-17"], windows["NVDA", "2024-01-01", "2024-12-31"]
        short = windows["SPY", "2024-06-01", "2024-06-30"]
        at_the_backends_pace(backend, redis_url, months, times)
        print("the demo backend")
        for run in (months, year):
            one_run(backend, aggregator, run, times)
        the_list(backend, aggregator, times)
        one_late_part(backend, aggregator, months)
        bytes_on_the_wire(backend, aggregator, months)
        many_at_a_slow_backend(backend, redis_url, short, 50)
        many_runs(backend, aggregator, process, 50)
        text = backend.ask(f"/backtests/{year}/equity")[1]
    hold_ups(text, times)


if __name__ == "__main__":
    main()
