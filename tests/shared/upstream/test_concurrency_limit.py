import asyncio

import pytest

from bff_shared.errors import Busy, ClientBusy
from bff_shared.upstream.concurrency_limit import Gate


async def test_places_are_counted() -> None:
    gate = Gate(2, 0, 1)
    await gate.enter()
    await gate.enter()
    assert gate.active == 2
    gate.leave()
    assert gate.active == 1


async def test_full_queue_is_busy_at_once() -> None:
    gate = Gate(1, 0, 60)
    await gate.enter()
    with pytest.raises(Busy):
        await gate.enter()


async def test_wait_is_bounded() -> None:
    gate = Gate(1, 1, 0.01)
    await gate.enter()
    with pytest.raises(Busy):
        await gate.enter()
    assert gate.waiting == 0


async def test_places_go_to_who_waited_longest() -> None:
    gate, order = Gate(1, 3, 60), []
    await gate.enter()

    async def worker(name: int) -> None:
        await gate.enter()
        order.append(name)
        gate.leave()

    async with asyncio.TaskGroup() as group:
        for name in range(3):
            group.create_task(worker(name))
        await asyncio.sleep(0)
        gate.leave()
    assert order == [0, 1, 2]
    assert gate.active == 0


async def test_cancelled_waiter_leaves_no_hole() -> None:
    gate = Gate(1, 3, 60)
    await gate.enter()
    first, second = asyncio.create_task(gate.enter()), asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    gate.leave()
    await second
    assert (gate.active, gate.waiting) == (1, 0)


async def test_place_handed_to_a_waiter_that_is_cancelled_is_passed_on() -> None:
    gate = Gate(1, 3, 60)
    await gate.enter()
    first, second = asyncio.create_task(gate.enter()), asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    gate.leave()
    first.cancel()
    await second
    assert gate.active == 1
    gate.leave()
    assert gate.active == 0


async def test_one_client_has_a_share_of_the_places_and_others_have_the_rest() -> None:
    gate = Gate(5, 5, 60, share=0.6)
    for _ in range(3):
        await gate.enter("greedy")
    waiting = [asyncio.create_task(gate.enter("greedy")) for _ in range(3)]
    await asyncio.sleep(0)
    assert (gate.active, gate.waiting) == (3, 3)
    with pytest.raises(ClientBusy):
        await gate.enter("greedy")
    await gate.enter("other")
    gate.leave("other")
    assert not any(task.done() for task in waiting)
    gate.leave("greedy")
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert (gate.active, gate.waiting) == (3, 2)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_who_waits_for_the_own_share_is_passed_by_others() -> None:
    gate = Gate(2, 5, 60, share=0.5)
    await gate.enter("greedy")
    greedy = asyncio.create_task(gate.enter("greedy"))
    await asyncio.sleep(0)
    await gate.enter("other")
    late = asyncio.create_task(gate.enter("third"))
    await asyncio.sleep(0)
    gate.leave("other")
    await late
    assert not greedy.done()
    gate.leave("greedy")
    await greedy


async def test_a_wait_for_the_own_share_is_the_clients_affair() -> None:
    gate = Gate(2, 5, 0.01, share=0.5)
    await gate.enter("greedy")
    with pytest.raises(ClientBusy):
        await gate.enter("greedy")
    assert gate.try_enter("other")
    assert not gate.try_enter("other")
    assert (gate.active, gate.waiting) == (2, 0)


async def test_nothing_is_remembered_of_clients_that_left() -> None:
    gate = Gate(2, 5, 60, share=0.5)
    for number in range(100):
        await gate.enter(f"client {number}")
        gate.leave(f"client {number}")
    assert not gate._inside
    assert gate.active == 0


async def test_who_gave_up_before_its_turn_gives_no_place_back() -> None:
    gate = Gate(1, 1, 60)
    await gate.enter()
    waiter = asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    waiter.cancel()
    gate.leave()  # which finds the one that gave up, before that has had its turn
    await asyncio.wait([waiter])
    assert (gate.active, gate.waiting) == (0, 0)
    assert gate.try_enter()
    assert not gate.try_enter()
