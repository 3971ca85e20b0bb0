"""The request's body on its way to the backend, read from the client no faster than the backend takes it.

A small body is gathered before a place at the backend is taken; of a large one the first part has to have arrived. A
client that sends more slowly than the minimum rate is answered 408, wherever its body has come to.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
from starlette.types import Receive

from bff_shared.errors import PayloadTooLarge, RequestTimeout

SMALL_BYTES = 64 * 1024
"""A body of this announced size is held in memory until it is whole."""


class ClientGone(Exception):
    """The client went away before its response was complete; nobody is left to receive one."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What a request body may take: bytes (0: any), the least bytes a second, seconds behind that rate, and in all.

    Only the time in which the client is waited for counts against the rate: a backend that reads slowly is not its
    doing.
    """

    size: int = 0
    rate: float = 1024.0
    grace: float = 10.0
    total: float = 600.0

    def patience(self, size: int, waited: float, elapsed: float) -> float:
        """Return the seconds to wait for the next part, after `size` bytes, `waited` for in the `elapsed` seconds."""
        by_rate = self.grace + size / self.rate - waited if self.rate else float("inf")
        return max(0.0, min(by_rate, self.total - elapsed))


class RequestBody(httpx.AsyncByteStream):
    """A request's body as httpx streams it; counts its bytes and keeps the first `keep` of them for the debug log."""

    def __init__(self, receive: Receive, limits: BodyLimits, keep: int) -> None:
        self._receive, self._limits, self._keep = receive, limits, keep
        self._clock = asyncio.get_running_loop().time
        self._begun, self._waited = self._clock(), 0.0
        self._gathered: list[bytes] = []
        self.ended = asyncio.Event()
        self.size = 0
        self.start = b""

    async def gather(self, announced: int | None) -> bytes | None:
        """Wait for a small body and return it whole; of one that is large or of unknown length wait for the first part.

        Raises as iteration does. What was gathered is the beginning of what iteration yields.
        """
        small = announced is not None and announced <= SMALL_BYTES
        while not self.ended.is_set() and (small or not self._gathered):
            if part := await self._next():
                self._gathered.append(part)
        return b"".join(self._gathered) if self.ended.is_set() else None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body's parts.

        Raises PayloadTooLarge past the limit, RequestTimeout if the client is too slow, ClientGone if it leaves.
        """
        for part in self._gathered:
            yield part
        self._gathered.clear()
        while not self.ended.is_set():
            if part := await self._next():
                yield part

    async def _next(self) -> bytes:
        begun = self._clock()
        patience = self._limits.patience(self.size, self._waited, begun - self._begun)
        try:
            async with asyncio.timeout(patience):
                message = await self._receive()
        except TimeoutError as error:
            raise RequestTimeout("the request body took too long to arrive") from error
        finally:
            self._waited += self._clock() - begun
        if message["type"] == "http.disconnect":
            self.ended.set()
            raise ClientGone
        part: bytes = message.get("body", b"")
        self.size += len(part)
        limit = self._limits.size
        if limit and self.size > limit:
            raise PayloadTooLarge(f"the body is larger than {limit} bytes", {"limit_bytes": limit})
        if len(self.start) < self._keep:
            self.start += part[: self._keep - len(self.start)]
        if not message.get("more_body", False):
            self.ended.set()
        return part
