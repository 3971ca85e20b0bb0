import gzip
from datetime import date

import pytest

from bff_aggregator.backend.bars import Source
from bff_aggregator.charts.bars_access import Question
from bff_aggregator.charts.query import ChartQuery
from bff_aggregator.charts.response_cache import OVERHEAD, Representation, ResponseCache
from bff_aggregator.charts.timeframes import Timeframe

NOW = 1000.0

QUESTION = Question("AAPL", Source.MINUTE, True, date(2024, 1, 3))


class Clock:
    """A clock that is set."""

    now = NOW

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def query(symbol: str = "AAPL", target: int = 1000) -> ChartQuery:
    return ChartQuery(symbol, Timeframe.MINUTE, date(2024, 1, 2), date(2024, 1, 3), target)


def answer(body: bytes = b"{}", seconds: float = 1000.0) -> Representation:
    return Representation((body,), "c", "e", "application/json", NOW + seconds, QUESTION)


def test_answer_is_the_owners_and_the_queries(clock: Clock) -> None:
    kept, mine = ResponseCache(100_000, clock), answer()
    kept.put("me", query(), mine, kept.epoch)
    assert kept.get("me", query()) is mine
    assert kept.get("you", query()) is None
    assert kept.get("me", query(target=1001)) is None


def test_answer_goes_shortly_before_its_time(clock: Clock) -> None:
    kept = ResponseCache(100_000, clock)
    kept.put("me", query(), answer(seconds=100.0), kept.epoch)
    kept.put("me", query("SPY"), answer(seconds=1000.0), kept.epoch)
    clock.now = NOW + 89
    assert kept.get("me", query())
    clock.now = NOW + 91
    assert kept.get("me", query()) is None
    clock.now = NOW + 969
    assert kept.get("me", query("SPY"))
    clock.now = NOW + 971
    assert kept.get("me", query("SPY")) is None
    assert (len(kept), kept.size) == (0, 0)


def test_least_recently_used_answers_make_room(clock: Clock) -> None:
    kept = ResponseCache(5 * OVERHEAD, clock)
    for symbol in "ABCD":
        kept.put("me", query(symbol), answer(), kept.epoch)
    assert kept.get("me", query("A"))
    kept.put("me", query("E"), answer(), kept.epoch)
    assert {symbol for symbol in "ABCDE" if kept.get("me", query(symbol))} == set("ACDE")
    assert kept.size <= 5 * OVERHEAD
    kept.put("me", query("F"), answer(bytes(2 * OVERHEAD)), kept.epoch)
    assert kept.get("me", query("F")) is None


def test_purge_is_of_a_symbol_for_all_owners(clock: Clock) -> None:
    kept = ResponseCache(100_000, clock)
    for owner in ("me", "you"):
        kept.put(owner, query(), answer(), kept.epoch)
        kept.put(owner, query("SPY"), answer(), kept.epoch)
    kept.purge("AAPL")
    assert [kept.get(owner, query()) for owner in ("me", "you")] == [None, None]
    assert len(kept) == 2
    kept.clear()
    assert (len(kept), kept.size) == (0, 0)


def test_what_was_begun_before_a_purge_is_not_kept(clock: Clock) -> None:
    kept = ResponseCache(100_000, clock)
    kept.purge("AAPL")
    kept.put("me", query(), answer(), 0)
    assert len(kept) == 0
    epoch = kept.epoch
    kept.clear()
    kept.put("me", query(), answer(), epoch)
    assert len(kept) == 0


def test_windows_seen_once_push_out_none_that_were_asked_for_again(clock: Clock) -> None:
    kept = ResponseCache(5 * OVERHEAD, clock)
    for symbol in "ABC":
        kept.put("me", query(symbol), answer(), kept.epoch)
    for target in range(100, 120):
        kept.put("you", query(target=target), answer(), kept.epoch, again=False)
    assert kept.get("you", query(target=119)) is None
    assert all(kept.get("me", query(symbol)) for symbol in "ABC")


def test_a_window_seen_once_is_kept_where_there_is_room(clock: Clock) -> None:
    kept = ResponseCache(5 * OVERHEAD, clock)
    kept.put("me", query(), answer(), kept.epoch, again=False)
    assert kept.get("me", query())
    for symbol in "BCD":
        kept.put("me", query(symbol), answer(), kept.epoch, again=False)
    assert kept.get("me", query()), "it was asked for again"


def test_a_coded_body_is_kept_and_described() -> None:
    made = answer(b"abc" * 30_000)
    coded = made.code("gzip", (gzip.compress(b"".join(made.pieces)),))
    assert made.coded["gzip"] is coded
    assert dict(coded.headers)[b"etag"] == made.tag("gzip").encode() == b'"c-e-gzip"'
    assert dict(coded.headers)[b"content-length"] == str(len(coded.pieces[0])).encode()


def test_large_pieces_are_shared_and_small_ones_are_one_message() -> None:
    large, small = answer(b"abc" * 30_000), Representation((b"ab", b"c"), "c", "e", "application/json", NOW, QUESTION)
    assert large.code("identity", large.pieces).pieces[0] is large.pieces[0]
    assert small.code("identity", small.pieces).pieces == (b"abc",)


def test_age_is_told_anew_each_second() -> None:
    made = answer(seconds=100.0)
    first = made.hit(NOW + 0.1)
    assert made.hit(NOW + 0.9) is first
    assert dict(made.hit(NOW + 1.1))[b"cache-control"] == b"private, max-age=98"
