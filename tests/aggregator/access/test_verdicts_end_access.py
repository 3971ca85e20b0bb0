"""Cached data is read only while the backend lets the very credential read it."""

import asyncio
from typing import Any

import pytest

from tests.aggregator.access.conftest import House, StartHouse
from tests.support.judge import token_of

DAYS = "/api/v1/chart-data?symbol=AAPL&timeframe=1D&from_date=2024-02-01&to_date=2024-03-29"
OTHER_DAYS = DAYS.replace("02-01", "04-01").replace("03-29", "05-31")
RUN = "/api/v1/runs/run-a/complete"
STATUS = "/api/v1/runs/run-a/status"
VIEW = "/api/v1/runs/run-a/view?timeframe=1D"
LIST = "/api/v1/runs"
ROUTES = {"chart": DAYS, "run": RUN, "status": STATUS, "view": VIEW, "list": LIST}


async def warm(house: House, path: str, token: str) -> None:
    """Ask until everything is cached."""
    for _ in range(2):
        assert (await house.get(path, token)).status_code == 200


async def until_asked(house: House, calls: int) -> None:
    """Wait until the backend has been asked so often, and what came of it is known."""
    async with asyncio.timeout(20):
        while len(house.judge.asked) < calls or house.apps[0].state.access.gate._questions:
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("scope", ["credentials", "identity", "shared"])
@pytest.mark.parametrize("route", ROUTES)
async def test_revoked_token_gets_the_backends_401_within_the_period(
    start_house: StartHouse, route: str, scope: str
) -> None:
    house = await start_house(cache_scope=scope)
    token = house.judge.issue("ann", 1)
    await warm(house, ROUTES[route], token)
    del house.judge.tokens[token]
    house.hand.now += 60.0
    refused = await house.get(ROUTES[route], token)
    assert refused.status_code == 401
    assert refused.json() == {"detail": "Not authenticated"}
    assert "no-store" in refused.headers["cache-control"]


@pytest.mark.parametrize("scope", ["credentials", "identity", "shared"])
async def test_refusal_ends_all_access_of_the_token_at_once(start_house: StartHouse, scope: str) -> None:
    house = await start_house(cache_scope=scope)
    token = house.judge.issue("ann", 1)
    for path in (DAYS, RUN):
        await warm(house, path, token)
    del house.judge.tokens[token]
    assert (await house.get(OTHER_DAYS.replace("AAPL", "SPY"), token)).status_code == 401
    assert [(await house.get(path, token)).status_code for path in (DAYS, RUN)] == [401, 401]


async def test_no_question_is_asked_within_the_period_of_the_data_itself(start_house: StartHouse) -> None:
    house = await start_house()
    token = house.judge.issue("ann", 1)
    await warm(house, DAYS, token)
    cold = len(house.judge.asked)
    for _ in range(44):
        house.hand.now += 1.0
        assert (await house.get(DAYS, token)).status_code == 200
    assert len(house.judge.asked) == cold == 1


@pytest.mark.parametrize("scope", ["credentials", "identity", "shared"])
async def test_verdict_in_use_is_asked_for_ahead_and_nobody_waits(start_house: StartHouse, scope: str) -> None:
    house = await start_house(cache_scope=scope)
    token = house.judge.issue("ann", 1)
    await warm(house, DAYS, token)
    calls = len(house.judge.asked)
    house.hand.now += 50.0
    assert (await house.get(DAYS, token)).status_code == 200
    await until_asked(house, calls + 1)
    house.hand.now += 30.0
    assert (await house.get(DAYS, token)).status_code == 200
    assert len(house.judge.asked) == calls + 1
    assert house.judge.asked[-1][1] == "/bars/daily?symbol=AAPL&from=2024-03-29&to=2024-03-29", "a day is the question"


