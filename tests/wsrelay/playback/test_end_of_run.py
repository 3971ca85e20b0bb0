"""The end of a run that its WebSocket never says, where the backend is the demo as deployed ones are.

Quiet for ever would not tell the end here, so whoever gets `end` got it from what the backend says besides its frames.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from bff_demo.catalog import CATALOG, run_id
from bff_demo.options import Options
from bff_demo.server import DemoServer
from tests.support.playback import playing, relaying, watching
from tests.support.runs import RunBackend, source

UNQUIET: dict[str, Any] = {"read_quiet_seconds": 1000}


@pytest.fixture(scope="module", params=[True, False], ids=["with parts' routes", "without parts' routes"])
def demo(request: pytest.FixtureRequest) -> Iterator[DemoServer]:
    with DemoServer(Options(early_closes=False, part_routes=request.param, load_delay=0.2)) as server:
        yield server


def run_of(symbol: str, last: str) -> str:
    (inputs,) = (entry.inputs for entry in CATALOG if (entry.inputs.symbol, str(entry.inputs.last)) == (symbol, last))
    return run_id(42, inputs, "")


@pytest.mark.parametrize(
    ("symbol", "last", "frames"),
    [
        ("AAPL", "2024-11-30", 20 * 390),  # a Saturday, after an early close that trades on
        ("MSFT", "2025-03-31", 21 * 390),  # a session
        ("PNNY", "2024-03-29", None),  # Good Friday
        ("BRK.b", "2024-03-31", 20 * 390),  # Easter Sunday
        ("C:EURUSD", "2024-03-16", None),  # a Saturday, of a week that ends on Friday evening
        ("X:BTCUSD", "2024-03-17", None),  # a Sunday, on which it trades
        ("ES=F", "2024-03-15", None),  # a session that began the evening before
    ],
)
async def test_end_follows_the_last_frame_and_no_pass_counts_as_broken(
    demo: DemoServer, symbol: str, last: str, frames: int | None
) -> None:
    run = run_of(symbol, last)
    async with relaying(demo.url, **UNQUIET) as relay, watching(relay.stream("?speed=3600", run)) as client:
        await client.control(cmd="play")
        await client.until_type("end")
        shown = client.frames[-1]["seq"] + 1
        assert frames is None or shown == frames
        assert sum(frame["n"] for frame in client.frames) == shown
        assert not [message for message in client.messages if message.get("state") == "reconnecting"]
        assert relay.app.state.registry.connects == 1


@pytest.mark.parametrize("beyond", [305, "2025-01-02T23:00:00Z", "2099-01-01T00:00:00Z"])
async def test_seek_beyond_the_end_is_refused_with_bounds_though_the_end_is_not_known(beyond: int | str) -> None:
    backend = RunBackend(source(300), says_end=False)
    async with playing(backend, **UNQUIET) as relay, watching(relay.stream(run="run")) as client:
        await client.control(cmd="seek", pos=299)
        await client.until_type("frame")
        await client.control(cmd="seek", pos=beyond)
        refused = await client.until_type("err")
        assert refused["code"] == "RANGE"
        first, last = backend.frames[0]["ts"], backend.frames[-1]["ts"]
        known = {"min": 0, "max": 299} if isinstance(beyond, int) else {"min": first, "max": last}
        assert refused["details"] == known
        await client.control(cmd="step", val=-1)
        assert (await client.until_type("frame"))["seq"] == 298


async def test_seek_beyond_the_end_of_a_run_that_is_being_read_is_refused_when_its_end_is_known(
    demo: DemoServer,
) -> None:
    run = run_of("MSFT", "2025-03-31")
    async with relaying(demo.url, **UNQUIET) as relay, watching(relay.stream(run=run)) as client:
        await client.control(cmd="seek", pos=21 * 390 + 5)
        refused = await client.until_type("err")
        assert (refused["code"], refused["details"]) == ("RANGE", {"min": 0, "max": 21 * 390 - 1})
