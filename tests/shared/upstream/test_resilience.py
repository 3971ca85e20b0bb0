import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_shared.upstream.resilience import Breaker, BreakerState, Outcome, RetryBudget, Ticket, Window, backoff


def breaker(min_calls: int = 4) -> Breaker:
    return Breaker(window=10, min_calls=min_calls, failure_share=0.5, open_seconds=5, probe_seconds=1)


def call(subject: Breaker, now: float, outcome: Outcome = Outcome.GOOD, client: str = "") -> None:
    ticket = subject.admit(now)
    assert ticket.wait == 0
    assert not ticket.probe
    subject.record(ticket, now, outcome, client)


def opened() -> Breaker:
    subject = breaker()
    for _ in range(4):
        call(subject, 0, Outcome.BROKEN)
    return subject


def test_breaker_stays_closed_below_the_least_number_of_calls() -> None:
    subject = breaker()
    for _ in range(3):
        call(subject, 0, Outcome.BROKEN)
    assert subject.state is BreakerState.CLOSED


def test_breaker_stays_closed_below_the_share() -> None:
    subject = breaker()
    for _ in range(20):
        for outcome in (Outcome.GOOD, Outcome.GOOD, Outcome.BROKEN):
            call(subject, 1, outcome)
    assert subject.state is BreakerState.CLOSED


def test_breaker_opens_at_the_share_and_says_when_to_come_back() -> None:
    subject = opened()
    assert subject.state is BreakerState.OPEN
    assert subject.admit(2).wait == pytest.approx(3)


def test_no_successful_call_opens_the_breaker() -> None:
    subject = breaker()
    for _ in range(3):
        call(subject, 0, Outcome.BROKEN)
    call(subject, 0)
    assert subject.state is BreakerState.CLOSED


def test_old_failures_are_forgotten() -> None:
    subject = breaker()
    for _ in range(3):
        call(subject, 0, Outcome.BROKEN)
    call(subject, 20, Outcome.BROKEN)
    assert subject.state is BreakerState.CLOSED


def test_one_client_alone_opens_nothing_by_what_the_backend_answers_it() -> None:
    subject = breaker()
    for _ in range(1000):
        call(subject, 1, Outcome.OVERLOADED, "attacker")
    for _ in range(3):
        call(subject, 1, Outcome.GOOD, "honest")
    call(subject, 1, Outcome.OVERLOADED, "honest")
    assert subject.state is BreakerState.CLOSED


def test_failures_of_several_clients_open_it() -> None:
    subject = breaker()
    for _ in range(2):
        for client in ("a", "b"):
            call(subject, 1, Outcome.OVERLOADED, client)
    assert subject.state is BreakerState.OPEN


def test_what_never_became_a_response_opens_it_for_a_single_client_too() -> None:
    subject = breaker()
    for _ in range(4):
        call(subject, 1, Outcome.BROKEN, "only")
    assert subject.state is BreakerState.OPEN


def test_one_clients_slow_calls_open_nothing_for_others() -> None:
    subject = breaker()
    for number in range(10):
        call(subject, 1, Outcome.GOOD, f"honest {number}")
    for _ in range(1000):
        call(subject, 1, Outcome.BROKEN, "slow")
    assert subject.state is BreakerState.CLOSED


def test_no_connection_counts_whoever_asked() -> None:
    subject = breaker()
    for number in range(10):
        call(subject, 1, Outcome.GOOD, f"honest {number}")
    for _ in range(10):
        call(subject, 1, Outcome.UNREACHABLE, "one")
    assert subject.state is BreakerState.OPEN


def test_where_any_share_opens_it_one_clients_overloaded_calls_still_do_not() -> None:
    subject = Breaker(window=10, min_calls=4, failure_share=0.0, open_seconds=5)
    calls_of(subject, {"only": 5})
    assert repr(subject) == "<Breaker closed calls=5 failed=5>"
    call(subject, 1, Outcome.BROKEN, "only")
    assert subject.state is BreakerState.OPEN


def test_a_missing_connection_now_and_then_opens_nothing_beside_one_clients_failures() -> None:
    subject = breaker()
    for number in range(10):
        call(subject, 1, Outcome.GOOD, f"honest {number}")
    for outcome in (Outcome.UNREACHABLE, *[Outcome.OVERLOADED] * 20):
        call(subject, 1, outcome, "one")
    assert subject.state is BreakerState.CLOSED


