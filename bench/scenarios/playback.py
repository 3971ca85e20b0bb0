"""Measure playback: cost and memory of a viewer, evenness of the pace, a year, seeks, one slow viewer.

Usage: python -m bench.scenarios.playback [--seconds 20] [--viewers 1000] [--quick]

The demo backend, the relay and the viewers are a process each. The viewers speak just enough WebSocket to count frames,
so that the relay's core is the one that is measured: CPU is that of its process alone, over the frames it sent
meanwhile. Beside it, in the same run, stand a FastAPI app on uvicorn and `broadcast` of the websockets library, which
send one ready-made frame of the same size.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import uvloop
from bench.lib.figures import figure
from bench.lib.processes import cpu_seconds, free_port
from bench.lib.viewers import HANDSHAKE, PAYLOAD, Viewer, close, connect, until

YEAR = ("2024-01-01", "2024-12-31")
ADMIN_TOKEN = "bench-admin"  # noqa: S105  of the relay that is measured
FASTAPI = """
import asyncio, sys, uvicorn
from fastapi import FastAPI, WebSocket
app = FastAPI()
@app.websocket("/")
async def stream(ws: WebSocket):
    await ws.accept()
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        await ws.send_text(sys.argv[2])
        due += 1 / 30
        await asyncio.sleep(max(0, due - loop.time()))
uvicorn.run(app, port=int(sys.argv[1]), ws="websockets-sansio", ws_per_message_deflate=False, log_level="critical")
"""
BROADCAST = """
import asyncio, sys
from websockets.asyncio.server import broadcast, serve
async def main():
    async with serve(lambda ws: ws.wait_closed(), "127.0.0.1", int(sys.argv[1]), compression=None) as server:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            broadcast(server.connections, sys.argv[2])
            due += 1 / 30
            await asyncio.sleep(max(0, due - loop.time()))
asyncio.run(main())
"""


class Process:
    """A process that is measured."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port

    @property
    def cpu(self) -> float:
        """Seconds of CPU used so far."""
        return cpu_seconds(self.process.pid)

    @property
    def descriptors(self) -> int:
        """Open file descriptors."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    @property
    def resident(self) -> float:
        """Resident memory in KiB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return float(next(line for line in lines if line.startswith("VmRSS")).split()[1])


@contextlib.contextmanager
def running(arguments: Callable[[int], Sequence[str]], **environment: str) -> Iterator[Process]:
    """Run a Python process that listens on the port it is given."""
    port = free_port()
    environment = {**os.environ, "BFF_PORT": str(port), "BFF_LOG_LEVEL": "WARNING", **environment}
    process = subprocess.Popen([sys.executable, *arguments(port)], env=environment, stdout=subprocess.DEVNULL)  # noqa: S603  our own programs
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{arguments(port)[:3]} did not start") from None
                time.sleep(0.05)
        yield Process(process, port)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def cost(server: Process, paths: Sequence[str], seconds: float) -> tuple[float, float, float, list[Viewer]]:
    """Return µs of CPU per frame, frames a second per viewer, KiB of memory per viewer, and the viewers."""
    before = server.resident
    viewers = []
    for path in paths:
        viewers.append(await connect(server.port, path))
        if len(viewers) % 50 == 0:
            await asyncio.sleep(0.02)
    await until(lambda: all(viewer.frames for viewer in viewers))
    await asyncio.sleep(2)
    cpu, frames, begun = server.cpu, sum(viewer.frames for viewer in viewers), time.perf_counter()
    await asyncio.sleep(seconds)
    count, spent = sum(viewer.frames for viewer in viewers) - frames, time.perf_counter() - begun
    used = server.cpu - cpu
    memory = (server.resident - before) / len(viewers)
    return used / count * 1e6, count / spent / len(viewers), memory, viewers


def gaps(viewers: Sequence[Viewer]) -> list[float]:
    """Return all gaps between two frames in ms, sorted."""
    return sorted(
        1000 * (late - early) for viewer in viewers for early, late in zip(viewer.times, viewer.times[1:], strict=False)
    )


def share(values: Sequence[float], part: float) -> float:
    """Return a quantile of sorted values."""
    return values[min(len(values) - 1, int(part * len(values)))]


def report(name: str, value: str) -> None:
    """Print a line."""
    print(f"{name:<62} {value}", flush=True)


async def read_whole(relay: Process, run: str) -> tuple[float, int]:
    """Have the relay read a run; return the seconds to the first frame and the number of frames."""
    begun = time.perf_counter()
    viewer = await connect(relay.port, f"/api/v1/runs/{run}/stream?speed=3600&autoplay=1", keep=True)
    await until(lambda: viewer.frames)
    first = time.perf_counter() - begun
    await until(lambda: viewer.messages[-1]["t"] == "end" or {"t": "end"} in viewer.messages, 180)
    close([viewer])
    return first, sum(message["n"] for message in viewer.messages if message["t"] == "frame")


