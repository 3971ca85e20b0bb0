"""What the relay's app offers to whoever looks into a running process."""

import logging

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
