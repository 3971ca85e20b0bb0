"""A response of JSON lines, each sent so that the client can read it at once. I/O."""

from collections.abc import Sequence
from typing import Final

from starlette.types import Send

from bff_aggregator.http import content_coding
from bff_aggregator.http.content_coding import UNKNOWN_SIZE
from bff_aggregator.http.cpu_limiter import SMALL_BYTES, CpuLimiter
from bff_shared.http.headers import Header

NDJSON: Final = "application/x-ndjson"


class LineStream:
    """The lines of one response, in the client's favourite coding; `begun` tells whether its head is sent."""

    def __init__(self, send: Send, accept_encoding: str | None, vary: bytes, cpu: CpuLimiter) -> None:
        self._send, self._vary, self._cpu = send, vary, cpu
        self._coding = content_coding.choose(accept_encoding, UNKNOWN_SIZE)
        self._stream = content_coding.Stream(self._coding)
        self.begun = False

    async def begin(self) -> None:
        """Send the head."""
        coded = [] if self._coding == content_coding.IDENTITY else [(b"content-encoding", self._coding.encode())]
        headers: list[Header] = [
            (b"content-type", NDJSON.encode()),
            (b"cache-control", b"private, no-store"),
            (b"vary", self._vary),
            # nginx would keep the lines back until it has a buffer full of them.
            (b"x-accel-buffering", b"no"),
            *coded,
        ]
        self.begun = True
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def end_without_lines(self) -> None:
        """End the response to a HEAD request."""
        await self._send({"type": "http.response.body", "body": b""})

    async def add(self, pieces: Sequence[bytes], *, more: bool) -> None:
        """Send the pieces of lines; what is large is neither copied nor held up."""
        size = sum(map(len, pieces))
        if size < SMALL_BYTES:
            pieces = [self._stream.add(b"".join(pieces))]
        elif self._coding != content_coding.IDENTITY:
            pieces = [await self._cpu.steps(size, self._stream.steps(pieces))]
        for piece in pieces:
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        if not more:
            await self._send({"type": "http.response.body", "body": self._stream.end(), "more_body": False})
