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
    assert not gate._held
    assert not gate._waiters
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


def fill(gate: ConcurrencyLimit, client: str) -> int:
    """Take all that a client gets."""
    count = 0
    while gate.try_acquire(client):
        count += 1
    return count


@pytest.mark.parametrize(("slots", "greedy"), [(100, 2), (100, 3), (100, 10), (2_000, 2), (2_000, 3), (2_000, 10)])
def test_however_many_clients_take_all_they_get_one_that_comes_last_finds_a_slot(slots: int, greedy: int) -> None:
    gate = ConcurrencyLimit(slots, 0, 60, share=0.6)
    taken = [fill(gate, f"greedy {number}") for number in range(greedy)]
    assert taken[0] == slots * 0.6
    assert taken == sorted(taken, reverse=True)
    assert gate.try_acquire("honest")


async def asking(gate: ConcurrencyLimit, client: str, served: list[str]) -> None:
    await gate.acquire(client)
    served.append(client)


async def test_a_slot_that_comes_free_goes_to_the_client_that_holds_fewest() -> None:
    gate = ConcurrencyLimit(10, 10, 60)
    served: list[str] = []
    for client, count in (("most", 6), ("more", 3), ("few", 1)):
        for _ in range(count):
            await gate.acquire(client)
    async with asyncio.TaskGroup() as tasks:
        for client in ("most", "more", "few", "none"):
            tasks.create_task(asking(gate, client, served))
        await asyncio.sleep(0)
        for _ in range(4):
            gate.release("most")
    assert served == ["none", "few", "most", "more"]  # which have 0, 1, 2 and 3 by then


async def test_clients_that_hold_as_many_are_served_by_turns() -> None:
    gate = ConcurrencyLimit(1, 9, 60)
    served: list[str] = []
    await gate.acquire("first")
    async with asyncio.TaskGroup() as tasks:
        for client in "aaabbc":
            tasks.create_task(asking(gate, client, served))
        await asyncio.sleep(0)
        gate.release("first")
        while len(served) < 6:
            await asyncio.sleep(0)
            if served:
                gate.release(served[-1])
    assert served == list("abcaba")


async def test_a_full_queue_makes_room_for_a_client_that_has_fewer_calls_in_it() -> None:
    gate = ConcurrencyLimit(1, 4, 60)
    await gate.acquire("inside")
    greedy = [asyncio.create_task(gate.acquire(client)) for client in ("a", "a", "a", "b")]
    await asyncio.sleep(0)
    honest = asyncio.create_task(gate.acquire("honest"))
    await asyncio.sleep(0)
    with pytest.raises(ClientBusy):
        await greedy[2]
    assert gate.waiting == 4
    for client in ("b", "honest"):
        with pytest.raises(Busy):
            await asyncio.gather(gate.acquire(client), gate.acquire(client))
    gate.release("inside")
    await greedy[0]
    gate.release("a")
    await greedy[3]
    gate.release("b")
    await honest
    for task in greedy[1], *greedy[:1]:
        task.cancel()


async def test_in_a_full_queue_a_client_takes_the_place_of_none_that_would_have_fewer_calls_than_itself() -> None:
    gate = ConcurrencyLimit(1, 2, 60)
    await gate.acquire("inside")
    waiting = [asyncio.create_task(gate.acquire("a"))]
    await asyncio.sleep(0)
    waiting.append(asyncio.create_task(gate.acquire("b")))
    await asyncio.sleep(0)
    with pytest.raises(Busy) as refused:
        await gate.acquire("c")
    assert not isinstance(refused.value, ClientBusy)
    assert not any(task.done() for task in waiting)
    waiting[1].cancel()
    await asyncio.wait(waiting[1:])
    waiting[1] = asyncio.create_task(gate.acquire("a"))
    await asyncio.sleep(0)
    waiting.append(asyncio.create_task(gate.acquire("c")))  # which has none, where "a" has two
    with pytest.raises(ClientBusy):
        await waiting[1]
    assert gate.waiting == 2
    for task in waiting:
        task.cancel()


async def test_a_client_that_holds_an_equal_share_is_refused_because_there_is_no_more() -> None:
    gate = ConcurrencyLimit(2, 0, 60)
    for client in "ab":
        await gate.acquire(client)
    with pytest.raises(Busy) as refused:
        await gate.acquire("a")
    assert not isinstance(refused.value, ClientBusy)


async def test_only_a_client_with_more_than_an_equal_share_is_told_that_it_is_its_own_affair() -> None:
    gate = ConcurrencyLimit(4, 0, 60)
    for client in ("greedy", "greedy", "greedy", "honest"):
        await gate.acquire(client)
    with pytest.raises(ClientBusy):
        await gate.acquire("greedy")
    with pytest.raises(Busy) as refused:
        await gate.acquire("honest")
    assert not isinstance(refused.value, ClientBusy)
