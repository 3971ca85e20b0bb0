"""A client of the backend works through the passthrough as it is: both protocols, both spellings, kills, a restart."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from websockets.asyncio.client import connect

from bff_demo.options import Options
from bff_demo.server import DemoServer
from bff_wsrelay.app import create_app
from bff_wsrelay.settings import RelaySettings
from tests.conftest import Start
from tests.support.passthrough import PassthroughClient, StartRelay

NEW = [{"t": "ctrl", "cmd": "speed", "val": 60}, {"t": "ctrl", "cmd": "seek", "pos": "2025-01-02T15:00:00Z"}]
OLD = [{"t": "ctrl", "cmd": "speed", "speed": 60}, {"t": "ctrl", "cmd": "seek", "ts": "2025-01-02T15:00:00Z"}]
PLAY, READY = {"t": "ctrl", "cmd": "play"}, {"t": "ready"}


@pytest.fixture(scope="module", params=["observed", "newer"])
def demo(request: pytest.FixtureRequest) -> Iterator[DemoServer]:
    with DemoServer(Options(protocol=request.param, faults=True)) as server:
        yield server


@pytest.fixture
async def run_path(demo: DemoServer) -> AsyncIterator[str]:
    """The path of a run of a month, with no faults set before and after."""
    async with httpx.AsyncClient(base_url=demo.url) as client:
        await client.delete("/__faults")
        items = (await client.get("/backtests", params={"limit": 500})).json()["items"]
        month = next(run for run in items if run["status"] == "DONE" and run["run_from"] == "2025-03-01")
        yield f"/backtests/{month['run_id']}/ws"
        await client.delete("/__faults")


@asynccontextmanager
async def watching(url: str) -> AsyncIterator[PassthroughClient]:
    async with connect(url, proxy=None, compression=None, max_size=None) as connection:
        yield PassthroughClient(connection)
        connection.transport.abort()  # closing waits for frames that nobody reads any more


async def converse(viewer: PassthroughClient, *messages: Any, frames: int) -> list[Any]:
    """Say it and return what is heard up to so many frames, heartbeats and statuses aside."""
    await viewer.sends(*messages)
    heard: list[Any] = []
    while sum(message["t"] == "frame" for message in heard) < frames:
        heard += [message for message in await viewer.receives() if message["t"] not in {"hb", "status"}]
    return heard


@pytest.mark.parametrize("controls", [NEW, OLD], ids=["new spelling", "old spelling"])
async def test_a_conversation_is_the_same_as_without_the_relay(
    demo: DemoServer, run_path: str, start_app: Start, controls: list[Any]
) -> None:
    app = create_app(RelaySettings(backend_url=demo.url, admin_token=SecretStr("admin")))
    base = (await start_app(app)).replace("http", "ws", 1)
    said = [READY, *controls, {"t": "ctrl", "cmd": "dance"}, PLAY]
    async with watching(f"{demo.ws_url}{run_path}") as direct, watching(f"{base}/api/v1{run_path}") as relayed:
        assert await converse(relayed, *said, frames=500) == await converse(direct, *said, frames=500)
        async with httpx.AsyncClient(base_url=base.replace("ws", "http", 1)) as client:
            [shown] = (await client.get("/api/v1/streams", headers={"Authorization": "Bearer admin"})).json()[
                "passthrough"
            ]
    assert (shown["state"], shown["from_viewer"], shown["breaks"]) == ("live", len(said), 0)


async def test_a_client_that_never_sends_ready_gets_the_same(
    demo: DemoServer, run_path: str, start_relay: StartRelay
) -> None:
    relay = await start_relay(demo.url)
    url = relay.url.partition("/backtests")[0] + run_path
    async with watching(f"{demo.ws_url}{run_path}") as direct, watching(url) as relayed:
        answers = []
        for viewer in (direct, relayed):
            await viewer.sends(PLAY, *NEW)
            heard = await viewer.receives_until(lambda message: message.get("cmd") == "seek")
            answers.append([message for message in heard if message["t"] != "frame"])
    assert answers[0] == answers[1]


async def test_every_frame_and_order_arrives_once_through_kills(
    demo: DemoServer, run_path: str, start_relay: StartRelay
) -> None:
    async with watching(f"{demo.ws_url}{run_path}") as direct:
        expected = [one for one in await converse(direct, READY, PLAY, frames=2000) if one["t"] == "frame"]
    rules = [{"ws_kill_after_frames": 100 + 300 * number, "times": 1} for number in range(6)]
    async with httpx.AsyncClient(base_url=demo.url) as client:
        (await client.put("/__faults", json=rules)).raise_for_status()
        relay = await start_relay(demo.url)
        async with watching(relay.url.partition("/backtests")[0] + run_path) as viewer:
            heard = await converse(viewer, READY, PLAY, frames=2000)
        killed = [rule["killed"] for rule in (await client.get("/__faults")).json()["rules"]]
    assert killed == [1] * 6
    assert [one for one in heard if one["t"] == "frame"] == expected
    assert [json.dumps(one) for one in heard if one.get("echo")] == [json.dumps({**PLAY, "echo": True})]


async def test_a_restart_of_the_backend_is_a_pause(start_relay: StartRelay) -> None:
    with DemoServer() as first:
        async with httpx.AsyncClient(base_url=first.url) as client:
            items = (await client.get("/backtests", params={"limit": 500})).json()["items"]
        run = next(one for one in items if one["status"] == "DONE" and one["run_from"] == "2025-03-01")
        path = f"/backtests/{run['run_id']}/ws"
        relay, port = await start_relay(first.url), first.port
        async with watching(f"{first.ws_url}{path}") as direct:
            expected = [one for one in await converse(direct, PLAY, frames=3000) if one["t"] == "frame"]
        viewer_url = relay.url.partition("/backtests")[0] + path
        async with watching(viewer_url) as viewer:
            heard = await converse(viewer, PLAY, frames=1000)
            first.stop()
            with DemoServer(port=port):
                heard += await converse(viewer, frames=2000)
    assert [one for one in heard if one["t"] == "frame"][:3000] == expected
