"""The request's body on its way to the backend, read from the client no faster than the backend takes it."""

import asyncio
from collections.abc import AsyncIterator

import httpx
from starlette.types import Receive

from bff_shared.errors import PayloadTooLarge


class ClientGone(Exception):
    """The client went away before the exchange was over; there is nobody left to answer."""


class RequestBody(httpx.AsyncByteStream):
    """A request's body as httpx streams it; counts its bytes and keeps the first `keep` of them for the debug log."""

    def __init__(self, receive: Receive, limit: int, keep: int) -> None:
        self._receive, self._limit, self._keep = receive, limit, keep
        self.ended = asyncio.Event()
        self.size = 0
        self.start = b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body's parts; raise PayloadTooLarge past the limit, ClientGone if the client leaves."""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.ended.set()
                raise ClientGone
            part = message.get("body", b"")
            self.size += len(part)
            if self._limit and self.size > self._limit:
                raise PayloadTooLarge(f"the body is larger than {self._limit} bytes", {"limit_bytes": self._limit})
            if len(self.start) < self._keep:
                self.start += part[: self._keep - len(self.start)]
            if part:
                yield part
            if not message.get("more_body", False):
                self.ended.set()
                return
