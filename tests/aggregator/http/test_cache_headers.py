import pytest

from bff_aggregator.http import cache_headers


def test_headers_that_an_answer_depends_on_are_read() -> None:
    asked = cache_headers.parse(
        [
            (b"host", b"a"),
            (b"accept-encoding", b"br"),
            (b"authorization", b"Bearer x"),
            (b"accept-encoding", b"gzip"),
            (b"if-none-match", b'"a", "b"'),
            (b"if-none-match", b'"c"'),
            (b"cookie", b"a=b"),
            (b"x-request-timeout", b"1.5"),
        ]
    )
    assert (asked.encoding, asked.timeout, asked.conditions) == ("br, gzip", "1.5", ['"a", "b"', '"c"'])
    assert asked.credentials == [(b"authorization", b"Bearer x"), (b"cookie", b"a=b")]


def test_nothing_asked_is_nothing() -> None:
    assert cache_headers.parse([(b"host", b"a")]) == cache_headers.RequestHeaders()


def test_coding_is_named_unless_it_is_none() -> None:
    assert (b"content-encoding", b"gzip") in cache_headers.representation("application/json", '"t"', "gzip", 7)
    plain = dict(cache_headers.representation("application/json", '"t"', "identity", 7))
    assert plain.pop(b"vary") == b"Accept-Encoding, Authorization, Cookie"
    assert plain == {b"content-type": b"application/json", b"content-length": b"7", b"etag": b'"t"'}


def test_age_is_never_negative_for_clients_and_told_as_it_is_for_people() -> None:
    assert cache_headers.freshness(-3, "fwd=stale; detail=backend-failed") == [
        (b"cache-control", b"private, max-age=0"),
        (b"cache-status", b"bff-aggregator; fwd=stale; ttl=-3; detail=backend-failed"),
    ]
    assert cache_headers.freshness(60)[1] == (b"cache-status", b"bff-aggregator; hit; ttl=60")


def test_timing_is_in_milliseconds() -> None:
    assert cache_headers.timing("load;dur=1.00, ", 0.00125) == (b"server-timing", b"load;dur=1.00, total;dur=1.25")


@pytest.mark.parametrize(
    ("how", "value"),
    [
        ({"failed": False, "hit": True, "reused": True}, "bff-aggregator; hit"),
        ({"failed": False, "hit": False, "reused": False}, "bff-aggregator; fwd=miss"),
        ({"failed": False, "hit": False, "reused": True}, "bff-aggregator; fwd=partial"),
        ({"failed": True, "hit": False, "reused": True}, "bff-aggregator; fwd=stale; detail=backend-failed"),
    ],
)
def test_cache_status_says_why_the_cache_went_to_the_backend(how: dict[str, bool], value: str) -> None:
    assert cache_headers.cache_status(cache_headers.outcome(**how)) == value
