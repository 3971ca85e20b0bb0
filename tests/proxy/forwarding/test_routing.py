import pytest

from bff_proxy.forwarding.routing import normalise, route
from bff_shared.errors import BadRequest, NotFound

PREFIXES = ("/backtests", "/bars", "/healthz")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/api/v1/backtests", b"/backtests"),
        (b"/api/v1/backtests/", b"/backtests/"),
        (b"/api/v1/backtests?limit=3", b"/backtests?limit=3"),
        (b"/api/v1/backtests?", b"/backtests?"),
        (b"/api/v1/bars/daily?symbol=A%2FB&x=1;y=2&&z=&z=|", b"/bars/daily?symbol=A%2FB&x=1;y=2&&z=&z=|"),
        (b"/api/v1/backtests/a%2Fb%20c+d", b"/backtests/a%2Fb%20c+d"),
        (b"/api/v1/backtests/\xc3\xa9", b"/backtests/\xc3\xa9"),
        (b"/api/v1/%62acktests", b"/%62acktests"),
        (b"http://other.example/api/v1/backtests?a=b", b"/backtests?a=b"),
        (b"/api/v1/backtests?to=/../x", b"/backtests?to=/../x"),
    ],
)
def test_target_keeps_its_bytes(target: bytes, expected: bytes) -> None:
    assert route(target, PREFIXES).target == expected


@pytest.mark.parametrize(
    "target",
    [
        b"/backtests",
        b"/api/v1",
        b"/api/v1/",
        b"/api/v1/backtestsX",
        b"/api/v1/backtests.evil",
        b"/api/v1/admin",
        b"*",
        b"backend:80",
        b"http://other.example/backtests",
        b"//other.example/api/v1/backtests",
    ],
)
def test_no_target_leaves_the_prefixes(target: bytes) -> None:
    with pytest.raises(NotFound):
        route(target, PREFIXES)


@pytest.mark.parametrize(
    "target",
    [
        b"/api/v1/backtests/../admin",
        b"/api/v1/backtests/%2e%2e/admin",
        b"/api/v1/backtests/.%2E/admin",
        b"/api/v1/backtests/..%2fadmin",
        b"/api/v1/backtests/..\\admin",
        b"/api/v1/backtests/..%5cadmin",
        b"/api/v1/backtests/.%2F",
        b"/api/v1/backtests/..;/admin",
        b"/api/v1/backtests/..%3bx/admin",
        b"/api/v1//../admin",
        b"/api/v1/../backtests/../admin",
        b"/api/v1/backtests/a\\b",
        b"/api/v1/backtests/a%5Cb",
        b"/api/v1/backtests/%00",
        b"/api/v1/backtests/%0d%0aX: y",
        b"/api/v1/bars/\x7f",
        b"/api/v1/bars/%7F",
        b"/api/v1/bars#x",
    ],
)
def test_what_servers_read_differently_is_refused(target: bytes) -> None:
    with pytest.raises(BadRequest):
        route(target, PREFIXES)


def test_slash_allows_every_path() -> None:
    assert route(b"/api/v1/any/thing?x", ("/",)).target == b"/any/thing?x"


def test_template_is_bounded() -> None:
    assert route(b"/api/v1/backtests/abc/orders", PREFIXES).template == "/api/v1/backtests/{path}"
    assert route(b"/api/v1/any/thing", ("/",)).template == "/api/v1/{path}"


def test_event_streams_have_a_template_of_their_own() -> None:
    to = route(b"/api/v1/backtests/abc/stream?x=1", PREFIXES)
    assert (to.template, to.is_stream) == ("/api/v1/backtests/{path}/stream", True)
    assert not route(b"/api/v1/backtests/stream/abc", PREFIXES).is_stream


@pytest.mark.parametrize(
    ("path", "expected"),
    [(b"/a//b/./c/../d", b"/a/b/d"), (b"/../..", b"/"), (b"/a%2f%2e%2e%2fb", b"/b"), (b"\\a\\b", b"/a/b")],
)
def test_normalising_takes_the_widest_reading(path: bytes, expected: bytes) -> None:
    assert normalise(path) == expected
