"""A change of a flag is answered with the truth: in effect, not in effect and never will be, or unknown."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from bff_proxy.flags.overrides import Entry, StoreUnavailable
from bff_proxy.flags.redis_store import OverrideStore, Written
from tests.chaos.faultproxy import Fault, FaultProxy
from tests.support.flags import ADMIN, Api, asking, until
from tests.support.redis_server import RedisServer

Start = Callable[..., Awaitable[str]]
Write = Callable[[OverrideStore, str, Entry, int, int], Awaitable[Written]]
OFF = {"value": False, "reason": "a drill"}
write: Write = OverrideStore.write


def error_of(response: httpx.Response) -> tuple[int, str, Any]:
    error = response.json()["error"]
    return response.status_code, error["code"], error["details"]["outcome"]


async def is_off(api: Api) -> bool:
    return not (await api.flags())["bff"]["value"]


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_change_whose_confirmation_is_lost_is_done(
    start_flags: Start, redis: RedisServer, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    async with asking(await start_flags(redis_url=redis.url)) as api:
        if method == "DELETE":
            await api.turn("bff", False)

        async def lossy(store: OverrideStore, key: str, entry: Entry, expected: int, not_after: int) -> Written:
            await write(store, key, entry, expected, not_after)
            raise StoreUnavailable

        monkeypatch.setattr(OverrideStore, "write", lossy)
        content = None if method == "DELETE" else OFF
        response = await api.client.request(method, "/api/v1/flags/bff", json=content, headers=ADMIN)
        assert (response.status_code, response.json()["value"]) == (200, method == "DELETE")
        assert await is_off(api) == (method == "PUT")


async def test_a_change_that_never_arrived_is_not_in_effect_and_does_not_come_later(
    start_flags: Start, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[tuple[OverrideStore, str, Entry, int, int]] = []

    async def stuck(store: OverrideStore, key: str, entry: Entry, expected: int, not_after: int) -> Written:
        late.append((store, key, entry, expected, not_after))
        raise StoreUnavailable

    monkeypatch.setattr(OverrideStore, "write", stuck)
    async with asking(await start_flags(redis_url=redis.url)) as api:
        assert error_of(await api.put("bff", OFF)) == (503, "BUSY", "not_done")
        (arguments,) = late
        assert not (await write(*arguments)).done
        await asyncio.gather(*(api.client.get("/api/v1/flags") for _ in range(3)))
        assert not await is_off(api)


async def test_a_change_that_redis_hears_of_late_is_unknown_and_shows_when_it_is_made(
    start_flags: Start, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bff_proxy.flags.redis_store.DEADLINE", 0.3)
    monkeypatch.setattr("bff_proxy.flags.redis_store.SETTLE_DEADLINE", 0.0)
    monkeypatch.setattr("bff_proxy.flags.redis_store.WRITE_MILLISECONDS", 600_000)
    address = urlsplit(redis.url)
    with FaultProxy(address.hostname or "", address.port or 0) as between:

        async def held(store: OverrideStore, key: str, entry: Entry, expected: int, not_after: int) -> Written:
            await asyncio.to_thread(between.inject, Fault(black_hole=True))
            return await write(store, key, entry, expected, not_after)

        monkeypatch.setattr(OverrideStore, "write", held)
        async with asking(await start_flags(redis_url=f"redis://127.0.0.1:{between.port}")) as api:
            unknown = await api.put("bff", OFF)
            assert error_of(unknown) == (503, "OUTCOME_UNKNOWN", "unknown")
            assert int(unknown.headers["retry-after"]) > 0
            await asyncio.to_thread(between.heal)
            await until(lambda: is_off(api))
            told = unknown.json()["error"]["details"]
            assert (await api.flags())["bff"]["change_id"] == told["change_id"]


async def test_a_late_change_does_not_undo_a_newer_one(
    start_flags: Start, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[tuple[OverrideStore, str, Entry, int, int]] = []

    async def first_is_stuck(store: OverrideStore, key: str, entry: Entry, expected: int, not_after: int) -> Written:
        if not late:
            late.append((store, key, entry, expected, not_after))
            raise StoreUnavailable
        return await write(store, key, entry, expected, not_after)

    async def silent(*_: Any) -> Written:
        raise StoreUnavailable

    monkeypatch.setattr(OverrideStore, "write", first_is_stuck)
    monkeypatch.setattr(OverrideStore, "settle", silent)
    async with asking(await start_flags(redis_url=redis.url)) as api:
        assert error_of(await api.put("bff", {"value": True, "reason": "first"}))[1] == "OUTCOME_UNKNOWN"
        await api.turn("bff", False)
        (arguments,) = late
        assert not (await write(*arguments)).done
        assert await is_off(api)


async def test_concurrent_changes_are_all_made_and_the_last_one_counts_everywhere(
    start_flags: Start, redis: RedisServer
) -> None:
    async with (
        asking(await start_flags(redis_url=redis.url)) as one,
        asking(await start_flags(redis_url=redis.url)) as b,
    ):
        changes = [api.put("bff", {"value": bool(n % 2), "reason": f"{n}"}) for n in range(4) for api in (one, b)]
        responses = await asyncio.gather(*changes)
        assert {response.status_code for response in responses} <= {200, 503}
        assert any(response.status_code == 200 for response in responses)

        async def agreed() -> bool:
            return (await one.flags())["bff"] == (await b.flags())["bff"]

        await until(agreed)
