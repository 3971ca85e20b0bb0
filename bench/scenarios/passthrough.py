"""Measure the relay's passthrough beside a direct connection to the same backend, in one run, over loopback.

Usage: python -m bench.scenarios.passthrough [--seconds 5] [--viewers 100] [--rounds 3]

A stand-in for the backend and the relay run as processes of their own; this process is the viewers. In turn, direct,
through a bare pipe of bytes in Python, which is what one more process costs at least, and through the relay:

    echo      one message there and back, one after the other: round trip p50 and p99
    frames    30 frames a second to each of the viewers, stamped when sent: p50 and p99 until they arrive
    burst     a year of frames (96,000 of about 215 bytes) as fast as they go: messages/s, MB/s, CPU of the relay each

The bytes of a burst are compared: through the relay they are the same. Each figure is the median of the rounds.
"""

import argparse
import asyncio
import contextlib
import hashlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, cast

from bench.lib.figures import figure
from bench.lib.processes import cpu_seconds, free_port
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

COUNT = 96_000
RATE = 30
SETTLE = 1.0  # seconds
PIECE = 300  # frames written at once in a burst
KEY = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
TICKS = os.sysconf("SC_CLK_TCK")


class Place(NamedTuple):
    """Where viewers connect: `host:port` and the path before `/backtests`."""

    port: int
    prefix: str

    def url(self, mode: str) -> str:
        """Return the address of a run that behaves in this way."""
        return f"ws://127.0.0.1:{self.port}{self.prefix}/backtests/run/ws?{mode}"


class Delays(NamedTuple):
    """Delays of frames in milliseconds, and the CPU of the relay for each in microseconds."""

    values: list[float]
    cpu: float


class Burst(NamedTuple):
    """One burst: seconds from the first byte to the last, its size and digest, CPU seconds of the relay."""

    seconds: float
    size: int
    digest: str
    cpu: float


def frame_text(number: int) -> str:
    """Return a frame as the deployed backend writes it."""
    ts = f"{datetime(2025, 1, 2, 14, 30, tzinfo=UTC) + timedelta(minutes=number):%Y-%m-%dT%H:%M:%SZ}"
    ohlc = f'{{"o": 390.37, "h": 392.77, "l": 388.5, "c": 389.27, "v": {100_000 + number}}}'
    equity = f'{{"ts": "{ts}", "value": {100_000 + number / 100:.2f}}}'
    return f'{{"t": "frame", "ts": "{ts}", "ohlc": {ohlc}, "orders": [], "equity": {equity}, "dropped": 0}}'


def encoded(text: str) -> bytes:
    """Return an unmasked text frame (RFC 6455 section 5.2)."""
    payload = text.encode()
    head = bytes([0x81, len(payload)]) if len(payload) < 126 else b"\x81\x7e" + len(payload).to_bytes(2, "big")
    return head + payload


async def backend() -> None:
    """Be the backend until standard input ends."""
    frames = [encoded(frame_text(number)) for number in range(COUNT)]
    pieces = [b"".join(frames[start : start + PIECE]) for start in range(0, COUNT, PIECE)]

    async def script(connection: ServerConnection) -> None:
        mode = connection.request.path.rpartition("?")[2] if connection.request else ""
        with contextlib.suppress(Exception):  # the viewer left, which is how every mode ends
            await {"echo": _echo, "frames": _tick}.get(mode, _burst)(connection)

    async def _burst(connection: ServerConnection) -> None:
        for piece in pieces:
            connection.transport.write(piece)
            await connection.drain()
        await connection.wait_closed()

    async with serve(script, "127.0.0.1", 0, compression=None) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)


