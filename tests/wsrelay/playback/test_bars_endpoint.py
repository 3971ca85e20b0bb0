"""Bars over real sockets, WebSocket and event stream: what comes is what the chart says."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from bff_shared.trading_sessions import SESSION
from tests.support.bars import Drawing, market_run
from tests.support.playback import Relay, playing, watching
from tests.support.runs import RunBackend

RUN = market_run()
LAST = len(RUN) - 1


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    async with playing(RunBackend(RUN)) as relay:
        yield relay


def drawn(messages: list[dict[str, Any]]) -> Drawing:
    drawing = Drawing()
    for message in messages:
        drawing.take(message)
    return drawing


@pytest.mark.parametrize("size", [5, SESSION])
async def test_websocket_draws_the_chart_from_the_first_frame_and_after_a_seek(relay: Relay, size: Any) -> None:
    async with watching(relay.stream(f"?speed=3600&bar={size}")) as viewer:
        assert (await viewer.until_type("hello"))["bar"] == size
        place = await viewer.until_type("position")
        start = {"seq": -1, "ts": None, "peak": None, "orders": 0, "size": size, "bar": None}
        assert place == {"t": "position", **start}
        await viewer.control(cmd="play")
        await viewer.until_type("end")
        assert drawn(viewer.messages).differences(RUN, size) == []
        del viewer.messages[:]
        await viewer.control(cmd="seek", pos=LAST - 7)
        await viewer.until_type("frame")
        assert [message["t"] for message in viewer.messages] == ["ctrl", "position", "frame"]
        assert drawn(viewer.messages).differences(RUN, size) == []


async def test_viewer_that_comes_back_draws_on_where_it_was(relay: Relay) -> None:
    async with watching(relay.stream("?speed=3600&bar=60&autoplay=1")) as viewer:
        epoch = (await viewer.until_type("hello"))["epoch"]
        await viewer.until_type("end")
    async with watching(relay.stream(f"?speed=3600&bar=60&autoplay=1&epoch={epoch}&seq=700")) as again:
        await again.until_type("end")
    drawing = drawn(again.messages)
    assert drawing.position is not None
    assert drawing.position["seq"] == 700
    assert drawing.differences(RUN, 60) == []


async def test_event_stream_draws_the_chart(relay: Relay) -> None:
    messages, kinds = [], set()
    async with (
        asyncio.timeout(60),
        httpx.AsyncClient(timeout=60) as client,
        client.stream(
            "GET",
            f"{relay.url}/api/v1/runs/run/stream?speed=3600&bar=15",
            headers={"Accept": "text/event-stream"},
        ) as response,
    ):
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                kinds.add(line.removeprefix("event: "))
            elif line.startswith("data: "):
                messages.append(json.loads(line.removeprefix("data: ")))
                if messages[-1]["t"] == "end":
                    break
    assert kinds >= {"hello", "position", "frame", "end"}
    assert drawn(messages).differences(RUN, 15) == []


async def test_bar_of_no_chart_is_refused_before_the_stream_begins(relay: Relay) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.get(
            f"{relay.url}/api/v1/runs/run/stream?bar=7", headers={"Accept": "text/event-stream"}
        )
    assert response.status_code == 422
    assert "bar must be minutes" in response.text
