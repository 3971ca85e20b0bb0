import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_shared.resilience import Breaker, BreakerState, RetryBudget, Window, backoff


def breaker() -> Breaker:
    return Breaker(window=10, min_calls=4, failure_share=0.5, open_seconds=5)


def call(subject: Breaker, now: float, *, failed: bool) -> None:
    ticket = subject.admit(now)
    assert ticket.wait == 0
    subject.record(ticket, now, failed=failed)


def opened() -> Breaker:
    subject = breaker()
    for _ in range(4):
        call(subject, 0, failed=True)
    return subject


def test_breaker_stays_closed_below_the_least_number_of_calls() -> None:
    subject = breaker()
    for _ in range(3):
        call(subject, 0, failed=True)
    assert subject.state is BreakerState.CLOSED


def test_breaker_stays_closed_below_the_share() -> None:
    subject = breaker()
    for _ in range(20):
        for failed in (False, False, True):
            call(subject, 1, failed=failed)
    assert subject.state is BreakerState.CLOSED


def test_breaker_opens_at_the_share_and_says_when_to_come_back() -> None:
    subject = opened()
    assert subject.state is BreakerState.OPEN
    assert subject.admit(2).wait == pytest.approx(3)


def test_old_failures_are_forgotten() -> None:
    subject = breaker()
    for _ in range(3):
        call(subject, 0, failed=True)
    call(subject, 20, failed=True)
    assert subject.state is BreakerState.CLOSED


def test_half_open_lets_one_probe_through() -> None:
    subject = opened()
    assert subject.admit(5).probe
    assert subject.admit(5).wait > 0


def test_good_probe_closes() -> None:
    subject = opened()
    subject.record(subject.admit(5), 5.5, failed=False)
    assert subject.state is BreakerState.CLOSED
    assert subject.admit(5.5).wait == 0


def test_bad_probe_opens_for_another_while() -> None:
    subject = opened()
    subject.record(subject.admit(5), 6, failed=True)
    assert subject.state is BreakerState.OPEN
    assert subject.admit(7).wait == pytest.approx(4)


def test_abandoned_probe_makes_room_for_the_next() -> None:
    subject = opened()
    subject.abandon(subject.admit(5))
    assert subject.admit(5).probe


def test_call_from_before_the_opening_does_not_decide_the_probe() -> None:
    subject = breaker()
    early = subject.admit(0)
    for _ in range(4):
        call(subject, 0, failed=True)
    probe = subject.admit(5)
    subject.record(early, 5, failed=False)
    assert subject.state is BreakerState.HALF_OPEN
    subject.record(probe, 5, failed=True)
    assert subject.admit(6).wait == pytest.approx(4)


def test_budget_allows_a_share_of_the_calls() -> None:
    budget = RetryBudget(0.2, floor=3)
    for _ in range(100):
        budget.called(1)
    assert sum(budget.take(1) for _ in range(100)) == 20


def test_budget_always_allows_a_few() -> None:
    budget = RetryBudget(0.2, floor=3)
    budget.called(1)
    assert [budget.take(1) for _ in range(4)] == [True, True, True, False]


def test_budget_of_nothing_allows_nothing() -> None:
    assert not RetryBudget(0).take(1)


def test_budget_recovers() -> None:
    budget = RetryBudget(0.2, floor=1)
    assert budget.take(0)
    assert not budget.take(0)
    assert budget.take(11)


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=50), st.floats(0, 120))
def test_window_counts_what_is_at_most_that_old(events: list[tuple[float, bool]], later: float) -> None:
    window, times = Window(10), sorted(events)
    for at, second in times:
        window.add(at, 1, int(second))
    now = max([at for at, _ in times], default=0) + later
    first, _ = window.totals(now)
    assert sum(at > now - 9 for at, _ in times) <= first <= sum(at >= now - 11 for at, _ in times)


@given(st.integers(0, 60), st.floats(0, 1, exclude_max=True))
def test_backoff_is_below_its_ceiling(attempt: int, draw: float) -> None:
    assert 0 <= backoff(attempt, draw) <= min(1.0, 0.025 * 2**attempt)
