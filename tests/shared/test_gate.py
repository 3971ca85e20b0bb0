import asyncio

import pytest

from bff_shared.errors import Busy
from bff_shared.gate import Gate


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