async def latencies(relay: Process, run: str, frames: int, rounds: int = 50) -> None:
    """Measure the first frame of a run that is in the log, and seeks."""
    starts = []
    for _ in range(rounds):
        begun = time.perf_counter()
        viewer = await connect(relay.port, f"/api/v1/runs/{run}/stream?autoplay=1", keep=True)
        await until(lambda viewer=viewer: viewer.frames)  # type: ignore[misc]  # mypy cannot infer a bound default
        starts.append(1000 * (viewer.times[0] - begun))
        close([viewer])
    report("first frame of a run in the log, from connect (p50, max)", _spread(starts))
    figure("first frame of a run in the log", statistics.median(starts), "ms", goal=50)
    viewer = await connect(relay.port, f"/api/v1/runs/{run}/stream?speed=1&autoplay=1", keep=True)
    await until(lambda: viewer.frames)
    seeks, draw = [], random.Random(1)  # noqa: S311  positions of a benchmark
    for _ in range(rounds):
        target = draw.randrange(frames)
        begun = time.perf_counter()
        viewer.say(cmd="seek", pos=target)
        await until(lambda target=target: any(m.get("seq") == target for m in viewer.messages[-4:]))  # type: ignore[misc]  # as above
        seeks.append(1000 * (time.perf_counter() - begun))
    close([viewer])
    report("seek to its first frame, playing (p50, max)", _spread(seeks))
    figure("seek to its first frame", statistics.median(seeks), "ms", goal=50)


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} ms, {max(values):.1f} ms"


async def year(relay: Process, run: str) -> None:
    """Play a year at speed 60."""
    viewer = await connect(relay.port, f"/api/v1/runs/{run}/stream?speed=60&autoplay=1", keep=True)
    begun = time.perf_counter()
    await until(lambda: viewer.messages and viewer.messages[-1] == {"t": "end"}, 120)
    spent, frames = time.perf_counter() - begun, [m for m in viewer.messages if m["t"] == "frame"]
    total = sum(frame["n"] for frame in frames)
    rate = (len(frames) - 1) / (viewer.times[-1] - viewer.times[0])
    close([viewer])
    report(f"a year ({total} frames) at speed 60", f"{spent:.2f} s, {rate:.2f} frames/s, seq {frames[-1]['seq']}")


async def pace(relay: Process, run: str, seconds: float, *, slow: bool) -> None:
    """Measure the evenness of 200 viewers' frames, with one more that reads 1 kB/s or without."""
    viewers = []
    for _ in range(200):
        viewers.append(await connect(relay.port, f"/api/v1/runs/{run}/stream?speed=1&autoplay=1"))
        await asyncio.sleep(0.005)
    reader = asyncio.create_task(asyncio.to_thread(_read_slowly, relay.port, run, seconds)) if slow else None
    await asyncio.sleep(1)
    for viewer in viewers:
        viewer.times.clear()
    begun = time.perf_counter()
    await asyncio.sleep(seconds)
    spent = time.perf_counter() - begun
    rates = [len(viewer.times) / spent for viewer in viewers]
    between = gaps(viewers)
    close(viewers)
    name = "200 viewers and one at 1 kB/s" if slow else "200 viewers"
    report(f"{name}: frames/s of a viewer (min, max)", f"{min(rates):.2f}, {max(rates):.2f}")
    figures = f"{share(between, 0.5):.1f}, {share(between, 0.99):.1f}, {between[-1]:.1f} ms"
    report(f"{name}: gap between frames (p50, p99, max)", figures)
    figure(f"{name}: gap between frames, p99", share(between, 0.99), "ms", goal=33.3 + 5)
    if reader is not None:
        frames, dropped, covered, seq = await reader
        exact = "exact" if covered == seq + 1 else f"{covered - seq - 1:+d}"
        report("the slow viewer: frames, dropped, sum of n against seq + 1", f"{frames}, {dropped}, {exact}")


def _read_slowly(port: int, run: str, seconds: float) -> tuple[int, int, int, int]:
    """Read a stream at 1 kB/s; return frames, dropped, sum of n and the last seq."""
    viewer = Viewer("", keep=True)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.connect(("127.0.0.1", port))
        path = f"/api/v1/runs/{run}/stream?speed=60&autoplay=1"
        connection.sendall(HANDSHAKE.format(path=path, host="127.0.0.1").encode())
        until_then = time.monotonic() + seconds + 2
        while time.monotonic() < until_then:
            viewer.data_received(connection.recv(100))
            time.sleep(0.1)
        until_then += 10  # what it was spared is told by a frame that is still on its way: read on, faster
        while time.monotonic() < until_then and not any(message.get("dropped") for message in viewer.messages):
            viewer.data_received(connection.recv(65_536))
    frames = [message for message in viewer.messages if message["t"] == "frame"]
    return len(frames), frames[-1]["dropped"], sum(frame["n"] for frame in frames), frames[-1]["seq"]


