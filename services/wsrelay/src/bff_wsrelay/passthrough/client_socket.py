"""A viewer's side of a WebSocket as the transparent door sees it: messages, a close, or gone. I/O."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from starlette.types import Receive, Scope, Send

from bff_shared.http.headers import Header
from bff_wsrelay.websocket.client import Message
from bff_wsrelay.websocket.close_codes import NO_STATUS, Close
from bff_wsrelay.websocket.server import EXTENSION, Wire, encode_text

STALLED_SECONDS = 60.0
"""How long a viewer may take nothing at all before it counts as gone."""


class ViewerGone(Exception):
    """Nothing reaches the viewer any more."""


class Viewer:
    """One viewer's connection, over plain ASGI; where the server offers a wire, batches leave in one piece."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        extensions = scope.get("extensions") or {}
        self._receive, self._send = receive, send
        self._wire: Wire | None = extensions.get(EXTENSION)
        self._can_refuse = "websocket.http.response" in extensions
        self._accepted = self._answered = False

    @property
    def is_answered(self) -> bool:
        """Tell whether its handshake has got an answer, or is getting it."""
        return self._answered

    @property
    def is_accepted(self) -> bool:
        """Tell whether messages may be sent to it."""
        return self._accepted

    async def receive(self) -> Message | Close:
        """Return the viewer's next message, or how its connection ended."""
        while True:
            event = await self._receive()
            if event["type"] == "websocket.disconnect":
                return Close(event.get("code") or NO_STATUS, event.get("reason") or "")
            if event["type"] == "websocket.receive":
                text = event.get("text")
                return text if text is not None else bytes(event["bytes"])

    async def accept(self, subprotocol: str | None, headers: Sequence[Header]) -> None:
        """Complete the handshake."""
        self._answered = True
        await self._emit({"type": "websocket.accept", "subprotocol": subprotocol, "headers": list(headers)})
        self._accepted = True

    async def refuse(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """Answer the handshake with an HTTP response; a server that cannot answers 403."""
        self._answered = True
        if not self._can_refuse:
            await self._emit({"type": "websocket.close"})
            return
        await self._emit({"type": "websocket.http.response.start", "status": status, "headers": list(headers)})
        await self._emit({"type": "websocket.http.response.body", "body": body, "more_body": False})

    async def send(self, batch: Sequence[Message]) -> None:
        """Send messages in their order, waiting for a viewer that is slow. Raises ViewerGone."""
        if self._wire is not None and all(isinstance(message, str) for message in batch):
            await self._write(self._wire, b"".join([encode_text(str(message).encode()) for message in batch]))
            return
        for message in batch:
            kind = "text" if isinstance(message, str) else "bytes"
            await self._emit({"type": "websocket.send", kind: message})

    async def _write(self, wire: Wire, frames: bytes) -> None:
        if wire.is_paused:
            await self._room(wire)
        if not wire.is_open:
            raise ViewerGone
        wire.write(frames)

    async def _room(self, wire: Wire) -> None:
        """Wait until the transport has drained; a connection that is lost meanwhile is noticed by `receive`."""
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                await wire.drain()
        except TimeoutError as error:
            raise ViewerGone from error

    async def close(self, close: Close) -> None:
        """Close an accepted connection; a viewer that is gone stays gone."""
        if not self._accepted:
            return
        if self._wire is not None:
            self._wire.close(close.code, close.reason)
            return
        with contextlib.suppress(ViewerGone):
            await self._emit({"type": "websocket.close", "code": close.code, "reason": close.reason})

    async def _emit(self, message: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                await self._send(message)
        except (OSError, RuntimeError) as error:  # a deadline, or uvicorn, which raises either after a close
            raise ViewerGone from error
