"""What the relay's app offers to whoever looks into a running process, and how it refuses what it does not serve."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from bff_shared.upstream.client import Upstream
from bff_wsrelay.admission.limits import Admission
from bff_wsrelay.app import create_app
from bff_wsrelay.framelog.registry import Registry
from bff_wsrelay.passthrough.endpoint import PassthroughEndpoint
from bff_wsrelay.playback.endpoint import PlaybackEndpoint
from bff_wsrelay.settings import RelaySettings
from bff_wsrelay.websocket.connector import Connector
from bff_wsrelay.websocket.traffic import TrafficMeter
from tests.support.playback import FAST, play_through, playing, watching
from tests.support.runs import RunBackend, source

StartApp = Callable[[Any], Awaitable[str]]
COMPONENTS = {
    "upstream": Upstream,
    "connector": Connector,
    "registry": Registry,
    "store": type(None),  # needs Redis
    "playback": PlaybackEndpoint,
    "passthrough": PassthroughEndpoint,
    "admission": Admission,
    "traffic": TrafficMeter,
}


def test_every_component_is_reached_from_the_apps_state() -> None:
    state = create_app(RelaySettings(backend_url="http://127.0.0.1:9")).state
    assert {name: type(getattr(state, name)) for name in COMPONENTS} == COMPONENTS
    assert state.service.name == "wsrelay"
    assert "\n" not in repr(state.upstream)


async def test_debug_logging_tells_what_goes_in_and_out_of_each_layer(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("bff_wsrelay", "bff_shared", "bff.stream"):
        caplog.set_level(logging.DEBUG, name)
    async with playing(RunBackend(source(5))) as relay, watching(relay.stream(FAST)) as client:
        await play_through(client)
    told = [(record.name.removeprefix("bff_"), record.message) for record in caplog.records]
    layers = {
        ("shared.upstream.client", "the backend responded"),
        ("wsrelay.websocket.connector", "the backend's websocket is open"),
        ("wsrelay.framelog.ingester", "the run is read"),
        ("wsrelay.framelog.ingester", "the run was read to its end"),
        ("bff.stream", "stream began"),
        ("bff.stream", "stream ended"),
    }
    assert layers <= set(told), told


VALID = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "13"}
KEY = {"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}


@pytest.mark.parametrize(
    ("path", "method", "headers", "status", "code"),
    [
        ("/api/v1/backtests/7/ws", "GET", {}, 426, "UPGRADE_REQUIRED"),
        ("/api/v1/backtests/7/ws", "GET", VALID, 426, "UPGRADE_REQUIRED"),
        ("/api/v1/backtests/7/ws", "GET", VALID | KEY | {"sec-websocket-version": "8"}, 426, "UPGRADE_REQUIRED"),
        ("/api/v1/backtests/7/ws", "GET", VALID | {"sec-websocket-key": "short"}, 426, "UPGRADE_REQUIRED"),
        ("/api/v1/runs/7/stream", "GET", VALID, 426, "UPGRADE_REQUIRED"),
        ("/api/v1/runs/7/stream", "POST", VALID | KEY, 405, "METHOD_NOT_ALLOWED"),
        ("/api/v1/streams", "GET", VALID | KEY, 404, "NOT_FOUND"),
        ("/nothing", "GET", VALID | KEY, 404, "NOT_FOUND"),
    ],
)
async def test_what_is_no_handshake_or_nowhere_is_refused_in_the_one_shape(
    start_app: StartApp, path: str, method: str, headers: dict[str, str], status: int, code: str
) -> None:
    origin = await start_app(create_app(RelaySettings(backend_url="http://127.0.0.1:9")))
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        answer = await client.request(method, origin + path, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers.get("sec-websocket-version") == ("13" if status == 426 else None)
