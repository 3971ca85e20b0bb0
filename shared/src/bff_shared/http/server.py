"""uvicorn's HTTP/1.1 server, made to end connections by the book. I/O.

uvicorn leaves four things out. A reverse proxy takes the first three for a failure of the whole process, which it then
keeps everybody's requests from; the last makes a request of a body:

- A connection that is closed while the client goes on sending is reset by the kernel, and the response is lost with it
  (RFC 9112 section 9.6). Here it is closed in one direction; what still arrives is read and dropped for LINGER_SECONDS.
- A server that stops closes idle connections at once, and a request just arriving on one is lost with it; nobody
  sends a POST again. Here what has been sent by then is served, and its connection closed after that.
- A request that is not valid HTTP is answered past the app, in plain text. Here the app is asked: it finds the error in
  `scope[MALFORMED]`, and answers it with an id, for the pages that may read it, in its log and in its metrics.
- A request that asks for an upgrade ends with its head for the parser, so its body would be the next request: one that
  somebody else may be given the response of (RFC 9112 section 11.2). Here such a request is not valid.

And when the client goes away every request of its connection is told, not the newest alone.
"""

import asyncio
import select
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from bff_shared.errors import BffError, MalformedRequest

LINGER_SECONDS = 5.0
"""How long a client that is sending may take to receive its response before it is cut."""

LULL_SECONDS = 0.1
"""How long a connection has to be idle before a server that stops closes it."""

MALFORMED = "bff.malformed"


class AmbiguousFraming(Exception):
    """Where the request's body ends cannot be told: its transfer coding cannot be undone, or it asks for an upgrade."""


class _HalfRead:
    """The transport of a response whose request is still arriving: closing it lingers."""

    def __init__(self, protocol: "HttpProtocol") -> None:
        self._protocol = protocol
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing

    def close(self) -> None:
        """End the connection, at once if the request has arrived by now."""
        if self._protocol.cycle.more_body:
            self._protocol.linger()
        else:
            self._protocol.transport.close()


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol; every service's own derives from it."""

    _ended = False
    """Whether what arrives is dropped."""

    _stopping = False
    """Whether the connection ends with the response that is under way, or with a lull."""

    _axe: asyncio.TimerHandle | None = None
    _running: RequestResponseCycle | None = None
    """The request that is being answered; `cycle` is the newest."""

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        if self._ended:
            return
        super().data_received(data)
        cycle = cast("RequestResponseCycle | None", self.cycle)
        # A request without a body is whole by now, and most requests are: these keep the plain transport.
        if cycle is not None and cycle.more_body and cycle.transport is self.transport:
            cycle.transport = cast("asyncio.Transport", _HalfRead(self))

    def on_headers_complete(self) -> None:
        """Hand the request to the app; called by the parser. Raises AmbiguousFraming."""
        if self.parser.should_upgrade() and any(_announces_body(*header) for header in self.headers):
            raise AmbiguousFraming
        super().on_headers_complete()
        if self._stopping and cast("object", self.cycle) is not None:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Serve what is under way and what is just arriving, then close; called by a server that stops."""
        self._stopping = True
        if self._ended or not self._is_idle():
            super().shutdown()
        else:
            self.loop.call_later(LULL_SECONDS, self._close_idle)

    def _is_idle(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is None or cycle.response_complete

    def _close_idle(self) -> None:
        """Close the connection unless a request has come meanwhile, or it is a WebSocket by now."""
        if self.transport.is_closing() or self not in self.connections or not self._is_idle():
            return
        arriving = select.poll()
        arriving.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        if arriving.poll(0):
            self.loop.call_later(LULL_SECONDS, self._close_idle)
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's own text is not shown
        """Have the app answer a request that is not valid HTTP, after those before it; nothing more is parsed."""
        self._ended = True
        if cast("object", self.scope) is None:
            self.on_message_begin()
        scope: dict[str, Any] = {"method": "", "path": "", "raw_path": b"", "query_string": b"", **self.scope}
        scope[MALFORMED] = self.malformed()
        running = cast("RequestResponseCycle | None", self.cycle)
        self.cycle = self._make_cycle(scope)
        if running is None or running.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        elif not running.more_body:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        else:  # It is this very request whose body is malformed: its handler is told that the client is gone.
            running.disconnected = True
            running.message_event.set()
            if running.response_started:
                self.linger()
            else:
                self._start_asgi_task(self.cycle, self.app)

    def malformed(self) -> BffError:
        """Return what is wrong with the request that could not be parsed."""
        return MalformedRequest("not valid HTTP")

    def linger(self) -> None:
        """Send what was written and the end of it, and drop what arrives until the client ends its side too."""
        self._ended = True
        if self._axe is None and not self.transport.is_closing():
            self.transport.write_eof()
            self.flow.resume_reading()
            self._axe = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; its requests learn that the client is gone."""
        if self._axe is not None:
            self._axe.cancel()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def _make_cycle(self, scope: dict[str, Any]) -> RequestResponseCycle:
        return RequestResponseCycle(
            scope=cast("Any", scope),
            transport=cast("asyncio.Transport", _HalfRead(self)),
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=False,
            on_response=self.on_response_complete,
        )


def _announces_body(name: bytes, value: bytes) -> bool:
    return name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0")
