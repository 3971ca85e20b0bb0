import os
import signal
import time

from bff_tools.keeper import Keeper
from bff_tools.processes import Child
from bff_tools.supervise import FIRST_DELAY_S, MOST_RESTARTS
from tests.tools.conftest import MakeChild

DEADLINE_S = 10.0


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def runs(child: Child) -> bool:
    return child.pid is not None


def wait_for_end(child: Child) -> None:
    until = time.monotonic() + DEADLINE_S
    while child.pid:
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_child_that_was_killed_is_started_again_after_its_delay(make_child: MakeChild) -> None:
    child, clock, said = make_child(name="proxy"), Clock(), list[str]()
    child.start()
    keeper = Keeper([child], said.append, clock)
    os.kill(child.pid or 0, signal.SIGKILL)
    wait_for_end(child)
    keeper.look()
    assert said == ["proxy ended with SIGKILL; starting it again in 0.5 s"]
    clock.now += FIRST_DELAY_S - 0.01
    keeper.look()
    assert not runs(child)
    clock.now += 0.01
    keeper.look()
    assert runs(child)
    child.wait_ready(DEADLINE_S)
    assert len(said) == 1


def test_the_backend_stays_away_for_3_seconds(make_child: MakeChild) -> None:
    child, clock, said = make_child("", name="backend"), Clock(), list[str]()
    child.start()
    keeper = Keeper([child], said.append, clock)
    wait_for_end(child)
    keeper.look()
    assert said == ["backend ended with status 0; starting it again in 3 s"]


def test_a_child_that_was_stopped_is_left_alone(make_child: MakeChild) -> None:
    child, clock, said = make_child(), Clock(), list[str]()
    child.start()
    keeper = Keeper([child], said.append, clock)
    child.stop()
    keeper.look()
    clock.now += 100
    keeper.look()
    assert not runs(child)
    assert said == []


def test_a_child_that_ends_again_and_again_is_given_up(make_child: MakeChild) -> None:
    child, clock, said = make_child(""), Clock(), list[str]()
    child.start()
    keeper = Keeper([child], said.append, clock)
    for _ in range(MOST_RESTARTS):
        wait_for_end(child)
        keeper.look()
        clock.now += 10
        keeper.look()
    wait_for_end(child)
    keeper.look()
    assert said[-1].startswith("child ended again and is left alone now")
    clock.now += 1000
    keeper.look()
    assert not runs(child)
