from ipaddress import ip_network

import pytest

from bff_proxy.forwarding.headers import body_length, request_head, response_head

LOCAL = (ip_network("127.0.0.0/8"),)
IDS = [(b"x-request-id", b"id-1"), (b"traceparent", b"00-aa-bb-00")]
BACKEND = b"http://backend:8000"


def head(*pairs: tuple[bytes, bytes], peer: str = "127.0.0.1") -> list[tuple[bytes, bytes]]:
    return request_head([(b"host", b"shop.example"), *pairs], IDS, peer, "http", LOCAL)


def test_end_to_end_headers_keep_their_order_and_repeats() -> None:
    given = [(b"x-a", b"1"), (b"authorization", b"Bearer t"), (b"x-a", b"2"), (b"cookie", b"c=1")]
    assert head(*given)[:4] == given


def test_ids_chain_and_via_are_added() -> None:
    assert head() == [
        *IDS,
        (b"x-forwarded-for", b"127.0.0.1"),
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-host", b"shop.example"),
        (b"via", b"1.1 bff-proxy"),
    ]


def test_ids_of_the_client_are_replaced() -> None:
    made = head((b"x-request-id", b"forged"), (b"traceparent", b"forged"))
    assert [value for name, value in made if name in {b"x-request-id", b"traceparent"}] == [b"id-1", b"00-aa-bb-00"]


def test_what_the_clients_connection_named_is_removed_behind_nginx() -> None:
    made = head((b"x-mine", b"1"), (b"x-bff-connection", b"close, X-Mine"))
    assert not {b"x-mine", b"x-bff-connection", b"connection"} & {name for name, _ in made}


def test_nobody_else_may_name_headers_to_remove() -> None:
    made = head((b"x-mine", b"1"), (b"x-bff-connection", b"X-Mine"), peer="198.51.100.7")
    assert (b"x-mine", b"1") in made
    assert b"x-bff-connection" not in {name for name, _ in made}


def test_body_of_unknown_length_is_chunked_again() -> None:
    assert head((b"transfer-encoding", b"chunked"))[-1] == (b"transfer-encoding", b"chunked")
    assert body_length([(b"transfer-encoding", b"chunked")]) is None


@pytest.mark.parametrize(("value", "length"), [(b"0", 0), (b"17", 17)])
def test_body_length_is_the_one_announced(value: bytes, length: int) -> None:
    assert body_length([(b"content-length", value)]) == length


def test_request_without_framing_has_no_body() -> None:
    assert body_length([]) == 0


def test_each_cookie_of_the_answer_stays_by_itself() -> None:
    given = [(b"Set-Cookie", b"a=1; Path=/"), (b"Set-Cookie", b"b=2"), (b"ETag", b'"x"')]
    assert response_head([*given, (b"Connection", b"close"), (b"Keep-Alive", b"timeout=5")], BACKEND) == given


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        (b"//backend:8000/x", b"/api/v1/x"),
        (b"//BACKEND:8000?a", b"/api/v1/?a"),
        (b"http://backend:8000\\x", b"/api/v1/\\x"),
        (b"//backend:80001/x", b"//backend:80001/x"),
        (b"http://backend:8000.evil.example/x", b"http://backend:8000.evil.example/x"),
        (b"http://backend:8000@evil.example/x", b"http://backend:8000@evil.example/x"),
        (b"http://backend:8000/backtests/1", b"/api/v1/backtests/1"),
        (b"HTTP://Backend:8000/backtests/1", b"/api/v1/backtests/1"),
        (b"http://backend:8000", b"/api/v1/"),
        (b"http://backend:8000?x=1", b"/api/v1/?x=1"),
        (b"/backtests/1?x#y", b"/api/v1/backtests/1?x#y"),
        (b"http://backend:80001/x", b"http://backend:80001/x"),
        (b"http://backend:8000.evil/x", b"http://backend:8000.evil/x"),
        (b"https://backend:8000/x", b"https://backend:8000/x"),
        (b"//other.example/x", b"//other.example/x"),
        (b"../sibling", b"../sibling"),
        (b"", b""),
    ],
)
def test_location_on_the_backend_is_mapped(location: bytes, expected: bytes) -> None:
    assert response_head([(b"location", location)], BACKEND) == [(b"location", expected)]
