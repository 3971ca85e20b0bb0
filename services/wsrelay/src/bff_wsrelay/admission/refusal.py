"""How a handshake or a request is refused: with an HTTP error instead of a stream. I/O."""

from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from bff_shared.errors import BffError
from bff_shared.http.context import correlation_id
from bff_shared.http.responses import send_error


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
