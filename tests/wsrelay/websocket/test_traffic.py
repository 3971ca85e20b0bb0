"""Allowances for what viewers send, by an injected clock: frames, bytes and unfinished messages."""

from math import inf

import pytest

from bff_wsrelay.settings import RelaySettings
from bff_wsrelay.websocket.traffic import (
    BURST_SECONDS,
    MAX_IDLE,
    SETTLE_FRAMES,
    SMALL,
    Account,
    TrafficLimits,
    TrafficMeter,
)

MEBI = 1024 * 1024


def spend_until_paused(account: Account, now: float = 0.0) -> int:
    """Return how many frames an account takes before its client is paused or it is refused."""
    count = 0
    while not account.spend(1, 6, now):
        count += 1
    return count


def test_a_connection_may_send_its_burst_and_not_much_more() -> None:
    account = TrafficMeter(TrafficLimits(frames_per_second=500)).join("a", 0)
    count = 0
    while (seconds := account.spend(1, 6, 0.0)) == 0:
        count += 1
    assert seconds == inf
    assert 500 * BURST_SECONDS - SETTLE_FRAMES <= count <= 500 * BURST_SECONDS + SETTLE_FRAMES


def test_a_connection_that_keeps_to_its_rate_is_never_refused() -> None:
    account = TrafficMeter(TrafficLimits(frames_per_second=500, client_frames_per_second=500)).join("a", 0)
    assert all(account.spend(1, 6, number / 500) == 0 for number in range(20_000))


def test_connections_of_one_client_share_an_allowance_and_pause_above_it() -> None:
    traffic = TrafficMeter(TrafficLimits(client_frames_per_second=1000))
    first, second = traffic.join("a", 0), traffic.join("a", 0)
    assert spend_until_paused(first) > 1000 * BURST_SECONDS - SETTLE_FRAMES
    assert spend_until_paused(second) <= SETTLE_FRAMES
    assert 0 < second.wait(0.0) < 1
    assert second.wait(1.0) == 0


def test_another_client_has_an_allowance_of_its_own() -> None:
    traffic = TrafficMeter(TrafficLimits(client_frames_per_second=1000, client_bytes_per_second=MEBI))
    spend_until_paused(traffic.join("a", 0))
    assert spend_until_paused(traffic.join("b", 0)) > 1000


def test_bytes_above_the_clients_allowance_wait_until_there_is_room() -> None:
    account = TrafficMeter(TrafficLimits(client_bytes_per_second=MEBI)).join("a", 0)
    assert account.spend(1, 2 * MEBI, 0.0) == 0
    assert account.spend(1, MEBI // 2, 0.0) == pytest.approx(0.5)
    assert account.wait(0.25) == pytest.approx(0.25)
    assert account.wait(0.6) == 0


def test_more_than_a_burst_at_once_is_paid_by_a_burst_and_waits_for_no_impossible_amount() -> None:
    account = TrafficMeter(TrafficLimits(client_bytes_per_second=MEBI)).join("a", 0)
    assert account.spend(1, MEBI, 0.0) == 0
    assert account.spend(1, 50 * MEBI, 0.0) < inf
    assert account.wait(BURST_SECONDS) == 0


def test_a_client_that_comes_back_finds_its_allowance_as_it_left_it() -> None:
    traffic = TrafficMeter(TrafficLimits(client_frames_per_second=1000))
    account = traffic.join("a", 0)
    spend_until_paused(account)
    account.leave(0.0)
    assert spend_until_paused(traffic.join("a", 0.0)) <= SETTLE_FRAMES


def test_clients_whose_allowance_is_whole_again_are_forgotten() -> None:
    traffic = TrafficMeter(TrafficLimits(client_frames_per_second=1000))
    for number in range(50):
        traffic.join(str(number), number * 10.0).leave(number * 10.0)
    assert len(traffic) <= 3


def test_clients_that_are_remembered_are_bounded() -> None:
    traffic = TrafficMeter(TrafficLimits(client_frames_per_second=1000))
    for number in range(MAX_IDLE + 100):
        account = traffic.join(str(number), 0.0)
        account.spend(SETTLE_FRAMES, 0, 0.0)
        account.leave(0.0)
    assert len(traffic) <= MAX_IDLE + 1


def test_unfinished_bytes_are_bounded_for_each_client_and_given_back() -> None:
    traffic = TrafficMeter(TrafficLimits(client_unfinished_bytes=10 * MEBI))
    first, second, other = traffic.join("a", 0), traffic.join("a", 0), traffic.join("b", 0)
    assert first.hold(8 * MEBI) is None
    assert other.hold(8 * MEBI) is None
    refusal = second.hold(8 * MEBI)
    assert refusal is not None
    assert refusal.code == 1008
    second.leave(0.0)
    assert first.hold(9 * MEBI) is None
    first.leave(0.0)
    other.leave(0.0)
    assert traffic.unfinished == 0


def test_unfinished_bytes_of_all_are_bounded_and_a_small_message_in_two_halves_never_counts() -> None:
    traffic = TrafficMeter(TrafficLimits(unfinished_bytes=10 * MEBI))
    assert traffic.join("a", 0).hold(10 * MEBI) is None
    refusal = traffic.join("b", 0).hold(MEBI)
    assert refusal is not None
    assert refusal.code == 1013
    assert traffic.join("c", 0).hold(SMALL) is None


def test_ten_clients_that_hold_all_they_can_leave_room_for_a_message_of_another() -> None:
    traffic = TrafficMeter(TrafficLimits.of(RelaySettings()))
    for number in range(10):
        for account in [traffic.join(f"greedy {number}", 0) for _ in range(60)]:
            if account.hold(MEBI) is not None:
                account.hold(0)  # as a connection does that is closed
    assert traffic.unfinished <= RelaySettings().stream_unfinished_bytes - 10 * MEBI
    assert traffic.join("honest", 0).hold(MEBI) is None


def test_one_message_of_the_largest_size_fits_whatever_the_settings_say() -> None:
    limits = TrafficLimits.of(RelaySettings(door_max_message=64 * MEBI, stream_client_unfinished_bytes=MEBI))
    assert TrafficMeter(limits).join("a", 0).hold(64 * MEBI) is None


def test_an_office_of_a_hundred_pages_with_ten_streams_each_notices_nothing() -> None:
    traffic = TrafficMeter(TrafficLimits.of(RelaySettings()))
    accounts = [traffic.join("office", 0.0) for _ in range(1000)]
    for tenth in range(600):  # a minute: two acknowledgements a second on each, a slider dragged on every tenth page
        now = tenth / 10
        for number, account in enumerate(accounts):
            frames = (tenth % 5 == number % 5) + (6 if number % 100 == 0 else 0)
            assert account.spend(frames, frames * 60, now) == 0
