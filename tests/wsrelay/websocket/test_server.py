"""The server side of a WebSocket as an app sees it: direct writes, closes past backpressure, honest codes."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from websockets.asyncio.client import connect

from bff_wsrelay.websocket.server import WRITER_EXTENSION, FrameWriter, WebSocketProtocol, encode_frame
from tests.support.serving import serving

App = Callable[[FrameWriter, Any, Any], Awaitable[None]]


class Endpoint:
    """An ASGI app that accepts and hands its writer on, and keeps what it received."""

    def __init__(self, script: App) -> None:
        self.script = script
        self.received: list[dict[str, Any]] = []
        self.done = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})

        async def keep() -> dict[str, Any]:
            message: dict[str, Any] = await receive()
            self.received.append(message)
            return message

        try:
            await self.script(scope["extensions"][WRITER_EXTENSION], keep, send)
        finally:
            self.done.set()

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[WebSocketRoute("/", self)])


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
async def test_frames_of_every_length_arrive_whole_and_in_order_with_sent_ones(size: int) -> None:
    text = "x" * size

    async def script(writer: FrameWriter, receive: Any, send: Any) -> None:
        writer.write(encode_frame(text.encode()))
        await send({"type": "websocket.send", "text": "between"})
        writer.write(encode_frame(text.encode()))
        await receive()

    endpoint = Endpoint(script)
    async with serving(endpoint.app) as url, connect(url, compression=None, proxy=None) as client:
        assert [await client.recv() for _ in range(3)] == [text, "between", text]


async def test_what_the_connection_does_not_take_is_buffered_and_delivered_later() -> None:
    chunk, count = encode_frame(b"x" * 60_000), 200
    room = asyncio.Event()

    async def script(writer: FrameWriter, receive: Any, send: Any) -> None:
        del send
        for _ in range(count):
            writer.write(chunk)
        assert writer.get_buffered() > 0
        assert writer.is_paused
        await writer.drain()
        room.set()
        await receive()

    endpoint = Endpoint(script)
    async with serving(endpoint.app) as url, connect(url, compression=None, proxy=None, max_queue=1) as client:
        assert {len(await client.recv()) for _ in range(count)} == {60_000}
        async with asyncio.timeout(30):
            await room.wait()


async def test_close_does_not_wait_for_room_and_nothing_is_written_after_it() -> None:
    async def script(writer: FrameWriter, receive: Any, send: Any) -> None:
        del send
        writer.write(encode_frame(b"last"))
        writer.close(4404, "gone")
        writer.write(encode_frame(b"too late"))
        assert not writer.is_open
        await receive()

    endpoint = Endpoint(script)
    async with serving(endpoint.app) as url, connect(url, compression=None, proxy=None) as client:
        assert await client.recv() == "last"
        await client.wait_closed()
        assert (client.close_code, client.close_reason) == (4404, "gone")
        await endpoint.done.wait()
    assert endpoint.received == [{"type": "websocket.disconnect", "code": 4404, "reason": "gone"}]


async def listen(writer: FrameWriter, receive: Any, send: Any) -> None:
    del writer, send
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def test_a_connection_that_vanishes_is_reported_as_1006_and_a_close_as_what_it_says() -> None:
    for abrupt, code in ((True, 1006), (False, 4001)):
        endpoint = Endpoint(listen)
        async with serving(endpoint.app) as url, connect(url, compression=None, proxy=None) as client:
            if abrupt:
                raw = client.transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                client.transport.abort()
            else:
                await client.close(4001)
            async with asyncio.timeout(30):
                await endpoint.done.wait()
        assert endpoint.received[-1]["code"] == code


async def test_a_viewer_is_not_cut_while_the_ping_waits_behind_messages_it_still_takes() -> None:
    expired = asyncio.Event()

    class Counting(WebSocketProtocol):
        expiries = 0

        def keepalive_timeout(self) -> None:
            if not expired.is_set():  # afterwards only the machine decides how fast the viewer reads
                super().keepalive_timeout()
            self.expiries += 1
            if self.expiries == 3:
                expired.set()

    async def script(writer: FrameWriter, receive: Any, send: Any) -> None:
        for _ in range(200):
            writer.write(encode_frame(b"x" * 60_000))
        await listen(writer, receive, send)

    options: dict[str, Any] = {"ws": Counting, "ws_ping_interval": 0.02, "ws_ping_timeout": 0.05}
    async with (
        serving(Endpoint(script).app, **options) as url,
        connect(url, compression=None, proxy=None, max_queue=1, ping_interval=None) as client,
    ):
        async with asyncio.timeout(30):
            await expired.wait()
        assert {len(await client.recv()) for _ in range(200)} == {60_000}
