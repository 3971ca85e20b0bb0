"""What counts as harm that an attack did, and what a busy machine did."""

from tests.chaos.hostile.harness import LATE_TIMES, Witness
from tests.chaos.hostile.target import Snapshot

STATE = Snapshot(memory={}, files={}, spool=0, flags={}, breakers={}, pids={})
USUAL_S, TICK_S = 10.0, 1 / 30


def witness(pause_s: float = TICK_S, took_s: float = 0.01, late_s: float = 0.0) -> Witness:
    """Return a user who is measured for 10 s and attacked for 10 s, with one pause, request and tick of this length."""
    frames, at = [], 0.0
    while at < 2 * USUAL_S:
        frames.append(at)
        at += pause_s if len(frames) == 450 else TICK_S
    requests = [("chart", 0.2 * number, 0.01, 200) for number in range(100)] + [("chart", 15.0, took_s, 200)]
    return Witness(STATE, 0.0, USUAL_S, 2 * USUAL_S, frames, [], requests, [(5.0, 9.0), (15.0, late_s)])


def test_an_attack_that_changes_nothing_does_no_harm() -> None:
    assert witness().harm() == []


def test_a_pause_between_frames_is_harm_and_so_is_a_slow_request() -> None:
    assert "no frame for 300 ms" in witness(pause_s=0.3).harm()[0]
    assert "p99 of chart is 300 ms" in witness(took_s=0.3).harm()[0]


def test_what_the_machine_let_the_users_own_process_wait_is_nobodys_attack() -> None:
    late = 0.3 / LATE_TIMES
    assert witness(pause_s=0.3, took_s=0.3, late_s=late).harm() == []
    assert len(witness(pause_s=0.6, took_s=0.6, late_s=late).harm()) == 2, "what is more than that still is"


def test_a_busy_machine_before_the_attack_excuses_nothing() -> None:
    assert len(witness(pause_s=0.3).harm()) == 1
