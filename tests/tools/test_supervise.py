from bff_tools.supervise import LONGEST_DELAY_S, MOST_RESTARTS, STEADY_S, Restarts


def test_the_delay_doubles_up_to_a_bound() -> None:
    restarts = Restarts(first_delay=0.5)
    delays = []
    for _ in range(MOST_RESTARTS):
        restarts.started(0.0)
        delays.append(restarts.ended(1.0))
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    assert max(delay for delay in delays if delay) <= LONGEST_DELAY_S


def test_after_too_many_failures_there_is_no_further_start() -> None:
    restarts = Restarts()
    restarts.started(0.0)
    results = [restarts.ended(1.0) for _ in range(MOST_RESTARTS + 1)]
    assert results[-1] is None
    assert None not in results[:-1]


def test_a_steady_run_forgives_earlier_failures() -> None:
    restarts = Restarts(first_delay=3.0)
    restarts.started(0.0)
    restarts.ended(1.0)
    restarts.started(4.0)
    assert restarts.ended(4.0 + STEADY_S) == 3.0


def test_a_start_is_due_after_its_delay() -> None:
    restarts = Restarts(first_delay=3.0)
    restarts.started(0.0)
    assert not restarts.due(100.0)
    restarts.ended(10.0)
    assert not restarts.due(12.9)
    assert restarts.due(13.0)
    restarts.started(13.0)
    assert not restarts.due(100.0)


def test_a_first_delay_above_the_bound_is_kept() -> None:
    assert Restarts(first_delay=LONGEST_DELAY_S + 12).ended(0.0) == LONGEST_DELAY_S + 12
