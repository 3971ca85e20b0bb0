"""Measure what may carry httpx's requests, side by side: 20 kB JSON answers over loopback, one process per part.

Usage: python -m bench.scenarios.transports [--seconds 3] [--rounds 3] [--only NAME ...]

First in process: each transport asks a bare ASGI backend on uvicorn, one request after the other (p50) and 16 at a time
(requests/s, p99). Then, where `wrk` is installed, through a bare ASGI app that forwards by each transport. Peers
that are not installed are left out and named. Each figure is the median of the rounds, which take turns so that a busy
machine is busy for all; CPU is that of the measured process alone, which other processes disturb least.
"""

import argparse
import asyncio
import importlib.util
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import uvloop
from bench.lib.figures import figure
from bench.lib.http_load import CONCURRENCY, Figures, medians, show, wrk
from bench.lib.json_backend import BODY, Receive, Scope, Send
from bench.lib.processes import serve_app, serving

from bff_shared.upstream.transport.http_transport import HttpTransport

Call = Callable[[bytes], Awaitable[tuple[int, list[tuple[bytes, bytes]], AsyncIterator[bytes]]]]

TIMEOUT = {"connect": 5.0, "read": 30.0, "write": 30.0, "pool": 30.0}
MODULE = "bench.scenarios.transports"


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
CARRIERS: dict[str, Callable[[str], Call]] = {
    "httpx transport": lambda base: httpx_transport(httpx.AsyncHTTPTransport(limits=LIMITS), base),
    "httpx-aiohttp transport": lambda base: httpx_transport(aiohttp_transport(), base),
    "aiohttp client": aiohttp_client,
    "AsyncClient on HttpTransport": lambda base: httpx_client(make_transport(), base),
    "HttpTransport": lambda base: httpx_transport(make_transport(), base),
}
NEEDS = {"httpx-aiohttp transport": "httpx_aiohttp", "aiohttp client": "aiohttp"}


def forwarder(name: str, base: str) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Return a bare ASGI app that forwards by one transport."""
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
    """Measure one transport in this process."""
    call = CARRIERS[name](base)
    await load(call, 0.3, CONCURRENCY)
    single = await load(call, seconds, 1)
    cpu = time.process_time()
    many = sorted(await load(call, seconds, CONCURRENCY))
    cpu = time.process_time() - cpu
    p99 = many[int(len(many) * 0.99)]
    return Figures(statistics.median(single) * 1e3, len(many) / seconds, p99 * 1e3, cpu / len(many) * 1e6)


def serve(role: list[str]) -> None:
    """Serve a forwarder on a free port that is printed."""
    serve_app(forwarder(*role))


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="names of transports")
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
    with serving("bench.lib.json_backend") as (base, pid):
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
                with serving(MODULE, "--serve", name, base) as front:
                    rows[name].append(wrk(*front, seconds))
        show("forwarding, wrk", rows)
        compare(rows, "forwarding")


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
