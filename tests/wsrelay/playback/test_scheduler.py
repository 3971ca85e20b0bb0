"""The one timer of all viewers, driven by a clock of the test."""

import asyncio
import itertools
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, cast

import pytest

from bff_wsrelay.playback.scheduler import EARLY, Scheduler

PERIOD = 0.01
Part = Literal["on_due", "prepare"]


@dataclass
class Timer:
    due: float
    callback: Callable[[], None]
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True


@dataclass
class Clock:
    """Time, and the part of an event loop that a ticker uses; timers fire as late as `lateness` says, in turn."""

    lateness: Iterable[float] = (0.0,)
    now: float = 1000.0
    timers: list[Timer] = field(default_factory=list)

    def call_at(self, due: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(due, callback))
        return self.timers[-1]

    def time(self) -> float:
        return self.now

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until, late = self.now + seconds, itertools.cycle(self.lateness)
        while True:
            self.timers = [timer for timer in self.timers if not timer.is_cancelled]
            due = min(self.timers, key=lambda timer: timer.due, default=None)
            if due is None or due.due > until:
                self.now = until
                return
            self.timers.remove(due)
            self.now = max(self.now, due.due + next(late))
            due.callback()

    def scheduler(self) -> Scheduler:
        return Scheduler(cast("asyncio.AbstractEventLoop", self), self.time)


class Member:
    """Comes every 10 ms; raises in one of its parts when that is `broken`, `failing` again when it is to be ended."""

    def __init__(
        self, clock: Clock, *, broken: Part | None = None, failing: bool = False, stubborn: bool = False
    ) -> None:
        self.due_at = float("inf")
        self.turns: list[float] = []
        self.failures: list[Exception] = []
        self.prepared = 0
        self._clock, self._broken, self._failing, self._stubborn = clock, broken, failing, stubborn

    def on_due(self, now: float) -> float:
        assert now >= self._clock.now
        self.turns.append(now)
        if self._broken == "on_due":
            raise TypeError("a turn")
        return self.due_at if self._stubborn else self.due_at + PERIOD

    def prepare(self) -> None:
        self.prepared += 1
        if self._broken == "prepare":
            raise TypeError("a preparation")

    def on_failure(self, error: Exception) -> None:
        self.failures.append(error)
        if self._failing:
            raise RuntimeError("cannot be ended")


def begin(clock: Clock, *members: Member) -> Scheduler:
    scheduler = clock.scheduler()
    for member in members:
        scheduler.schedule(member, clock.now)
    return scheduler


def steady(member: Member, begun: float, count: int) -> bool:
    """Tell whether a member has had exactly so many turns, each when it was due."""
    expected = [begun + PERIOD * number for number in range(count)]
    return len(member.turns) == count and all(
        abs(turn - due) <= EARLY for turn, due in zip(member.turns, expected, strict=True)
    )


def test_turns_come_when_they_are_due() -> None:
    clock = Clock()
    begun, member = clock.now, Member(clock)
    begin(clock, member)
    clock.run(1.0 + EARLY)
    assert steady(member, begun, 101)
    assert member.prepared == 101


def test_lateness_does_not_add_up() -> None:
    clock = Clock(lateness=(0.003, 0.0, 0.009))
    begun, member = clock.now, Member(clock)
    begin(clock, member)
    clock.run(10.0)
    lags = [turn - begun - PERIOD * number for number, turn in enumerate(member.turns)]
    assert min(lags) >= -EARLY
    assert max(lags) <= 0.009 + EARLY
    assert len(member.turns) in {1000, 1001}


def test_a_member_that_asks_for_the_same_time_again_does_not_keep_others_waiting() -> None:
    clock = Clock()
    begun, stubborn, other = clock.now, Member(clock, stubborn=True), Member(clock)
    begin(clock, stubborn, other)
    clock.run(0.1 + EARLY)
    assert len(other.turns) == 11
    assert max(turn - begun - PERIOD * number for number, turn in enumerate(other.turns)) <= 2 * EARLY


@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("part", ["on_due", "prepare"])
def test_a_member_that_fails_gets_its_error_and_others_keep_their_pace(part: Part, *, failing: bool) -> None:
    clock = Clock()
    begun, broken = clock.now, Member(clock, broken=part, failing=failing)
    before, after = Member(clock), Member(clock)
    begin(clock, before, broken, after)
    clock.run(0.1 + EARLY)
    assert steady(before, begun, 11)
    assert steady(after, begun, 11)
    assert isinstance(broken.failures[0], TypeError)
    assert len(broken.turns) == (1 if part == "on_due" else 11)


def test_a_member_that_is_forgotten_gets_no_turn() -> None:
    clock = Clock()
    scheduler, member, other = clock.scheduler(), Member(clock), Member(clock)
    scheduler.schedule(member, clock.now + 0.01)
    scheduler.cancel(member)
    scheduler.schedule(other, clock.now + 0.02)
    clock.run(1.0)
    assert other.turns
    assert not member.turns


