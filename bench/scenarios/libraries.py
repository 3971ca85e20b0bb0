"""Measure what libraries would cost in place of our own few lines: what docs/transport.md decides by.

Usage: python -m bench.scenarios.libraries [--rounds 7]

In this process, in turns: a request's line in the log beside structlog's, a request's spans where none are exported
beside the no-op tracer of opentelemetry-api, and an event of an event stream to 300 viewers beside sse-starlette's
response. CPU of this process, the median of the rounds. Without the libraries there is nothing to measure.
"""

import argparse
import asyncio
import importlib.util
import io
import logging
import statistics
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, TextIO, cast

import orjson
from bench.lib.figures import figure

from bff_shared.http import context, ids
from bff_shared.http.context import RequestContext
from bff_shared.telemetry import logs, tracing
from bff_wsrelay.playback.http_connection import HttpConnection
from bff_wsrelay.playback.sinks import EventStreamSink
from bff_wsrelay.websocket.close_codes import Close

LINES, SPANS, EVENTS, VIEWERS = 5_000, 5_000, 60, 300
FIELDS = {"method": "GET", "route": "/backtests/{id}", "status": 200, "bytes": 20_480, "duration_ms": 1.83}
FIELDS |= {"outcome": "ok", "connect_ms": 0.0, "first_byte_ms": 1.12}
EVENT = b'{"t":"frame","ts":"2025-01-02T14:30:00Z","ohlc":{"o":1.5,"h":2.5,"l":0.5,"c":2.0,"v":100},"n":1,"seq":41}'
LIBRARIES = {"structlog": "structlog", "opentelemetry": "opentelemetry-api", "sse_starlette": "sse-starlette"}


class Nowhere(io.TextIOBase):
    """A stream that takes lines and keeps none."""

    def write(self, text: str, /) -> int:
        """Take a line."""
        return len(text)


def in_turns(rounds: int, count: int, *ways: Callable[[], object]) -> list[float]:
    """Return the median µs of CPU of each way for one of `count` things."""
    spent: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds):
        for way, found in zip(ways, spent, strict=True):
            begun = time.process_time()
            way()
            found.append((time.process_time() - begun) / count * 1e6)
    return [statistics.median(found) for found in spent]


def measure_log(rounds: int) -> None:
    """Measure a request's line."""
    import structlog

    log = logging.getLogger("bff.access")
    logging.root.handlers[:] = [logs.LineHandler(cast("TextIO", Nowhere()), logs.JsonFormatter("proxy"))]
    logging.root.setLevel("INFO")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(serializer=lambda line, **_: orjson.dumps(line).decode()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", Nowhere())),
        cache_logger_on_first_use=True,
    )
    theirs = structlog.get_logger(service="proxy").bind(name="bff.access")

    def ours() -> None:
        for _ in range(LINES):
            context.enter(RequestContext(ids.request_id(None), ids.trace(None)))
            logs.tell(log, logging.INFO, "request", FIELDS)

    def with_structlog() -> None:
        for _ in range(LINES):
            request = RequestContext(ids.request_id(None), ids.trace(None))
            context.enter(request)
            structlog.contextvars.clear_contextvars()
            structlog.contextvars.bind_contextvars(
                request_id=request.request_id, trace_id=request.trace.trace_id, span_id=request.trace.span_id
            )
            theirs.info("request", **FIELDS)

    report("a request's line in the log", "structlog", in_turns(rounds, LINES, ours, with_structlog))


def measure_spans(rounds: int) -> None:
    """Measure a request's two spans where none are exported: its own, and that of its call to the backend."""
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    tracer, propagator = trace.get_tracer("bff"), TraceContextTextMapPropagator()
    given = ids.trace(None).header
    attributes = {"http.request.method": "GET", "url.path": "/backtests", "url.scheme": "http"}
    headers = [(b"accept", b"application/json")]

    def ours() -> None:
        for _ in range(SPANS):
            context.enter(RequestContext("id", ids.trace(given)))
            _ = [*headers, *context.upstream_headers()]
            tracing.is_wanted()

    def with_opentelemetry() -> None:
        for _ in range(SPANS):
            context.enter(RequestContext("id", ids.trace(given)))
            parent = propagator.extract({"traceparent": given})
            with (
                tracer.start_as_current_span("GET", parent, trace.SpanKind.SERVER, attributes),
                tracer.start_as_current_span("GET", kind=trace.SpanKind.CLIENT, attributes=attributes),
            ):
                carried: dict[str, str] = {}
                propagator.inject(carried)
                _ = [*headers, *((name.encode(), value.encode()) for name, value in carried.items())]

    report("a request's spans, none exported", "opentelemetry-api", in_turns(rounds, SPANS, ours, with_opentelemetry))


class Taking:
    """A client's transport that takes everything at once."""

    def get_write_buffer_size(self) -> int:
        """Return what is buffered."""
        return 0


async def take(message: dict[str, Any]) -> None:
    """Be a server that sends what it is given."""


async def our_stream() -> None:
    """Send events to many viewers."""
    sinks = [
        EventStreamSink(HttpConnection(cast("asyncio.Transport", Taking())), stuck_seconds=10) for _ in range(VIEWERS)
    ]
    running = [asyncio.create_task(sink.deliver(cast("Any", take))) for sink in sinks]
    for _ in range(EVENTS):
        for sink in sinks:
            sink.send(EVENT, "frame")
        await asyncio.sleep(0)
    for sink in sinks:
        sink.close(Close(1000, ""))
    await asyncio.gather(*running)


async def their_stream() -> None:
    """Send the same events by sse-starlette."""
    from sse_starlette import EventSourceResponse, ServerSentEvent

    queues: list[asyncio.Queue[str | None]] = [asyncio.Queue() for _ in range(VIEWERS)]

    async def events(queue: "asyncio.Queue[str | None]") -> AsyncIterator[Any]:
        while (data := await queue.get()) is not None:
            yield ServerSentEvent(data, event="frame", sep="\n")

    async def receive() -> dict[str, Any]:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]  # it never is

    scope = {"type": "http", "method": "GET", "asgi": {"spec_version": "2.3"}}
    running = [
        asyncio.create_task(
            EventSourceResponse(events(queue), ping=0, send_timeout=10)(scope, receive, cast("Any", take))
        )
        for queue in queues
    ]
    text = EVENT.decode()
    for _ in range(EVENTS):
        for queue in queues:
            queue.put_nowait(text)
        await asyncio.sleep(0)
    for queue in queues:
        queue.put_nowait(None)
    await asyncio.gather(*running)


def measure_events(rounds: int) -> None:
    """Measure an event to each of many viewers."""
    costs = in_turns(rounds, EVENTS * VIEWERS, lambda: asyncio.run(our_stream()), lambda: asyncio.run(their_stream()))
    report(f"an event to one of {VIEWERS} viewers", "sse-starlette", costs)


def report(name: str, library: str, costs: list[float]) -> None:
    """Print and keep both costs and their ratio."""
    ours, theirs = costs
    figure(f"CPU of {name}", ours, "µs")
    figure(f"CPU of {name}, {library}", theirs, "µs")
    figure(f"CPU of {name}, ours beside {library}", ours / theirs, "x")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    if missing := [name for module, name in LIBRARIES.items() if importlib.util.find_spec(module) is None]:
        print(f"left out, not installed: {', '.join(missing)}")
        return
    measure_log(rounds)
    measure_spans(rounds)
    measure_events(rounds)


if __name__ == "__main__":
    main()
