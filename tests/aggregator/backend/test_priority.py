import asyncio
from contextlib import AsyncExitStack

import pytest

from bff_aggregator.backend import priority
from bff_aggregator.backend.priority import PriorityClass, PriorityLimiter

LONG = 60.0


class Traffic:
    """Calls in priorities that go on until they are told to end, and the order in which they began."""

    def __init__(self, group: asyncio.TaskGroup, *widths: int, crowd: int, max_wait: float = LONG) -> None:
        self.classes = [PriorityClass(width, max_wait) for width in widths]
        self.limiter = PriorityLimiter(self.classes, crowd)
        self.begun: list[str] = []
        self._group = group
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def call(self, name: str, priority: int) -> None:
        self._ends[name] = asyncio.Event()
        self._tasks[name] = self._group.create_task(self._run(name, priority))
        await self.settle()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self.settle()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    def end_all(self) -> None:
        for event in self._ends.values():
            event.set()

    async def _run(self, name: str, priority: int) -> None:
        async with self.limiter.enter(priority):
            self.begun.append(name)
            await self._ends[name].wait()


async def test_a_few_calls_of_all_kinds_go_at_once() -> None:
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        traffic = Traffic(group, 9, 9, 9, crowd=3)
        for name, priority in (("curve", 2), ("orders", 1), ("look", 0)):
            await traffic.call(name, priority)
        assert traffic.begun == ["curve", "orders", "look"]
        traffic.end_all()


async def test_crowded_lane_holds_those_after_it_but_none_before_it() -> None:
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        traffic = Traffic(group, 9, 9, 9, crowd=2)
        for name, priority in (("a", 1), ("b", 1), ("curve", 2), ("c", 1), ("look", 0)):
            await traffic.call(name, priority)
        assert traffic.begun == ["a", "b", "c", "look"]
        for name in ("a", "b"):
            await traffic.end(name)
        assert traffic.begun[4:] == []
        await traffic.end("c")
        assert traffic.begun[4:] == ["curve"]
        traffic.end_all()


async def test_eight_calls_are_a_crowd_unless_another_number_is_asked_for() -> None:
    async with asyncio.timeout(30), AsyncExitStack() as stack:
        limiter = PriorityLimiter([PriorityClass(9, LONG), PriorityClass(9, LONG)])
        for _ in range(7):
            await stack.enter_async_context(limiter.enter(0))
        await stack.enter_async_context(limiter.enter(1))
        await stack.enter_async_context(limiter.enter(0))
        waiting = asyncio.create_task(stack.enter_async_context(limiter.enter(1)))
        await asyncio.sleep(0)
        assert repr(limiter) == "<PriorityLimiter 8/9 +0, 1/9 +1>"
        waiting.cancel()


async def test_those_who_wait_go_in_the_order_in_which_they_came() -> None:
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        traffic = Traffic(group, 1, crowd=9)
        for name in "abcd":
            await traffic.call(name, 0)
        await traffic.cancel("c")
        for name in "abd":
            assert traffic.begun[-1] == name
            await traffic.end(name)
        assert traffic.begun == ["a", "b", "d"]


async def test_nobody_waits_for_longer_than_max_wait_of_its_priority() -> None:
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        traffic = Traffic(group, 1, crowd=9, max_wait=0.01)
        await traffic.call("a", 0)
        await traffic.call("b", 0)
        while traffic.begun != ["a", "b"]:
            await asyncio.sleep(0.001)
        traffic.classes[0].max_wait = LONG
        await traffic.end("b")
        await traffic.call("c", 0)
        assert traffic.begun == ["a", "b"]  # "a" still fills the priority
        await traffic.end("a")
        assert traffic.begun == ["a", "b", "c"]
        traffic.end_all()


async def test_call_that_hangs_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(priority, "HUNG_SECONDS", 0.01)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        traffic = Traffic(group, 1, 1, crowd=1)
        await traffic.call("hanging", 0)
        await traffic.call("curve", 1)
        while traffic.begun != ["hanging", "curve"]:
            await asyncio.sleep(0.001)
        traffic.end_all()


async def test_call_that_hung_and_ends_at_last_is_not_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(priority, "HUNG_SECONDS", 0.01)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        traffic = Traffic(group, 1, crowd=9)
        await traffic.call("hanging", 0)
        monkeypatch.setattr(priority, "HUNG_SECONDS", LONG)
        await traffic.call("b", 0)
        while traffic.begun != ["hanging", "b"]:
            await asyncio.sleep(0.001)
        await traffic.end("hanging")
        await traffic.call("c", 0)
        assert traffic.begun == ["hanging", "b"]
        traffic.end_all()


async def test_call_that_finds_the_queue_full_goes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(priority, "MAX_WAITING", 1)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        traffic = Traffic(group, 1, crowd=9)
        for name in "abc":
            await traffic.call(name, 0)
        assert traffic.begun == ["a", "c"]
        traffic.end_all()


async def test_nobody_waits_where_no_queue_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(priority, "MAX_WAITING", 0)
    places = PriorityLimiter([PriorityClass(1, LONG)])
    async with asyncio.timeout(30), AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(places.enter(0))


async def test_a_call_that_is_cancelled_in_the_moment_of_its_turn_passes_it_on() -> None:
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        traffic = Traffic(group, 1, crowd=9)
        for name in "abc":
            await traffic.call(name, 0)
        traffic._ends["a"].set()
        await asyncio.sleep(0)  # "a" has left and let "b" in, which does not know yet
        traffic._tasks["b"].cancel()
        await traffic.settle()
        assert traffic.begun == ["a", "c"]
        traffic.end_all()
