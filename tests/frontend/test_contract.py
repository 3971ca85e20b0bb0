"""What the client is made from says what the services do."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships no types

from bff_demo.options import Options
from bff_demo.server import DemoServer
from bff_shared.trading_sessions import BAR_MINUTES, SESSION
from tests.support.frontend import npm
from tests.support.playback import relaying, watching

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "frontend/client/schema/stream.schema.json").read_text())
RUN = "9729ef2b0aed90d5fca0597619d7fa4f"


def checker(name: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]})


@pytest.fixture(params=["observed", "newer"])
def demo(request: pytest.FixtureRequest) -> Iterator[DemoServer]:
    with DemoServer(Options(protocol=request.param, load_delay=0.0)) as server:
        yield server


def test_openapi_documents_are_those_of_the_services() -> None:
    done = subprocess.run(
        [sys.executable, "docs/openapi.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_generated_types_are_those_of_the_documents() -> None:
    npm("run", "generate", "--workspace", "bff-client", "--", "--check")


def test_schema_of_the_stream_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.slow
async def test_every_message_of_a_stream_is_as_its_schema_says(demo: DemoServer) -> None:
    said: list[dict[str, Any]] = [
        {"t": "ready"},
        {"t": "hb"},
        {"t": "ctrl", "cmd": "seek", "pos": 10},
        {"t": "ctrl", "cmd": "seek", "pos": "2024-11-04T15:00:00Z"},
        {"t": "ctrl", "cmd": "step", "val": 1},
        {"t": "ctrl", "cmd": "speed", "val": 3600},
        {"t": "ctrl", "cmd": "fps", "val": 60},
        {"t": "ctrl", "cmd": "bar", "val": 5},
        {"t": "ctrl", "cmd": "seek", "pos": -5},
        {"t": "ctrl", "cmd": "dance"},
        {"t": "ctrl", "cmd": "bar", "val": "session"},
        {"t": "ctrl", "cmd": "pause"},
        {"t": "ctrl", "cmd": "play"},
    ]
    assert [message for message in said if not checker("ViewerMessage").is_valid(message)] == [said[9]]
    async with (
        relaying(demo.url) as relay,
        watching(relay.stream("?speed=3600&fps=60&epoch=gone&seq=5&ts=2024-11-01T14:00:00Z", RUN)) as viewer,
    ):
        for message in said:
            await viewer.connection.send(json.dumps(message))
        await viewer.until_type("end")
    kinds = {message["t"] for message in viewer.messages}
    assert kinds >= {"hello", "position", "frame", "extent", "status", "ctrl", "err", "ready_ack", "end"}
    checkers = {kind: checker(kind.capitalize()) for kind in ("hello", "position", "frame")}
    for message in viewer.messages:
        checkers.get(message["t"], checker("StreamMessage")).validate(message)


def test_sizes_of_bars_are_those_of_charts() -> None:
    assert SCHEMA["$defs"]["BarSize"]["enum"] == [*BAR_MINUTES, SESSION]


async def test_refusals_and_a_drain_are_as_their_schema_says(demo: DemoServer) -> None:
    async with relaying(demo.url) as relay:
        async with watching(relay.stream("", "0" * 32)) as stranger:
            assert await stranger.until_closed() == 4404
        async with watching(relay.stream("", RUN)) as viewer:
            await viewer.until_type("hello")
            await relay.drain()
            assert await viewer.until_closed() == 1012
    assert {message["t"] for message in stranger.messages} == {"err"}
    assert viewer.messages[-1]["state"] == "draining"
    for message in (*stranger.messages, *viewer.messages):
        checker("StreamMessage").validate(message)
