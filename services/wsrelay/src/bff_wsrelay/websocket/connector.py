"""Opens WebSockets to the backend, one attempt at a time. I/O."""

import asyncio
import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from bff_shared.http.headers import Header, end_to_end
from bff_shared.telemetry import tracing
from bff_wsrelay.websocket.client import UpstreamConnection
from bff_wsrelay.websocket.rfc6455 import StrictClientProtocol

log = logging.getLogger(__name__)


class Unreachable(Exception):
    """The backend cannot be reached now; it may be later."""


class HandshakeRefused(Exception):
    """The backend responded to the handshake with something else than a WebSocket.

    `headers` are the end-to-end ones in their order, without those that frame the body.
    """

    def __init__(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        super().__init__(f"the backend answered {status}")
        self.status, self.headers, self.body = status, list(headers), body

    @property
    def is_from_gateway(self) -> bool:
        """Return whether it comes from something in front of a backend that is away, or too busy to respond."""
        return self.status in {502, 503, 504}

    @property
    def is_temporary(self) -> bool:
        """Whether the refusal is temporary (5xx or 429), so that retrying makes sense."""
        return self.status >= 500 or self.status == 429


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """How long one connection is waited for, in seconds, and how large a message may be, in bytes.

    `connect` to the TCP or TLS connection, `handshake` from there to its response; a silent backend is pinged
    after `ping_interval` and given up `ping_timeout` later.
    """

    connect: float = 2.0
    handshake: float = 30.0
    ping_interval: float = 20.0
    ping_timeout: float = 60.0
    max_message: int = 16 * 1024 * 1024


class Connector:
    """Opens WebSockets to one backend. Keeps nothing between them: no cookies, no redirects, no proxies."""

    def __init__(self, backend_url: str, options: ConnectionOptions) -> None:
        parts = urlsplit(backend_url)
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._secure else 80)
        self._options = options
        self._log = logging.getLogger("bff.upstream")
        self._log.setLevel(logging.WARNING)  # below that the library writes whole handshakes, credentials included
        self._tls = ssl.create_default_context() if self._secure else None
        self._origin = backend_url
        self._is_traced = tracing.is_wanted()

    async def connect(
        self, target: str, headers: Sequence[Header], subprotocols: Sequence[str] = ()
    ) -> UpstreamConnection:
        """Open a WebSocket and return it; the caller disconnects it. Cancellation drops what was begun.

        Args:
            target: raw path and query at the backend.
            headers: sent besides those of the handshake itself.
            subprotocols: offered in this order; the connection's `subprotocol` is the backend's choice.

        Raises:
            HandshakeRefused: the backend responded with a status instead.
            Unreachable: there was no connection or no response within the options' times.
        """
        if not self._is_traced:
            return await self._open(target, headers, subprotocols)
        with tracing.calling("GET", self._origin, target) as span:
            connection = await self._open(target, span.carry(headers), subprotocols)
            span.status = 101
            return connection

    async def _open(self, target: str, headers: Sequence[Header], subprotocols: Sequence[str]) -> UpstreamConnection:
        try:
            async with asyncio.timeout(self._options.connect):
                connection = await self._create_connection(target, subprotocols)
        except (OSError, TimeoutError) as error:
            log.debug("the backend's websocket cannot be opened", extra={"reason": str(error)})
            raise Unreachable("no connection to the backend") from error
        try:
            async with asyncio.timeout(self._options.handshake):
                await connection.handshake(
                    [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers], None
                )
        except InvalidStatus as error:
            connection.transport.abort()
            raise _refusal(error.response) from error
        except (OSError, TimeoutError, WebSocketException) as error:
            connection.transport.abort()
            raise Unreachable("the backend did not answer the handshake") from error
        except BaseException:
            connection.transport.abort()
            raise
        connection.start_keepalive()
        log.debug("the backend's websocket is open", extra={"path": target.partition("?")[0]})
        return connection

    async def _create_connection(self, target: str, subprotocols: Sequence[str]) -> UpstreamConnection:
        path, _, query = target.partition("?")
        uri = WebSocketURI(self._secure, self._host, self._port, path, query)
        offered = [Subprotocol(name) for name in subprotocols] or None
        options = self._options

        def make() -> UpstreamConnection:
            protocol = StrictClientProtocol(uri, subprotocols=offered, max_size=options.max_message, logger=self._log)
            return UpstreamConnection(protocol, options.ping_interval, options.ping_timeout)

        loop = asyncio.get_running_loop()
        host = self._host if self._tls else None
        _, connection = await loop.create_connection(make, self._host, self._port, ssl=self._tls, server_hostname=host)
        return connection


_FRAMING = frozenset((b"content-length", b"date", b"server"))


def _refusal(response: Response) -> HandshakeRefused:
    raw = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in response.headers.raw_items()]
    headers = [pair for pair in end_to_end(raw) if pair[0] not in _FRAMING]
    return HandshakeRefused(response.status_code, headers, bytes(response.body or b""))
