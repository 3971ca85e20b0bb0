"""What people, scripts and OpenFeature providers are answered about flags, with a file alone."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bff_proxy.flags.definitions import KEYS
from tests.support.flags import ADMIN, TOKEN, Api, asking, define, flag, percentage, put, until

Start = Callable[..., Awaitable[str]]


async def test_list_says_what_each_flag_is_and_why(start_flags: Start, flags_file: Path) -> None:
    described = flag("off", targeting=percentage(30), metadata={"description": "Charts", "reason": "first steps"})
    define(flags_file, {"chart_data": described})
    async with asking(await start_flags()) as api:
        found = await api.flags(targetingKey="user-2")
    assert list(found) == list(KEYS)
    assert found["chart_data"] == {
        "key": "chart_data",
        "value": found["chart_data"]["value"],
        "variant": "on" if found["chart_data"]["value"] else "off",
        "reason": "first steps",
        "evaluation": "SPLIT",
        "source": "file",
        "description": "Charts",
        "default": False,
        "rollout": 30.0,
    }
    assert (found["bff"]["value"], found["bff"]["evaluation"], found["bff"]["rollout"]) == (True, "STATIC", None)


async def test_without_a_file_everything_is_off(start_flags: Start) -> None:
    async with asking(await start_flags(flags_file="")) as api:
        found = await api.flags()
        health = (await api.client.get("/health")).json()
    assert [found[key]["value"] for key in KEYS] == [False] * 4
    assert health["dependencies"]["flags"]["status"] == "ok"


async def test_a_refused_method_is_told_those_of_all_routes(start_flags: Start) -> None:
    async with asking(await start_flags()) as api:
        answer = await api.client.post("/api/v1/flags/bff")
    assert (answer.status_code, answer.headers["allow"]) == (405, "PUT, DELETE")


@pytest.mark.parametrize("path", ["/api/v1/flags", "/ofrep/v1/evaluate/flags"])
async def test_answer_that_the_client_has_is_304(start_flags: Start, flags_file: Path, path: str) -> None:
    method = "GET" if path.startswith("/api") else "POST"
    async with asking(await start_flags()) as api:
        first = await api.client.request(method, path)
        tag = first.headers["etag"]
        for condition in (tag, f'"x", W/{tag}', "*"):
            again = await api.client.request(method, path, headers={"if-none-match": condition})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        define(flags_file, {"bff": flag("off")})
        await until(lambda: _is(api.flags(), lambda found: not found["bff"]["value"]))
        other = await api.client.request(method, path, headers={"if-none-match": tag})
    assert other.status_code == 200
    assert other.headers["etag"] != tag
    assert "no-cache" in other.headers["cache-control"]


async def _has(api: Api, value: bool) -> bool:
    return bool((await api.flags())["bff"]["value"]) == value


async def _is(answer: Awaitable[Any], fact: Callable[[Any], bool]) -> bool:
    return fact(await answer)


async def test_bulk_evaluation_is_that_of_the_protocol(start_flags: Start, flags_file: Path) -> None:
    define(flags_file, {"bff": {**flag(), "state": "DISABLED"}, "run_data": flag("off", targeting=percentage(50))})
    async with asking(await start_flags()) as api:
        body = (await api.evaluate({"targetingKey": "ann"})).json()
    found = {one["key"]: one for one in body["flags"]}
    assert list(found) == list(KEYS)
    assert "value" not in found["bff"]
    assert found["bff"]["reason"] == "DISABLED"
    assert found["run_data"]["reason"] == "SPLIT"
    assert found["chart_data"] == {
        "key": "chart_data",
        "value": True,
        "variant": "on",
        "reason": "STATIC",
        "metadata": {"source": "file"},
    }
    assert body["eventStreams"] == [
        {"type": "sse", "endpoint": {"requestUri": "/ofrep/v1/events"}, "inactivityDelaySec": 120}
    ]


async def test_single_evaluation_is_that_of_the_protocol(start_flags: Start) -> None:
    async with asking(await start_flags()) as api:
        good = await api.evaluate(key="bff")
        unknown = await api.evaluate(key="nope")
    assert good.json() == {
        "key": "bff",
        "value": True,
        "variant": "on",
        "reason": "STATIC",
        "metadata": {"source": "file"},
    }
    assert unknown.status_code == 404
    assert (unknown.json()["key"], unknown.json()["errorCode"]) == ("nope", "FLAG_NOT_FOUND")


async def test_context_may_be_left_out(start_flags: Start) -> None:
    async with asking(await start_flags()) as api:
        for body in (b"", b"{}", b'{"context":null}', b'{"context":{}}', b'{"context":{"a":[1]}}'):
            answer = await api.client.post("/ofrep/v1/evaluate/flags/bff", content=body)
            assert answer.json()["value"] is True, body


BAD_REQUESTS = {
    b"{": "PARSE_ERROR",
    b"\xff": "PARSE_ERROR",
    b"[" * 50_000: "PARSE_ERROR",
    b"[]": "PARSE_ERROR",
    b'{"context":[1]}': "INVALID_CONTEXT",
    b'{"context":{"targetingKey":7}}': "INVALID_CONTEXT",
    json.dumps({"context": {"targetingKey": "a" * 257}}).encode(): "INVALID_CONTEXT",
    json.dumps({"context": {"groups": list(range(300))}}).encode(): "INVALID_CONTEXT",
    json.dumps({"context": {"text": "a" * 20_000}}).encode(): "INVALID_CONTEXT",
    json.dumps({"context": {"number": 2**70}}).encode(): "INVALID_CONTEXT",
    b'{"context":{"a":' + b"[" * 20 + b"]" * 20 + b"}}": "INVALID_CONTEXT",
    b'{"context":{"number":' + b"9" * 5_000 + b"}}": "PARSE_ERROR",
}


async def test_bad_request_is_answered_as_the_protocol_says(start_flags: Start) -> None:
    async with asking(await start_flags()) as api:
        for body, code in BAD_REQUESTS.items():
            for key in ("", "/bff"):
                answer = await api.client.post(f"/ofrep/v1/evaluate/flags{key}", content=body)
                assert (answer.status_code, answer.json()["errorCode"]) == (400, code), body[:40]
                assert ("key" in answer.json()) == bool(key)


async def test_flag_whose_rules_fail_does_not_spoil_the_others(start_flags: Start, flags_file: Path) -> None:
    define(flags_file, {"bff": flag(targeting={"if": [{"var": "team"}, {"var": "team"}, "off"]})})
    async with asking(await start_flags()) as api:
        bulk = await api.evaluate({"team": "none"})
        single = await api.evaluate({"team": "none"}, "bff")
    assert [one.get("errorCode") for one in bulk.json()["flags"]] == ["GENERAL", None, None, None]
    assert (single.status_code, single.json()["errorCode"]) == (500, "GENERAL")


async def test_large_body_is_413(start_flags: Start) -> None:
    async with asking(await start_flags()) as api:
        answer = await api.client.post("/ofrep/v1/evaluate/flags", content=b" " * 70_000)
        change = await api.client.put("/api/v1/flags/bff", content=b" " * 70_000, headers=ADMIN)
    assert [one.json()["error"]["code"] for one in (answer, change)] == ["PAYLOAD_TOO_LARGE"] * 2


async def test_other_paths_of_flags_are_404_and_not_forwarded(start_flags: Start) -> None:
    async with asking(await start_flags()) as api:
        for path in ("/api/v1/flags/", "/api/v1/flags/bff/more", "/ofrep/v1/other", "/ofrep/"):
            answer = await api.client.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND"), path


async def test_changed_file_counts_without_a_restart(start_flags: Start, flags_file: Path) -> None:
    async with asking(await start_flags()) as api, api.events() as events:
        await events.next()
        define(flags_file, {"run_data": flag("off")})
        event = await events.next()
        found = await api.flags()
    assert event["data"]["keys"] == ["run_data"]
    assert not found["run_data"]["value"]


async def test_bad_file_is_refused_by_name_and_the_last_good_one_stays(start_flags: Start, flags_file: Path) -> None:
    async with asking(await start_flags()) as api:
        define(flags_file, {"chart_data": {**flag("off"), "state": "SURE"}, "bff": flag("off")})
        await until(lambda: _is(api.metric("bff_flag_definitions_refused"), bool))
        found = await api.flags()
        health = (await api.client.get("/health")).json()
        assert [found[key]["value"] for key in KEYS] == [True] * 4
        assert health["status"] == "degraded"
        assert "flag 'chart_data': state must be" in health["dependencies"]["flags"]["error"]
        define(flags_file, {"bff": flag("off")})
        await until(lambda: _is(api.flags(), lambda found: not found["bff"]["value"]))
        assert await api.metric("bff_flag_definitions_refused") == 0


@pytest.mark.parametrize("content", [None, b"{}", b" " * 300_000])
async def test_service_starts_without_a_usable_file(
    start_flags: Start, flags_file: Path, content: bytes | None
) -> None:
    put(flags_file, content)
    async with asking(await start_flags()) as api:
        found = await api.flags()
        health = (await api.client.get("/health")).json()["dependencies"]["flags"]
        assert [found[key]["value"] for key in KEYS] == [False] * 4
        assert health["status"] == "down"
        assert str(flags_file) not in health["error"]
        define(flags_file)
        await until(lambda: _is(api.flags(), lambda found: found["bff"]["value"]))


async def test_admin_routes_are_off_without_a_token(start_flags: Start) -> None:
    async with asking(await start_flags(admin_token="")) as api:
        answers = [await api.client.put("/api/v1/flags/bff", headers={"authorization": "Bearer"}, json={})]
        answers.append(await api.client.delete("/api/v1/flags/bff", headers={"authorization": "Bearer"}))
    assert [answer.status_code for answer in answers] == [404, 404]


async def test_change_needs_the_token(start_flags: Start) -> None:
    async with asking(await start_flags()) as api:
        for given in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
            change = await api.client.put("/api/v1/flags/bff", headers=given, json={"value": False, "reason": "x"})
            undo = await api.client.delete("/api/v1/flags/bff", headers=given)
            assert [answer.status_code for answer in (change, undo)] == [401, 401]
            assert change.headers["www-authenticate"] == "Bearer"
        found = await api.flags()
    assert found["bff"]["value"]


async def test_guesses_at_the_token_are_slowed_and_logged_with_their_address(
    start_flags: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async with asking(await start_flags()) as api:

        async def guess(client: str, token: str, method: str = "PUT", path: str = "/api/v1/flags/bff") -> Any:
            headers = {"authorization": f"Bearer {token}", "x-forwarded-for": client}
            return await api.client.request(method, path, headers=headers, json={"value": False, "reason": "x"})

        answers = [await guess("203.0.113.1", f"guess {n}") for n in range(8)]
        assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 3
        assert answers[-1].json()["error"]["code"] == "TOO_MANY_REQUESTS"
        assert int(answers[-1].headers["retry-after"]) > 0
        listing = await guess("203.0.113.1", "guess", "GET", "/api/v1/flags?details=true")
        assert listing.status_code == 429  # there is no other way to try
        assert (await guess("203.0.113.1", TOKEN)).status_code == 429
        assert (await guess("203.0.113.2", TOKEN)).status_code == 503  # let in; without Redis nothing is changed
        assert (await guess("203.0.113.3", "a" * 50_000)).status_code in {401, 431}
    logged = [vars(record) for record in caplog.records if record.name == "bff_shared.admin"]
    assert [record["client"] for record in logged][:5] == ["203.0.113.1"] * 5
    assert not any("guess" in json.dumps(record, default=str).lower() for record in logged)


async def test_change_without_redis_is_refused_clearly(start_flags: Start) -> None:
    async with asking(await start_flags()) as api:
        answer = await api.put("bff", {"value": False, "reason": "x"})
        found = await api.flags()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "BUSY")
    assert "Redis" in answer.json()["error"]["message"]
    assert found["bff"]["value"]


async def test_evaluations_and_states_are_counted_by_bounded_labels(start_flags: Start, flags_file: Path) -> None:
    define(flags_file, {"run_data": flag("off", targeting=percentage(40))})
    async with asking(await start_flags()) as api:
        await api.evaluate({"targetingKey": "ann"}, "bff")
        for n in range(20):
            await api.evaluate({"targetingKey": "ann"}, f"unknown-{n}")
        assert await api.metric('bff_flag_evaluations_total{key="bff",reason="STATIC",variant="on"}') == 1
        assert await api.metric('bff_flag_share{key="run_data"}') == 0.4
        assert await api.metric('bff_flag_source{key="bff",source="file"}') == 1
        assert "unknown-" not in (await api.client.get("/metrics")).text


async def test_metric_of_a_flag_that_is_gone_is_off(start_flags: Start, flags_file: Path) -> None:
    define(flags_file, {"beta": flag("on")})
    async with asking(await start_flags()) as api:
        assert await api.metric('bff_flag_share{key="beta"}') == 1
        define(flags_file)
        await until(lambda: _is(api.flags(), lambda found: "beta" not in found))
        assert await api.metric('bff_flag_share{key="beta"}') == 0
        assert await api.metric('bff_flag_source{key="beta",source="file"}') == 0


async def test_openapi_document_tells_of_flags(start_flags: Start) -> None:
    async with asking(await start_flags()) as api:
        document = (await api.client.get("/api/v1/openapi/proxy.json")).json()
    assert {"/api/v1/flags", "/api/v1/flags/{key}", "/api/v1/flags/events"} <= document["paths"].keys()
    change = document["paths"]["/api/v1/flags/{key}"]["put"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(change["properties"]) == {"value", "rollout", "reason"}


async def test_concurrent_requests_see_whole_sets(start_flags: Start, flags_file: Path) -> None:
    async with asking(await start_flags(flag_poll_seconds=0.01)) as api:
        seen: set[tuple[bool, ...]] = set()

        async def ask() -> None:
            found = await api.flags()
            seen.add(tuple(found[key]["value"] for key in KEYS))

        for value in ("off", "on") * 2:
            define(flags_file, {key: flag(value) for key in KEYS})
            await asyncio.gather(*(ask() for _ in range(4)))
            await until(partial(_has, api, value == "on"))
    assert seen <= {(True,) * 4, (False,) * 4}
