from contextlib import AbstractContextManager
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_shared.errors import Busy, ClientBusy
from bff_shared.limits import ConnectionLimiter, FairShare, KeyedBuckets, TokenBucket, client_address

LOCAL = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


def test_a_bucket_begins_full_and_refills_at_its_rate() -> None:
    bucket = TokenBucket(rate=2, burst=4)
    assert [bucket.take(100) for _ in range(5)] == [True, True, True, True, False]
    assert bucket.wait(100) == 0.5
    assert not bucket.take(100.4)
    assert bucket.take(100.5)
    assert bucket.wait(100.5, 4) == 2.0


def test_a_bucket_saves_no_more_than_its_burst() -> None:
    bucket = TokenBucket(rate=10, burst=3)
    assert bucket.take(0, 3)
    assert bucket.is_full(1_000)
    assert bucket.take(1_000, 3)
    assert not bucket.take(1_000)


def test_a_refused_amount_is_not_spent() -> None:
    bucket = TokenBucket(rate=1, burst=2)
    assert not bucket.take(0, 3)
    assert bucket.take(0, 2)


def test_what_can_never_be_there_is_waited_for_without_end() -> None:
    assert TokenBucket(rate=1, burst=2).wait(0, 3) == float("inf")
    empty = TokenBucket(rate=0, burst=1)
    assert empty.wait(0) == 0
    assert empty.take(0)
    assert empty.wait(5) == float("inf")


def test_time_that_stands_still_or_goes_back_adds_nothing() -> None:
    bucket = TokenBucket(rate=1, burst=1)
    assert bucket.take(10)
    assert not bucket.take(10)
    assert not bucket.take(3)
    assert not bucket.take(10.5)
    assert bucket.take(11)


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0.1, 3)), min_size=1, max_size=60))
def test_no_sequence_of_takes_gets_more_than_burst_and_rate_allow(steps: list[tuple[float, float]]) -> None:
    bucket = TokenBucket(rate=1.5, burst=3)
    now = spent = 0.0
    for pause, amount in steps:
        now += pause
        if bucket.take(now, amount):
            spent += amount
    assert spent <= 3 + 1.5 * now + 1e-6


def test_each_key_has_a_bucket_of_its_own() -> None:
    buckets = KeyedBuckets(rate=1, burst=1)
    assert buckets.take("a", 0)
    assert not buckets.take("a", 0)
    assert buckets.take("b", 0)
    assert buckets.wait("a", 0.5) == 0.5
    assert buckets.wait("unknown", 0.5) == 0


def test_keys_whose_buckets_are_full_again_are_forgotten() -> None:
    buckets = KeyedBuckets(rate=1, burst=2)
    for number in range(100):
        buckets.take(f"client {number}", 0)
    for moment in range(3, 103):
        buckets.take("somebody", moment)
    assert len(buckets) == 1


def test_the_number_of_keys_is_bounded_and_who_was_active_last_is_remembered() -> None:
    buckets = KeyedBuckets(rate=0.001, burst=1, max_keys=10)
    for number in range(1_000):
        buckets.take(f"client {number}", 0)
        assert len(buckets) <= 10
    assert not buckets.take("client 999", 0)


def test_the_key_that_was_used_longest_ago_is_forgotten_first() -> None:
    buckets = KeyedBuckets(rate=0.001, burst=2, max_keys=2)
    for key in ("first", "second", "first", "third"):
        assert buckets.take(key, 0)
    assert len(buckets) == 2
    assert not buckets.take("first", 0)


def test_one_key_is_remembered_even_where_none_may_be() -> None:
    buckets = KeyedBuckets(rate=0.001, burst=1, max_keys=0)
    assert buckets.take("a", 0)
    assert not buckets.take("a", 0)
    assert buckets.take("b", 0)
    assert len(buckets) == 1


def limiter() -> ConnectionLimiter:
    return ConnectionLimiter(total=3, per_client=2, what="event stream", retry_after=1.5)


def test_slots_are_limited_for_all_and_for_each_client_and_given_back() -> None:
    subject = limiter()
    with subject.slot("a"), subject.slot("a"):
        with pytest.raises(Busy, match="event stream") as refused, subject.slot("a"):
            pass
        assert refused.value.headers() == {"retry-after": "2"}
        with subject.slot("b"), pytest.raises(Busy), subject.slot("c"):
            pass
        assert (subject.active, subject.of("a"), subject.of("b")) == (2, 2, 0)
    assert (subject.active, subject.of("a"), subject.refused) == (0, 0, 2)


def test_a_slot_is_taken_when_it_is_entered_not_before() -> None:
    subject = limiter()
    contexts: list[AbstractContextManager[None]] = [subject.slot("a") for _ in range(10)]
    assert subject.active == 0
    with contexts[0]:
        assert subject.active == 1


