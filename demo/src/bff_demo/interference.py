"""The outermost layer with `--faults`: records every request, and does to it what the first matching rule says.

It stands outside FastAPI because a dropped connection needs the server's own transport.
"""

import asyncio
import json
from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bff_demo.faults import ActiveRule, Rule, choose
from bff_demo.recorder import Recorder, Seen

__all__ = ["CONTROL_PATHS", "FaultBoard", "Interference"]

CONTROL_PATHS = ("/__faults", "/__requests")
_DRAIN_SECONDS = 5.0
_TICK_SECONDS = 0.05
_WRONG = {"shape": b'{"unexpected":true}', "syntax": b'{"items":[{"run_id":'}


class FaultBoard:
    """The rules in force; a stalled WebSocket waits for `changed` of the board that stalled it."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.rules: list[ActiveRule] = []
        self.changed = asyncio.Event()

    def put(self, rules: Sequence[Rule]) -> None:
        """Replace all rules; counters and random decisions start anew."""
        self.rules = [ActiveRule(rule, self._seed + index) for index, rule in enumerate(rules)]
        self.changed.set()
        self.changed = asyncio.Event()


class Interference:
    """ASGI application around the backend's."""

    def __init__(self, app: ASGIApp, board: FaultBoard, recorder: Recorder) -> None:
        self._app = app
        self._board = board
        self._recorder = recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] not in ("http", "websocket") or scope["path"] in CONTROL_PATHS:
            await self._app(scope, receive, send)
            return
        seen = _seen(scope)
        self._recorder.begin(seen)
        try:
            await self._serve(scope, _counting(receive, seen), send)
        finally:
            self._recorder.end()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        active = choose(self._board.rules, scope.get("method", "GET"), scope["path"])
        if active is None:
            await self._app(scope, receive, send)
            return
        await asyncio.sleep(active.rule.latency_ms / 1000)
        if active.rule.refuse:
            await _drop(send, receive, scope["type"])
        elif active.fails():
            await _answer(scope, receive, send, active.rule.status, _error_body(active.rule.status))
        elif active.rule.wrong_json and scope["type"] == "http":
            await _answer(
                scope, receive, send, 200, _WRONG["syntax" if active.rule.wrong_json == "syntax" else "shape"]
            )
        elif active.rule.idle_stream and scope["type"] == "http":
            await _stay_silent(receive, send)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, _FrameGate(send, active, self._board.changed))
        else:
            await self._app(scope, receive, _BodyGate(send, receive, active.rule))


class _BodyGate:
    """A `send` for HTTP that adds headers, slows the body down or cuts it."""

    def __init__(self, send: Send, receive: Receive, rule: Rule) -> None:
        self._send = send
        self._receive = receive
        self._rule = rule
        self._sent = 0
        self._dropped = False

    async def __call__(self, message: Message) -> None:
        if self._dropped:
            return
        if message["type"] == "http.response.start":
            extra = [(name.lower().encode(), value.encode()) for name, value in self._rule.headers.items()]
            await self._send({**message, "headers": [*message.get("headers", []), *extra]})
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        limit = self._rule.cut_after_bytes
        if limit is not None and self._sent + len(body) > limit:
            await self._pour(body[: limit - self._sent], more=True)
            await _drained(self._send)
            self._dropped = True
            await _drop(self._send, self._receive, "http")
            return
        self._sent += len(body)
        await self._pour(body, more=more)

    async def _pour(self, body: bytes, *, more: bool) -> None:
        rate = self._rule.drip_bytes_per_s
        if rate is None:
            await self._send({"type": "http.response.body", "body": body, "more_body": more})
            return
        size = max(1, int(rate * _TICK_SECONDS))
        for start in range(0, len(body), size):
            if _transport(self._send).is_closing():
                return
            await self._send({"type": "http.response.body", "body": body[start : start + size], "more_body": True})
            await asyncio.sleep(size / rate)
        if not more:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class _FrameGate:
    """A `send` for WebSockets that counts frames, then kills or stalls the connection."""

    def __init__(self, send: Send, active: ActiveRule, changed: asyncio.Event) -> None:
        self._send = send
        self._active = active
        self._changed = changed
        self._frames = 0
        self._dead = False

    async def __call__(self, message: Message) -> None:
        if self._dead:
            return
        is_frame = message["type"] == "websocket.send" and (message.get("text") or "").startswith('{"t": "frame"')
        if is_frame and self._active.kills(self._frames):
            await self._kill()
            return
        if message["type"] == "websocket.send" and self._active.stalls(self._frames):
            await self._changed.wait()
        self._frames += is_frame
        await self._send(message)

    async def _kill(self) -> None:
        self._dead = True
        code = self._active.rule.ws_kill_code
        if code is not None:
            await self._send({"type": "websocket.close", "code": code})
            return
        await _drained(self._send)
        _transport(self._send).abort()


def _seen(scope: Scope) -> Seen:
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    raw_path, query = scope.get("raw_path", b"").decode("latin-1"), scope["query_string"].decode("latin-1")
    return Seen(scope["type"], scope.get("method", "GET"), scope["path"], raw_path, query, headers)


def _counting(receive: Receive, seen: Seen) -> Receive:
    async def counted() -> Message:
        message = await receive()
        if message["type"] == "http.request":
            seen.body_bytes += len(message.get("body", b""))
        return message

    return counted


def _transport(send: Send) -> asyncio.Transport:
    """Return the transport behind uvicorn's `send`, which is a method of the object that holds it."""
    transport: asyncio.Transport | None = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise RuntimeError("faults need uvicorn as the server")
    return transport


async def _drained(send: Send) -> None:
    """Wait until what was written has left for the kernel, because `abort` throws the rest away; give up in the end."""
    transport = _transport(send)
    deadline = asyncio.get_running_loop().time() + _DRAIN_SECONDS
    # A transport tells nobody but its protocol that it drained, and that one is the server's.
    while transport.get_write_buffer_size() and not transport.is_closing():
        if asyncio.get_running_loop().time() > deadline:
            return
        await asyncio.sleep(0.005)


async def _drop(send: Send, receive: Receive, kind: str) -> None:
    _transport(send).abort()
    while (await receive())["type"] != f"{kind}.disconnect":
        pass


async def _stay_silent(receive: Receive, send: Send) -> None:
    """Send the head and one comment of an event stream, then nothing until the client leaves."""
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b": idle\n\n", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer(scope: Scope, receive: Receive, send: Send, status: int, body: bytes) -> None:
    """Answer a request, or a WebSocket handshake (ASGI extension `websocket.http.response`), with this."""
    prefix = "http.response" if scope["type"] == "http" else "websocket.http.response"
    if scope["type"] == "websocket":
        await receive()
    headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
    await send({"type": f"{prefix}.start", "status": status, "headers": headers})
    await send({"type": f"{prefix}.body", "body": body})


def _error_body(status: int) -> bytes:
    code = {503: "BUSY", 404: "RUN_NOT_FOUND", 409: "CONFLICT", 422: "VALIDATION"}.get(status, "INTERNAL")
    return json.dumps({"error": {"code": code, "message": "injected fault"}}).encode()