def test_a_closed_timer_gives_no_more_turns() -> None:
    clock = Clock()
    member = Member(clock)
    scheduler = begin(clock, member)
    clock.run(0.1)
    scheduler.close()
    count = len(member.turns)
    clock.run(1.0)
    assert len(member.turns) == count


def test_one_timer_is_set_for_whoever_is_due_next() -> None:
    clock = Clock()
    ticker, late, soon = clock.scheduler(), Member(clock), Member(clock)
    ticker.schedule(late, clock.now + 2)
    ticker.schedule(soon, clock.now + 1)
    assert [timer.due for timer in clock.timers if not timer.is_cancelled] == [clock.now + 1]


def test_a_turn_that_is_due_as_early_as_allowed_is_given_with_the_others() -> None:
    clock = Clock(now=1024.0)
    ticker, first, second = clock.scheduler(), Member(clock), Member(clock)
    ticker.schedule(first, clock.now)
    ticker.schedule(second, clock.now + EARLY)
    clock.run(0.0)
    assert first.turns == [clock.now]
    assert second.turns == [clock.now + EARLY]


def test_members_that_are_forgotten_are_not_kept_until_their_turn_would_have_come() -> None:
    clock = Clock()
    scheduler, members = clock.scheduler(), [Member(clock) for _ in range(10)]
    for member in members:
        scheduler.schedule(member, clock.now + 1000)
    kept = weakref.WeakSet(members)
    for member in members[1:]:
        scheduler.cancel(member)
    del members[1:], member
    assert len(kept) <= 5
    scheduler.cancel(members[0])
    members.clear()
    assert not kept
    scheduler.close()


def test_who_is_due_at_the_same_time_has_its_turn_in_the_order_in_which_it_came() -> None:
    order: list[str] = []

    class Named(Member):
        def __init__(self, clock: Clock, name: str) -> None:
            super().__init__(clock)
            self._name = name

        def on_due(self, now: float) -> float:
            order.append(self._name)
            return super().on_due(now)

    clock = Clock()
    begin(clock, *(Named(clock, name) for name in "abc"))
    clock.run(3 * PERIOD + EARLY)
    assert "".join(order) == "abc" * 4


def test_a_member_that_is_scheduled_again_is_due_once() -> None:
    clock = Clock()
    scheduler, member = clock.scheduler(), Member(clock)
    for _ in range(2):
        scheduler.schedule(member, clock.now + 1)
    assert repr(scheduler) == "<Scheduler members=1 next=1001.000>"
    clock.run(1.0)
    assert len(member.turns) == 1


def test_a_member_that_wanted_no_further_turn_may_come_back() -> None:
    class Once(Member):
        def on_due(self, now: float) -> float:
            super().on_due(now)
            return float("inf")

    clock = Clock()
    scheduler, member = clock.scheduler(), Once(clock)
    for count in (1, 2):
        scheduler.schedule(member, clock.now + 1)
        clock.run(2.0)
        assert (len(member.turns), member.due_at, repr(scheduler)) == (
            count,
            float("inf"),
            "<Scheduler members=0 next=inf>",
        )


def test_members_are_counted_without_those_that_were_forgotten() -> None:
    clock = Clock()
    scheduler, members = clock.scheduler(), [Member(clock) for _ in range(10)]
    for number, member in enumerate(members):
        scheduler.schedule(member, clock.now + 1 + number)
    for member in members[:2]:
        scheduler.cancel(member)
        scheduler.cancel(member)
    assert repr(scheduler) == "<Scheduler members=8 next=1001.000>"
    clock.run(1.5)
    assert repr(scheduler) == "<Scheduler members=8 next=1002.000>"
    clock.run(1.0)
    assert repr(scheduler) == "<Scheduler members=8 next=1003.000>"
    for member in members[2:7]:
        scheduler.cancel(member)
    assert repr(scheduler) == "<Scheduler members=3 next=1003.000>"


def test_turns_come_when_they_are_due_after_most_members_were_forgotten() -> None:
    clock = Clock()
    scheduler = clock.scheduler()
    members = {due: Member(clock) for due in (1, 9, 2, 10, 11, 3, 4)}  # forgetting four leaves 9, 2, 3 in this order
    for due, member in members.items():
        scheduler.schedule(member, clock.now + due)
    for due in (1, 10, 11, 4):
        scheduler.cancel(members[due])
    clock.run(3.0)
    assert [members[due].turns[0] for due in (2, 3)] == [1002.0, 1003.0]


def test_a_closed_timer_holds_neither_the_loop_nor_members() -> None:
    clock = Clock()
    scheduler = clock.scheduler()
    scheduler.close()
    scheduler.schedule(Member(clock), clock.now + 1)
    scheduler.close()
    assert all(timer.is_cancelled for timer in clock.timers)
    assert repr(scheduler).startswith("<Scheduler members=0 ")


async def test_it_runs_on_a_real_loop() -> None:
    clock = Clock(now=0.0)
    scheduler, member = Scheduler(asyncio.get_running_loop()), Member(clock)
    scheduler.schedule(member, asyncio.get_running_loop().time())
    async with asyncio.timeout(30):
        while len(member.turns) < 3:
            await asyncio.sleep(0.001)
    scheduler.close()
