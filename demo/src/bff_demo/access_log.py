"""The access log of the demo backend: one JSON object a line on stdout, with the ids that the caller sent."""

import json
import sys
import time
from datetime import UTC, datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["AccessLog"]

_IDS = {b"x-request-id": "request_id", b"traceparent": "traceparent"}


class AccessLog:
    """ASGI application around the backend's. What injected faults answer is not the backend's, nor in its log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope; a WebSocket has its line at its end."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        status, begun = 0, time.perf_counter()

        async def noted(message: Message) -> None:
            nonlocal status
            status = 101 if message["type"] == "websocket.accept" else message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            _write(scope, status, time.perf_counter() - begun)


def _write(scope: Scope, status: int, seconds: float) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = {"time": now, "service": "backend", "message": "request", "method": scope.get("method", "GET")}
    query = scope["query_string"].decode("latin-1")
    line |= {"path": scope["path"] + (f"?{query}" if query else ""), "status": status}
    line |= {"duration_ms": round(seconds * 1000, 2)}
    line |= {_IDS[name]: value.decode("latin-1") for name, value in scope["headers"] if name in _IDS}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
