"""Measure what may carry the services' requests, side by side: what docs/transport.md decides by.

Usage: python -m bench.scenarios.transports [--seconds 3] [--rounds 3] [--pairs 10] [--only NAME ...]

First in process: each transport asks a bare ASGI backend on uvicorn for 20 kB of JSON, one request after the other
(p50) and 16 at a time (requests/s, p99). Then proxy and aggregator as they are, and the same on aiohttp's client. Peers
that are not installed are left out and named. Each figure is the median of the rounds, which take turns so that a busy
machine is busy for all; CPU is that of the measured process alone, which other processes disturb least.
"""

import argparse
import asyncio
import importlib.util
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import uvloop
from bench.lib.figures import figure
from bench.lib.http_load import CONCURRENCY, Figures, medians, show
from bench.lib.json_backend import BODY
from bench.lib.processes import free_port, serving
from bench.lib.servers import memory_mb, server, valkey
from bench.lib.sides import (
    NOW,
    ON_AIOHTTP,
    again_and_again,
    in_turns,
    one_by_one,
    purge,
    report,
    services,
)
from bench.scenarios.proxy import download, peak, upload

from bff_shared.upstream.transport.http_transport import HttpTransport

Call = Callable[[bytes], Awaitable[tuple[int, list[tuple[bytes, bytes]], AsyncIterator[bytes]]]]

TIMEOUT = {"connect": 5.0, "read": 30.0, "write": 30.0, "pool": 30.0}
MODULE = "bench.scenarios.transports"
MINUTES = "/api/v1/chart-data?symbol=AAPL&timeframe=1M&from=2024-01-01&to=2024-02-29&target=10000"


def make_transport() -> HttpTransport:
    """Return the project's transport as the services configure it."""
    return HttpTransport(
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
            url.copy_with(raw_path=target) if not isinstance(transport, HttpTransport) else url,
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
TRANSPORTS: dict[str, Callable[[str], Call]] = {
    "httpx transport": lambda base: httpx_transport(httpx.AsyncHTTPTransport(limits=LIMITS), base),
    "httpx-aiohttp transport": lambda base: httpx_transport(aiohttp_transport(), base),
    "aiohttp client": aiohttp_client,
    "AsyncClient on HttpTransport": lambda base: httpx_client(make_transport(), base),
    "HttpTransport": lambda base: httpx_transport(make_transport(), base),
}
NEEDS = {"httpx-aiohttp transport": "httpx_aiohttp", "aiohttp client": "aiohttp"}


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
    """Measure one transport in this process."""
    call = TRANSPORTS[name](base)
    await load(call, 0.3, CONCURRENCY)
    single = await load(call, seconds, 1)
    cpu = time.process_time()
    many = sorted(await load(call, seconds, CONCURRENCY))
    cpu = time.process_time() - cpu
    p99 = many[int(len(many) * 0.99)]
    return Figures(statistics.median(single) * 1e3, len(many) / seconds, p99 * 1e3, cpu / len(many) * 1e6)


def on_aiohttp(rounds: int) -> None:
    """Measure proxy and aggregator on our transport and on aiohttp's client, in turns."""
    sides = (NOW, ON_AIOHTTP)
    with (
        serving("bench.lib.json_backend") as (base, _),
        services("bff_proxy", sides, int(base.rpartition(":")[2]), None) as found,
    ):
        for service in in_turns(found, rounds):
            again_and_again("proxied", service, "/api/v1/backtests", CONCURRENCY, 1.0)
        report("a proxied request of 20 kB, 16 at a time", "proxied", found)
        ours, theirs = (memory_mb(service.process) for service in found)
        figure("memory of the proxy beside aiohttp", ours / theirs, "x")
        figure("memory of the proxy that aiohttp adds", theirs - ours, "MB")
    with (
        serving("bench.scenarios.proxy", "--serve", "giant") as (base, _),
        services("bff_proxy", sides, int(base.rpartition(":")[2]), None) as found,
    ):
        for service, (name, run) in itertools.product(found, (("download", download), ("upload", upload))):
            label = "" if service is found[0] else f", {service.side.name}"
            with peak(service.process.pid) as grown:
                run(service.port)
            figure(f"growth of the proxy while 1 GB is {name}ed{label}", grown[0], "MB", goal=20)
    port = free_port()
    with (
        server("bff_demo", port, "--host", "127.0.0.1", "--port", str(port)),
        services("bff_aggregator", sides, port, valkey) as found,
    ):
        for service in in_turns(found, rounds):
            purge(service, "/api/v1/cache/chart-data?symbol=AAPL")
            one_by_one("cold", service, MINUTES)
        report("a cold chart of two months of minutes", "cold", found)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=10, help="rounds of the services on either transport")
    parser.add_argument("--only", nargs="*", help="names of transports")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(json.dumps(runner.run(in_process(options.measure[0], options.measure[1], options.seconds))))
        return
    missing = {name for name, module in NEEDS.items() if importlib.util.find_spec(module) is None}
    names = [name for name in TRANSPORTS if name not in missing and (not options.only or name in options.only)]
    with serving("bench.lib.json_backend") as (base, _):
        rows: dict[str, list[Figures]] = {name: [] for name in names}
        for _ in range(options.rounds):
            for name in names:
                rows[name].append(_measured_alone(name, base, options.seconds))
    show("in process", rows)
    compare(rows, "in process")
    for name in sorted(missing):
        print(f"  left out, not installed: {name}")
    if "aiohttp client" not in missing:
        on_aiohttp(options.pairs)


def compare(rows: dict[str, list[Figures]], where: str) -> None:
    """Keep how our own transport does beside each other one, by CPU, which other processes disturb least."""
    if "HttpTransport" not in rows:
        return
    ours = medians(rows["HttpTransport"])
    figure(f"HttpTransport, {where}: requests/s at c=16", ours.rate, "/s", better="higher")
    for name, rounds in rows.items():
        if name in NEEDS or name == "httpx transport":
            figure(f"HttpTransport, {where}: CPU of a request beside {name}", ours.cpu / medians(rounds).cpu, "x")


def _measured_alone(name: str, base: str, seconds: float) -> Figures:
    command = [sys.executable, "-m", MODULE, "--seconds", str(seconds), "--measure", name, base]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  ourselves
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip().splitlines()[-1]}")
    return Figures(*json.loads(done.stdout))


if __name__ == "__main__":
    main()
