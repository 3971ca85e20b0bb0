from ipaddress import ip_network

from bff_shared.http import headers

LOCAL = (ip_network("127.0.0.0/8"),)


def test_a_connection_cannot_name_what_is_for_every_recipient() -> None:
    kept = [(b"Host", b"a"), (b"Content-Length", b"2")]
    assert headers.end_to_end([*kept, (b"X-A", b"1"), (b"Connection", b"Content-Length, host, x-a")]) == kept


def test_hop_by_hop_headers_are_removed() -> None:
    given = [
        (b"Connection", b"close, X-Mine"),
        (b"X-Mine", b"1"),
        (b"TE", b"trailers"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Upgrade", b"h2c"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Accept", b"*/*"),
    ]
    assert headers.end_to_end(given) == [(b"Accept", b"*/*")]


def test_repeats_keep_their_order() -> None:
    given = [(b"x-a", b"1"), (b"set-cookie", b"a=1"), (b"x-a", b"2"), (b"set-cookie", b"b=2")]
    assert headers.end_to_end(given) == given


def test_chain_of_a_trusted_peer_is_continued() -> None:
    given = [
        (b"host", b"inner"),
        (b"x-forwarded-for", b"203.0.113.9"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"shop.example"),
    ]
    assert headers.forwarded(given, "127.0.0.1", "http", LOCAL) == [
        (b"x-forwarded-for", b"203.0.113.9, 127.0.0.1"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"shop.example"),
    ]


def test_chain_of_anybody_else_is_dropped() -> None:
    given = [(b"host", b"outer"), (b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-proto", b"https")]
    assert headers.forwarded(given, "198.51.100.7", "http", LOCAL) == [
        (b"x-forwarded-for", b"198.51.100.7"),
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-host", b"outer"),
    ]


def test_peer_without_an_address_is_not_trusted() -> None:
    assert not headers.is_trusted(None, LOCAL)
    assert not headers.is_trusted("unix:", LOCAL)


def test_credentials_are_authorization_and_cookie() -> None:
    given = [(b"Authorization", b"Bearer t"), (b"accept", b"*/*"), (b"cookie", b"a=1"), (b"cookie", b"b=2")]
    assert headers.credentials(given) == [given[0], given[2], given[3]]


def test_a_peer_of_any_of_the_networks_is_trusted() -> None:
    networks = (*LOCAL, ip_network("10.0.0.0/8"))
    assert headers.is_trusted("10.1.2.3", networks)
    assert headers.is_trusted("127.0.0.1", networks)
    assert not headers.is_trusted("192.0.2.1", networks)
