"""Which run it is that is played: a run anew under the same id, and viewers let in before anybody can tell."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.playback import FAST, Relay, play_through, playing, relaying, watching
from tests.support.runs import Fate, RunBackend, assert_conserved, source


@asynccontextmanager
async def outage(backend: RunBackend, **options: Any) -> AsyncIterator[Relay]:
    """Run a relay whose backend is away; whoever needs it starts it."""
    await backend.start()
    await backend.stop()
    try:
        async with relaying(backend.url, **options) as relay:
            yield relay
    finally:
        await backend.stop()


@pytest.mark.parametrize("status", ["DONE", "RUNNING"])
async def test_a_run_that_was_run_anew_is_played_anew_to_those_who_watch_and_to_new_ones(status: str) -> None:
    backend = RunBackend(source(300))
    async with playing(backend, log_recheck_seconds=0) as relay, watching(relay.stream(FAST)) as first:
        await play_through(first)
        old = first.messages[0]["epoch"]
        if status == "DONE":
            backend.created_at = "2025-10-01T00:00:00+00:00"  # described anew
        backend.frames, backend.status = source(500, seed=2), status
        async with watching(relay.stream(FAST)) as second:
            told = await first.until(lambda message: message.get("state") == "epoch")
            assert told["reason"] == "changed"
            assert told["epoch"] not in {"", None, old}
            assert told["ts"] == backend.frames[299]["ts"]
            await second.control(cmd="play")
            await second.until(lambda message: message["t"] == "frame" and message["seq"] == 499)
            backend.status = "DONE"
            await second.until_type("end")
            assert_conserved(second.frames, backend.frames)
            assert {message["epoch"] for message in second.messages if message.get("epoch")} == {told["epoch"]}
            await first.control(cmd="play")
            await first.until_type("end")
            assert_conserved([frame for frame in first.frames if frame["seq"] > 299], backend.frames, start=300)
        assert backend.connections >= 2


async def test_new_viewers_that_come_at_once_have_the_backend_asked_once() -> None:
    backend = RunBackend(source(100))
    async with playing(backend, log_recheck_seconds=0) as relay, watching(relay.stream(FAST)) as first:
        await play_through(first)
        before = backend.details

        async def visit() -> None:
            async with watching(relay.stream(FAST)) as client:
                await client.next()

        await asyncio.gather(*(visit() for _ in range(40)))
        assert backend.details - before < 40


async def test_a_viewer_let_in_during_an_outage_learns_the_epoch_when_it_is_known() -> None:
    backend = RunBackend(source(300))
    async with outage(backend) as relay, watching(relay.stream(FAST)) as client:
        assert (await client.next())["epoch"] is None
        await client.control(cmd="play")
        await backend.start()
        told = await client.until(lambda message: message.get("state") == "epoch")
        assert (told["reason"], told["ts"]) == ("known", None)
        await client.until_type("end")
        assert_conserved(client.frames, backend.frames)
        async with watching(relay.stream(f"{FAST}&epoch={told['epoch']}&seq=99")) as again:
            assert (await again.next())["resumed"] is True


@pytest.mark.parametrize("is_same", [True, False])
async def test_a_viewer_that_comes_back_during_an_outage_goes_on_in_the_same_run_only(*, is_same: bool) -> None:
    backend = RunBackend(source(300))
    async with playing(backend) as relay, watching(relay.stream(FAST)) as client:
        await play_through(client)
        epoch, ts = client.messages[0]["epoch"], client.frames[-1]["ts"]
    if not is_same:
        backend.created_at = "2025-10-01T00:00:00+00:00"
    ts = backend.frames[120]["ts"]
    async with outage(backend) as relay, watching(relay.stream(f"{FAST}&epoch={epoch}&seq=99&ts={ts}")) as again:
        hello = await again.next()
        assert (hello["epoch"], hello.get("resumed")) == (None, None)
        await again.control(cmd="play")
        await backend.start()
        told = await again.until(lambda message: message.get("state") == "epoch")
        assert told["reason"] == ("known" if is_same else "unknown")
        assert (told["epoch"] == epoch) is is_same
        await again.until_type("end")
        assert_conserved(again.frames, backend.frames, start=100 if is_same else 121)


async def test_a_position_without_its_epoch_is_not_called_resumed() -> None:
    backend = RunBackend(source(300), lambda _: Fate())
    async with playing(backend) as relay:
        async with watching(relay.stream(FAST)) as client:
            await play_through(client)
        async with watching(relay.stream(f"{FAST}&seq=99")) as again:
            hello = await again.next()
            assert (hello["resumed"], hello["seq"]) == (False, 99)
            await play_through(again)
            assert_conserved(again.frames, backend.frames, start=100)
