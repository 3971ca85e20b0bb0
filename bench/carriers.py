"""Measure what may carry httpx's requests, side by side: 20 kB JSON answers over loopback, one process per part.

Usage: python -m bench.carriers [--seconds 3] [--rounds 3] [--only NAME ...]

First in process: each carrier asks a bare ASGI backend on uvicorn, one request after the other (p50) and 16 at a time
(requests/s, p99). Then, where `wrk` is installed, through a bare ASGI app that forwards by each carrier. Peers that are
not installed are left out and named. Each figure is the median of the rounds, which take turns so that a busy machine
is busy for all; CPU is that of the measured process alone, which other processes disturb least.
"""

import argparse
import asyncio
import contextlib
import importlib.util
import json
import math
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import uvicorn
import uvloop
from bench.report import figure

from bff_shared.carrier import Carrier

Call = Callable[[bytes], Awaitable[tuple[int, list[tuple[bytes, bytes]], AsyncIterator[bytes]]]]
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

BODY = json.dumps(
    {"items": [{"run_id": f"run-{n:06d}", "status": "DONE", "value": n * 1.5} for n in range(360)]}
).encode()
TIMEOUT = {"connect": 5.0, "read": 30.0, "write": 30.0, "pool": 30.0}
CONCURRENCY = 16
OURSELVES = [sys.executable, "-m", "bench.carriers"]


class Figures(NamedTuple):
    """Median at one request at a time (ms); at 16: requests a second, 99th percentile (ms), CPU per request (µs)."""

    p50: float
    rate: float
    p99: float
    cpu: float


async def backend(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer every request with the same 20 kB of JSON."""
    if scope["type"] != "http":
        return
    del receive
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


def make_carrier() -> Carrier:
    """Return the project's transport as the services configure it."""
    return Carrier(
        max_connections=100,
        max_idle=100,
        idle_seconds=4.0,
        max_head_bytes=64 * 1024,
        high_water=256 * 1024,
        ssl_context=None,
    )


def httpx_transport(transport: httpx.AsyncBaseTransport, base: str) -> Call:
    """Call a transport directly, with httpx's own request and response."""
    url = httpx.URL(base)
    host = url.netloc

    async def call(target: bytes) -> tuple[int, list[tuple[bytes, bytes]], AsyncIterator[bytes]]:
        request = httpx.Request(
            "GET",
            url.copy_with(raw_path=target) if not isinstance(transport, Carrier) else url,
            headers=[(b"host", host), (b"accept", b"*/*")],
            stream=httpx.ByteStream(b""),
            extensions={"timeout": TIMEOUT, "target": target},
        )
        response = await transport.handle_async_request(request)
        return response.status_code, response.headers.raw, _to_the_end(response)

    return call


async def _to_the_end(response: httpx.Response) -> AsyncIterator[bytes]:
    assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101  asynchronous transports make these
    try:
        async for piece in response.stream:
            yield piece
    finally:
        await response.aclose()


def httpx_client(transport: httpx.AsyncBaseTransport, base: str) -> Call:
    """Call through `httpx.AsyncClient`."""
    client = httpx.AsyncClient(transport=transport, timeout=30.0)

    async def call(target: bytes) -> tuple[int, list[tuple[bytes, bytes]], AsyncIterator[bytes]]:
        response = await client.send(client.build_request("GET", base + target.decode()), stream=True)
        return response.status_code, response.headers.raw, response.aiter_raw()

    return call


def aiohttp_client(base: str) -> Call:
    """Call aiohttp's client alone, without httpx."""
    import aiohttp
    import yarl

    session = aiohttp.ClientSession(auto_decompress=False)

    async def call(target: bytes) -> tuple[int, list[tuple[bytes, bytes]], AsyncIterator[bytes]]:
        response = await session.get(yarl.URL(base + target.decode(), encoded=True))
        return response.status, list(response.raw_headers), aiter(response.content.iter_any())

    return call


def aiohttp_transport() -> httpx.AsyncBaseTransport:
    """Return httpx-aiohttp's transport."""
    import httpx_aiohttp

    transport: httpx.AsyncBaseTransport = httpx_aiohttp.AiohttpTransport()
    return transport


LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=100)
CARRIERS: dict[str, Callable[[str], Call]] = {
    "httpx transport": lambda base: httpx_transport(httpx.AsyncHTTPTransport(limits=LIMITS), base),
    "httpx-aiohttp transport": lambda base: httpx_transport(aiohttp_transport(), base),
    "aiohttp client": aiohttp_client,
    "AsyncClient on Carrier": lambda base: httpx_client(make_carrier(), base),
    "Carrier": lambda base: httpx_transport(make_carrier(), base),
}
NEEDS = {"httpx-aiohttp transport": "httpx_aiohttp", "aiohttp client": "aiohttp"}


def forwarder(name: str, base: str) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Return a bare ASGI app that forwards by one carrier."""
    calls: list[Call] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        if scope["type"] != "http":
            return
        if not calls:
            calls.append(CARRIERS[name](base))
        status, headers, body = await calls[0](scope["raw_path"])
        await send({"type": "http.response.start", "status": status, "headers": headers})
        async for piece in body:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    return app


async def load(call: Call, seconds: float, concurrency: int) -> list[float]:
    """Ask for `seconds`; return each request's duration in seconds."""
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def client() -> None:
        while (begun := time.perf_counter()) < end:
            status, _, body = await call(b"/backtests")
            size = 0
            async for piece in body:
                size += len(piece)
            if status != 200 or size != len(BODY):
                raise RuntimeError(f"wrong answer: {status}, {size} bytes")
            took.append(time.perf_counter() - begun)

    await asyncio.gather(*(client() for _ in range(concurrency)))
    return took


