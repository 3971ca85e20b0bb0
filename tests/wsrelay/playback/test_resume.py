"""Viewers that come back: on the same relay or another, with what they have seen in their address."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.support.playback import FAST, Client, Relay, play_through, playing, relaying, watching
from tests.support.runs import Fate, RunBackend, assert_conserved, source


async def test_viewers_resume_on_another_relay_where_the_first_was_told_to_stop() -> None:
    backend = RunBackend(source(3000))
    await backend.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(backend.stop)
        first = await stack.enter_async_context(relaying(backend.url))
        clients = [await stack.enter_async_context(watching(first.stream(FAST))) for _ in range(50)]
        for client in clients:
            await client.control(cmd="speed", val=20)
            await client.control(cmd="play")
            await client.until_type("frame")
        draining = asyncio.create_task(first.drain())
        codes = await asyncio.gather(*(client.until_closed() for client in clients))
        await draining
        assert set(codes) == {1012}
        second = await stack.enter_async_context(relaying(backend.url))
        await asyncio.gather(*(resume(second, client, backend) for client in clients))
        assert backend.connections == 2
        assert second.value("bff_stream_resumes_total") == 50


async def resume(relay: Relay, client: Client, backend: RunBackend) -> None:
    told = client.messages[-1]
    assert told["state"] == "draining"
    assert told["retry_ms"] > 0
    hello = next(message for message in client.messages if message["t"] == "hello")
    seq = client.frames[-1]["seq"]
    query = f"?speed=3600&epoch={hello['epoch']}&seq={seq}&autoplay=1"
    async with watching(relay.stream(query)) as again:
        welcome = await again.next()
        assert (welcome["epoch"], welcome["seq"], welcome["resumed"]) == (hello["epoch"], seq, True)
        await again.until_type("end")
        dropped = client.frames[-1]["dropped"]
        rest = [{**frame, "dropped": frame["dropped"] + dropped} for frame in again.frames]
        assert_conserved(client.frames + rest, backend.frames)


async def test_an_unknown_epoch_is_announced_and_playback_goes_on_after_the_time() -> None:
    backend = RunBackend(source(300))
    async with playing(backend) as relay:
        async with watching(relay.stream(FAST)) as client:
            await play_through(client)
        ts = backend.frames[120]["ts"]
        async with watching(relay.stream(f"{FAST}&epoch=other&seq=7&ts={ts}")) as client:
            hello = await client.next()
            assert (hello["resumed"], hello["seq"], hello["total"]) == (False, 120, 300)
            told = await client.next()
            assert (told["state"], told["reason"], told["ts"]) == ("epoch", "unknown", ts)
            await play_through(client)
            assert_conserved(client.frames, backend.frames, start=121)


async def test_an_unknown_epoch_goes_on_after_a_time_that_the_relay_has_yet_to_read() -> None:
    backend = RunBackend(source(300), lambda n: Fate(stall_after=100) if n == 0 else Fate(), beat_seconds=1000)
    async with playing(backend, read_stall_seconds=0.3) as relay:
        ts = backend.frames[120]["ts"]
        async with watching(relay.stream(f"{FAST}&epoch=other&seq=7&ts={ts}&autoplay=1")) as client:
            await client.until_type("end")
            assert_conserved(client.frames, backend.frames, start=121)


@pytest.mark.parametrize("seq", ["9" * 16, "9" * 31, "9" * 4000, "1e3"])
async def test_a_position_that_no_run_has_is_refused(seq: str) -> None:
    backend = RunBackend(source(10), status="RUNNING")
    async with playing(backend) as relay:
        with pytest.raises(InvalidStatus) as refused:
            async with watching(relay.stream(f"?autoplay=1&seq={seq}")):
                pass
        assert refused.value.response.status_code == 422


async def test_server_sent_events_play_and_resume_by_last_event_id() -> None:
    backend = RunBackend(source(900))
    async with playing(backend) as relay, httpx.AsyncClient(timeout=30) as http:
        url = f"{relay.url}/api/v1/runs/run/stream{FAST}"
        accept = {"Accept": "text/event-stream"}
        events = await read_events(http, url, accept, lambda event, _: event == "end")
        frames = [json.loads(data) for event, data, _ in events if event == "frame"]
        assert_conserved(frames, backend.frames)
        middle = frames[len(frames) // 2]
        last_id = next(name for event, data, name in events if event == "frame" and json.loads(data) == middle)
        headers = {**accept, "Last-Event-ID": last_id}
        rest = await read_events(http, url, headers, lambda event, _: event == "end")
        again = [json.loads(data) for event, data, _ in rest if event == "frame"]
        assert_conserved(again, backend.frames, start=middle["seq"] + 1)


async def read_events(
    http: httpx.AsyncClient, url: str, headers: dict[str, str], last: Callable[[str, str], bool]
) -> list[tuple[str, str, str]]:
    """Return events as (event, data, id) up to the last."""
    events = []
    fields: dict[str, str] = {}
    async with http.stream("GET", url, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
                continue
            if "data" in fields:
                events.append((fields.get("event", ""), fields["data"], fields.get("id", "")))
                if last(events[-1][0], events[-1][1]):
                    break
            fields = {}
    return events
