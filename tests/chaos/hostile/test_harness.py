"""What counts as harm that an attack did, and what a busy machine did."""

from dataclasses import replace

from tests.chaos.hostile.harness import CACHE_BYTES, FILES_MORE, LATE_TIMES, Witness, blame, differences
from tests.chaos.hostile.target import SERVICES, Snapshot, keepalive
from tests.chaos.strength import STRENGTH
from tests.support.stalls import STOOD_STILL_S, Stalls, Unsteady

STATE = Snapshot(memory={}, cached={}, files={}, connections={}, spool=0, flags={}, breakers={}, pids={})
USUAL_S, TICK_S = 10.0, 1 / 30
LONG_S = 3 * max(STRENGTH.gap_s, STRENGTH.p99_s)


def witness(pause_s: float = TICK_S, took_s: float = 0.01, late_s: float = 0.0) -> Witness:
    """Return a user who is measured for 10 s and attacked for 10 s; a pause, a request and a stall take so long."""
    frames, at = [], 0.0
    while at < 2 * USUAL_S:
        frames.append(at)
        at += pause_s if len(frames) == 450 else TICK_S
    requests = [("chart", 0.2 * number, 0.01, 200) for number in range(100)] + [("chart", 15.0, took_s, 200)]
    stalls = Stalls()
    stalls.note(5.0, 9.0)
    stalls.note(15.0, 15.0 + late_s)
    return Witness(STATE, 0.0, USUAL_S, 2 * USUAL_S, frames, [], requests, stalls)


def failure(seen: Witness, harm: list[str]) -> type[Exception] | None:
    try:
        blame(seen, harm, seen.delay())
    except AssertionError as error:
        return type(error)
    return None


def test_an_attack_that_changes_nothing_does_no_harm() -> None:
    assert witness().harm() == witness().delay() == []
    assert failure(witness(), []) is None


def test_a_pause_between_frames_is_told_and_so_is_a_slow_request() -> None:
    assert f"no frame for {LONG_S * 1000:.0f} ms" in witness(pause_s=LONG_S).delay()[0]
    assert f"p99 of chart is {LONG_S * 1000:.0f} ms" in witness(took_s=LONG_S).delay()[0]


def test_what_the_machine_let_the_users_own_process_wait_is_nobodys_attack() -> None:
    late = LONG_S / LATE_TIMES
    assert witness(pause_s=LONG_S, took_s=LONG_S, late_s=late).delay() == []
    longer = witness(pause_s=2 * LONG_S, took_s=2 * LONG_S, late_s=late)
    assert len(longer.delay()) == 2, "what is more than that is told"


def test_a_busy_machine_before_the_attack_excuses_nothing() -> None:
    assert len(witness(pause_s=LONG_S).delay()) == 1


def test_times_are_measured_again_and_harm_only_where_the_machine_stood_still() -> None:
    assert failure(witness(pause_s=LONG_S), []) is Unsteady
    assert failure(witness(), ["a flag moved"]) is AssertionError
    assert failure(witness(late_s=2 * STOOD_STILL_S), ["a flag moved"]) is Unsteady


def test_idle_connections_of_nginx_are_no_leak_up_to_the_number_that_it_may_keep() -> None:
    before = replace(STATE, connections=dict.fromkeys(SERVICES, 2))
    kept = {name: 2 + keepalive(name) for name in SERVICES}
    assert differences(before, replace(before, connections=kept)) == []
    more = {name: number + 1 for name, number in kept.items()}
    assert len(differences(before, replace(before, connections=more))) == len(SERVICES)


def test_a_cache_that_fills_up_to_its_bound_is_no_harm() -> None:
    assert differences(STATE, replace(STATE, cached=CACHE_BYTES)) == []
    for name, most in CACHE_BYTES.items():
        assert len(differences(STATE, replace(STATE, cached={**CACHE_BYTES, name: most + 1}))) == 1


def test_memory_and_files_that_stay_are_harm() -> None:
    before = replace(STATE, memory={"proxy": 0}, files={"proxy": 0})
    most = replace(before, memory={"proxy": STRENGTH.memory_more}, files={"proxy": FILES_MORE})
    assert differences(before, most) == []
    more = replace(before, memory={"proxy": STRENGTH.memory_more + 1}, files={"proxy": FILES_MORE + 1})
    assert len(differences(before, more)) == 2
    assert differences(before, more, lasting=False) == []
