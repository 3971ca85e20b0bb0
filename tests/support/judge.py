"""A backend that judges each credential and remembers what it said, for tests of who may read what.

Every price and every metric tells whose token it was read with, so what reaches somebody else is seen.
"""

import asyncio
import base64
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from urllib.parse import parse_qs, urlsplit

SYMBOLS = ("AAPL", "SPY")
RUNS = ("run-a", "run-b")
FIRST, LAST = date(2024, 1, 1), date(2024, 6, 28)
OPENS = {"daily": ["00:00"], "hour": [f"{hour}:30" for hour in range(14, 21)], "minute": ["14:30", "17:45"]}


def token_of(user: str, number: int, *, issuer: str = "judge", forged: bool = False) -> str:
    """Return a token of a user; a forged one claims the same and is nobody's."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    claims = {"sub": user, "iss": issuer, "jti": number}
    return f"{part({'alg': 'none'})}.{part(claims)}.{'forged' if forged else 'signed'}{number}"


def headers_of(token: str) -> dict[str, str]:
    """Return the request headers that a token travels in."""
    return {"authorization": f"Bearer {token}"} if token else {}


@dataclass
class Judge:
    """What the backend knows and has said.

    `tokens` are those that it accepts, by user and number of whom they are; `denied` are resources that a user may not
    read (403), `hidden` those that are not there for a user (404). While it is `away` it answers 503. `accepted` has,
    by token and resource, when it was last accepted; `told` has how many responses of each status it gave.
    """

    clock: Callable[[], float]
    tokens: dict[str, tuple[str, int]] = field(default_factory=dict)
    denied: set[tuple[str, str]] = field(default_factory=set)
    hidden: set[tuple[str, str]] = field(default_factory=set)
    away: bool = False
    accepted: dict[tuple[str, str], float] = field(default_factory=dict)
    told: Counter[int] = field(default_factory=Counter)
    asked: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0
    url: str = ""

    def issue(self, user: str, number: int) -> str:
        """Return a new token of a user, which is accepted from now on."""
        token = token_of(user, number)
        self.tokens[token] = user, number
        return token

    def calls(self, path: str = "") -> list[str]:
        """Return the paths that were asked for, those that begin with `path`."""
        return [target for _, target in self.asked if target.startswith(path)]

    def respond(self, target: str, token: str) -> tuple[int, object]:
        """Return status and body of a response."""
        self.asked.append((token, target))
        if target == "/healthz":
            return 200, {"status": "ok"}
        if self.away:
            return 503, {"detail": "away"}
        if token not in self.tokens:
            return 401, {"detail": "Not authenticated"}
        user, number = self.tokens[token]
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        resource = resource_of(path, query)
        if resource is None:
            return 404, {"detail": "Not Found"}
        if (user, resource) in self.denied:
            return 403, {"detail": "Forbidden"}
        if (user, resource) in self.hidden:
            return 404, {"detail": "not found"}
        status, body = _data(path, query, number)
        if status == 200:
            self.accepted[token, resource] = self.clock()
        return status, body

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                given = next((line[22:] for line in head if line.lower().startswith("authorization: bearer ")), "")
                status, body = self.respond(head[0].split(" ")[1], given)
                self.told[status] += 1
                content = json.dumps(body).encode()
                self.sent += len(content)
                writer.write(
                    b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                    % (status, len(content), content)
                )
                await writer.drain()


def resource_of(path: str, query: dict[str, list[str]]) -> str | None:
    """Return what a call is about, None where there is nothing."""
    parts = path.strip("/").split("/")
    if parts[0] == "bars" and query.get("symbol", [""])[0] in SYMBOLS:
        return f"bars:{parts[1]}:{query['symbol'][0]}"
    if parts[0] == "backtests":
        return "runs" if len(parts) == 1 else f"run:{parts[1]}" if parts[1] in RUNS else None
    return None


def _data(path: str, query: dict[str, list[str]], number: int) -> tuple[int, object]:
    parts = path.strip("/").split("/")
    if parts[0] == "bars":
        bars = _bars(parts[1], query, number)
        return (200, {"symbol": query["symbol"][0], "bars": bars}) if bars else (404, {"detail": "no bars"})
    if len(parts) == 1:
        return 200, {"items": [_run(run_id, number) for run_id in RUNS], "total": len(RUNS), "limit": 20, "offset": 0}
    if len(parts) == 2:
        return 200, _run(parts[1], number)
    if parts[2] == "metrics":
        return 200, {"sharpe": float(number), "total_return": 0.1}
    if parts[2] == "equity":
        return 200, {"points": [{"ts": f"2024-01-0{day}T00:00:00Z", "value": float(number)} for day in (2, 3, 4)]}
    if parts[2] == "orders":
        return 200, {"orders": []}
    return 404, {"detail": "not found"}


def _run(run_id: str, number: int) -> dict[str, object]:
    dates = {"created_at": "2024-07-01T00:00:00Z", "run_from": "2024-01-02", "run_to": "2024-01-04"}
    own = {"run_id": run_id, "status": "DONE", "symbol": "AAPL", "duration_ms": 1000, "read_with": number}
    return {**own, **dates, "strategy_id": "s", "manifest": {}}


def _bars(source: str, query: dict[str, list[str]], number: int) -> list[dict[str, object]]:
    first = max(FIRST, date.fromisoformat(query.get("from", [FIRST.isoformat()])[0]))
    last = min(LAST, date.fromisoformat(query.get("to", [LAST.isoformat()])[0]))
    price, bars = float(number), list[dict[str, object]]()
    day = first
    while day <= last:
        if day.weekday() < 5:
            bars += [
                {"t": f"{day}T{at}:00Z", "o": price, "h": price, "l": price, "c": price, "v": 1, "n": 1}
                for at in OPENS[source]
            ]
        day += timedelta(days=1)
    return bars


@asynccontextmanager
async def judging(judge: Judge) -> AsyncIterator[str]:
    """Serve a judge's backend in this loop and yield its URL; when the context ends its connections are closed."""
    connections = set[asyncio.Task[None]]()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_serving(judge, reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    judge.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield judge.url
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _serving(judge: Judge, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await judge.serve(reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()
