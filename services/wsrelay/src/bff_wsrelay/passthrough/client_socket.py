"""The client's WebSocket of a passthrough session: messages, a close, or gone. I/O."""

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.types import Receive, Scope, Send

from bff_shared.http.headers import Header
from bff_wsrelay.websocket import Message
from bff_wsrelay.websocket.close_codes import NO_STATUS, Close
from bff_wsrelay.websocket.server import BINARY, WRITER_EXTENSION, FrameWriter, encode_frame

STALLED_SECONDS = 60.0
"""How long a client may take nothing at all before it counts as gone."""


class ClientGone(Exception):
    """The client cannot be reached any more."""


class ClientSocket:
    """One client's connection; batches of text leave in one piece."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._writer: FrameWriter = scope["extensions"][WRITER_EXTENSION]
        self._accepted = self._answered = False

    @property
    def is_answered(self) -> bool:
        """Return whether its handshake has a response, or is getting one."""
        return self._answered

    @property
    def is_accepted(self) -> bool:
        """Return whether messages may be sent to it."""
        return self._accepted

    async def receive(self) -> Message | Close:
        """Return the client's next message, or how its connection ended. Cancellation loses no message."""
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
        """Refuse the handshake with an HTTP response."""
        self._answered = True
        await self._emit({"type": "websocket.http.response.start", "status": status, "headers": list(headers)})
        await self._emit({"type": "websocket.http.response.body", "body": body, "more_body": False})

    async def send(self, batch: Sequence[Message]) -> None:
        """Send messages in their order, waiting for a slow client. Raises ClientGone.

        Cancellation while waiting loses the batch, whole.
        """
        if self._writer.is_paused:
            await self._drain()
        if not self._writer.is_open:
            raise ClientGone
        self._writer.write(b"".join([_encoded(message) for message in batch]))

    async def _drain(self) -> None:
        """Wait until the transport has drained; a connection that is lost meanwhile is noticed by `receive`."""
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                await self._writer.drain()
        except TimeoutError as error:
            raise ClientGone from error

    def close(self, close: Close) -> None:
        """Close an accepted connection, without waiting for the client's close frame."""
        if self._accepted:
            self._writer.close(close.code, close.reason)

    async def _emit(self, message: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                await self._send(message)
        except (OSError, RuntimeError) as error:  # a deadline, or uvicorn, which raises either after a close
            raise ClientGone from error


def _encoded(message: Message) -> bytes:
    return encode_frame(message.encode()) if isinstance(message, str) else encode_frame(message, BINARY)