def test_the_clients_told_apart_are_bounded() -> None:
    subject = breaker(min_calls=10**9)
    for number in range(20_000):
        call(subject, number / 10_000, Outcome.OVERLOADED, f"client {number}")
    assert sum(len(counts) for _, _, counts in subject._calls._slices) <= 10 * 1024


def test_half_open_is_for_one_probe_and_no_call() -> None:
    subject = opened()
    assert subject.admit(5).probe
    assert subject.state is BreakerState.HALF_OPEN
    other = subject.admit(5.25)
    assert not other.probe
    assert other.wait == pytest.approx(0.75)


def test_good_probe_closes() -> None:
    subject = opened()
    subject.probed(subject.admit(5), 5.5, responded=True)
    assert subject.state is BreakerState.CLOSED
    call(subject, 5.5)


def test_bad_probe_opens_for_another_while() -> None:
    subject = opened()
    subject.probed(subject.admit(5), 6, responded=False)
    assert subject.state is BreakerState.OPEN
    assert subject.admit(7).wait == pytest.approx(4)


def test_an_undecided_probe_neither_closes_nor_blocks() -> None:
    subject = opened()
    subject.probed(subject.admit(5), 5.1, responded=None)
    assert subject.state is BreakerState.OPEN
    assert subject.admit(5.1).probe


def test_a_probe_that_is_never_heard_of_again_makes_room_for_the_next() -> None:
    subject = opened()
    lost = subject.admit(5)
    assert not subject.admit(5.9).probe
    assert subject.admit(6).probe
    subject.probed(lost, 6.1, responded=False)
    assert subject.state is BreakerState.HALF_OPEN


def test_after_a_probe_a_quarter_of_the_calls_is_enough_to_open_again() -> None:
    subject = breaker(min_calls=8)
    for _ in range(8):
        call(subject, 0, Outcome.BROKEN)
    subject.probed(subject.admit(5), 5, responded=True)
    call(subject, 5, Outcome.BROKEN)
    call(subject, 5, Outcome.BROKEN)  # which finds it closed
    assert subject.state is BreakerState.OPEN


def test_after_a_quiet_window_the_usual_number_is_needed_again() -> None:
    subject = breaker(min_calls=8)
    for _ in range(8):
        call(subject, 0, Outcome.BROKEN)
    subject.probed(subject.admit(5), 5, responded=True)
    for _ in range(7):
        call(subject, 15, Outcome.BROKEN)
    assert subject.state is BreakerState.CLOSED


def test_a_call_from_before_the_opening_counts_neither_for_nor_against() -> None:
    subject = breaker(min_calls=8)
    early = [subject.admit(0) for _ in range(8)]
    for _ in range(8):
        call(subject, 0, Outcome.BROKEN)
    subject.record(early[0], 1, Outcome.GOOD)
    subject.probed(subject.admit(5), 5, responded=True)
    for ticket in early:
        subject.record(ticket, 5, Outcome.BROKEN)
    assert subject.state is BreakerState.CLOSED


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


def calls_of(subject: Breaker, failed: dict[str, int], good: dict[str, int] | None = None, at: float = 1) -> None:
    """Let clients make calls that are overloaded, or good; the good ones first."""
    for client, count in (good or {}).items():
        for _ in range(count):
            call(subject, at, Outcome.GOOD, client)
    for client, count in failed.items():
        for _ in range(count):
            call(subject, at, Outcome.OVERLOADED, client)


@pytest.mark.parametrize(
    ("least", "failed", "good", "state"),
    [
        (4, {"a": 3, "b": 1}, {}, BreakerState.OPEN),  # a single failure of the others', which are all they called
        (4, {"a": 3, "b": 1}, {"b": 1}, BreakerState.OPEN),  # exactly the share of the others
        (4, {"a": 3, "b": 1}, {"b": 2}, BreakerState.CLOSED),  # less than the share of the others
        (8, {"a": 7, "b": 1}, {}, BreakerState.CLOSED),  # the others' failures are too few
        (20, {"a": 16, "b": 4}, {}, BreakerState.CLOSED),
        (20, {"a": 16, "b": 5}, {}, BreakerState.OPEN),
        (4, {"a": 3, "b": 2}, {"a": 17, "b": 2}, BreakerState.CLOSED),  # less than the share of all
        (2, {"a": 2}, {}, BreakerState.CLOSED),
    ],
)
def test_the_other_clients_calls_have_to_fail_as_well(
    least: int, failed: dict[str, int], good: dict[str, int], state: BreakerState
) -> None:
    subject = breaker(least)
    calls_of(subject, failed, good)
    assert subject.state is state


