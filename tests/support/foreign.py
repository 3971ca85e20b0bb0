"""A backend that sends whatever bytes a test gives it, and counts what it was asked."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Headers = list[tuple[bytes, bytes]]
RUN = b'{"run_id":"r","status":"DONE","symbol":"AAPL","created_at":"2024-01-02T00:00:00Z","duration_ms":5}'
BARS = (
    b'{"symbol":"AAPL","bars":[{"t":"2024-01-02T14:30:00Z","o":1.5,"h":2.5,"l":1.0,"c":2.0,"v":100,"n":1},'
    b'{"t":"2024-01-03T14:30:00Z","o":1.5,"h":2.5,"l":1.0,"c":2.0,"v":100,"n":1}]}'
)
GOOD: Mapping[str, bytes] = {
    "/backtests": b'{"items":[' + RUN + b'],"total":1,"limit":20,"offset":0}',
    "/backtests/r": RUN,
    "/backtests/r/metrics": b'{"total_return":0.5,"sharpe_ratio":1.5}',
    "/backtests/r/equity": b'{"equity":[{"ts":"2024-01-02T14:30:00Z","value":1.5},'
    b'{"ts":"2024-01-03T14:30:00Z","value":2.5}]}',
    "/backtests/r/orders": b'{"orders":[{"order_id":"1","ts":"2024-01-02T14:30:00Z","symbol":"AAPL","side":"BUY",'
    b'"quantity":1,"price":2}]}',
    "/bars/minute": BARS,
    "/bars/hour": BARS,
    "/bars/daily": BARS,
    "/healthz": b'{"status":"ok"}',
}


@dataclass
class ForeignBackend:
    """An ASGI app with one finished run `r`.

    Attributes:
        bodies, statuses, headers, delays (seconds): what it sends, by path.
        gates: events without which it answers nothing, by path.
        calls: how often it was asked for a path.
        answered: how often it has answered for a path.
    """

    bodies: dict[str, bytes] = field(default_factory=lambda: dict(GOOD))
    statuses: dict[str, int] = field(default_factory=dict)
    headers: dict[str, Headers] = field(default_factory=dict)
    delays: dict[str, float] = field(default_factory=dict)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)

    async def __call__(self, scope: dict[str, Any], _: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        status, headers, body = await self.answer(scope["path"])
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self.answered[scope["path"]] += 1

    async def answer(self, path: str) -> tuple[int, Headers, bytes]:
        """Return status, headers and body for a path, when it is time."""
        self.calls[path] += 1
        await asyncio.sleep(self.delays.get(path, 0.0))
        if path in self.gates:
            await self.gates[path].wait()
        body = self.bodies.get(path)
        status = self.statuses.get(path, 404 if body is None else 200)
        return status, [(b"content-type", b"application/json"), *self.headers.get(path, [])], body or b"{}"
