"""Changes at runtime: on every replica at once, over restarts, and whatever Redis does meanwhile."""

import asyncio
import json
import logging
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from bff_proxy.flags.admin import FlagAdmin
from bff_proxy.flags.metrics import FlagMetrics
from bff_proxy.flags.overrides import Change, Entry, Stored, StoreUnavailable
from bff_proxy.flags.redis_store import HASH, OverrideStore
from bff_proxy.flags.store import FlagStore
from bff_proxy.flags.sync import FlagSync
from bff_shared.errors import NotFound
from bff_tools.stack import Stack, StackOptions
from tests.support import redis_server
from tests.support.flags import ADMIN, Api, asking, define, document, flag, until
from tests.support.redis_server import RedisServer

Start = Callable[..., Awaitable[str]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisServer]:
    with redis_server.cluster() as server:
        yield server


async def replicas(stack: AsyncExitStack, start: Start, url: str, count: int = 2, **settings: Any) -> list[Api]:
    """Start proxies that share a Redis; looking takes so long that only what they are told can be quick."""
    own = {"redis_url": url, "flag_poll_seconds": 60, **settings}
    return [await stack.enter_async_context(asking(await start(**own))) for _ in range(count)]


def entry(key: str, value: bool) -> Entry:
    change_id = secrets.token_hex(8)
    return Entry(0, Change(key, value, None, "x", "ann", 1.0, id=change_id), change_id)


async def value(api: Api, key: str = "bff") -> bool:
    return bool((await api.flags())[key]["value"])


async def sees(api: Api, expected: bool, key: str = "bff") -> None:
    async def fact() -> bool:
        return await value(api, key) is expected

    await until(fact)


@pytest.mark.parametrize("kind", ["redis", "cluster"])
async def test_change_reaches_every_replica_and_every_page(
    start_flags: Start, request: pytest.FixtureRequest, kind: str
) -> None:
    async with AsyncExitStack() as stack:
        one, other = await replicas(stack, start_flags, request.getfixturevalue(kind).url)
        events = await stack.enter_async_context(other.events())
        assert (await events.next())["data"]["keys"] == ["bff", "chart_data", "run_data", "websocket"]
        answer = await one.put("bff", {"value": False, "reason": "a drill"}, **{"x-changed-by": "ann"})
        event = await events.next()
        body = answer.json()
        assert (body["value"], body["source"], body["reason"]) == (False, "runtime", "a drill")
        assert (body["changed_by"], body["default"]) == ("ann", True)
        assert event["data"]["keys"] == ["bff"]
        assert event["id"] == event["data"]["revision"]
        seen = (await other.client.get("/api/v1/flags?details=true", headers=ADMIN)).json()["flags"]
        assert seen[0] == body
        assert (await other.flags())["bff"] == {name: body[name] for name in body if name != "changed_by"}
        assert "ann" not in (await other.evaluate()).text
        assert (await other.client.get("/api/v1/flags?details=true")).status_code == 401
        undone = await one.client.delete("/api/v1/flags/bff", headers=ADMIN)
        await events.next()
        assert (undone.json()["value"], undone.json()["source"]) == (True, "file")
        assert await value(other)


async def test_no_request_fails_while_flags_change_and_all_pages_hear(start_flags: Start, redis: RedisServer) -> None:
    proxies = [await start_flags(redis_url=redis.url) for _ in range(2)]
    addresses = [proxy.removeprefix("http://") for proxy in proxies]
    nginx = Stack(
        StackOptions(
            backend_url="http://127.0.0.1:9",
            upstreams={"proxy": addresses, "aggregator": addresses[:1], "wsrelay": addresses[:1]},
            redis=False,
        )
    )
    await asyncio.to_thread(nginx.start)
    try:
        async with AsyncExitStack() as stack:
            api = await stack.enter_async_context(asking(nginx.origin))
            pages = [await stack.enter_async_context(api.events()) for _ in range(4)]
            for page in pages:
                await page.next()
            answers: list[int] = []

            async def ask() -> None:
                while True:
                    answers.append((await api.evaluate({"targetingKey": "ann"})).status_code)

            asking_on = asyncio.create_task(ask())
            for n in range(10):
                so_far = len(answers)
                await api.turn("bff", bool(n % 2))
                for page in pages:
                    assert (await page.next())["data"]["keys"] == ["bff"]
                while len(answers) == so_far and not asking_on.done():
                    await asyncio.sleep(0.001)
            asking_on.cancel()
            assert len(answers) >= 10
            assert set(answers) == {200}
    finally:
        await asyncio.to_thread(nginx.stop)