async def test_questions_are_asked_once_for_all_who_wait(start_house: StartHouse) -> None:
    house = await start_house()
    token = house.judge.issue("ann", 1)
    await warm(house, DAYS, token)
    calls = len(house.judge.asked)
    house.hand.now += 70.0
    answers = await asyncio.gather(*(house.get(DAYS, token) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(house.judge.asked) == calls + 1


@pytest.mark.parametrize("scope", ["credentials", "identity", "shared"])
@pytest.mark.parametrize("route", ["chart", "run", "list"])
async def test_backend_that_is_away_stretches_a_verdict_for_a_while(
    start_house: StartHouse, route: str, scope: str
) -> None:
    house = await start_house(cache_scope=scope, retries=0)
    token, path = house.judge.issue("ann", 1), ROUTES[route]
    await warm(house, path, token)
    house.judge.away = True
    house.hand.now += 600.0
    served = await house.get(path, token)
    assert served.status_code == 200
    if route != "list":
        assert "detail=" in served.headers["cache-status"]
    house.hand.now += 61.0
    assert (await house.get(path, token)).status_code >= 500


@pytest.mark.parametrize("scope", ["credentials", "identity", "shared"])
@pytest.mark.parametrize("route", ["chart", "run", "list"])
async def test_refused_token_reads_nothing_while_the_backend_is_away(
    start_house: StartHouse, route: str, scope: str
) -> None:
    house = await start_house(cache_scope=scope, retries=0)
    token, path = house.judge.issue("ann", 1), ROUTES[route]
    await warm(house, path, token)
    del house.judge.tokens[token]
    house.hand.now += 60.0
    assert (await house.get(path, token)).status_code == 401
    house.judge.away = True
    assert (await house.get(path, token)).status_code >= 500


async def test_warm_chart_waits_for_the_backend_that_is_away_once_in_five_seconds(start_house: StartHouse) -> None:
    house = await start_house(retries=0)
    token = house.judge.issue("ann", 1)
    await warm(house, DAYS, token)
    house.judge.away = True
    house.hand.now += 100.0
    gate = house.apps[0].state.access.gate
    await house.get(DAYS, token)
    assert gate._failed, "the next one does not wait"
    again = await house.get(DAYS, token)
    assert again.headers["cache-status"] == "bff-aggregator; hit; ttl=0; detail=access-unconfirmed"
    assert "max-age=0" in again.headers["cache-control"]


async def test_forbidden_minutes_are_not_opened_by_days(start_house: StartHouse) -> None:
    house = await start_house(cache_scope="shared", chart_hours=False)
    rich, poor = house.judge.issue("ann", 1), house.judge.issue("bob", 2)
    house.judge.denied.add(("bob", "bars:minute:AAPL"))
    minutes = DAYS.replace("1D", "1M")
    await warm(house, minutes, rich)
    await warm(house, DAYS, poor)
    assert (await house.get(minutes, poor)).status_code == 403
    assert (await house.get(minutes, rich)).status_code == 200


async def prices(house: House, token: str) -> Any:
    """Return who the bars of a chart were read with."""
    answer = await house.get(DAYS, token)
    assert answer.status_code == 200, answer.text
    return {bar["close"] for bar in answer.json()["bars"]}


async def test_credentials_share_nothing(start_house: StartHouse) -> None:
    house = await start_house()
    first, second = house.judge.issue("ann", 1), house.judge.issue("ann", 2)
    assert [await prices(house, first), await prices(house, second)] == [{1.0}, {2.0}]


async def test_rotated_token_finds_what_its_user_has_cached(start_house: StartHouse) -> None:
    house = await start_house(cache_scope="identity")
    first, second, other = house.judge.issue("ann", 1), house.judge.issue("ann", 2), house.judge.issue("bob", 3)
    assert [await prices(house, token) for token in (first, second, other)] == [{1.0}, {1.0}, {3.0}]


async def test_everybody_whom_the_backend_lets_in_shares(start_house: StartHouse) -> None:
    house = await start_house(cache_scope="shared")
    tokens = [house.judge.issue(user, number) for number, user in enumerate(("ann", "bob", "cyd"), 1)]
    assert [await prices(house, token) for token in tokens] == [{1.0}] * 3
    house.judge.hidden.add(("dan", "bars:daily:AAPL"))
    assert (await house.get(DAYS, house.judge.issue("dan", 4))).status_code == 404
    assert await prices(house, tokens[1]) == {1.0}, "what is hidden from one is there for the others"


@pytest.mark.parametrize("route", ["chart", "run", "list", "view", "status"])
async def test_forged_claim_opens_nothing(start_house: StartHouse, route: str) -> None:
    house = await start_house(cache_scope="identity")
    await warm(house, ROUTES[route], house.judge.issue("ann", 1))
    assert (await house.get(ROUTES[route], token_of("ann", 9, forged=True))).status_code == 401


async def test_claim_beside_a_cookie_is_nobodys(start_house: StartHouse) -> None:
    house = await start_house(cache_scope="identity")
    first, second = house.judge.issue("ann", 1), house.judge.issue("ann", 2)
    assert await prices(house, first) == {1.0}
    answer = await house.get(DAYS, second, cookie="session=x")
    assert {bar["close"] for bar in answer.json()["bars"]} == {2.0}


async def test_refusal_of_one_reader_fails_no_other_who_waits_for_the_same(start_house: StartHouse) -> None:
    house = await start_house(cache_scope="shared")
    good, gone = house.judge.issue("ann", 1), house.judge.issue("bob", 2)
    for token in (good, gone):
        assert (await house.get(OTHER_DAYS, token)).status_code == 200
    del house.judge.tokens[gone]
    answers = await asyncio.gather(*(house.get(DAYS, token) for token in (gone, good, gone, good)))
    assert [answer.status_code for answer in answers] == [401, 200, 401, 200]


async def test_charts_and_runs_may_differ(start_house: StartHouse) -> None:
    house = await start_house(cache_scope="credentials", cache_scope_charts="shared")
    ann, bob = house.judge.issue("ann", 1), house.judge.issue("bob", 2)
    assert [await prices(house, token) for token in (ann, bob)] == [{1.0}, {1.0}]
    seen = [(await house.get(RUN, token)).json()["metrics"]["sharpe_ratio"] for token in (ann, bob)]
    assert seen == [1.0, 2.0]


async def test_list_is_never_shared_with_others(start_house: StartHouse) -> None:
    house = await start_house(cache_scope="shared")
    ann, bob = house.judge.issue("ann", 1), house.judge.issue("bob", 2)
    for token in (ann, bob, ann, bob):
        await house.get(LIST, token)
    assert len({token for token, target in house.judge.asked if target.startswith("/backtests?")}) == 2


async def test_analytics_cookies_neither_part_users_nor_reach_the_backend(start_house: StartHouse) -> None:
    house = await start_house()
    token = house.judge.issue("ann", 1)
    for visit in range(3):
        answer = await house.get(DAYS, token, cookie=f"_ga=GA1.{visit}; _gid=x{visit}")
        assert answer.status_code == 200
    assert len(house.judge.asked) == 1
