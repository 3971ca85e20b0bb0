"""How long a verdict holds, and what ends it."""

import asyncio
from collections.abc import Callable

import pytest

from bff_shared.access.gate import AccessGate
from bff_shared.access.refusal import Refusal
from bff_shared.access.verdicts import Periods, Standing, Verdicts
from bff_shared.errors import BackendTimeout, BackendUnavailable, Busy, NotFound


@pytest.fixture
def verdicts() -> Verdicts:
    return Verdicts(Periods(60.0, 600.0))


def standings(verdicts: Verdicts, *times: float) -> list[Standing]:
    return [verdicts.standing("ann", "a", now) for now in times]


def test_verdict_is_good_then_due_then_lapsed_then_gone(verdicts: Verdicts) -> None:
    verdicts.accept("ann", "a", 100.0)
    found = standings(verdicts, 100.0, 144.9, 145.0, 159.9, 160.0, 759.9, 760.0)
    good, due, lapsed, none = Standing
    assert found == [good, good, due, due, lapsed, lapsed, none]


def test_verdict_from_the_future_is_none(verdicts: Verdicts) -> None:
    verdicts.accept("ann", "a", 100.0)
    assert standings(verdicts, 99.0) == [Standing.NONE]


def test_verdict_is_on_one_credential_and_one_resource(verdicts: Verdicts) -> None:
    verdicts.accept("ann", "a", 100.0)
    assert verdicts.standing("bob", "a", 100.0) is Standing.NONE
    assert verdicts.standing("ann", "b", 100.0) is Standing.NONE


def test_older_verdict_does_not_take_the_place_of_a_newer_one(verdicts: Verdicts) -> None:
    verdicts.accept("ann", "a", 100.0)
    verdicts.accept("ann", "a", 50.0)
    assert standings(verdicts, 140.0) == [Standing.GOOD]


def test_what_was_asked_before_a_refusal_revives_nothing(verdicts: Verdicts) -> None:
    verdicts.accept("ann", "a", 100.0)
    verdicts.refuse("ann", "a", 110.0)
    verdicts.accept("ann", "a", 110.0)
    assert standings(verdicts, 110.0) == [Standing.NONE]
    verdicts.accept("ann", "a", 110.1)
    assert standings(verdicts, 111.0) == [Standing.GOOD]


def test_unknown_credential_loses_all_and_a_forbidden_one_a_resource(verdicts: Verdicts) -> None:
    for resource in "abc":
        verdicts.accept("ann", resource, 100.0)
        verdicts.accept("bob", resource, 100.0)
    verdicts.refuse("ann", None, 101.0)
    verdicts.refuse("bob", "b", 101.0)
    assert len(verdicts) == 2
    verdicts.accept("ann", "a", 100.5)
    assert standings(verdicts, 102.0) == [Standing.NONE]
    assert verdicts.standing("bob", "a", 102.0) is Standing.GOOD


def test_memory_is_bounded_and_the_oldest_verdict_leaves_first() -> None:
    verdicts = Verdicts(Periods(), limit=3)
    for number in range(10):
        verdicts.accept("ann", str(number), float(number))
        verdicts.refuse("bob", str(number), float(number))
    assert len(verdicts) == len(verdicts._refused) == 3
    assert verdicts._resources == {"ann": {"7", "8", "9"}}
    verdicts.clear()
    assert len(verdicts) == 0


class Bench:
    """A gate whose clocks the test sets, before a backend that it scripts."""

    def __init__(self) -> None:
        self.now, self.monotonic, self.asked = 1000.0, 10.0, 0
        self.outcome: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        kinds: dict[type[Exception], Refusal] = {NotFound: Refusal.RESOURCE, PermissionError: Refusal.CREDENTIAL}
        refusal: Callable[[Exception], Refusal] = lambda error: kinds.get(type(error), Refusal.NOTHING)  # noqa: E731
        expected = (NotFound, PermissionError, BackendUnavailable)
        verdicts = Verdicts(Periods(60.0, 600.0))
        self.gate = AccessGate(verdicts, refusal, lambda: self.now, lambda: self.monotonic, expected)

    async def ask(self) -> None:
        self.asked += 1
        await self.open.wait()
        if self.outcome is not None:
            raise self.outcome

    async def require(self, seconds: float = 20.0) -> bool:
        return await self.gate.require("ann", "a", self.ask, self.monotonic + seconds)


async def test_gate_asks_once_and_then_not_for_a_while() -> None:
    bench = Bench()
    assert not any([await bench.require() for _ in range(3)])
    bench.now += 44.0
    assert not await bench.require()
    assert bench.asked == 1


async def test_question_that_nobody_waits_for_any_more_counts_for_the_next() -> None:
    bench = Bench()
    bench.open.clear()
    with pytest.raises(BackendTimeout):
        await bench.require(0.03)
    bench.open.set()
    assert not await bench.require()
    assert bench.asked == 1


async def test_lapsed_verdict_is_stretched_for_a_backend_that_is_away_only() -> None:
    bench = Bench()
    await bench.require()
    bench.now += 100.0
    bench.outcome = BackendUnavailable("away")
    assert await bench.require()
    bench.outcome = NotFound("gone")
    bench.monotonic += 6.0
    with pytest.raises(NotFound):
        await bench.require()
    bench.outcome = BackendUnavailable("away")
    with pytest.raises(BackendUnavailable):
        await bench.require()


async def test_defect_of_ours_stretches_nothing() -> None:
    bench = Bench()
    await bench.require()
    bench.now += 100.0
    bench.outcome = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await bench.require()


async def test_while_the_backend_is_away_nobody_waits_for_each_question() -> None:
    bench = Bench()
    await bench.require()
    bench.now += 100.0
    bench.outcome = BackendUnavailable("away")
    assert await bench.require()
    bench.open.clear()
    assert await asyncio.wait_for(bench.require(3600.0), 20), "the question is still under way"
    await bench.gate.aclose()


async def test_too_many_questions_are_refused_and_none_is_asked_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bff_shared.access.gate.MAX_QUESTIONS", 0)
    bench = Bench()
    with pytest.raises(Busy):
        await bench.require()
    bench.gate.accepted("ann", "a", bench.now)
    bench.now += 50.0
    assert not await bench.require()
    assert bench.asked == 0