class Pipe(asyncio.Protocol):
    """One direction of a bare pass-through: bytes go to the other side as they come."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: asyncio.Transport | None = None
        self._early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand bytes on."""
        if self.other is None:
            self._early += data
        else:
            self.other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the other side along."""
        del exc
        if self.other is not None:
            self.other.abort()

    def join(self, other: "Pipe") -> None:
        """Hand on to another side, first what came early."""
        self.other = other.transport
        if self.other is not None and self._early:
            self.other.write(self._early)


async def pipe(port: int) -> None:
    """Be a bare pass-through to a port until standard input ends."""
    loop = asyncio.get_running_loop()
    joining: set[asyncio.Task[None]] = set()

    async def join(viewer: Pipe) -> None:
        _, behind = await loop.create_connection(Pipe, "127.0.0.1", port)
        viewer.join(behind)
        behind.join(viewer)

    class Viewer(Pipe):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            task = loop.create_task(join(self))
            joining.add(task)
            task.add_done_callback(joining.discard)

    server = await loop.create_server(Viewer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def _echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def _tick(connection: ServerConnection) -> None:
    due, number = time.monotonic(), 0
    while True:
        await connection.send(f'{frame_text(number)[:-1]}, "sent": {time.monotonic_ns()}}}')
        number += 1
        due += 1 / RATE
        await asyncio.sleep(max(0.0, due - time.monotonic()))


@contextlib.asynccontextmanager
async def process(arguments: Sequence[str], **environment: str) -> AsyncIterator[subprocess.Popen[str]]:
    """Run a process of this project until the context ends."""
    child = subprocess.Popen(  # noqa: ASYNC220, S603  before anything is measured; our own interpreter
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | environment,
    )
    try:
        yield child
    finally:
        child.terminate()
        child.wait(20)


def viewer(url: str) -> connect:
    """Open a viewer's connection."""
    return connect(url, compression=None, proxy=None, max_size=None)


async def wait_until_open(place: Place) -> None:
    """Wait until a conversation works."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(OSError):
                async with viewer(place.url("echo")) as connection:
                    await connection.send("ready?")
                    await connection.recv()
                    return
            await asyncio.sleep(0.05)


async def measure_echo(place: Place, seconds: float) -> list[float]:
    """Return round trips in milliseconds."""
    trips: list[float] = []
    async with viewer(place.url("echo")) as connection:
        until = time.perf_counter() + seconds
        while (begun := time.perf_counter()) < until:
            await connection.send("x" * 60)
            await connection.recv()
            trips.append((time.perf_counter() - begun) * 1000)
    return trips


async def measure_frames(place: Place, seconds: float, viewers: int, pid: int) -> Delays:
    """Time every frame from sending to arrival, once all viewers are connected and settled."""
    delays: list[float] = []
    measuring = False

    async def watch(connection: ClientConnection) -> None:
        while True:
            message = str(await connection.recv())
            if measuring:
                sent = int(message[message.rindex(" ") + 1 : -1])
                delays.append((time.monotonic_ns() - sent) / 1e6)

    async with contextlib.AsyncExitStack() as stack:
        tasks = []
        for _ in range(viewers):
            connection = await stack.enter_async_context(viewer(place.url("frames")))
            tasks.append(asyncio.create_task(watch(connection)))
            await asyncio.sleep(1 / RATE / viewers)  # spread over the tick, as viewers come
        await asyncio.sleep(SETTLE)
        cpu, measuring = cpu_seconds(pid), True
        await asyncio.sleep(seconds)
        cpu, measuring = cpu_seconds(pid) - cpu, False
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return Delays(delays, cpu / len(delays) * 1e6)


async def measure_burst(place: Place, size: int, pid: int) -> Burst:
    """Read a whole burst in bytes, because a viewer that parses would be what is measured."""
    reader, writer = await asyncio.open_connection("127.0.0.1", place.port, limit=1 << 20)
    writer.write(f"GET {place.prefix}/backtests/run/ws?burst HTTP/1.1\r\nHost: bench\r\n".encode() + UPGRADE + KEY)
    writer.write(b"\r\n")
    await reader.readuntil(b"\r\n\r\n")
    cpu, digest, left, begun = cpu_seconds(pid), hashlib.sha256(), size, 0.0
    while left:
        data = await reader.read(min(left, 1 << 18))
        if not data:
            raise ConnectionError("the burst was cut")
        begun = begun or time.perf_counter()
        digest.update(data)
        left -= len(data)
    seconds = time.perf_counter() - begun
    writer.transport.abort()
    return Burst(seconds, size, digest.hexdigest(), cpu_seconds(pid) - cpu)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def median(rounds: Sequence[Sequence[float]], of: Callable[[Sequence[float]], float]) -> float:
    """Return the median over the rounds of a figure of each."""
    return statistics.median(of(one) for one in rounds)


def report_delays(name: str, delays: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Print p50 and p99 of each way, and what pipe and relay add to the direct one, in milliseconds."""
    for label, share in (("p50", 0.5), ("p99", 0.99)):
        values = {way: median(rounds, lambda one: percentile(one, share)) for way, rounds in delays.items()}  # noqa: B023  called at once
        line = "   ".join(f"{way} {value:7.2f}" for way, value in values.items())
        added = ", ".join(f"{way} {values[way] - values['direct']:.2f}" for way in ("pipe", "relay"))
        print(f"{name:34} {label}  {line} ms   added by {added}")
        if label == "p99":
            figure(f"p99 added by the relay, {name}", values["relay"] - values["direct"], "ms", goal=5)