async def test_percentage_can_be_set_at_runtime(start_flags: Start, redis: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        (api,) = await replicas(stack, start_flags, redis.url, 1)
        on = set[str]()
        for percent in (20, 60):
            body = (await api.put("run_data", {"rollout": percent, "reason": "a few"})).json()
            assert body["rollout"] == percent
            before, on = (
                on,
                {
                    f"u{n}"
                    for n in range(30)
                    if (await api.evaluate({"targetingKey": f"u{n}"}, "run_data")).json()["value"]
                },
            )
            assert before <= on
        assert 0 < len(on) < 20


async def test_change_outlives_the_replicas(start_flags: Start, redis: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        (api,) = await replicas(stack, start_flags, redis.url, 1)
        await api.turn("websocket", False)
    async with AsyncExitStack() as stack:
        (api,) = await replicas(stack, start_flags, redis.url, 1)
        assert not await value(api, "websocket")


async def test_what_redis_loses_is_given_back(start_flags: Start, redis: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        one, _ = await replicas(stack, start_flags, redis.url, flag_poll_seconds=0.05)
        await one.turn("bff", False)
        await one.turn("run_data", False)
        with redis.client() as client:
            client.flushall()

            async def is_back() -> bool:
                return bool(client.hexists(HASH, "bff"))

            await until(is_back)
        (newcomer,) = await replicas(stack, start_flags, redis.url, 1)
        assert not await value(newcomer)
        assert not await value(newcomer, "run_data")
        assert not await value(one)
        await newcomer.turn("bff", True)
        await sees(one, True)


async def test_what_was_written_after_a_loss_stays(redis: RedisServer) -> None:
    store = OverrideStore(redis.url)
    await store.write("bff", entry("bff", False), 0)
    await store.write("run_data", entry("run_data", False), 0)
    known = await store.read()
    with redis.client() as client:
        client.flushall()
    await store.write("bff", entry("bff", True), 0)
    assert await store.restore(known.revision, known.entries)
    found = await store.read()
    assert (found.changes["bff"].value, found.changes["run_data"].value) == (True, False)
    assert found.revision > known.revision
    assert not await store.restore(known.revision, known.entries)
    await store.aclose()


@pytest.mark.parametrize("stale_first", [True, False])
@pytest.mark.parametrize("last", ["change", "removal"])
async def test_a_stale_replica_does_not_undo_what_another_one_knows(
    redis: RedisServer, last: str, stale_first: bool
) -> None:
    stale, fresh = [FlagSync(FlagStore(), None, OverrideStore(redis.url), every=60) for _ in range(2)]
    await fresh.write("bff", entry("bff", True))
    await stale.refresh()
    await fresh.write("run_data", entry("run_data", True))
    await fresh.write("bff", entry("bff", False) if last == "change" else Entry(0, None, secrets.token_hex(8)))
    with redis.client() as client:
        client.flushall()
    for sync in (stale, fresh, stale) if stale_first else (fresh, stale):
        await sync.refresh()
    store = OverrideStore(redis.url)
    for sync in (stale, fresh):
        await sync.refresh()
        bff = sync._flag_store.current.changes.get("bff")
        assert (bff and bff.value) is (False if last == "change" else None)
        assert sync._flag_store.current.changes["run_data"].value is True
    found = await store.read()
    assert ("bff" in found.changes) == (last == "change")
    for closing in (stale, fresh, store):
        await closing.aclose()


async def test_a_write_that_is_sent_twice_is_made_once(redis: RedisServer) -> None:
    store, change = OverrideStore(redis.url), entry("bff", False)
    first = await store.write("bff", change, 0)
    assert first.done
    assert await store.write("bff", change, 0) == first
    await store.aclose()


async def test_a_write_that_is_older_than_the_newest_is_not_made(redis: RedisServer) -> None:
    store = OverrideStore(redis.url)
    newest = await store.write("bff", entry("bff", False), 0)
    late = await store.write("bff", entry("bff", True), 0)
    assert (late.done, late.version) == (False, newest.version)
    assert (await store.read()).changes["bff"].value is False
    await store.aclose()


async def test_a_write_that_was_given_up_is_never_made(redis: RedisServer) -> None:
    store, change = OverrideStore(redis.url), entry("bff", False)
    with redis.client() as client:
        seconds, microseconds = client.time()
        not_after = seconds * 1000 + microseconds // 1000 + 200
        assert not (await store.settle("bff", change.id, not_after)).done
        assert client.keys() == [], "nothing has to be remembered, which eviction could take"
    assert not (await store.write("bff", change, 0, not_after)).done
    assert (await store.read()).entries == {}
    assert (await store.write("bff", other := entry("bff", False), 0)).done
    assert (await store.settle("bff", other.id, not_after)).done
    await store.aclose()


async def test_a_write_that_may_still_be_made_is_waited_for(redis: RedisServer) -> None:
    store, change = OverrideStore(redis.url), entry("bff", False)
    with redis.client() as client:
        not_after = client.time()[0] * 1000 + 2_000
    settling = asyncio.create_task(store.settle("bff", change.id, not_after))
    await asyncio.wait((settling,), timeout=0.2)
    assert not settling.done()
    assert (await store.write("bff", change, 0, not_after)).done
    assert (await settling).done
    await store.aclose()


async def test_what_cannot_be_certain_in_time_is_not_said(redis: RedisServer) -> None:
    store = OverrideStore(redis.url)
    with redis.client() as client:
        not_after = client.time()[0] * 1000 + 60_000
    with pytest.raises(StoreUnavailable):
        await store.settle("bff", "c0ffee", not_after)
    await store.aclose()


async def test_versions_grow_also_over_what_somebody_else_has_written(redis: RedisServer) -> None:
    store = OverrideStore(redis.url)
    later = int(time.time() * 1000) + 10**9
    with redis.client() as client:
        client.hset(HASH, mapping={"bff": f"{later} nonsense", "run_data": "9" * 5_000 + " {}", "revision": "9" * 400})
    assert (await store.write("bff", entry("bff", False), later)).version == later + 1
    assert (await store.write("run_data", entry("run_data", False), 0)).done
    found = await store.read()
    assert {key: change.value for key, change in found.changes.items()} == {"bff": False, "run_data": False}
    assert found.revision > later
    await store.aclose()


async def test_change_of_what_has_changed_meanwhile_is_not_made(redis: RedisServer) -> None:
    store = OverrideStore(redis.url)
    assert (await store.write("bff", entry("bff", False), 0)).done
    assert not (await store.write("bff", entry("bff", False), 0)).done
    version = (await store.read()).changes["bff"].version
    assert (await store.write("bff", Entry(0, None, "c0ffee"), version)).done
    assert (await store.read()).changes == {}
    assert (await store.write("bff", entry("bff", False), 0)).done  # given back is as good as never changed
    await store.aclose()


async def test_fields_that_are_no_changes_are_passed_over(start_flags: Start, redis: RedisServer) -> None:
    with redis.client() as client:
        client.hset(HASH, mapping={"bff": "nonsense", "run_data": "7 {}", b"\xff": b"\xff", "revision": "3"})
    async with AsyncExitStack() as stack:
        (api,) = await replicas(stack, start_flags, redis.url, 1)
        assert await value(api)
        await api.turn("bff", False)
        assert not await value(api)


async def test_what_is_written_during_a_look_is_found_by_whoever_asks_after_it(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, begun, released = OverrideStore.read, asyncio.Event(), asyncio.Event()

    async def slowly(store: OverrideStore) -> Stored:
        found = await read(store)
        begun.set()
        await released.wait()
        return found

    flag_store, store = FlagStore(), OverrideStore(redis.url)
    sync = FlagSync(flag_store, None, store, every=60)
    with monkeypatch.context() as patched:
        patched.setattr(OverrideStore, "read", slowly)
        early = asyncio.create_task(sync.refresh())
        await begun.wait()
    await store.write("bff", entry("bff", True), 0)
    late = asyncio.create_task(sync.refresh())
    released.set()
    await asyncio.gather(early, late)
    assert flag_store.current.flags["bff"].default is True
    await sync.aclose()


async def test_a_flag_that_the_file_loses_during_a_change_is_not_found(redis: RedisServer) -> None:
    flag_store, metrics = FlagStore(), FlagMetrics(CollectorRegistry())

    class Losing(FlagSync):
        async def write(self, key: str, entry: Entry, expected: int | None = None) -> bool:
            flag_store.set_definitions(document())
            return await super().write(key, entry, expected)

    flag_store.set_definitions(document({"extra": flag()}))
    sync = Losing(flag_store, None, OverrideStore(redis.url), every=60)
    with pytest.raises(NotFound):
        await FlagAdmin(flag_store, sync, metrics).put("extra", b'{"value": true, "reason": "x"}', "ann", "")
    await sync.aclose()


@pytest.mark.parametrize("revision", ["nonsense", "9" * 5_000, "-1"])
async def test_a_revision_that_is_none_counts_for_nothing_and_the_next_write_mends_it(
    redis: RedisServer, revision: str
) -> None:
    with redis.client() as client:
        client.hset(HASH, "revision", revision)
    store = OverrideStore(redis.url)
    assert (await store.read()).revision == 0
    written = await store.write("bff", entry("bff", False), 0)
    assert (await store.read()).revision == written.version
    await store.aclose()


LOADED = """
import sys
from bff_proxy.app import create_app
app = create_app()
print(sum(name.startswith("redis") for name in sys.modules))
"""


@pytest.mark.parametrize("url", ["", "redis://127.0.0.1:1"])
def test_the_library_for_redis_is_loaded_only_where_redis_is_configured(url: str) -> None:
    command, environment = [sys.executable, "-c", LOADED], {**os.environ, "BFF_REDIS_URL": url}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment)  # noqa: S603  our own interpreter
    assert (int(done.stdout) > 0) == bool(url)


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no replica be told of changes."""

    async def listen(_store: OverrideStore, _heard: Callable[[], None]) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(OverrideStore, "listen", listen)


async def test_connection_for_news_is_made_again(start_flags: Start, redis: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        one, other = await replicas(stack, start_flags, redis.url)
        with redis.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

            async def is_back() -> bool:
                return bool(client.pubsub_numsub("bff:1:flags")[0][1] == 2)

            await until(is_back)
        await one.turn("bff", False)
        await sees(other, False)


@pytest.mark.usefixtures("deaf")
async def test_without_word_from_redis_looking_is_enough(start_flags: Start, redis: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        one, other = await replicas(stack, start_flags, redis.url, flag_poll_seconds=0.05)
        await one.turn("bff", False)
        await sees(other, False)


async def test_while_redis_is_away_flags_stay_and_changes_are_refused(
    start_flags: Start, tmp_path: Path, flags_file: Path
) -> None:
    server = RedisServer(tmp_path)
    server.start()
    try:
        async with AsyncExitStack() as stack:
            (api,) = await replicas(stack, start_flags, server.url, 1, flag_poll_seconds=0.05)
            await api.turn("bff", False)
            server.stop()
            refused = await api.put("bff", {"value": True, "reason": "x"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "BUSY")
            assert refused.json()["error"]["details"]["outcome"] == "not_done"
            assert "127.0.0.1" not in refused.text
            assert int(refused.headers["retry-after"]) > 0
            assert not await value(api)
            health = (await api.client.get("/health")).json()
            assert health["dependencies"]["flags"]["status"] == "down"
            (newcomer,) = await replicas(stack, start_flags, server.url, 1, flag_poll_seconds=0.05)
            assert await value(newcomer)
            define(flags_file, {"run_data": flag("off")})
            await sees(newcomer, False, "run_data")
            server.start()
            await sees(newcomer, False)
            assert (await api.put("bff", {"value": True, "reason": "x"})).status_code == 200
            await sees(newcomer, True)
    finally:
        server.stop()


@pytest.mark.usefixtures("deaf")
async def test_page_that_knows_more_than_a_replica_gets_what_it_knows_of(
    start_flags: Start, redis: RedisServer
) -> None:
    async with AsyncExitStack() as stack:
        one, other = await replicas(stack, start_flags, redis.url)
        await one.turn("bff", False)
        revision = (await one.client.get("/api/v1/flags")).json()["revision"]
        path = f"/ofrep/v1/evaluate/flags?flagConfigEtag=%22{revision}%22"
        body = (await other.client.post(path, json={})).json()
    assert body["metadata"]["revision"] == revision
    assert body["flags"][0]["value"] is False


@pytest.mark.usefixtures("deaf")
async def test_replica_looks_before_it_says_that_nothing_changed(start_flags: Start, redis: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        one, other = await replicas(stack, start_flags, redis.url)
        for method, path in (("POST", "/ofrep/v1/evaluate/flags"), ("GET", "/api/v1/flags")):
            tag = (await other.client.request(method, path)).headers["etag"]
            known = {"if-none-match": tag}
            assert (await other.client.request(method, path, headers=known)).status_code == 304
            await one.turn("bff", not await value(one))
            assert (await other.client.request(method, path, headers=known)).status_code == 200


async def test_page_that_knows_of_a_newer_file_gets_it(start_flags: Start, flags_file: Path) -> None:
    async with AsyncExitStack() as stack:
        (late,) = await replicas(stack, start_flags, "", 1)
        define(flags_file, {"bff": flag("off")})
        assert await value(late)
        path = "/ofrep/v1/evaluate/flags?flagConfigEtag=another"
        assert (await late.client.post(path, json={})).json()["flags"][0]["value"] is False


BAD_CHANGES: list[tuple[Any, set[str]]] = [
    (None, {"body"}),
    ([], {"body"}),
    ({}, {"reason"}),
    ({"reason": "x"}, {"value", "rollout"}),
    ({"value": True, "rollout": 3, "reason": "x"}, {"value", "rollout"}),
    ({"value": 1, "reason": "x"}, {"value"}),
    ({"value": "true", "reason": "x"}, {"value"}),
    ({"rollout": 101, "reason": "x"}, {"rollout"}),
    ({"rollout": -1, "reason": "x"}, {"rollout"}),
    ({"rollout": 2.5, "reason": "x"}, {"rollout"}),
    ({"rollout": True, "reason": "x"}, {"rollout"}),
    ({"value": True, "reason": ""}, {"reason"}),
    ({"value": True, "reason": "a\nb"}, {"reason"}),
    ({"value": True, "reason": "a" * 201}, {"reason"}),
    ({"vale": True, "reason": "x"}, {"vale"}),
]


async def test_bad_change_is_refused_by_the_field(start_flags: Start, redis: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        (api,) = await replicas(stack, start_flags, redis.url, 1)
        for content, fields in BAD_CHANGES:
            answer = await api.put("bff", content)
            assert (answer.status_code, answer.json()["error"]["code"]) == (422, "VALIDATION"), content
            assert set(answer.json()["error"]["details"]["fields"]) == fields
        garbage = await api.client.put("/api/v1/flags/bff", content=b"{", headers=ADMIN)
        assert garbage.status_code == 422
        for name in ("a" * 65, "rollback", "a,b", "<b>"):
            answer = await api.put("bff", {"value": False, "reason": "x"}, **{"x-changed-by": name})
            assert set(answer.json()["error"]["details"]["fields"]) == {"X-Changed-By"}
        unknown = await api.put("nope", {"value": False, "reason": "x"})
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "NOT_FOUND")
        assert (await api.client.delete("/api/v1/flags/nope", headers=ADMIN)).status_code == 404
        assert await value(api)


async def test_change_is_logged_with_who_before_and_after_and_counted(
    start_flags: Start, redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncExitStack() as stack:
        (api,) = await replicas(stack, start_flags, redis.url, 1)
        with caplog.at_level(logging.INFO):
            await api.put(
                "bff",
                {"rollout": 40, "reason": "a few"},
                **{"x-changed-by": "ann", "x-forwarded-for": "203.0.113.9"},
            )
        (record,) = [vars(record) for record in caplog.records if record.name == "bff_proxy.flags.admin"]
        assert (record["flag"], record["by"]) == ("bff", "ann")
        assert record["client"].startswith("203.0.113.9")
        assert record["before"] == {"value": True, "rollout": None, "source": "file", "reason": ""}
        assert record["after"]["rollout"] == 40
        assert record["after"]["reason"] == "a few"
        assert "token" not in json.dumps(record, default=str).replace("token for", "")
        assert await api.metric('bff_flag_changes_total{key="bff",source="runtime"}') == 1
        assert await api.metric('bff_flag_share{key="bff"}') == 0.4
