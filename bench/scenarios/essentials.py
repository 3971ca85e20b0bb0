"""Measure what a reader asks first: a cold and a warm chart, a cold and a warm run, a proxied request, a frame.

Usage: python -m bench.scenarios.essentials [--rounds 10] [--viewers 200]

With `BEFORE=../other-checkout` in the environment its services are measured as well, by this checkout's code, in turns
with this one's, before the same backend; each figure then has the ratio of now to before, the median over pairs of
rounds. CPU is the service's own, which says more than time on a machine that does other things as well.
"""

import argparse
import asyncio
import json
import os
from collections.abc import Sequence

import uvloop
from bench.lib.processes import cpu_seconds, free_port, serving
from bench.lib.servers import Client, server, valkey
from bench.lib.sides import NOW, Service, Side, again_and_again, before, in_turns, one_by_one, purge, report, services
from bench.lib.viewers import Viewer, close, connect, until

CHART = "/api/v1/chart-data?symbol=AAPL&timeframe=1M&from=2024-01-01&to=2024-12-31&target=2000"
WINDOW = ("2024-01-01", "2024-12-31")
CONNECTIONS = 16
FRAMES_SECONDS = 4.0


def charts_and_runs(sides: Sequence[Side], backend: int, run: str, rounds: int) -> None:
    """Measure the aggregator."""
    complete = f"/api/v1/runs/{run}/complete"
    parts = (
        ("chart of a year", CHART, "/api/v1/cache/chart-data?symbol=AAPL"),
        ("run of a year", complete, f"/api/v1/cache/runs?run_id={run}"),
    )
    with services("bff_aggregator", sides, backend, valkey) as found:
        for name, path, cache in parts:
            for service in found:
                one_by_one("warm-up", service, path)
            for service in in_turns(found, rounds):
                purge(service, cache)
                one_by_one(f"cold {name}", service, path)
                again_and_again(f"warm {name}", service, path, 1, 0.5)
            report(f"a cold {name}", f"cold {name}", found)
            report(f"a warm {name}", f"warm {name}", found)


def forwarding(sides: Sequence[Side], rounds: int) -> None:
    """Measure the proxy, before a backend that only sends 20 kB."""
    with serving("bench.lib.json_backend") as (base, _):
        backend = int(base.rpartition(":")[2])
        with services("bff_proxy", sides, backend, None) as found:
            for service in in_turns(found, rounds):
                again_and_again("proxied", service, "/api/v1/backtests", CONNECTIONS, 1.0)
            report("a proxied request of 20 kB, 16 at a time", "proxied", found)


async def read_whole(service: Service, run: str) -> None:
    """Have the relay read a run to its end, so that nothing but frames costs anything while they are measured."""
    viewer = await connect(service.port, f"/api/v1/runs/{run}/stream?speed=3600&autoplay=1", keep=True)
    await until(lambda: {"t": "end"} in viewer.messages[-2:])
    close([viewer])


async def play(service: Service, run: str, viewers: int) -> None:
    """Let so many watch a run, and keep the CPU of each frame."""
    path = f"/api/v1/runs/{run}/stream?speed=1&autoplay=1"
    watching: list[Viewer] = []
    for number in range(viewers):
        watching.append(await connect(service.port, path))
        if number % 50 == 49:
            await asyncio.sleep(0.02)
    await until(lambda: all(viewer.frames for viewer in watching))
    await asyncio.sleep(1)
    cpu, frames = cpu_seconds(service.process.pid), sum(viewer.frames for viewer in watching)
    await asyncio.sleep(FRAMES_SECONDS)
    cpu, frames = cpu_seconds(service.process.pid) - cpu, sum(viewer.frames for viewer in watching) - frames
    close(watching)
    await asyncio.sleep(0.3)
    service.keep("frame", FRAMES_SECONDS * viewers / frames, cpu / frames)


def playback(sides: Sequence[Side], backend: int, run: str, rounds: int, viewers: int) -> None:
    """Measure the relay."""
    with services("bff_wsrelay", sides, backend, None) as found:
        for service in found:
            uvloop.run(read_whole(service, run))
        for service in in_turns(found, rounds):
            uvloop.run(play(service, run, viewers))
        report(f"a frame to one of {viewers} viewers", "frame", found, unit="µs", times=1000)


def main() -> None:
    """Start the demo backend and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--viewers", type=int, default=200)
    chosen = parser.parse_args()
    other = os.environ.get("BEFORE")
    sides = [NOW, before(other)] if other else [NOW]
    port = free_port()
    forwarding(sides, chosen.rounds)
    with server("bff_demo", port, "--host", "127.0.0.1", "--port", str(port)):
        items = json.loads(Client(port).ask("/backtests?limit=100")[1])["items"]
        run = next(item["run_id"] for item in items if (item["run_from"], item["run_to"]) == WINDOW)
        charts_and_runs(sides, port, run, chosen.rounds)
        playback(sides, port, run, max(2, chosen.rounds // 3), chosen.viewers)


if __name__ == "__main__":
    main()
