"""Long-lived objects say in one line who they are and where they stand."""

import gc

import httpx
from websockets.asyncio.server import ServerConnection

from bff_wsrelay.admission.limits import Admission
from bff_wsrelay.framelog.frame_log import FrameLog
from bff_wsrelay.framelog.ingester import Ingester
from bff_wsrelay.framelog.registry import Registry
from bff_wsrelay.framelog.topic import Topic
from bff_wsrelay.passthrough.session import Session
from bff_wsrelay.playback.pacer import Pacer
from bff_wsrelay.playback.scheduler import Scheduler
from bff_wsrelay.playback.sinks import EventStreamSink
from bff_wsrelay.playback.subscriber import Subscriber
from bff_wsrelay.websocket.client import UpstreamConnection
from bff_wsrelay.websocket.server import WebSocketProtocol
from tests.support.passthrough import StartBackend, StartRelay
from tests.support.playback import FAST, play_through, playing, watching
from tests.support.runs import RunBackend, source

PLAYBACK = (Admission, FrameLog, Ingester, Pacer, Registry, Scheduler, Subscriber, Topic, WebSocketProtocol)
STANDS = {
    Subscriber: "seq=4",
    Topic: "finished frames=5",
    FrameLog: "frames=5/5",
    Pacer: "ended cursor=5",
    Registry: "<Registry topics=1 reading=0 failures=0 bytes=",
    WebSocketProtocol: "open buffered=0 unread=False",
}


async def test_the_objects_of_a_playback_say_where_they_stand() -> None:
    async with playing(RunBackend(source(5))) as relay, watching(relay.stream(FAST)) as client:
        await play_through(client)
        # Other tests of this process may have left some of their own.
        lines = {(type(thing), repr(thing)) for thing in gc.get_objects() if type(thing) in PLAYBACK}
    assert {kind for kind, _ in lines} == set(PLAYBACK)
    for kind, text in STANDS.items():
        assert any(text in line for of, line in lines if of is kind), (kind, lines)
    assert not any(" object at 0x" in line for _, line in lines)
    assert not any("\n" in line for _, line in lines)


async def test_an_upstream_connection_says_where_it_stands(
    start_relay: StartRelay, start_backend: StartBackend
) -> None:
    async def wait(backend: ServerConnection) -> None:
        await backend.wait_closed()

    backend = await start_backend(wait)
    relay = await start_relay(backend.url)
    async with relay.watch():
        gc.collect()
        lines = [repr(thing) for thing in gc.get_objects() if type(thing) in {UpstreamConnection, Session}]
    assert "<UpstreamConnection OPEN unread=0 paused=False>" in lines
    assert any(line.startswith("<Session live UNKNOWN") for line in lines)


async def test_an_event_stream_says_where_it_stands() -> None:
    async with playing(RunBackend(source(5))) as relay, httpx.AsyncClient() as http:
        events = {"Accept": "text/event-stream"}
        url = f"{relay.url}/api/v1/runs/run/stream?speed=0.1"
        async with http.stream("GET", url, headers=events) as response:
            assert response.status_code == 200
            lines = [repr(thing) for thing in gc.get_objects() if type(thing) is EventStreamSink]
    (line,) = (line for line in lines if "lost=False" in line)
    assert line.startswith("<EventStreamSink <HttpConnection ('127.0.0.1', ")
    assert line.endswith("closed=None>")
