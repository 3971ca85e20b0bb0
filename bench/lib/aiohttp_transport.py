"""aiohttp's client behind the interface of `HttpTransport`, for measurements: the product never imports it.

`python -m pytest -p bench.lib.aiohttp_transport tests/…` runs tests on it, `python -m bench.lib.aiohttp_transport
bff_proxy` a service. What it cannot do is listed in docs/transport.md.
"""

import asyncio
import runpy
import sys
import time
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any, cast

import aiohttp
import httpx
import yarl
from aiohttp.http_exceptions import HttpProcessingError

from bff_shared.errors import BffError
from bff_shared.upstream.transport import failures, http_transport, pool

Timings, FailureStage = http_transport.Timings, failures.FailureStage


class Progress:
    """How far one request came."""

    def __init__(self) -> None:
        self.connected = self.reused = False
        self.connect_seconds = 0.0


_progress: ContextVar[Progress] = ContextVar("progress")


class Connector(aiohttp.TCPConnector):
    """aiohttp's pool, which counts and tells whether a connection was used before."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.created = self.reused = self.waiting = 0

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:  # noqa: ASYNC109  aiohttp's signature
        """Connect, and note how."""
        begun = time.monotonic()
        self.waiting += 1
        try:
            connection = await super().connect(req, traces, timeout)
        finally:
            self.waiting -= 1
        progress, protocol = _progress.get(), cast("Any", connection.protocol)
        progress.connected, progress.reused = True, hasattr(protocol, "served")
        protocol.served = True
        if progress.reused:
            self.reused += 1
        else:
            self.created += 1
            progress.connect_seconds = time.monotonic() - begun
        return connection


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Takes what `HttpTransport` takes, as far as aiohttp has it."""

    def __init__(
        self,
        *,
        max_connections: int,
        max_idle: int,
        idle_seconds: float,
        max_head_bytes: int,
        high_water: int,
        ssl_context: Any,
        clock: Any = time.monotonic,
    ) -> None:
        del max_idle, clock  # aiohttp bounds idle connections by time alone
        self._options = {
            "limit": max_connections,
            "limit_per_host": 0,
            "keepalive_timeout": idle_seconds,
            "ssl": ssl_context if ssl_context is not None else True,
        }
        self._head, self._buffer = max_head_bytes, high_water
        self._made: tuple[Connector, aiohttp.ClientSession] | None = None
        self._closed = False

    def _session(self) -> aiohttp.ClientSession:
        if self._made is None:
            connector = Connector(**self._options)
            session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=self._buffer,
                skip_auto_headers=("user-agent", "accept", "accept-encoding", "content-type"),
                max_line_size=self._head,
                max_field_size=self._head,
                max_headers=10_000,
            )
            # There is no other way to turn aiohttp's own retry off.
            session._retry_connection = False
            self._made = connector, session
        return self._made[1]

    @property
    def stats(self) -> pool.Stats:
        """Count the connections, which only aiohttp's private parts tell."""
        if self._made is None:
            return pool.Stats(0, 0, 0, 0, 0, 0)
        connector = self._made[0]
        used, idle = len(connector._acquired), sum(map(len, connector._conns.values()))
        waiting = sum(map(len, connector._waiters.values()))
        return pool.Stats(used + idle, used, idle, waiting, connector.created, connector.reused)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and return its response as soon as the head is there."""
        progress = Progress()
        _progress.set(progress)
        if self._closed:
            raise failures.mark(
                httpx.ConnectError("the transport is closed", request=request), FailureStage.CONNECT, reused=False
            )
        if request.url.scheme == "https" and self._options["ssl"] is True:
            raise failures.mark(httpx.UnsupportedProtocol("no TLS"), FailureStage.CONNECT, reused=False)
        begun = time.monotonic()
        timeouts = request.extensions.get("timeout") or {}
        limits = aiohttp.ClientTimeout(
            total=None,
            connect=timeouts.get("connect"),
            sock_connect=timeouts.get("connect"),
            sock_read=timeouts.get("first_byte", timeouts.get("read")),
            ceil_threshold=1e9,
        )
        try:
            response = await self._session().request(
                request.method, _url(request), **_message(request), timeout=limits, allow_redirects=False
            )
        except asyncio.CancelledError:
            raise
        except Exception as error:
            raise _translated(error, request, progress) from error
        if response.connection is not None and response.connection.protocol is not None:
            response.connection.protocol.read_timeout = timeouts.get("read")
        return httpx.Response(
            response.status,
            headers=list(response.raw_headers),
            stream=Body(response, request, progress),
            request=request,
            extensions={
                "http_version": b"HTTP/%d.%d" % tuple(response.version or (1, 1)),
                "timings": Timings(progress.connect_seconds, time.monotonic() - begun),
                "reused": progress.reused,
            },
        )

    async def aclose(self) -> None:
        """Close all connections."""
        self._closed = True
        if self._made is not None:
            await self._made[1].close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


class Body(httpx.AsyncByteStream):
    """A response's body, undecoded."""

    def __init__(self, response: aiohttp.ClientResponse, request: httpx.Request, progress: Progress) -> None:
        self._response, self._request, self._progress = response, request, progress

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield what is there."""
        try:
            async for piece in self._response.content.iter_any():
                yield piece
        except Exception as error:
            found = _translated(error, self._request, self._progress, responded=True)
            raise found from error

    async def aclose(self) -> None:
        """Free the connection."""
        if self._response.content.is_eof():
            self._response.release()
        else:
            self._response.close()


def _url(request: httpx.Request) -> yarl.URL:
    target = request.extensions.get("target", request.url.raw_path)
    base = f"{request.url.scheme}://{request.url.netloc.decode('ascii')}"
    return yarl.URL(base + target.decode("utf-8", "surrogateescape"), encoded=True)


def _message(request: httpx.Request) -> dict[str, Any]:
    pairs, chunked, length = [], None, None
    for name, value in request.headers.raw:
        lower = name.lower()
        if lower == b"transfer-encoding":
            chunked = True
            continue
        if lower == b"content-length":
            length = value
        pairs.append((name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")))
    stream = request.stream
    data: Any = None
    if chunked or length is not None:
        data = b"".join(stream) if isinstance(stream, httpx.ByteStream) else stream
        data = data or None
    found: dict[str, Any] = {"headers": pairs, "data": data}
    if chunked:
        found["chunked"] = True
    return found


KINDS: tuple[tuple[tuple[type[BaseException], ...], type[httpx.TransportError]], ...] = (
    ((aiohttp.ConnectionTimeoutError,), httpx.ConnectTimeout),
    ((aiohttp.SocketTimeoutError, TimeoutError), httpx.ReadTimeout),
    ((aiohttp.ClientConnectorError,), httpx.ConnectError),
    ((aiohttp.NonHttpUrlClientError, aiohttp.InvalidURL), httpx.UnsupportedProtocol),
    ((aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError), httpx.RemoteProtocolError),
    ((aiohttp.ClientResponseError, HttpProcessingError), httpx.RemoteProtocolError),
    ((UnicodeError,), httpx.ConnectError),
    ((ValueError,), httpx.LocalProtocolError),
    ((aiohttp.ClientError, OSError), httpx.ReadError),
)
"""What each of aiohttp's errors amounts to, the first that fits."""


def _translated(
    error: Exception, request: httpx.Request, progress: Progress, *, responded: bool = False
) -> BaseException:
    if isinstance(error, aiohttp.ClientConnectionError) and isinstance(error.__cause__, BffError):
        return error.__cause__  # raised by the request's own body
    kind = next((kind for errors, kind in KINDS if isinstance(error, errors)), None)
    if kind is None:
        return error
    if kind is httpx.ReadError and not progress.connected:
        kind = httpx.ConnectError
    stage = FailureStage.SENT if progress.connected else FailureStage.CONNECT
    begun = isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str)
    if responded or begun or isinstance(error, aiohttp.ClientResponseError | HttpProcessingError):
        stage = FailureStage.RESPONDED
    elif kind in {httpx.UnsupportedProtocol, httpx.LocalProtocolError}:
        stage = FailureStage.CONNECT
    return failures.mark(kind(str(error), request=request), stage, reused=progress.reused)


def install() -> None:
    """Put it in the place of our own."""
    http_transport.HttpTransport = AiohttpTransport  # type: ignore[misc,assignment]


if __name__ == "__main__":
    import bench.lib.aiohttp_transport as itself

    itself.install()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__")
elif "pytest" in sys.modules:
    install()