def test_a_slot_is_given_back_when_its_context_ends_by_an_error() -> None:
    subject = limiter()
    with pytest.raises(ValueError, match="broken"), subject.slot("a"):
        raise ValueError("broken")
    assert subject.active == 0


def test_a_client_at_its_limit_is_refused_for_its_own_sake_even_where_all_slots_are_taken() -> None:
    subject = ConnectionLimiter(total=2, per_client=2)
    with subject.slot("a"), subject.slot("a"):
        with pytest.raises(ClientBusy) as refused:
            subject.acquire("a")
        assert refused.value.headers() == {"retry-after": "2"}


def test_a_client_that_is_refused_leaves_nothing_behind() -> None:
    subject = ConnectionLimiter(total=0, per_client=5)
    for number in range(100):
        with pytest.raises(Busy), subject.slot(f"client {number}"):
            pass
    assert not subject._taken


@pytest.mark.parametrize(
    ("peer", "chain", "address"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["198.51.100.1, 127.0.0.2"], "198.51.100.1"),
        ("127.0.0.1", ["10.0.0.1, 198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", [" , "], "127.0.0.1"),
        (None, [], "unknown"),
        ("127.0.0.1", ["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
        ("127.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("::1", [], "::1"),
        # A later line continues an earlier one (RFC 9110 section 5.3): the first may be the client's own claim.
        ("127.0.0.1", ["192.0.2.66", "198.51.100.1"], "198.51.100.1"),
    ],
)
def test_a_request_counts_for_the_nearest_hop_that_is_not_a_proxy_of_ours(
    peer: str | None, chain: list[str], address: str
) -> None:
    assert client_address([(b"X-Forwarded-For", value.encode()) for value in chain], peer, LOCAL) == address


def taken_by(share: FairShare, clients: int) -> list[int]:
    """Return how much each of so many clients gets that take all they may, one after another."""
    free, taken = share.total, []
    for _ in range(clients):
        held = 0
        while share.allows(held, free):
            held, free = held + 1, free - 1
        taken.append(held)
    return taken


def test_a_client_alone_gets_its_limit_and_those_after_it_ever_less() -> None:
    assert taken_by(FairShare(100, 60), 6) == [60, 19, 8, 4, 2, 2]
    assert taken_by(FairShare(2_000, 1_200), 3) == [1_200, 362, 153]
    assert sum(taken_by(FairShare(2_000, 1_200), 10)) == 2_000 - 68


def test_more_has_to_stay_free_than_a_clients_share_of_what_others_may_have() -> None:
    share = FairShare(total=8, per_client=4)  # beside one that holds a quarter of its limit, half of the other four
    assert share.allows(held=1, free=3)
    assert not share.allows(held=1, free=2)


@pytest.mark.parametrize("total", range(1, 200, 7))
@pytest.mark.parametrize("per_client", [1, 2, 59, 500])
def test_a_client_that_holds_nothing_gets_whatever_is_free_and_one_at_its_limit_nothing(
    total: int, per_client: int
) -> None:
    share = FairShare(total, per_client)
    assert share.allows(0, 1)
    assert not share.allows(0, 0)
    assert not share.allows(per_client, total)
    assert taken_by(share, 1) == [min(total, per_client)]


def test_clients_that_take_by_turns_get_the_same() -> None:
    share, held, free = FairShare(100, 60), [0] * 4, 100
    while any(share.allows(each, free) for each in held):
        for client, each in enumerate(held):
            if share.allows(each, free):
                held[client], free = each + 1, free - 1
    assert max(held) - min(held) <= 1
    assert 0 < free < 25


def test_beside_others_a_client_is_refused_while_slots_are_free_and_that_is_its_own_affair() -> None:
    subject = ConnectionLimiter(total=10, per_client=6)
    for client in "aaaaaabb":
        subject.acquire(client)
    with pytest.raises(ClientBusy):
        subject.acquire("b")
    subject.acquire("c")
    subject.acquire("d")
    with pytest.raises(Busy) as refused:
        subject.acquire("e")
    assert not isinstance(refused.value, ClientBusy)
    assert repr(subject) == "<ConnectionLimiter 'connection' active=10/10 clients=4 refused=2>"


def test_a_client_that_gave_all_its_slots_back_is_remembered_no_more() -> None:
    limiter = ConnectionLimiter(10, 5, what="stream")
    for _ in range(2):
        limiter.acquire("a")
    limiter.release("a")
    assert repr(limiter) == "<ConnectionLimiter 'stream' active=1/10 clients=1 refused=0>"
    limiter.release("a")
    assert repr(limiter) == "<ConnectionLimiter 'stream' active=0/10 clients=0 refused=0>"


@pytest.mark.parametrize("peer", ["unix:/run/socket", "1:2", "not an address"])
def test_a_peer_that_is_no_address_counts_for_itself(peer: str) -> None:
    assert client_address([], peer, ()) == peer
