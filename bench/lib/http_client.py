"""Keep an HTTP/1.1 server busy over a few connections, from this process, without a tool of the machine.

Costs a fraction of what is measured: it looks for the end of a response and parses nothing else.
"""

import asyncio
import re
import time
from typing import cast
from urllib.parse import urlsplit

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """Sends the same request again as soon as its response is whole; keeps the seconds that each took."""

    def __init__(self, request: bytes) -> None:
        self._request, self._buffer, self._left = request, b"", 0
        self._begun = 0.0
        self._transport: asyncio.Transport | None = None
        self.seconds: list[float] = []
        self.failure: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Count down to the response's end."""
        if not self._left:
            self._buffer += data
            head, found, data = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            length = LENGTH.search(head)
            if not head.startswith(b"HTTP/1.1 200 ") or length is None:
                self._fail(head.partition(b"\r\n")[0].decode("latin-1"))
                return
            self._buffer, self._left = b"", int(length[1])
        self._left -= len(data)
        if not self._left:
            self.seconds.append(time.perf_counter() - self._begun)
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the server ended it."""
        del exc
        self.failure = self.failure or "the connection was closed"

    def close(self) -> None:
        """End it."""
        self.failure = self.failure or ""
        if self._transport is not None:
            self._transport.abort()

    def _send(self) -> None:
        self._begun = time.perf_counter()
        if self._transport is not None:
            self._transport.write(self._request)

    def _fail(self, reason: str) -> None:
        self.failure = reason
        self.close()


async def keep_busy(url: str, connections: int, seconds: float, headers: str = "") -> list[float]:
    """Ask for `url` over so many connections for so long; return what each response took in seconds.

    Raises RuntimeError for any response but a 200 with a Content-Length, and for a connection that was closed.
    """
    parts = urlsplit(url)
    target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    request = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n{headers}\r\n".encode()
    loop, host, port = asyncio.get_running_loop(), parts.hostname or "", parts.port or 80
    made = [(await loop.create_connection(lambda: Connection(request), host, port))[1] for _ in range(connections)]
    await asyncio.sleep(seconds)
    failures = {connection.failure for connection in made if connection.failure is not None}
    for connection in made:
        connection.close()
    if failures:
        raise RuntimeError(f"{url}: {', '.join(sorted(failures))}")
    return [took for connection in made for took in connection.seconds]
