"""The one timer of all viewers."""

import asyncio
import time
import weakref

from bff_wsrelay.ticker import EARLY, Ticker


class Member:
    """Comes every 10 ms, or never again when `broken`."""

    def __init__(self, *, broken: bool = False, stubborn: bool = False) -> None:
        self.scheduled = float("inf")
        self.turns: list[float] = []
        self.broken, self.stubborn = broken, stubborn
        self.prepared = 0

    def tick(self, now: float) -> float:
        self.turns.append(now)
        if self.broken:
            raise RuntimeError
        return self.scheduled if self.stubborn else self.scheduled + 0.01

    def prepare(self) -> None:
        self.prepared += 1


async def turns(*members: Member, count: int) -> None:
    ticker = Ticker(asyncio.get_running_loop())
    begun = time.monotonic()
    for member in members:
        ticker.schedule(member, begun)
    async with asyncio.timeout(10):
        while len(members[-1].turns) < count:
            await asyncio.sleep(0.001)
    ticker.close()


async def test_turns_are_never_before_they_are_due_and_lateness_does_not_add_up() -> None:
    member = Member()
    await turns(member, count=20)
    first = member.turns[0]
    assert all(turn >= first - EARLY + 0.01 * number - 0.005 for number, turn in enumerate(member.turns))
    assert member.prepared == len(member.turns)


async def test_a_member_that_asks_for_the_same_time_again_does_not_keep_others_waiting() -> None:
    stubborn, other = Member(stubborn=True), Member()
    await turns(stubborn, other, count=5)
    assert len(other.turns) >= 5


async def test_a_member_that_fails_gets_no_more_turns_and_others_do() -> None:
    broken, other = Member(broken=True), Member()
    await turns(broken, other, count=5)
    assert len(broken.turns) == 1


async def test_a_member_that_is_forgotten_gets_no_turn() -> None:
    ticker, member, other = Ticker(asyncio.get_running_loop()), Member(), Member()
    now = time.monotonic()
    ticker.schedule(member, now + 0.01)
    ticker.forget(member)
    ticker.schedule(other, now + 0.02)
    async with asyncio.timeout(10):
        while not other.turns:
            await asyncio.sleep(0.001)
    ticker.close()
    assert not member.turns


async def test_members_that_are_forgotten_are_not_kept_until_their_turn_would_have_come() -> None:
    ticker, members = Ticker(asyncio.get_running_loop()), [Member() for _ in range(10)]
    later = time.monotonic() + 1000
    for member in members:
        ticker.schedule(member, later)
    kept = weakref.WeakSet(members)
    for member in members[1:]:
        ticker.forget(member)
    del members[1:], member
    assert len(kept) <= 5
    ticker.forget(members[0])
    members.clear()
    assert not kept
    ticker.close()
