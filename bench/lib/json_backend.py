"""A bare ASGI backend that sends the same 20 kB of JSON for every request: `python -m bench.lib.json_backend`."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from bench.lib.processes import serve_app

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

BODY = json.dumps(
    {"items": [{"run_id": f"run-{n:06d}", "status": "DONE", "value": n * 1.5} for n in range(360)]}
).encode()


async def json_backend(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer every request with the same 20 kB of JSON."""
    if scope["type"] != "http":
        return
    del receive
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


if __name__ == "__main__":
    serve_app(json_backend)
