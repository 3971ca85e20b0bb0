"""Runs to play back in tests: made-up frames, an oracle for what a viewer got, and a backend with faults on demand."""

import asyncio
import json
import random
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests.support.foreign import ForeignBackend

Message = dict[str, Any]
START = datetime(2025, 1, 2, 14, 30, tzinfo=UTC)


def source(count: int, seed: int = 1) -> list[Message]:
    """Return the frames of a run as the backend sends them; some without a candle, some with orders."""
    draw = random.Random(seed)  # noqa: S311  test data
    frames = []
    for index in range(count):
        ts = (START + timedelta(minutes=index)).strftime("%Y-%m-%dT%H:%M:%SZ")
        low, high = sorted(round(draw.uniform(90, 110), 2) for _ in range(2))
        first, last = (round(draw.uniform(low, high), 2) for _ in range(2))
        ohlc = {"o": first, "h": high, "l": low, "c": last, "v": draw.randrange(10_000)}
        orders = [
            {"order_id": f"o{index}-{k}", "side": "BUY", "qty": 1} for k in range(draw.choice((0, 0, 0, 0, 1, 2)))
        ]
        equity = {"ts": ts, "value": round(draw.uniform(9e4, 1.1e5), 2)}
        frame: Message = {"t": "frame", "ts": ts, "ohlc": None if draw.random() < 0.05 else ohlc, "orders": orders}
        frames.append({**frame, "equity": equity, "dropped": 0})
    return frames


def covering(frames: Sequence[Message]) -> Message:
    """Return candle, orders, equity and time of the one frame that covers these, by the plainest means."""
    candles = [frame["ohlc"] for frame in frames if frame["ohlc"] is not None]
    ohlc = candles and {
        "o": candles[0]["o"],
        "h": max(candle["h"] for candle in candles),
        "l": min(candle["l"] for candle in candles),
        "c": candles[-1]["c"],
        "v": sum(candle["v"] for candle in candles),
    }
    orders = [order for frame in frames for order in frame["orders"]]
    return {"ts": frames[-1]["ts"], "ohlc": ohlc or None, "orders": orders, "equity": frames[-1]["equity"]}


def assert_conserved(
    received: Sequence[Message], run: Sequence[Message], *, start: int = 0, whole: bool = True
) -> None:
    """Hold what a viewer got against the run: nothing missing, nothing twice, every merged value right."""
    position, dropped = start, 0
    for frame in received:
        count, seq = frame["n"], frame["seq"]
        assert count >= 1
        assert seq == position + count - 1, (
            f"frame up to {seq} covers {count}, but the one before ended at {position - 1}"
        )
        assert {key: frame[key] for key in ("ts", "ohlc", "orders", "equity")} == covering(run[position : seq + 1])
        assert frame["dropped"] >= dropped
        position, dropped = seq + 1, frame["dropped"]
    if whole:
        assert position == len(run), f"ends at {position} of {len(run)}"


@dataclass(frozen=True)
class Fate:
    """What happens on one connection to the backend, in frames sent; `None` means that it does not happen."""

    kill_after: int | None = None
    stall_after: int | None = None
    pause_seconds: float = 0.0
    """Before each frame."""


