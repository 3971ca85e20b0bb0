import asyncio

import pytest

from bff_aggregator.cache.single_flight import BackgroundTasks, SingleFlight, joined
from bff_shared.errors import BackendTimeout


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
    (first, begun), (second, again_begun) = (flights.join("k", holder, work) for holder in ("a", "b"))
    assert (first is second, begun, again_begun) == (True, True, False)
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


async def test_a_flight_that_has_landed_is_joined_while_somebody_holds_it_if_its_result_may_be_shared() -> None:
    clock, work = Clock(), Work()
    work.end.set()
    flights = SingleFlight[int](clock, joinable=1.0, shareable=lambda number: number != 2)
    first, _ = flights.join("k", "a", work)
    await first.task
    clock.now = 200.0
    assert flights.join("k", "b", work) == (first, False)
    flights.release(first, "a")
    assert flights.join("k", "a", work) == (first, False)
    for holder in "ab":
        flights.release(first, holder)
    second, begun = flights.join("k", "c", work)
    assert (begun, await second.task) == (True, 2)
    third, begun = flights.join("k", "d", work)  # the second one's result may not be shared
    assert (begun, await third.task) == (True, 3)


async def test_a_flight_that_lands_when_nobody_holds_it_is_forgotten() -> None:
    work = Work()
    flights = SingleFlight[int](Clock(), shareable=lambda _: True)
    flight, _ = flights.join("k", "a", work)
    await asyncio.sleep(0)
    flight.holders.clear()
    work.end.set()
    await flight.task
    assert flights.join("k", "b", work)[1] is True
    await flights.aclose()


@pytest.mark.parametrize("failure", [ValueError("no"), asyncio.CancelledError()])
async def test_a_flight_that_failed_is_joined_by_nobody(failure: BaseException) -> None:
    async def fail() -> int:
        raise failure

    flights = SingleFlight[int](Clock(), shareable=lambda _: True)
    flight, _ = flights.join("k", "a", fail)
    await asyncio.wait([flight.task])
    with pytest.raises(type(failure)):
        flight.result()
    assert flights.join("k", "b", fail)[1] is True
    await flights.aclose()


async def test_a_result_is_a_time_out_until_there_is_one() -> None:
    flights, work = SingleFlight[int](Clock()), Work()
    flight, _ = flights.join("k", "a", work)
    with pytest.raises(BackendTimeout):
        flight.result()
    work.end.set()
    await flight.task
    assert flight.result() == 1


async def test_a_flight_is_joined_to_the_very_moment_that_is_allowed() -> None:
    clock = Clock()
    flights, work = SingleFlight[int](clock, joinable=1.0), Work()
    flight, _ = flights.join("k", "a", work)
    clock.now = 101.0
    assert flights.join("k", "b", work, not_before=100.0) == (flight, False)
    await flights.aclose()


async def test_closing_ends_every_flight_and_waits_for_it() -> None:
    ended = []

    async def work() -> int:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(1)
        return 0

    flights = SingleFlight[int](Clock())
    for key in "ab":
        flights.join(key, "a", work)
    await asyncio.sleep(0)
    await flights.aclose()
    assert ended == [1, 1]


async def test_nothing_is_kept_of_flights_that_have_ended() -> None:
    flights, work = SingleFlight[int](Clock()), Work()
    work.end.set()
    flight, _ = flights.join("k", "a", work)
    await flight.task
    await asyncio.sleep(0)
    assert (flights._latest, flights._all) == ({}, set())


async def test_errands_are_bounded_and_end_with_their_owner() -> None:
    tasks, work = BackgroundTasks(2), Work()

    async def job() -> None:
        await work()

    assert [tasks.start(job) for _ in range(3)] == [True, True, False]
    await asyncio.sleep(0)
    assert (len(tasks), work.begun) == (2, 2)
    await tasks.aclose()
    assert len(tasks) == 0


async def test_who_joins_is_told_the_result_and_whether_it_began_it_and_holds_nothing_afterwards() -> None:
    flights, work = SingleFlight[int](Clock()), Work()
    first, second = (asyncio.create_task(joined(flights, "k", work)) for _ in range(2))
    await asyncio.sleep(0)
    assert not first.done()
    assert repr(flights) == "<SingleFlight 1 under way, 1 keys to be joined>"
    work.end.set()
    assert (await first, await second) == ((1, True), (1, False))
    assert repr(flights) == "<SingleFlight 0 under way, 0 keys to be joined>"


async def test_the_last_of_those_who_joined_ends_the_flight_by_leaving() -> None:
    flights, work = SingleFlight[int](Clock()), Work()
    callers = [asyncio.create_task(joined(flights, "k", work)) for _ in range(2)]
    await asyncio.sleep(0)
    flight, _ = flights.join("k", "observer", work)
    assert repr(flight) == "<Flight 'k', under way, 3 holders>"
    flights.release(flight, "observer")
    for caller, ended in zip(callers, (False, True), strict=True):
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        assert (flight.task.cancelling() > 0) is ended
    await asyncio.gather(flight.task, return_exceptions=True)


async def test_a_background_job_that_fails_is_logged_and_leaves_the_others(caplog: pytest.LogCaptureFixture) -> None:
    jobs, done = BackgroundTasks(10), asyncio.Event()

    async def breaks() -> None:
        raise ValueError("a defect")

    async def works() -> None:
        done.set()

    assert jobs.start(breaks)
    assert jobs.start(works)
    await asyncio.wait_for(done.wait(), 30)
    assert "a background job failed" in caplog.text
    await jobs.aclose()
