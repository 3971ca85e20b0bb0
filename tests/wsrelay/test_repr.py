"""Long-lived objects say in one line who they are and where they stand."""

import gc

from websockets.asyncio.server import ServerConnection

from bff_wsrelay.admission.limits import Admission
from bff_wsrelay.framelog.ingester import Ingester
from bff_wsrelay.framelog.registry import Registry
from bff_wsrelay.framelog.topic import Topic
from bff_wsrelay.playback.scheduler import Scheduler
from bff_wsrelay.playback.subscriber import Subscriber
from bff_wsrelay.websocket.client import UpstreamConnection
from tests.support.passthrough import StartBackend, StartRelay
from tests.support.playback import FAST, play_through, playing, watching
from tests.support.runs import RunBackend, source

PLAYBACK = (Admission, Ingester, Registry, Scheduler, Subscriber, Topic)


async def test_the_objects_of_a_playback_say_where_they_stand() -> None:
    async with playing(RunBackend(source(5))) as relay, watching(relay.stream(FAST)) as client:
        await play_through(client)
        gc.collect()  # nothing of other tests
        lines = {type(thing).__name__: repr(thing) for thing in gc.get_objects() if type(thing) in PLAYBACK}
    assert set(lines) == {kind.__name__ for kind in PLAYBACK}
    assert "seq=4" in lines["Subscriber"]
    assert "finished frames=5" in lines["Topic"]
    assert not any("\n" in line for line in lines.values())


async def test_an_upstream_connection_says_where_it_stands(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    async def wait(backend: ServerConnection) -> None:
        await backend.wait_closed()

    backend = await start_backend(wait)
    relay = await start_relay(backend.url)
    async with relay.watch():
        gc.collect()
        lines = [repr(thing) for thing in gc.get_objects() if type(thing) is UpstreamConnection]
    assert "<UpstreamConnection OPEN unread=0 paused=False>" in lines
