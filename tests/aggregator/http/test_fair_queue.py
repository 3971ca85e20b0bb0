import pytest

from bff_aggregator.http.fair_queue import STEP_BYTES, FairQueue
from bff_shared.errors import Busy, ClientBusy


def queue(total: int = 100, share: float = 0.6) -> FairQueue[str]:
    return FairQueue(total, share, 2.0)


def drained(waiting: FairQueue[str]) -> list[str]:
    order = []
    while (entry := waiting.pop()) is not None:
        order.append(entry.item)
    return order


def test_clients_take_turns_whatever_one_of_them_asks_for() -> None:
    waiting = queue()
    for number in range(4):
        waiting.push("greedy", 1, f"greedy {number}")
    waiting.push("honest", 1, "honest")
    assert drained(waiting) == ["greedy 0", "honest", "greedy 1", "greedy 2", "greedy 3"]


def test_small_work_goes_before_large_work_of_the_same_client() -> None:
    waiting = queue()
    waiting.push("a", 100 * STEP_BYTES, "large")
    waiting.push("a", 1, "small")
    assert drained(waiting) == ["small", "large"]


def test_large_work_waits_only_for_so_much_small_work() -> None:
    waiting, order = queue(), list[str]()
    waiting.push("a", 3 * STEP_BYTES, "large")
    for number in range(10):
        waiting.push("a", 1, f"small {number}")
        entry = waiting.pop()
        assert entry
        order.append(entry.item)
    assert order.index("large") == 2


def test_work_that_goes_on_keeps_its_place() -> None:
    waiting = queue()
    waiting.push("a", 1, "begun")
    waiting.push("a", 1, "next")
    begun = waiting.pop()
    assert begun
    waiting.put_back(begun)
    assert drained(waiting) == ["begun", "next"]


def test_a_client_has_its_share_and_all_have_a_bound() -> None:
    waiting = queue(total=5)
    for number in range(3):
        waiting.push("a", 1, str(number))
    with pytest.raises(ClientBusy) as mine:
        waiting.push("a", 1, "too much")
    assert mine.value.headers() == {"retry-after": "2"}
    waiting.push("b", 1, "x")
    waiting.push("b", 1, "y")
    with pytest.raises(Busy) as ours:
        waiting.push("c", 1, "too much")
    assert type(ours.value) is Busy
    assert len(waiting) == 5


def test_what_nobody_waits_for_leaves_the_queue() -> None:
    waiting = queue()
    entry = waiting.push("a", 1, "given up")
    waiting.push("b", 1, "wanted")
    waiting.remove(entry)
    waiting.remove(entry)
    assert len(waiting) == 1
    assert drained(waiting) == ["wanted"]
