"""The two streams of a run: WebSocket with controls, and Server-Sent Events. Frames leave as fast as the client reads.

A player starts from the first frame on every `play` that finds it stopped. While a run is loaded the event loop stands
still for `load_delay`, so heartbeats and every other request wait: the deployed backend does that.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

from bff_demo import documents
from bff_demo.backend import Backend, BackendDep, CallerDep, owned_run
from bff_demo.options import Options
from bff_demo.playback import interpret
from bff_demo.runs import PartMissing, RunNotFound

__all__ = ["router"]

router = APIRouter()

_HEARTBEAT = '{"t": "hb"}'
_END = '{"t": "end"}'
_BURST = 32


@router.websocket("/backtests/{run_id}/ws")
async def play_over_websocket(websocket: WebSocket, run_id: str, backend: BackendDep, caller: CallerDep) -> None:
    """Serve one viewer until it leaves. The socket of an unknown run opens as well; `play` tells."""
    with suppress(RunNotFound):
        owned_run(backend, run_id, caller)
    await websocket.accept()
    async with asyncio.TaskGroup() as group:
        heart = group.create_task(_beat(websocket, backend.options.heartbeat_seconds))
        viewer = group.create_task(_Viewer(websocket, backend, run_id).serve())
        viewer.add_done_callback(lambda _: heart.cancel())


@router.get("/backtests/{run_id}/stream")
async def play_over_events(
    run_id: str, backend: BackendDep, caller: CallerDep, speed: float | None = None
) -> StreamingResponse:
    """Send all frames as events, then `end`, or `error` for an unknown run; `speed` has no effect."""
    del speed
    with suppress(RunNotFound):
        owned_run(backend, run_id, caller)
    return StreamingResponse(_events(backend, run_id), media_type="text/event-stream")


class _Viewer:
    """One WebSocket: reads controls, and owns the task that plays."""

    def __init__(self, websocket: WebSocket, backend: Backend, run_id: str) -> None:
        self._websocket = websocket
        self._backend = backend
        self._run_id = run_id
        self._player: asyncio.Task[None] | None = None
        self._ready = False

    async def serve(self) -> None:
        """Answer messages until the client disconnects."""
        try:
            while True:
                message = await self._websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                await self._obey(message.get("text") or message.get("bytes") or "")
        except WebSocketDisconnect:
            return
        finally:
            await self._stop()

    async def _obey(self, text: str | bytes) -> None:
        options = self._backend.options
        command = interpret(text, options.protocol, ready=self._ready)
        self._ready = self._ready or command.ready
        if command.answer is not None:
            await self._websocket.send_text(command.answer)
        if command.action == "pause":
            await self._stop()
        elif command.action == "play" and (self._player is None or self._player.done()):
            self._player = asyncio.create_task(self._play())

    async def _play(self) -> None:
        try:
            for texts in _load(self._backend, self._run_id):
                for index, text in enumerate(texts):
                    await self._websocket.send_text(text)
                    # A send that finds room in the socket never yields; controls and heartbeats need their turn.
                    if index % _BURST == 0:
                        await asyncio.sleep(0)
            if self._backend.options.protocol == "newer":
                await self._websocket.send_text(_END)
        except (RunNotFound, PartMissing) as exc:
            await self._websocket.send_text(_stream_error(self._run_id, exc))
        except WebSocketDisconnect:
            return

    async def _stop(self) -> None:
        if self._player is not None:
            self._player.cancel()
            await asyncio.wait([self._player])
            self._player = None


async def _beat(websocket: WebSocket, seconds: float) -> None:
    try:
        while True:
            await asyncio.sleep(seconds)
            await websocket.send_text(_HEARTBEAT)
    except WebSocketDisconnect:
        return


async def _events(backend: Backend, run_id: str) -> AsyncIterator[str]:
    try:
        for texts in _load(backend, run_id):
            yield "".join(f"event: frame\ndata: {text}\n\n" for text in texts)
            await asyncio.sleep(0)
    except (RunNotFound, PartMissing) as exc:
        yield f"event: error\ndata: {_stream_error(run_id, exc)}\n\n"
        return
    yield f"event: end\ndata: {_END}\n\n"


def _load(backend: Backend, run_id: str) -> Iterator[list[str]]:
    """Return the frames of a run in lists. Raises RunNotFound or PartMissing."""
    run = backend.registry.find(run_id)
    for part in ("equity", "orders"):
        backend.registry.require(run, part)
    _stand_still(backend.options)
    computed = backend.registry.compute(run)
    newer = backend.options.protocol == "newer"
    quantity, traded = run.inputs.quantity, computed.traded
    return documents.frame_texts(computed.bars, computed.result, quantity, newer=newer, traded=traded)


def _stand_still(options: Options) -> None:
    if options.load_delay > 0:
        time.sleep(options.load_delay)


def _stream_error(run_id: str, exc: Exception) -> str:
    what = f"run not found: {run_id}" if isinstance(exc, RunNotFound) else str(exc)
    return json.dumps({"t": "err", "code": "STREAM_ERROR", "msg": what})
