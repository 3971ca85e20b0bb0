"""What the proxy's clients feel under pressure: `python -m bench.scenarios.overload`.

Events of a stream, through nginx and the proxy: milliseconds from the backend's write to the client's read. And a load
of which most is refused: the latency of what is accepted, beside the same proxy at a load that it takes.
"""

import asyncio
import contextlib
import statistics
import time
from collections.abc import Awaitable, Callable

import orjson
from bench.lib.figures import figure

from bff_tools import Stack, StackOptions
from bff_tools.nginx import UNLIMITED

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
NOWHERE = {"aggregator": ["127.0.0.1:9"], "wsrelay": ["127.0.0.1:9"]}
GET = b"GET /api/v1/backtests/x/stream HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n\r\n"
EVENTS, PLACES, WORK = 200, 16, 0.02


async def events(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with a stream of the times at which its events are written."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
    for _ in range(EVENTS):
        await asyncio.sleep(0.02)
        writer.write(b"data: %d\n\n" % time.perf_counter_ns())
        await writer.drain()
    writer.close()


async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request after 20 ms."""
    with contextlib.suppress(asyncio.IncompleteReadError):
        while await reader.readuntil(b"\r\n\r\n"):
            await asyncio.sleep(WORK)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    writer.close()


async def listen(port: int) -> list[float]:
    """Return each event's milliseconds on the way."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET)
    late: list[float] = []
    while line := await reader.readline():
        if line.startswith(b"data: "):
            late.append((time.perf_counter_ns() - int(line[6:])) / 1e6)
    writer.close()
    return late


async def ask(port: int, until: float, took: list[float], refused: list[float]) -> None:
    """Ask until a time; add each request's milliseconds to the list of its fate."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until:
        begun = time.perf_counter()
        writer.write(b"GET /api/v1/backtests HTTP/1.1\r\nhost: a\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        milliseconds = (time.perf_counter() - begun) * 1e3
        if b" 200 " in head:
            took.append(milliseconds)
        else:
            refused.append(milliseconds)
            if orjson.loads(body)["error"]["code"] != "BUSY":
                raise RuntimeError(body.decode())
            await asyncio.sleep(1)  # as Retry-After asks
    writer.close()


def percentile(values: list[float], share: float) -> float:
    """Return the value below which this share of the values lies."""
    return sorted(values)[int(len(values) * share)]


def spread(values: list[float]) -> str:
    """Return median and 99th percentile."""
    if not values:
        return "none"
    return f"p50 {statistics.median(values):.1f} ms, p99 {percentile(values, 0.99):.1f} ms"


async def before(handler: Handler, **settings: str) -> tuple[asyncio.Server, Stack]:
    """Start a backend and a proxy behind nginx before it."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0, backlog=512)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    stack = Stack(
        StackOptions(
            backend_url=url,
            redis=False,
            upstreams=NOWHERE,
            environment={"proxy": settings},
            route_map=UNLIMITED,
        )
    )
    await asyncio.to_thread(stack.start)
    return server, stack


async def main() -> None:
    """Print both."""
    server, stack = await before(events)
    late = await listen(stack.origin_port)
    await asyncio.to_thread(stack.stop)
    server.close()
    print(f"events through nginx and proxy: {spread(late)}")
    figure("event through nginx and proxy, p99", percentile(late, 0.99), "ms", goal=50)
    server, stack = await before(work, BFF_MAX_CONNECTIONS=str(PLACES), BFF_MAX_QUEUE=str(PLACES))
    accepted: list[float] = []
    for clients in (PLACES, 20 * PLACES):
        took: list[float] = []
        refused: list[float] = []
        until = time.perf_counter() + 4
        await asyncio.gather(*(ask(stack["proxy"].port, until, took, refused) for _ in range(clients)))
        print(
            f"{clients:4} clients, {PLACES} places, {WORK * 1e3:.0f} ms of work: accepted {len(took)}, {spread(took)};"
        )
        print(f"     refused {len(refused)}, {spread(refused)}")
        accepted.append(percentile(took, 0.99))
    figure("p99 of what is accepted at 20 times the load", accepted[1], "ms")
    figure("the same beside the load that fits", accepted[1] / accepted[0], "x")
    await asyncio.to_thread(stack.stop)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