@dataclass
class RunBackend:
    """A backend with one run that behaves as the deployed one: unpaced, from the first frame, never `end`.

    `fates` decides what happens on the n-th connection. `says_end` makes it a newer one. `tokens` maps a bearer token
    to the status its user gets; empty lets everybody in. What it answers over HTTP is what `http` says of a path, and
    else follows from the run.
    """

    frames: list[Message]
    fates: Callable[[int], Fate] = lambda _: Fate()
    status: str = "DONE"
    says_end: bool = True
    needs_ready: bool = False
    beat_seconds: float = 0.05
    tokens: dict[str, int] = field(default_factory=dict)
    connections: int = 0
    open: int = 0
    http: ForeignBackend = field(default_factory=lambda: ForeignBackend({"/healthz": b'{"status":"ok"}'}))
    curve: list[Message] | None = None
    """The run's equity, where the backend has it."""
    created_at: str = "2025-09-27T06:40:25+00:00"
    more: dict[str, list[Message]] = field(default_factory=dict)
    """Frames of further runs by id."""
    stall_over: asyncio.Event = field(default_factory=asyncio.Event)
    _server: Server | None = None
    _kept: socket.socket | None = None
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def details(self) -> int:
        """How often it was asked for a run's detail."""
        return sum(count for path, count in self.http.calls.items() if path.count("/") == 2)

    async def start(self) -> None:
        """Listen, at the same port as before if it was started before."""
        self._release()
        self._server = await serve(
            self._serve, "127.0.0.1", self.port, process_request=self._answer, compression=None, close_timeout=0.1
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self, *, keep_port: bool = False) -> None:
        """Stop listening and cut every connection.

        With `keep_port` nobody else gets the port until the next `start` or `stop`, and connections to it are refused.
        """
        self._release()
        if self._server is not None:
            for connection in list(self._server.connections):
                connection.transport.abort()
            self._server.close()
            await self._server.wait_closed()
            self._server = None
        if keep_port:
            self._kept = socket.socket()
            self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._kept.bind(("127.0.0.1", self.port))

    def _release(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    async def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        del connection
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        refusal = self.tokens.get(token, 401) if self.tokens else 200
        if refusal != HTTPStatus.OK:
            return _response(refusal, b'{"detail":"refused"}')
        if request.path.endswith("/ws"):
            return None
        status, _, body = await self.http.answer(request.path)
        if request.path in self.http.bodies or request.path in self.http.statuses:
            return _response(status, body)
        return self._of_the_run(unquote(request.path.removeprefix("/backtests/")))

    def _of_the_run(self, name: str) -> Response:
        """Return what the run has under a name: its own, for the detail, or its equity's."""
        if name == "run/equity" and self.curve is not None:
            return _response(200, json.dumps({"equity": self.curve}).encode())
        if name != "run" and name not in self.more:
            return _response(404, b'{"error":{"code":"RUN_NOT_FOUND","message":"no such run"}}')
        first, last = (self.frames[0]["ts"][:10], self.frames[-1]["ts"][:10]) if self.frames else (None, None)
        run = {"run_id": name, "status": self.status, "created_at": self.created_at}
        return _response(200, json.dumps({**run, "run_from": first, "run_to": last}).encode())

    async def _serve(self, connection: ServerConnection) -> None:
        fate = self.fates(self.connections)
        self.connections += 1
        self.open += 1
        beating = asyncio.create_task(self._beat(connection))
        player: asyncio.Task[None] | None = None
        ready = not self.needs_ready
        try:
            async for text in connection:
                message = json.loads(text)
                if message.get("t") == "ready" and self.needs_ready:
                    ready = True
                    await connection.send('{"t":"ready_ack"}')
                elif message.get("t") == "ctrl":
                    await connection.send(json.dumps({**message, "echo": True}))
                    if message["cmd"] == "play" and ready and (player is None or player.done()):
                        player = asyncio.create_task(self._play(connection, fate))
                else:
                    await connection.send('{"t":"err","code":"VALIDATION","msg":"unsupported message"}')
        except ConnectionClosed:
            pass
        finally:
            self.open -= 1
            for task in (beating, player):
                if task is not None:
                    task.cancel()

    async def _beat(self, connection: ServerConnection) -> None:
        while True:
            await asyncio.sleep(self.beat_seconds)
            await connection.send('{"t":"hb"}')

    async def _play(self, connection: ServerConnection, fate: Fate) -> None:
        if self.status == "QUEUED":
            await connection.send('{"t":"err","code":"STREAM_ERROR","msg":"the run has no frames yet"}')
            return
        try:
            path = connection.request.path if connection.request else ""
            run = unquote(path.removeprefix("/backtests/").removesuffix("/ws"))
            for index, frame in enumerate(list(self.more.get(run, self.frames))):
                if index == fate.kill_after:
                    connection.transport.abort()
                    return
                if index == fate.stall_after:
                    await self.stall_over.wait()
                if fate.pause_seconds:
                    await asyncio.sleep(fate.pause_seconds)
                await connection.send(json.dumps(frame))
            if self.says_end:
                await connection.send('{"t":"end"}')
        except ConnectionClosed:
            return


def _response(status: int, content: bytes) -> Response:
    headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(content)), "Connection": "close"})
    return Response(status, HTTPStatus(status).phrase, headers, content)
