"""Pages that listen: bounded in number, told once for all they missed, and sent elsewhere when the process ends."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from bff_proxy.app import create_app
from bff_proxy.flags.events import FlagEvents, StreamLimits, Subscriber, own_event
from bff_proxy.flags.metrics import FlagMetrics
from bff_proxy.flags.store import FlagStore
from bff_proxy.settings import ProxySettings
from bff_shared.limits import ConnectionLimiter
from tests.support.flags import asking, define, document, flag, until

Start = Callable[..., Awaitable[str]]
OFREP = "/ofrep/v1/events"


async def test_listener_hears_at_once_and_after_each_change(start_flags: Start, flags_file: Path) -> None:
    async with asking(await start_flags()) as api, api.events() as events:
        assert events.response.headers["content-type"].startswith("text/event-stream")
        assert events.response.headers["cache-control"] == "no-store"
        first = await events.next()
        define(flags_file, {"bff": flag("off")})
        second = await events.next()
        listing = (await api.client.get("/api/v1/flags")).json()
    assert first["event"] == second["event"] == "flags"
    assert second["data"] == {"revision": listing["revision"], "keys": ["bff"]}
    assert first["data"]["revision"] != second["data"]["revision"]


async def test_stream_comes_through_nginx_as_it_is_said(
    start_flags: Start, start_nginx: Callable[[str], Awaitable[str]], flags_file: Path
) -> None:
    origin = await start_nginx(await start_flags())
    async with asking(origin) as api, api.events() as events, api.events(OFREP) as provider:
        await events.next()
        await provider.next()
        define(flags_file, {"bff": flag("off")})
        assert (await events.next())["data"]["keys"] == ["bff"]
        assert (await provider.next())["data"]["type"] == "refetchEvaluation"


async def test_provider_is_told_to_fetch_again_unless_it_has_the_revision(start_flags: Start, flags_file: Path) -> None:
    async with asking(await start_flags(flag_heartbeat=0.05)) as api:
        async with api.events(OFREP) as events:
            first = await events.next()
        assert first["event"] == "message"
        assert first["data"] == {
            "type": "refetchEvaluation",
            "etag": f'"{first["id"]}"',
            "lastModified": first["data"]["lastModified"],
        }
        async with api.events(OFREP, **{"last-event-id": first["id"]}) as events:
            assert [line.split(":")[0] for line in await events.block()] == ["retry"]
            assert await events.block() == [":"]
        define(flags_file, {"bff": flag("off")})

        async def changed() -> bool:
            return not (await api.flags())["bff"]["value"]

        await until(changed)
        async with api.events(OFREP, **{"last-event-id": first["id"]}) as events:
            assert (await events.next())["id"] != first["id"]


async def test_silence_is_broken_by_comments(start_flags: Start) -> None:
    async with asking(await start_flags(flag_heartbeat=0.02)) as api, api.events() as events:
        await events.next()
        assert await events.block() == [":"]
        assert await events.block() == [":"]


async def test_listeners_are_bounded_and_a_place_is_free_again(start_flags: Start) -> None:
    async with asking(await start_flags(flag_listeners=1)) as api:
        async with api.events() as events:
            await events.next()
            refused = await api.client.get("/api/v1/flags/events")
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "BUSY")
            assert await api.metric("bff_flag_listeners") == 1

        async def gone() -> bool:
            return await api.metric("bff_flag_listeners") == 0

        await until(gone)
        async with api.events() as events:
            await events.next()


async def test_one_client_takes_only_its_share_of_the_streams(start_flags: Start) -> None:
    async with (
        asking(await start_flags(flag_listeners=3, flag_listeners_per_client=2)) as api,
        AsyncExitStack() as all_,
    ):
        greedy, page = {"x-forwarded-for": "203.0.113.1"}, {"x-forwarded-for": "203.0.113.2"}
        opened = [await all_.enter_async_context(api.events(**greedy)) for _ in range(2)]
        for events in opened:
            await events.next()
        waits = set[int]()
        for _ in range(20):
            refused = await api.client.get("/api/v1/flags/events", headers=greedy)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "BUSY")
            waits.add(int(refused.headers["retry-after"]))
        assert min(waits) >= 5
        assert len(waits) > 1  # not all at the same moment
        assert await api.metric('bff_flag_listeners_refused_total{limit="client"}') == 20
        opened.append(await all_.enter_async_context(api.events(**page)))
        await opened[-1].next()
        assert (await api.client.get("/api/v1/flags/events", headers=page)).status_code == 503  # full by now


async def test_a_stream_ends_after_a_while_and_the_page_may_come_back(start_flags: Start) -> None:
    async with asking(await start_flags(flag_listeners=1, flag_stream_seconds=0.05)) as api:
        for _ in range(2):
            async with api.events() as events:
                await events.next()
                while await events.block():
                    pass  # signs of life up to its end

            async def gone() -> bool:
                return await api.metric("bff_flag_listeners") == 0

            await until(gone)


@pytest.mark.parametrize("path", ["/api/v1/flags/events", OFREP])
async def test_head_of_a_stream_is_answered_and_ends(start_flags: Start, path: str) -> None:
    async with asking(await start_flags()) as api:
        response = await api.client.head(path)
        assert (response.status_code, response.content) == (200, b"")
        assert response.headers["content-type"].startswith("text/event-stream")
        assert await api.metric("bff_flag_listeners") == 0


async def test_drain_ends_streams_and_opens_no_more(start_app: Start, flags_file: Path) -> None:
    app: Any = create_app(ProxySettings(flags_file=str(flags_file)))
    async with asking(await start_app(app)) as api, api.events() as events:
        await events.next()
        for hook in app.state.service.on_drain:
            hook()
        assert await events.block() == []
        assert (await api.client.get("/api/v1/flags/events")).status_code == 503
        assert (await api.flags())["bff"]["value"]


async def test_slow_listener_is_told_once_for_all_that_happened() -> None:
    subscriber = Subscriber()
    for key in ("b", "a", "b") * 1000:
        subscriber.publish([key])
    assert await subscriber.changes(10) == ["a", "b"]
    assert await subscriber.changes(0) == []


async def test_listener_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bff_proxy.flags.events.STUCK_SECONDS", 0.01)
    flag_store = FlagStore()
    flag_store.set_definitions(document())
    refused = FlagMetrics(CollectorRegistry()).listeners_refused
    events = FlagEvents(flag_store, StreamLimits(ConnectionLimiter(1, 1), refused, (), heartbeat=10, lifetime=60))
    never = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await never.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await never.wait()

    async with asyncio.timeout(30):
        await events.serve({"type": "http", "headers": []}, receive, send, own_event, initial=True)
    assert len(events) == 0


async def test_answer_is_not_cut_by_a_page_that_leaves(start_flags: Start, flags_file: Path) -> None:
    async with asking(await start_flags()) as api, api.events() as staying:
        await staying.next()
        async with asking(str(api.client.base_url)) as other, other.events() as leaving:
            await leaving.next()
        define(flags_file, {"bff": flag("off")})
        assert (await staying.next())["data"]["keys"] == ["bff"]
