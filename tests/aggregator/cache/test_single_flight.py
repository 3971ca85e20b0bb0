import asyncio

import pytest

from bff_aggregator.cache.single_flight import BackgroundTasks, SingleFlight


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Work:
    """Counts how often it was begun; each time it goes on until it is told to end."""

    def __init__(self) -> None:
        self.begun = 0
        self.end = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        mine = self.begun
        await self.end.wait()
        return mine


async def test_those_who_want_the_same_share_one_flight() -> None:
    flights, work = SingleFlight[int](Clock()), Work()
    (first, begun), (second, joined) = (flights.join("k", holder, work) for holder in ("a", "b"))
    assert (first is second, begun, joined) == (True, True, False)
    work.end.set()
    assert await first.task == 1
    again, begun = flights.join("k", "c", work)
    assert (again is first, begun) == (False, True)
    assert await again.task == 2


async def test_flight_of_several_keys_is_found_under_each_until_it_ends() -> None:
    flights, work = SingleFlight[int](Clock()), Work()
    flight = flights.begin(["a", "b"], work)
    assert flights.get("a") is flights.get("b") is flight
    assert repr(flight) == "<Flight 'a' and 1 more, under way, 0 holders>"
    work.end.set()
    assert await flight.task == 1
    assert (flights.get("a"), flights.get("b"), len(flights)) == (None, None, 0)


async def test_forgotten_flight_goes_on_for_those_who_have_it_and_its_end_takes_no_newer_one_along() -> None:
    flights, work = SingleFlight[int](Clock()), Work()
    old = flights.begin(["a", "b"], work)
    flights.forget(lambda key: key == "a")
    assert (flights.get("a"), flights.get("b")) == (None, old)
    again = Work()
    new = flights.begin(["a"], again)
    work.end.set()
    assert await old.task == 1
    assert flights.get("a") is new
    await flights.aclose()


async def test_flight_that_began_too_early_is_not_joined() -> None:
    clock = Clock()
    flights, work = SingleFlight[int](clock), Work()
    early, _ = flights.join("k", "a", work)
    clock.now = 101.0
    late, begun = flights.join("k", "b", work, not_before=100.5)
    assert (late is early, begun) == (False, True)
    assert flights.join("k", "c", work)[0] is late
    await flights.aclose()


async def test_flight_that_hangs_is_not_joined() -> None:
    clock = Clock()
    flights, work = SingleFlight[int](clock, joinable=1.0), Work()
    hanging, _ = flights.join("k", "a", work)
    clock.now = 100.9
    assert flights.join("k", "b", work)[0] is hanging
    clock.now = 101.1
    assert flights.join("k", "c", work)[0] is not hanging
    await flights.aclose()


async def test_flight_that_nobody_wants_any_more_is_cancelled() -> None:
    flights, work = SingleFlight[int](Clock()), Work()
    flight, _ = flights.join("k", "a", work)
    flights.join("k", "b", work)
    flights.release(flight, "a")
    await asyncio.sleep(0)
    assert not flight.task.cancelling()
    flights.release(flight, "b")
    with pytest.raises(asyncio.CancelledError):
        await flight.task
    assert flights.join("k", "c", work)[1] is True
    await flights.aclose()


async def test_errands_are_bounded_and_end_with_their_owner() -> None:
    tasks, work = BackgroundTasks(2), Work()

    async def job() -> None:
        await work()

    assert [tasks.start(job) for _ in range(3)] == [True, True, False]
    await asyncio.sleep(0)
    assert (len(tasks), work.begun) == (2, 2)
    await tasks.aclose()
    assert len(tasks) == 0