async def crowd(relay: Process, run: str, frames: int, count: int, seconds: float) -> None:
    """Measure the cost of many viewers: all at about one place, and each at a place of its own."""
    draw = random.Random(2)  # noqa: S311  positions of a benchmark
    base = f"/api/v1/runs/{run}/stream?speed=1&autoplay=1"
    places = [draw.randrange(frames // 2) for _ in range(count)]
    for name, paths in (("together", [base] * count), ("apart", [f"{base}&seq={place}" for place in places])):
        cpu, rate, memory, viewers = await cost(relay, paths, seconds)
        between = gaps(viewers)
        close(viewers)
        await asyncio.sleep(1)
        figures = f"{cpu:.1f} µs a frame, {rate:.2f} frames/s each, {memory:.0f} KiB a viewer"
        report(f"relay, {count} viewers {name}", f"{figures}, gap p99 {share(between, 0.99):.1f} ms")
        figure(f"CPU per frame, {count} viewers {name}", cpu, "µs", goal=25)
        figure(f"memory per viewer, {count} {name}", memory, "KiB", goal=64)


async def churn(relay: Process, run: str, count: int) -> None:
    """Let viewers come and go, every other one without a word; print what stays behind after the first thousand."""

    async def come_and_go(number: int) -> None:
        viewer = await connect(relay.port, f"/api/v1/runs/{run}/stream?autoplay=1")
        await until(lambda: viewer.frames)
        assert viewer.transport is not None  # noqa: S101  connected
        if number % 2:
            viewer.transport.write(bytes((0x88, 0x80, 0, 0, 0, 0)))
            await until(lambda: viewer.transport is None or viewer.transport.is_closing(), 5)
        viewer.transport.abort()

    async def batch(size: int) -> tuple[int, float]:
        for start in range(0, size, 50):
            await asyncio.gather(*(come_and_go(number) for number in range(start, start + 50)))
        await asyncio.sleep(7)
        return relay.descriptors, relay.resident

    sockets, memory = await batch(1000)
    sockets_after, memory_after = await batch(count)
    address = f"http://127.0.0.1:{relay.port}/api/v1/streams"
    left = (await asyncio.to_thread(_fetch, address, {"Authorization": f"Bearer {ADMIN_TOKEN}"}))["viewers"]
    figures = f"{left} viewers, {sockets_after - sockets:+d} descriptors, {memory_after - memory:+.0f} KiB"
    report(f"left after {count} connects and disconnects", figures)


async def peers(count: int, seconds: float) -> None:
    """Measure bare servers at the same load."""
    for name, program in (("FastAPI on uvicorn, send", FASTAPI), ("websockets, broadcast", BROADCAST)):
        with running(lambda port, program=program: ["-c", program, str(port), PAYLOAD]) as server:  # type: ignore[misc]  # as above
            cpu, rate, memory, viewers = await cost(server, ["/"] * count, seconds)
            close(viewers)
        figure(f"CPU per frame of {name}, {count} viewers", cpu, "µs")
        report(f"{name}, {count} viewers", f"{cpu:.1f} µs a frame, {rate:.2f} frames/s each, {memory:.0f} KiB a viewer")


def _fetch(address: str, headers: Mapping[str, str] | None = None) -> Any:
    request = urllib.request.Request(address, headers=dict(headers or {}))  # noqa: S310  our own services
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  likewise
        return json.load(answer)


async def measure(options: argparse.Namespace) -> None:
    """Make all measurements, one after the other."""
    with running(lambda port: ["-m", "bff_demo", "--port", str(port)]) as demo:
        address = f"http://127.0.0.1:{demo.port}"
        items = (await asyncio.to_thread(_fetch, f"{address}/backtests?limit=100"))["items"]
        run = next(item["run_id"] for item in items if (item["run_from"], item["run_to"]) == YEAR)
        limits = {"BFF_STREAM_MAX_PER_CLIENT": "20000", "BFF_STREAM_MAX_CONNECTIONS": "20000"}
        limits |= {"BFF_STREAM_HANDSHAKES_PER_CLIENT": "20000", "BFF_ADMIN_TOKEN": ADMIN_TOKEN}
        with running(lambda _: ["-m", "bff_wsrelay"], BFF_BACKEND_URL=address, **limits) as relay:
            first, frames = await read_whole(relay, run)
            report(f"first frame of a run of {frames} that nobody has read", f"{1000 * first:.0f} ms")
            await latencies(relay, run, frames)
            await pace(relay, run, options.seconds, slow=False)
            await pace(relay, run, options.seconds, slow=True)
            await crowd(relay, run, frames, options.viewers, options.seconds)
            if not options.quick:
                await year(relay, run)
                await churn(relay, run, 10_000)
    await peers(options.viewers, min(options.seconds, 10))


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="length of each measurement")
    parser.add_argument("--viewers", type=int, default=1000, help="size of the crowd")
    parser.add_argument("--quick", action="store_true", help="leave out the year")
    uvloop.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
