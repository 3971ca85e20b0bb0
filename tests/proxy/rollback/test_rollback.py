"""A piece that breaks its budget is turned off, once, and stays off until somebody turns it on."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
from prometheus_client import CollectorRegistry

from bff_proxy.app import create_app
from bff_proxy.flags.admin import FlagAdmin
from bff_proxy.flags.definitions import parse
from bff_proxy.flags.evaluation import FlagSet
from bff_proxy.flags.metrics import FlagMetrics
from bff_proxy.flags.overrides import Change
from bff_proxy.flags.redis_store import OverrideStore
from bff_proxy.flags.store import FlagStore
from bff_proxy.flags.sync import FlagSync
from bff_proxy.rollback import watcher
from bff_proxy.rollback.budgets import Budget, Rollback
from bff_proxy.rollback.watcher import RollbackWatcher
from bff_proxy.settings import ProxySettings
from bff_shared.outcome_log import OutcomeLog
from bff_shared.outcomes import BUCKET_SECONDS, Counts, bucket
from tests.support.flags import document, flag, percentage
from tests.support.redis_server import RedisServer
from tests.support.serving import serving

BUDGET = Budget(window=30, min_requests=20, error_share=0.2, slow_share=0.5)
START = 1_700_000_000.0
BAD = Counts(requests=30, errors=20)


def flags(*changes: Change, **bodies: object) -> FlagSet:
    return FlagSet(parse(document(bodies)), {change.key: change for change in changes})


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (Counts(), None),
        (Counts(19, 19, 19), None),
        (Counts(20, 4, 10), None),
        (Counts(20, 5, 0), "5 of 20 requests failed within 30 s, more than 20%"),
        (Counts(20, 0, 11), "11 of 20 requests were slow within 30 s, more than 50%"),
    ],
)
def test_budget_is_a_share_of_enough_requests(counts: Counts, reason: str | None) -> None:
    assert BUDGET.breach(counts) == reason


def by(*amounts: int) -> dict[str, int]:
    return {f"client-{n}": amount for n, amount in enumerate(amounts)}


@pytest.mark.parametrize(
    ("counts", "breaks"),
    [
        (Counts(80, 80, errors_by=by(80)), False),
        (Counts(80, 80), False),  # told by a version that does not know by whom
        (Counts(100, 81, errors_by=by(80, 1)), False),
        (Counts(1000, 81, errors_by=by(41, 40)), False),
        (Counts(50, 50, errors_by=by(25, 25)), True),
        (Counts(50, 30, errors_by=by(10, 10)), True),
        (Counts(80, 0, 80, slow_by=by(80)), False),
        (Counts(80, 0, 80, slow_by=by(40, 40)), True),
    ],
)
def test_one_client_alone_breaks_no_budget(counts: Counts, breaks: bool) -> None:
    budget = replace(BUDGET, min_clients=2)
    assert (budget.breach(counts) is not None) == breaks
    assert budget.is_of_too_few(counts) == (not breaks and counts.requests < 1000)


def test_as_many_clients_as_are_wanted_must_break_it_together() -> None:
    counts = Counts(90, 90, errors_by=by(30, 30, 30))
    assert [replace(BUDGET, min_clients=n).breach(counts) is not None for n in (1, 2, 3, 4)] == [
        True,
        True,
        True,
        False,
    ]


def trips(rollback: Rollback, found: FlagSet, spans: dict[int, dict[str, Counts]], now: float) -> list[str]:
    return [trip.key for trip in rollback.evaluate(found, spans, now)]


def test_piece_is_evaluated_by_what_happened_since_it_became_what_it_is() -> None:
    rollback, found = Rollback(BUDGET), flags()
    old = {bucket(START) - 1: {"chart_data": BAD}, bucket(START): {"chart_data": BAD}}
    assert trips(rollback, found, old, START + 1) == []
    later = START + 2 * BUCKET_SECONDS
    spans = {**old, bucket(later): {"chart_data": BAD, "run_data": Counts(100, 1, 1)}}
    assert trips(rollback, found, spans, later + 1) == ["chart_data"]


def test_what_is_older_than_the_window_does_not_count() -> None:
    rollback, found = Rollback(BUDGET), flags()
    assert trips(rollback, found, {}, START) == []
    spans = {bucket(START + 10): {"websocket": BAD}}
    assert trips(rollback, found, spans, START + 35) == ["websocket"]
    assert trips(rollback, found, spans, START + 45) == []


def test_spans_are_evaluated_together() -> None:
    rollback, found = Rollback(BUDGET), flags()
    rollback.evaluate(found, {}, START)
    spans = {bucket(START + at): {"run_data": Counts(8, 3, 0)} for at in (5, 10, 15)}
    assert trips(rollback, found, spans, START + 19) == ["run_data"]


@pytest.mark.parametrize("body", [flag("off"), {**flag(), "state": "DISABLED"}])
def test_what_is_off_is_not_evaluated(body: dict[str, object]) -> None:
    rollback, found = Rollback(BUDGET), flags(chart_data=body)
    rollback.evaluate(found, {}, START)
    assert trips(rollback, found, {bucket(START + 10): {"chart_data": BAD}}, START + 14) == []


def test_what_is_on_for_some_is_evaluated() -> None:
    rollback, found = Rollback(BUDGET), flags(chart_data=flag("off", targeting=percentage(1)))
    rollback.evaluate(found, {}, START)
    assert trips(rollback, found, {bucket(START + 10): {"chart_data": BAD}}, START + 14) == ["chart_data"]


def test_who_turns_it_on_again_begins_with_a_clean_slate() -> None:
    rollback, change = Rollback(BUDGET), Change("chart_data", True, None, "x", "ann", START, version=1)
    rollback.evaluate(flags(change), {}, START)
    spans = {bucket(START + 10): {"chart_data": BAD}}
    assert trips(rollback, flags(change), spans, START + 14) == ["chart_data"]
    off = replace(change, value=False, source="rollback", version=2)
    assert trips(rollback, flags(off), spans, START + 15) == []
    on = replace(change, version=3)
    assert trips(rollback, flags(on), spans, START + 16) == []
    spans[bucket(START + 25)] = {"chart_data": BAD}
    assert trips(rollback, flags(on), spans, START + 29) == ["chart_data"]


@dataclass
class Clock:
    now: float = START

    def __call__(self) -> float:
        return self.now


@dataclass
class Proxy:
    """The parts of a proxy that a rollback passes through, with a clock of ours."""

    flag_store: FlagStore
    admin: FlagAdmin
    watch: RollbackWatcher
    sync: FlagSync
    registry: CollectorRegistry

    @asynccontextmanager
    @staticmethod
    async def running(url: str, clock: Clock, budget: Budget = BUDGET) -> AsyncIterator["Proxy"]:
        registry, flag_store = CollectorRegistry(), FlagStore()
        flag_store.set_definitions(document())
        sync = FlagSync(flag_store, None, OverrideStore(url), every=60)
        admin = FlagAdmin(flag_store, sync, FlagMetrics(registry), clock)
        watch = RollbackWatcher(flag_store, admin, OutcomeLog(url, clock), Rollback(budget), clock)
        await sync.start()
        try:
            yield Proxy(flag_store, admin, watch, sync, registry)
        finally:
            await watch.aclose()
            await sync.aclose()

    @property
    def rollbacks(self) -> float:
        return self.registry.get_sample_value("bff_flag_rollbacks_total", {"key": "chart_data"}) or 0


async def test_broken_budget_turns_the_flag_off_once_and_it_stays_off(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    service = OutcomeLog(redis.url, clock)
    async with Proxy.running(redis.url, clock) as one, Proxy.running(redis.url, clock) as other:
        for proxy in (one, other):
            await proxy.watch.evaluate()
        clock.now += 10
        await service.add({"chart_data": BAD, "run_data": Counts(requests=30)})
        with caplog.at_level(logging.ERROR):
            for proxy in (one, other, one, other):
                await proxy.watch.evaluate()
        await other.sync.refresh()
        for proxy in (one, other):
            found = proxy.flag_store.current
            assert found.source("chart_data") == "rollback"
            assert found.evaluate("chart_data", {"targetingKey": "ann"}).value is False
            assert found.flags["chart_data"].reason.startswith("rollback: 20 of 30 requests failed")
            assert found.evaluate("run_data", {}).value is True
        assert one.rollbacks + other.rollbacks == 1
        (record,) = caplog.records
        assert vars(record)["flag"] == "chart_data"
        assert "rollback: 20 of 30" in vars(record)["reason"]
        clock.now += 600
        await service.add({"chart_data": Counts(requests=1000)})
        await one.watch.evaluate()
        assert one.flag_store.current.source("chart_data") == "rollback"
        await one.admin.put("chart_data", b'{"value":true,"reason":"mended"}', "ann", "")
        await one.watch.evaluate()
        assert one.flag_store.current.evaluate("chart_data", {}).value is True
    await service.aclose()


async def test_what_one_client_does_turns_nothing_off_and_is_said_once(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    services = [OutcomeLog(redis.url, clock) for _ in range(2)]
    async with Proxy.running(redis.url, clock, replace(BUDGET, min_clients=2)) as proxy:
        await proxy.watch.evaluate()
        clock.now += 10
        for service in services:
            await service.add({"chart_data": Counts(40, 40, errors_by={"203.0.113.1": 40})})
        for _ in range(3):
            await proxy.watch.evaluate()
        assert proxy.flag_store.current.source("chart_data") == "file"
        withheld = [vars(record)["flag"] for record in caplog.records if "too few clients" in record.getMessage()]
        assert withheld == ["chart_data"]
        await services[0].add({"chart_data": Counts(40, 40, errors_by={"203.0.113.2": 40})})
        await proxy.watch.evaluate()
        assert proxy.flag_store.current.source("chart_data") == "rollback"
    for service in services:
        await service.aclose()


async def test_change_that_somebody_makes_meanwhile_is_not_undone(redis: RedisServer) -> None:
    async with Proxy.running(redis.url, Clock()) as one, Proxy.running(redis.url, Clock()) as other:
        await other.admin.put("chart_data", b'{"rollout":10,"reason":"careful"}', "ann", "")
        assert not await one.admin.roll_back("chart_data", "too late", expected=0)
        assert one.flag_store.current.source("chart_data") == "runtime"
        assert one.rollbacks == 0


async def test_without_redis_nothing_is_evaluated_and_nothing_breaks(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with Proxy.running(redis.url, Clock()) as proxy:
        away = RollbackWatcher(
            proxy.flag_store, proxy.admin, OutcomeLog("redis://127.0.0.1:9/0"), Rollback(BUDGET), Clock()
        )
        await away.evaluate()
        await away.evaluate()
        await away.aclose()
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        "budgets cannot be evaluated"
    ]


async def test_an_app_with_redis_evaluates_until_it_ends(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated, evaluate = asyncio.Event(), RollbackWatcher.evaluate

    async def note(watch: RollbackWatcher) -> None:
        await evaluate(watch)
        evaluated.set()

    monkeypatch.setattr(watcher, "EVERY", 0.01)
    monkeypatch.setattr(RollbackWatcher, "evaluate", note)
    app = create_app(ProxySettings(rollback_enabled=True, redis_url=redis.url))
    async with serving(app, lifespan="on", ws="none"):
        async with asyncio.timeout(30):
            await evaluated.wait()
        assert repr(app.state.rollback) == "<RollbackWatcher running=True unavailable=False withheld=[]>"
        about = "flags=4 overrides=0 subscribers=1 problem=''"
        assert repr(app.state.flags.flag_store) == f"<FlagStore {app.state.flags.flag_store.current.revision} {about}>"
        assert repr(app.state.flags.events) == "<FlagEvents subscribers=0 closed=False>"
    assert "running=False" in repr(app.state.rollback)
    assert repr(app.state.flags.events) == "<FlagEvents subscribers=0 closed=True>"


def test_a_rollback_that_cannot_be_is_said_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    create_app(ProxySettings(rollback_enabled=True))
    assert "BFF_ROLLBACK_ENABLED has no effect without BFF_REDIS_URL" in caplog.text
