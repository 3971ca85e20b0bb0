"""An HTTP/1.1 transport for httpx's requests over asyncio, transparent to the byte.

httpx's own pool serves a few hundred requests a second under concurrency; this transport keeps httpx's API and replaces
what is beneath it. `bench/scenarios/transports.py` measures it beside the others.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import NamedTuple

import httpx

from bff_shared.upstream.transport.failures import Failure, FailureStage, failure_of, mark
from bff_shared.upstream.transport.http1 import InvalidRequest, encode_head
from bff_shared.upstream.transport.pool import Origin, Pool, Stats
from bff_shared.upstream.transport.request_cycle import PreparedRequest, RequestCycle, ResponseBody, Timeouts

__all__ = ["Failure", "FailureStage", "HttpTransport", "Stats", "Timings", "failure_of", "reused", "stage"]

_PORTS = {b"http": 80, b"https": 443}


class Timings(NamedTuple):
    """Seconds to make the connection (0 for a reused one), and from the request's to the response's first byte."""

    connect: float
    first_byte: float


def stage(error: BaseException) -> FailureStage:
    """Tell how far the cycle came before `error`; for errors that are not the transport's, FailureStage.RESPONDED."""
    return failure_of(error).stage


def reused(error: BaseException) -> bool:
    """Tell whether the cycle that raised `error` went over a connection that had served another one before."""
    return failure_of(error).reused


class HttpTransport(httpx.AsyncBaseTransport):
    """An httpx transport to one origin: HTTP/1.1, pooled connections, streaming with backpressure in both directions.

    The origin is that of its first request; requests to another one are refused.

    max_connections  bound of all connections together; further requests wait for `pool` seconds
    max_idle         bound of the idle ones
    idle_seconds     how long an idle one is kept, unless the server's `Keep-Alive: timeout` is shorter
    max_head_bytes   bound of a response's head (interim heads included), and of its trailer section
    high_water       body bytes buffered per response before reading pauses; one read of 64 KiB may come on top
    ssl_context      for https; without one https is refused
    clock            monotonic seconds, for idle ages and timings

    **Requests** leave as they are given: `request.method`, the headers' raw bytes in their order, and the target from
    `request.extensions["target"]` (bytes) or else from the URL. No header is added, not even Host. The body is
    delimited by the request's own Content-Length or `Transfer-Encoding: chunked`; with neither none is sent and the
    stream is not read. With `Expect: 100-continue` it is sent after 100, after one second, or (a final response came)
    never.

    `request.extensions["timeout"]` is httpx's dict (connect, read, write, pool; seconds or None). Its further key
    `first_byte` takes the place of `read` for the wait for the response's whole head, counted from the request's end.

    **Responses** come with their raw headers and undecoded body. `response.extensions`: `http_version`
    (bytes), `timings` (Timings), `reused` (bool). Interim responses and trailers are read and dropped. A response that
    comes before the upload is over is returned at once; the upload goes on until the response ends or is closed, and
    unless it was whole by then the connection is closed.

    **Errors** are httpx's: ConnectError, ConnectTimeout, PoolTimeout, UnsupportedProtocol, LocalProtocolError (the
    request is no valid message), WriteError, WriteTimeout, ReadError (connection lost), ReadTimeout (head or body),
    RemoteProtocolError (malformed, or ended too soon; raised by the body's iteration when that was under way). An
    exception of the request's own body stream passes as it is. `stage` and `reused` tell what a retry has to know.

    **Nothing is sent twice**: that is for the caller to decide, who knows what a request does and how often it was
    tried. `request.extensions["repeatable"]` (bool, False if absent) says that it will be if it has to: such a request
    may go over any idle connection, one that the peer may just be closing included. All others go over a connection
    used within the last second and known to be silent, or over a new one. `request.extensions["fresh"]` asks for a new
    one.
    """

    def __init__(
        self,
        *,
        max_connections: int,
        max_idle: int,
        idle_seconds: float,
        max_head_bytes: int,
        high_water: int,
        ssl_context: ssl.SSLContext | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_head_bytes = max_head_bytes
        self._clock = clock
        self._origin: Origin | None = None
        self._pool = Pool(
            max_connections=max_connections,
            max_idle=max_idle,
            idle_seconds=idle_seconds,
            high_water=high_water,
            ssl_context=ssl_context,
            clock=clock,
        )

    def __repr__(self) -> str:
        """Say how its pool stands."""
        return f"<HttpTransport {self._pool!r}>"

    @property
    def stats(self) -> Stats:
        """Count the connections."""
        return self._pool.stats

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and return its response as soon as the head is there; see the class for all rules."""
        prepared = _prepare(request)
        cycle = await self._run(prepared)
        head = cycle.reader.head
        assert head is not None  # noqa: S101  a cycle is returned when its head is there
        return httpx.Response(
            head.status,
            headers=head.headers,
            stream=ResponseBody(cycle, asyncio.get_running_loop()),
            request=request,
            extensions={
                "http_version": head.http_version,
                "timings": Timings(cycle.connect_seconds, cycle.first_byte_seconds),
                "reused": cycle.reused,
            },
        )

    async def aclose(self) -> None:
        """Close all connections at once; requests under way fail."""
        self._pool.close()
        # Transports report their end, and cancelled uploads run theirs, on the loop's next turns.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def _run(self, prepared: PreparedRequest) -> RequestCycle:
        request = prepared.request
        fresh, repeatable = (bool(request.extensions.get(name)) for name in ("fresh", "repeatable"))
        origin = _origin(request)
        self._origin = self._origin or origin
        if origin != self._origin:
            error = httpx.UnsupportedProtocol("the transport leads to another origin", request=request)
            raise mark(error, FailureStage.CONNECT, reused=False)
        connection = await self._pool.acquire(origin, prepared.timeouts, request, fresh=fresh, repeatable=repeatable)
        cycle = RequestCycle(connection, prepared, self._clock, self._max_head_bytes)
        await cycle.run()
        return cycle


def _origin(request: httpx.Request) -> Origin:
    url = request.url
    scheme = url.raw_scheme
    port = url.port or _PORTS.get(scheme)
    if port is None or not url.raw_host:
        error = httpx.UnsupportedProtocol("the URL is neither http nor https, or has no host", request=request)
        raise mark(error, FailureStage.CONNECT, reused=False)
    return Origin(scheme, url.raw_host, port)


def _prepare(request: httpx.Request) -> PreparedRequest:
    extensions = request.extensions
    target = extensions.get("target")
    try:
        head, framing = encode_head(
            request.method.encode("ascii", "replace"),
            request.url.raw_path if target is None else target,
            request.headers.raw,
        )
    except InvalidRequest as exc:
        error = httpx.LocalProtocolError(str(exc), request=request)
        raise mark(error, FailureStage.CONNECT, reused=False) from exc
    stream = request.stream
    if isinstance(stream, httpx.ByteStream):
        body: bytes | httpx.AsyncByteStream = b"".join(stream) if framing.has_body else b""
    elif isinstance(stream, httpx.AsyncByteStream):
        body = stream
    else:
        error = httpx.LocalProtocolError("the request's body cannot be read asynchronously", request=request)
        raise mark(error, FailureStage.CONNECT, reused=False)
    return PreparedRequest(request, head, framing, body, _timeouts(extensions.get("timeout")))


def _timeouts(given: dict[str, float | None] | None) -> Timeouts:
    given = given or {}
    read = given.get("read")
    return Timeouts(given.get("connect"), read, given.get("write"), given.get("pool"), given.get("first_byte", read))
