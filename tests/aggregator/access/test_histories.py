"""Random histories of users, tokens and refusals, held against an oracle that knows who may read what.

Two replicas share a cache that comes and goes, before a backend that comes and goes. Users rotate their tokens, have
them revoked, lose and gain rights; strangers forge tokens with somebody's claims. After each response the oracle looks
whether the backend had accepted that very token for that very resource within the period, and whether what is in it
was read by somebody with whom it may be shared.
"""

import asyncio
import re
from collections.abc import Coroutine
from typing import Any, TypeVar

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from bff_aggregator.app import create_app
from bff_aggregator.cache.entry import Scope
from bff_aggregator.cache.redis_tier import RedisUnavailable
from bff_aggregator.settings import AggregatorSettings
from bff_shared.access.verdicts import Standing, Verdicts
from tests.aggregator.access.conftest import Hand
from tests.support.cache import SharedTier
from tests.support.judge import Judge, headers_of, judging, token_of

T = TypeVar("T")
USERS = ("ann", "bob", "cyd")
GOOD, STRETCHED = 60.0, 600.0
CHART = "/api/v1/chart-data?symbol={symbol}&timeframe={timeframe}&from_date=2024-0{month}-01&to_date=2024-0{month}-28"
RUN = "/api/v1/runs/{run}/{what}"
READ_WITH = re.compile(rb'"(?:close|sharpe_ratio|read_with)": ?(\d+)')