def test_a_clients_calls_count_over_the_whole_window() -> None:
    subject = breaker()
    calls_of(subject, {}, {"a": 1}, at=1)
    calls_of(subject, {"a": 3, "b": 1}, {"b": 1}, at=2)
    assert subject.state is BreakerState.OPEN


def test_exactly_the_share_without_a_whole_response_opens_it() -> None:
    subject = breaker()
    for outcome in (Outcome.GOOD, Outcome.GOOD, Outcome.BROKEN, Outcome.BROKEN):
        call(subject, 1, outcome, "only")
    assert subject.state is BreakerState.OPEN


def test_a_broken_call_among_overloaded_ones_of_one_client_opens_nothing() -> None:
    subject = breaker()
    for outcome in (Outcome.OVERLOADED, Outcome.OVERLOADED, Outcome.OVERLOADED, Outcome.BROKEN):
        call(subject, 1, outcome, "only")
    assert subject.state is BreakerState.CLOSED


@pytest.mark.parametrize(("at", "state"), [(4.9, BreakerState.OPEN), (5.0, BreakerState.CLOSED)])
def test_a_failure_counts_for_one_window(at: float, state: BreakerState) -> None:
    subject = Breaker(window=5, min_calls=4, failure_share=0.5, open_seconds=5)
    for early in (0.2, 0.4, 0.4):
        call(subject, early, Outcome.BROKEN)
    call(subject, at, Outcome.BROKEN)
    assert subject.state is state


def test_it_is_open_from_the_last_failure_on_and_a_probe_has_one_second() -> None:
    subject = Breaker(window=10, min_calls=4, failure_share=0.5, open_seconds=5)
    for at in (0, 1, 2, 3):
        call(subject, at, Outcome.BROKEN)
    assert subject.admit(4).wait == pytest.approx(4)
    assert subject.admit(8).probe
    assert subject.admit(8).wait == pytest.approx(1)


def test_on_probation_one_failed_call_is_enough_where_few_are_needed_anyway() -> None:
    subject = opened()
    subject.probed(subject.admit(5), 5, responded=True)
    call(subject, 5, Outcome.BROKEN)
    assert subject.state is BreakerState.OPEN


def test_a_ticket_is_current_until_the_state_changes() -> None:
    subject = breaker()
    ticket = subject.admit(0)
    assert subject.is_current(ticket)
    assert subject.is_current(Ticket())
    for _ in range(4):
        call(subject, 0, Outcome.BROKEN)
    assert not subject.is_current(ticket)


def test_good_calls_alone_are_forgotten_too() -> None:
    subject = breaker()
    for at in range(1000):
        call(subject, at)
    assert len(subject._calls._slices) <= 11


def test_states_are_told_as_numbers() -> None:
    assert [state.value for state in BreakerState] == [0.0, 0.5, 1.0]


def test_a_window_counts_both_kinds_until_it_has_passed() -> None:
    window = Window(5)
    window.add(0.2, 1, 0)
    window.add(0.4, 0, 2)
    assert window.totals(4.9) == (1, 2)
    assert window.totals(5.0) == (0, 0)


def test_three_retries_are_always_allowed_unless_said_otherwise() -> None:
    budget = RetryBudget(0.2)
    assert [budget.take(1) for _ in range(4)] == [True, True, True, False]


def test_the_ceiling_of_the_backoff_doubles() -> None:
    assert [backoff(attempt, 0.5, base=0.1, cap=1.0) for attempt in range(5)] == [0.05, 0.1, 0.2, 0.4, 0.5]


def test_a_breaker_says_how_it_stands() -> None:
    breaker = Breaker(10, 2, 0.5, 5)
    breaker.record(breaker.admit(0), 0, Outcome.GOOD)
    assert repr(breaker) == "<Breaker closed calls=1 failed=0>"
    breaker.record(breaker.admit(0), 0, Outcome.UNREACHABLE)
    assert repr(breaker) == "<Breaker open calls=2 failed=1>"
    breaker = Breaker(10, 2, 0.5, 5)
    breaker.record(breaker.admit(0), 0, Outcome.OVERLOADED)
    assert repr(breaker) == "<Breaker closed calls=1 failed=1>"


def test_a_window_has_ten_slices_however_much_is_counted() -> None:
    window = Window(10)
    for moment in range(1000):
        window.add(moment / 100, 1, 0)
    assert len(window._slices) == 10
