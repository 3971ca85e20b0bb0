import asyncio

import pytest

from bff_shared.errors import Busy, ClientBusy
from bff_shared.upstream.concurrency_limit import ConcurrencyLimit


async def test_places_are_counted() -> None:
    gate = ConcurrencyLimit(2, 0, 1)
    await gate.acquire()
    await gate.acquire()
    assert gate.active == 2
    gate.release()
    assert gate.active == 1


async def test_full_queue_is_busy_at_once() -> None:
    gate = ConcurrencyLimit(1, 0, 60)
    await gate.acquire()
    with pytest.raises(Busy):
        await gate.acquire()


async def test_wait_is_bounded() -> None:
    gate = ConcurrencyLimit(1, 1, 0.01)
    await gate.acquire()
    with pytest.raises(Busy):
        await gate.acquire()
    assert gate.waiting == 0


async def test_places_go_to_who_waited_longest() -> None:
    gate, order = ConcurrencyLimit(1, 3, 60), []
    await gate.acquire()

    async def worker(name: int) -> None:
        await gate.acquire()
        order.append(name)
        gate.release()

    async with asyncio.TaskGroup() as group:
        for name in range(3):
            group.create_task(worker(name))
        await asyncio.sleep(0)
        gate.release()
    assert order == [0, 1, 2]
    assert gate.active == 0


async def test_cancelled_waiter_leaves_no_hole() -> None:
    gate = ConcurrencyLimit(1, 3, 60)
    await gate.acquire()
    first, second = asyncio.create_task(gate.acquire()), asyncio.create_task(gate.acquire())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    gate.release()
    await second
    assert (gate.active, gate.waiting) == (1, 0)


async def test_place_handed_to_a_waiter_that_is_cancelled_is_passed_on() -> None:
    gate = ConcurrencyLimit(1, 3, 60)
    await gate.acquire()
    first, second = asyncio.create_task(gate.acquire()), asyncio.create_task(gate.acquire())
    await asyncio.sleep(0)
    gate.release()
    first.cancel()
    await second
    assert gate.active == 1
    gate.release()
    assert gate.active == 0


async def test_one_client_has_a_share_of_the_places_and_others_have_the_rest() -> None:
    gate = ConcurrencyLimit(5, 5, 60, share=0.6)
    for _ in range(3):
        await gate.acquire("greedy")
    waiting = [asyncio.create_task(gate.acquire("greedy")) for _ in range(3)]
    await asyncio.sleep(0)
    assert (gate.active, gate.waiting) == (3, 3)
    with pytest.raises(ClientBusy):
        await gate.acquire("greedy")
    await gate.acquire("other")
    gate.release("other")
    assert not any(task.done() for task in waiting)
    gate.release("greedy")
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert (gate.active, gate.waiting) == (3, 2)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_who_waits_for_the_own_share_is_passed_by_others() -> None:
    gate = ConcurrencyLimit(2, 5, 60, share=0.5)
    await gate.acquire("greedy")
    greedy = asyncio.create_task(gate.acquire("greedy"))
    await asyncio.sleep(0)
    await gate.acquire("other")
    late = asyncio.create_task(gate.acquire("third"))
    await asyncio.sleep(0)
    gate.release("other")
    await late
    assert not greedy.done()
    gate.release("greedy")
    await greedy


async def test_a_wait_for_the_own_share_is_the_clients_affair() -> None:
    gate = ConcurrencyLimit(2, 5, 0.01, share=0.5)
    await gate.acquire("greedy")
    with pytest.raises(ClientBusy):
        await gate.acquire("greedy")
    assert gate.try_acquire("other")
    assert not gate.try_acquire("other")
    assert (gate.active, gate.waiting) == (2, 0)


async def test_a_limit_says_where_it_stands() -> None:
    limit = ConcurrencyLimit(2, 5, 60)
    await limit.acquire()
    assert repr(limit) == "<ConcurrencyLimit active=1/2 waiting=0>"


async def test_nothing_is_remembered_of_clients_that_left() -> None:
    gate = ConcurrencyLimit(2, 5, 60, share=0.5)
    for number in range(100):
        await gate.acquire(f"client {number}")
        gate.release(f"client {number}")
    assert not gate._inside
    assert gate.active == 0


async def test_who_gave_up_before_its_turn_gives_no_place_back() -> None:
    gate = ConcurrencyLimit(1, 1, 60)
    await gate.acquire()
    waiter = asyncio.create_task(gate.acquire())
    await asyncio.sleep(0)
    waiter.cancel()
    gate.release()  # which finds the one that gave up, before that has had its turn
    await asyncio.wait([waiter])
    assert (gate.active, gate.waiting) == (0, 0)
    assert gate.try_acquire()
    assert not gate.try_acquire()