class ComingAndGoing(SharedTier):
    """A shared tier that can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False

    @property
    def is_usable(self) -> bool:
        return not self.away

    async def read(self, scope: Scope, keys: Any) -> Any:
        self._require()
        return await super().read(scope, keys)

    async def write(self, scope: Scope, items: Any) -> None:
        self._require()
        await super().write(scope, items)

    async def lock(self, scope: Scope, keys: Any, token: bytes, seconds: float) -> Any:
        self._require()
        return await super().lock(scope, keys, token, seconds)

    async def locked(self, scope: Scope, keys: Any) -> set[str]:
        self._require()
        return await super().locked(scope, keys)

    async def unlock(self, scope: Scope, keys: Any, token: bytes) -> None:
        self._require()
        await super().unlock(scope, keys, token)

    async def spend(self, payer: str, size: int, budget: int) -> bool:
        del payer, size, budget
        return True

    async def aclose(self) -> None:
        """Close nothing."""

    def _require(self) -> None:
        if self.away:
            raise RedisUnavailable


class Histories(RuleBasedStateMachine):
    """One history."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.hand = Hand()
        self.judge = Judge(self.hand)
        self.shared = ComingAndGoing()
        self.issued: dict[str, list[str]] = {user: [] for user in USERS}
        self.number = 0
        self.clients: list[httpx.AsyncClient] = []
        self.apps: list[Any] = []
        self.served = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize(
        charts=st.sampled_from(["credentials", "identity", "shared"]),
        runs=st.sampled_from(["credentials", "identity", "shared"]),
    )
    def begin(self, charts: str, runs: str) -> None:
        self.scopes = {"bars": charts, "run": runs, "runs": "identity" if runs == "shared" else runs}
        self.serving = judging(self.judge)
        url = self.run(self.serving.__aenter__())
        for _ in range(2):
            app = create_app(
                AggregatorSettings(
                    backend_url=url,
                    digest_key="k",
                    cache_scope_charts=charts,
                    cache_scope_runs=runs,
                    access_seconds=GOOD,
                    access_stale_seconds=STRETCHED,
                    retries=0,
                    breaker_min_calls=1_000_000,
                    chart_timeout=30,
                    run_timeout=30,
                ),
                self.hand,
            )
            app.state.store._remote = self.shared
            self.apps.append(app)
            self.clients.append(httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bff"))
        for user in USERS:
            self.rotate(user)

    @rule(user=st.sampled_from(USERS))
    def rotate(self, user: str) -> None:
        """Give a user another token; the one before stays good until it is revoked."""
        self.number += 1
        self.issued[user].append(self.judge.issue(user, self.number))

    @rule(user=st.sampled_from(USERS), data=st.data())
    def revoke(self, user: str, data: st.DataObject) -> None:
        self.judge.tokens.pop(data.draw(st.sampled_from(self.issued[user])), None)

    @rule(
        user=st.sampled_from(USERS),
        resource=st.sampled_from(
            ["bars:daily:AAPL", "bars:hour:AAPL", "bars:daily:SPY", "run:run-a", "run:run-b", "runs"]
        ),
        how=st.sampled_from(["denied", "hidden", "allowed"]),
    )
    def change_rights(self, user: str, resource: str, how: str) -> None:
        for kind in ("denied", "hidden"):
            (set.add if kind == how else set.discard)(getattr(self.judge, kind), (user, resource))

    @rule(seconds=st.sampled_from([1.0, 20.0, 50.0, 61.0, 300.0, 700.0]))
    def wait(self, seconds: float) -> None:
        self.hand.now += seconds

    @rule(away=st.sampled_from([False, False, False, True]))
    def lose_or_find_the_backend(self, away: bool) -> None:
        self.judge.away = away

    @rule(away=st.sampled_from([False, False, True]))
    def lose_or_find_redis(self, away: bool) -> None:
        self.shared.away = away

    @rule(
        user=st.sampled_from(USERS),
        forged=st.sampled_from([False, False, False, True]),
        symbol=st.sampled_from(["AAPL", "SPY"]),
        timeframe=st.sampled_from(["1D", "1H"]),
        month=st.sampled_from([2, 3]),
        replica=st.sampled_from([0, 1]),
        data=st.data(),
    )
    def read_chart(
        self, user: str, forged: bool, symbol: str, timeframe: str, month: int, replica: int, data: st.DataObject
    ) -> None:
        path = CHART.format(symbol=symbol, timeframe=timeframe, month=month)
        source = {"1D": "daily", "1H": "hour"}[timeframe]
        self.read(path, f"bars:{source}:{symbol}", self.token(user, forged, data), replica)

    @rule(
        user=st.sampled_from(USERS),
        forged=st.sampled_from([False, False, False, True]),
        run=st.sampled_from(["run-a", "run-b"]),
        what=st.sampled_from(["complete", "status", "view?timeframe=1D"]),
        replica=st.sampled_from([0, 1]),
        data=st.data(),
    )
    def read_run(self, user: str, forged: bool, run: str, what: str, replica: int, data: st.DataObject) -> None:
        self.read(RUN.format(run=run, what=what), f"run:{run}", self.token(user, forged, data), replica)

    @rule(user=st.sampled_from(USERS), replica=st.sampled_from([0, 1]), data=st.data())
    def read_list(self, user: str, replica: int, data: st.DataObject) -> None:
        self.read("/api/v1/runs", "runs", self.token(user, False, data), replica)

    @rule(
        users=st.lists(st.sampled_from(USERS), min_size=2, max_size=4), replica=st.sampled_from([0, 1]), data=st.data()
    )
    def read_together(self, users: list[str], replica: int, data: st.DataObject) -> None:
        """Let several ask for the same at once."""
        tokens = [self.token(user, False, data) for user in users]
        path = data.draw(
            st.sampled_from(
                [CHART.format(symbol="AAPL", timeframe="1D", month=2), RUN.format(run="run-a", what="complete")]
            )
        )
        resource = "bars:daily:AAPL" if path.startswith("/api/v1/chart") else "run:run-a"

        async def all_of_them() -> list[httpx.Response]:
            return await asyncio.gather(
                *(self.clients[replica].get(path, headers=headers_of(token)) for token in tokens)
            )

        for token, response in zip(tokens, self.run(all_of_them()), strict=True):
            self.judge_response(response, resource, token)

    def token(self, user: str, forged: bool, data: st.DataObject) -> str:
        return token_of(user, self.number, forged=True) if forged else data.draw(st.sampled_from(self.issued[user]))

    def read(self, path: str, resource: str, token: str, replica: int) -> None:
        response = self.run(self.clients[replica].get(path, headers=headers_of(token)))
        self.judge_response(response, resource, token)

    def judge_response(self, response: httpx.Response, resource: str, token: str) -> None:
        """Hold a response against what the backend has said."""
        assert response.status_code != 500, response.text
        if response.status_code != 200:
            return
        self.served += 1
        period = GOOD + (STRETCHED if self.judge.away else 0.0)
        self.require_accepted(token, resource, period)
        lines = response.content.splitlines() if b'"name"' in response.content[:20] else [response.content]
        for line in lines:
            chart = line.startswith(b'{"name":"chart","status":200')
            if chart:
                self.require_accepted(token, "bars:daily:AAPL", period)
            kind = "bars" if chart or resource.startswith("bars") else resource.partition(":")[0]
            for number in set(READ_WITH.findall(line)):
                self.require_shared(token, int(number), kind)

    def require_accepted(self, token: str, resource: str, period: float) -> None:
        accepted = self.judge.accepted.get((token, resource))
        assert accepted is not None, f"the backend has never accepted this token for {resource}"
        assert self.hand.now - accepted < period, f"{resource}: accepted {self.hand.now - accepted} s ago"

    def require_shared(self, token: str, number: int, kind: str) -> None:
        """Require that a reader shares data with the token of a number that it was read with."""
        of = {
            number: (user, known)
            for user, tokens in self.issued.items()
            for known in tokens
            for number in [serial(known)]
        }
        owner, known = of[number]
        if self.scopes[kind] == "credentials":
            assert known == token
        elif self.scopes[kind] == "identity":
            assert token in self.issued[owner]

    @invariant()
    def verdicts_are_bounded(self) -> None:
        for app in self.apps:
            assert len(app.state.access.gate.verdicts) <= 100

    def teardown(self) -> None:
        async def end() -> None:
            for client, app in zip(self.clients, self.apps, strict=True):
                await client.aclose()
                await app.state.access.gate.aclose()
                await app.state.loader.aclose()
                await app.state.runs.aclose()
                await app.state.run_list.aclose()
                await app.state.upstream.aclose()
                await app.state.cpu.aclose()
            if self.clients:
                await self.serving.__aexit__(None, None, None)

        self.loop.run_until_complete(end())
        self.loop.close()


def serial(token: str) -> int:
    """Return the number in a token's signature."""
    return int(re.sub(r"\D", "", token.rpartition(".")[2]))


FEW = 10
"""Histories of a quick run; `make fuzz` has more, at random."""
CALM: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@pytest.mark.hypothesis
def test_no_history_shows_anybody_what_the_backend_has_not_let_him_read() -> None:
    few = settings.get_current_profile_name() == "test"
    examples = FEW if few else settings().max_examples
    chosen = settings(max_examples=examples, stateful_step_count=30, **CALM)
    run_state_machine_as_test(Histories, settings=chosen)


def test_without_the_verdict_the_oracle_finds_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Verdicts, "is_good", lambda *_: True)
    monkeypatch.setattr(Verdicts, "standing", lambda *_: Standing.GOOD)
    quick = settings(max_examples=50, stateful_step_count=30, phases=(Phase.generate,), **CALM)
    with pytest.raises(AssertionError, match="accepted"):
        run_state_machine_as_test(Histories, settings=quick)
