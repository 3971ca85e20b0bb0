"""How a handshake or a request is refused: with an HTTP error instead of a stream. I/O."""

from collections.abc import Callable
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from bff_shared.errors import BffError, RequestError
from bff_shared.http.context import correlation_id
from bff_shared.http.responses import send_error


class UpgradeRequired(RequestError):
    """The resource is a stream: WebSocket, or `Accept: text/event-stream` (RFC 9110 section 15.5.22)."""

    code, status = "UPGRADE_REQUIRED", 426

    def headers(self) -> dict[str, str]:
        """Name the protocol and its one version (RFC 6455 section 4.4)."""
        return {"upgrade": "websocket", "connection": "upgrade", "sec-websocket-version": "13"}


class Refusal:
    """Answers every handshake and request alike."""

    def __init__(self, make: Callable[[], BffError]) -> None:
        self._make = make

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse one."""
        await refuse(scope, receive, send, self._make())


async def refuse(scope: Scope, receive: Receive, send: Send, error: BffError) -> None:
    """Respond to a handshake, or to an HTTP request, with an error instead of a stream."""
    if scope["type"] == "http":
        await send_error(send, error, problem=False)
        return
    await receive()
    headers = {"content-type": "application/json", "cache-control": "no-store", **error.headers()}
    start: dict[str, Any] = {"type": "websocket.http.response.start", "status": error.status}
    start["headers"] = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send(start)
    body = orjson.dumps(error.body(correlation_id()), default=str)
    await send({"type": "websocket.http.response.body", "body": body})