def report_bursts(bursts: Mapping[str, Sequence[Burst]]) -> None:
    """Print the throughput of each way and what a message costs the relay."""
    for way, rounds in bursts.items():
        seconds = statistics.median(burst.seconds for burst in rounds)
        rate, volume = COUNT / seconds, rounds[0].size / seconds / 1e6
        print(f"burst of {COUNT:,} frames, {way:6} {rate:10,.0f} messages/s {volume:8.1f} MB/s {seconds:6.2f} s")
    cpu = statistics.median(burst.cpu for burst in bursts["relay"]) / COUNT * 1e6
    same = len({burst.digest for rounds in bursts.values() for burst in rounds}) == 1
    rates = {way: 1 / statistics.median(burst.seconds for burst in rounds) for way, rounds in bursts.items()}
    figure("burst through the relay beside a bare pipe", rates["relay"] / rates["pipe"], "x", better="higher")
    figure("CPU of the relay per message of a burst", cpu, "µs")
    print(f"bytes through the relay: {'the same' if same else 'DIFFERENT'}")


async def first_line(child: subprocess.Popen[str]) -> int:
    """Return the port that a process of this script says it listens on."""
    return int(await asyncio.to_thread(child.stdout.readline) if child.stdout else 0)


async def run(seconds: float, viewers: int, rounds: int) -> None:
    """Start all processes, measure in turns, print."""
    size = sum(len(encoded(frame_text(number))) for number in range(COUNT))
    async with contextlib.AsyncExitStack() as stack:
        behind = await first_line(
            await stack.enter_async_context(process(["-m", "bench.scenarios.passthrough", "--backend"]))
        )
        between = await first_line(
            await stack.enter_async_context(process(["-m", "bench.scenarios.passthrough", "--pipe", str(behind)]))
        )
        port = free_port()
        settings = {"BFF_BACKEND_URL": f"http://127.0.0.1:{behind}", "BFF_PORT": str(port)}
        # One viewer echoes as fast as it can, which is more than an honest page ever says.
        settings |= {"BFF_STREAM_FRAMES_PER_SECOND": "1000000", "BFF_STREAM_CLIENT_FRAMES_PER_SECOND": "10000000"}
        relay = await stack.enter_async_context(process(["-m", "bff_wsrelay"], BFF_LOG_LEVEL="WARNING", **settings))
        places = {"direct": Place(behind, ""), "pipe": Place(between, ""), "relay": Place(port, "/api/v1")}
        await wait_until_open(places["relay"])
        echoes: dict[str, list[list[float]]] = {way: [] for way in places}
        singles: dict[str, list[list[float]]] = {way: [] for way in places}
        many: dict[str, list[list[float]]] = {way: [] for way in places}
        bursts: dict[str, list[Burst]] = {way: [] for way in places}
        cpu: list[float] = []
        for _ in range(rounds):
            for way, place in places.items():
                echoes[way].append(await measure_echo(place, seconds / 2))
                singles[way].append((await measure_frames(place, seconds, 1, relay.pid)).values)
                delays = await measure_frames(place, seconds, viewers, relay.pid)
                many[way].append(delays.values)
                if way == "relay":
                    cpu.append(delays.cpu)
                bursts[way].append(await measure_burst(place, size, relay.pid))
        report_delays("echo, there and back", echoes)
        report_delays("frames, 30/s to 1 viewer", singles)
        report_delays(f"frames, 30/s to {viewers} viewers each", many)
        figure("CPU of the relay per message at 30/s", statistics.median(cpu), "µs", goal=25)
        report_bursts(bursts)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description="the passthrough beside a direct connection")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement")
    parser.add_argument("--viewers", type=int, default=100, help="connections that get frames at once")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument("--backend", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--pipe", type=int, default=0, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.backend:
        asyncio.run(backend())
    elif chosen.pipe:
        asyncio.run(pipe(chosen.pipe))
    else:
        asyncio.run(run(chosen.seconds, chosen.viewers, chosen.rounds))


if __name__ == "__main__":
    main()