async def in_process(name: str, base: str, seconds: float) -> Figures:
    """Measure one carrier in this process."""
    call = CARRIERS[name](base)
    await load(call, 0.3, CONCURRENCY)
    single = await load(call, seconds, 1)
    cpu = time.process_time()
    many = sorted(await load(call, seconds, CONCURRENCY))
    cpu = time.process_time() - cpu
    p99 = many[int(len(many) * 0.99)]
    return Figures(statistics.median(single) * 1e3, len(many) / seconds, p99 * 1e3, cpu / len(many) * 1e6)


@contextlib.contextmanager
def serving(*role: str) -> Iterator[tuple[str, int]]:
    """Run this module as a server in another process and yield its base URL and process id."""
    process = subprocess.Popen([*OURSELVES, "--serve", *role], stdout=subprocess.PIPE, text=True)  # noqa: S603  ourselves
    try:
        assert process.stdout is not None  # noqa: S101  asked for above
        yield f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid
    finally:
        process.terminate()
        process.wait(10)


def serve(role: list[str]) -> None:
    """Serve the backend, or a forwarder to it, on a free port that is printed."""
    app = backend if role == ["backend"] else forwarder(*role)
    sock = socket.create_server(("127.0.0.1", 0), backlog=512)
    sys.stdout.write(f"{sock.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[sock])


def wrk(base: str, pid: int, seconds: float) -> Figures:
    """Measure a server, the process `pid`, with wrk."""

    def run(connections: int, duration: float) -> str:
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(duration))}s", "--latency", f"{base}/backtests"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603  fixed command

    run(CONCURRENCY, 1)
    one = run(1, seconds)
    cpu = _cpu_seconds(pid)
    many = run(CONCURRENCY, seconds)
    cpu = _cpu_seconds(pid) - cpu
    count = re.search(r"(\d+) requests in", many)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", many)
    if count is None or rate is None or "Non-2xx" in many:
        raise RuntimeError(f"wrk saw errors: {many}")
    return Figures(_percentile(one, 50), float(rate[1]), _percentile(many, 99), cpu / int(count[1]) * 1e6)


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used; nan where /proc does not tell."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return math.nan


def _percentile(report: str, percent: int) -> float:
    found = re.search(rf"\s{percent}%\s+([\d.]+)(us|ms|s)", report)
    if found is None:
        raise RuntimeError(f"no latency in wrk's report: {report}")
    return float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[found[2]]


def show(title: str, rows: dict[str, list[Figures]]) -> None:
    """Print one table: each row the medians of its rounds."""
    print(f"{title:36} {'c=1 p50 ms':>10} {'c=16 req/s':>12} {'p99 ms':>10} {'CPU µs/req':>12}")
    for name, rounds in rows.items():
        p50, rate, p99, cpu = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"  {name:34} {p50:10.2f} {rate:12,.0f} {p99:10.1f} {cpu:12.0f}", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="names of carriers")
    parser.add_argument("--serve", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    if options.measure:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(json.dumps(runner.run(in_process(options.measure[0], options.measure[1], options.seconds))))
        return
    missing = {name for name, module in NEEDS.items() if importlib.util.find_spec(module) is None}
    names = [name for name in CARRIERS if name not in missing and (not options.only or name in options.only)]
    report(names, options.seconds, options.rounds)
    for name in sorted(missing):
        print(f"  left out, not installed: {name}")


def report(names: list[str], seconds: float, rounds: int) -> None:
    """Measure and print."""
    with serving("backend") as (base, pid):
        rows: dict[str, list[Figures]] = {name: [] for name in names}
        for _ in range(rounds):
            for name in names:
                rows[name].append(_measured_alone(name, base, seconds))
        show("in process", rows)
        compare(rows, "in process")
        if shutil.which("wrk") is None:
            print("no wrk: the forwarding table is left out")
            return
        rows = {"direct to the backend": [], **{name: [] for name in names}}
        for _ in range(rounds):
            rows["direct to the backend"].append(wrk(base, pid, seconds))
            for name in names:
                with serving(name, base) as front:
                    rows[name].append(wrk(*front, seconds))
        show("forwarding, wrk", rows)
        compare(rows, "forwarding")


def medians(rounds: list[Figures]) -> Figures:
    """Return the median of each figure."""
    return Figures(*(statistics.median(column) for column in zip(*rounds, strict=True)))


def compare(rows: dict[str, list[Figures]], where: str) -> None:
    """Keep how our own carrier does beside each other one, by CPU, which other processes disturb least."""
    if "Carrier" not in rows:
        return
    ours = medians(rows["Carrier"])
    figure(f"Carrier, {where}: requests/s at c=16", ours.rate, "/s", better="higher")
    for name, rounds in rows.items():
        if name in NEEDS or name == "httpx transport":
            figure(f"Carrier, {where}: CPU of a request beside {name}", ours.cpu / medians(rounds).cpu, "x")


def _measured_alone(name: str, base: str, seconds: float) -> Figures:
    command = [*OURSELVES, "--seconds", str(seconds), "--measure", name, base]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  ourselves
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip().splitlines()[-1]}")
    return Figures(*json.loads(done.stdout))


if __name__ == "__main__":
    main()
