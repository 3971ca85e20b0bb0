"""Who gets a place at the relay's admission."""

import contextlib
from typing import Any

import pytest

from bff_shared.errors import Busy
from bff_wsrelay.admission.limits import Admission
from bff_wsrelay.admission.origins import OriginRefused
from bff_wsrelay.settings import RelaySettings


def scope(peer: str = "127.0.0.1", scheme: str = "ws", **headers: str) -> dict[str, Any]:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "websocket", "scheme": scheme, "client": (peer, 1), "headers": pairs}


def test_places_are_limited_in_all_and_per_client_and_given_back() -> None:
    admission = Admission(RelaySettings(stream_max_connections=3, stream_max_per_client=2))
    with admission.admit(scope("203.0.113.1")), admission.admit(scope("203.0.113.1")):
        with pytest.raises(Busy) as full, admission.admit(scope("203.0.113.1")):
            pass
        assert full.value.headers()["retry-after"]
        with admission.admit(scope("203.0.113.2")), pytest.raises(Busy), admission.admit(scope("203.0.113.3")):
            pass
        assert admission.connections == 2
    assert admission.connections == 0
    assert admission.refused == 2
    assert admission.take_refusals() == {"client": 1, "capacity": 1}
    assert admission.take_refusals() == {}


def test_own_origin_is_welcome_as_the_browser_knows_it() -> None:
    admission = Admission(RelaySettings())
    forwarded = {"x_forwarded_proto": "https", "x_forwarded_host": "app.example"}
    with admission.admit(scope(origin="https://app.example", host="internal", **forwarded)):
        pass
    foreign = scope("203.0.113.9", origin="https://app.example", host="internal", **forwarded)
    with pytest.raises(OriginRefused), admission.admit(foreign):
        pass
    with pytest.raises(OriginRefused), admission.admit(scope(origin="https://evil.example", host="app.example")):
        pass


@pytest.mark.parametrize(
    ("origin", "allowed", "kept"),
    [
        ("https://evil.example", ["*"], False),
        ("null", ["*"], False),
        ("https://evil.example", ["*", "https://friend.example"], False),
        ("https://friend.example", ["*", "https://friend.example"], True),
        ("http://app.example", ["*"], True),
        (None, ["*"], True),
        ("https://a.friend.example", ["https://*.friend.example"], True),
    ],
)
def test_a_page_that_is_welcome_by_the_star_alone_comes_without_its_visitors_cookies(
    origin: str | None, allowed: list[str], *, kept: bool
) -> None:
    admission = Admission(RelaySettings(allowed_origins=allowed))
    named = {"origin": origin} if origin else {}
    visit = scope("203.0.113.1", host="app.example", cookie="session=1", authorization="Bearer t", **named)
    with admission.admit(visit):
        names = [name for name, _ in visit["headers"]]
    assert (b"cookie" in names) is kept
    assert b"authorization" in names


def test_a_place_is_taken_when_its_context_is_entered() -> None:
    admission = Admission(RelaySettings())
    admission.admit(scope())
    assert admission.connections == 0


def test_handshakes_of_one_client_address_are_limited_by_rate_and_others_are_not() -> None:
    admission = Admission(RelaySettings(stream_handshakes_per_client=1))
    for _ in range(10):
        with admission.admit(scope("203.0.113.1")):
            pass
    with pytest.raises(Busy) as refused, admission.admit(scope("203.0.113.1")):
        pass
    assert refused.value.headers()["retry-after"]
    with admission.admit(scope("203.0.113.2")):
        pass


def test_an_office_of_a_hundred_pages_with_ten_streams_each_comes_back_twice_at_once() -> None:
    admission = Admission(RelaySettings())
    for _ in range(2):
        with contextlib.ExitStack() as held:
            for _ in range(1000):
                held.enter_context(admission.admit(scope("203.0.113.1")))
                held.enter_context(admission.pending("203.0.113.1"))


def test_handshakes_that_wait_are_limited_by_client_address() -> None:
    admission = Admission(RelaySettings(stream_max_pending=1))
    with (
        admission.pending("203.0.113.1"),
        admission.pending("203.0.113.2"),
        pytest.raises(Busy),
        admission.pending("203.0.113.1"),
    ):
        pass
    with admission.pending("203.0.113.1"):
        pass
