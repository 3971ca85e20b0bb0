"""Who gets a place at the relay's doors."""

import time
from typing import Any

import pytest

from bff_shared.errors import Busy
from bff_shared.outcomes import Counts, Outcomes
from bff_wsrelay.admission import Allowance, Doors, OriginRefused
from bff_wsrelay.settings import RelaySettings


def scope(peer: str = "127.0.0.1", scheme: str = "ws", **headers: str) -> dict[str, Any]:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "websocket", "scheme": scheme, "client": (peer, 1), "headers": pairs}


def test_places_are_limited_in_all_and_per_client_and_given_back() -> None:
    doors = Doors(RelaySettings(stream_max_connections=3, stream_max_per_client=2))
    with doors.admit(scope("203.0.113.1")), doors.admit(scope("203.0.113.1")):
        with pytest.raises(Busy) as full:
            doors.admit(scope("203.0.113.1"))
        assert full.value.headers()["retry-after"]
        with doors.admit(scope("203.0.113.2")), pytest.raises(Busy):
            doors.admit(scope("203.0.113.3"))
        assert doors.count == 2
    assert doors.count == 0
    assert doors.refused == 2


def test_own_origin_is_welcome_as_the_browser_knows_it() -> None:
    doors = Doors(RelaySettings())
    forwarded = {"x_forwarded_proto": "https", "x_forwarded_host": "app.example"}
    with doors.admit(scope(origin="https://app.example", host="internal", **forwarded)):
        pass
    with pytest.raises(OriginRefused):
        doors.admit(scope("203.0.113.9", origin="https://app.example", host="internal", **forwarded))
    with pytest.raises(OriginRefused):
        doors.admit(scope(origin="https://evil.example", host="app.example"))


class Guest:
    def __init__(self) -> None:
        self.retry_ms: list[int] = []

    def drain(self, retry_ms: int) -> None:
        self.retry_ms.append(retry_ms)


async def test_a_drain_sends_everybody_away_once_and_admits_nobody() -> None:
    doors = Doors(RelaySettings(stream_drain_spread=0.02))
    guests = [Guest() for _ in range(20)]
    gone = Guest()
    with doors.attended(gone):
        pass
    attended = [doors.attended(guest) for guest in guests]
    for context in attended:
        context.__enter__()
    await doors.drain()
    assert all(len(guest.retry_ms) == 1 and guest.retry_ms[0] > 0 for guest in guests)
    assert len({guest.retry_ms[0] for guest in guests}) > 1
    assert not gone.retry_ms
    with pytest.raises(Busy):
        doors.admit(scope())


def test_an_allowance_is_spent_and_grows_back() -> None:
    now = time.monotonic()
    allowance = Allowance(3, now)
    assert [allowance.take(now) for _ in range(4)] == [True, True, True, False]
    assert allowance.take(now + 0.4)
    assert not allowance.take(now + 0.4)


def test_only_want_of_capacity_counts_against_the_flag() -> None:
    outcomes = Outcomes()
    outcomes.enable(5, ())
    doors = Doors(RelaySettings(stream_max_connections=2, stream_max_per_client=1), outcomes=outcomes)
    foreign = {"origin": "https://evil.example", "host": "app.example"}
    for _ in range(80):
        with pytest.raises(OriginRefused):
            doors.admit(scope(**foreign))
    with doors.admit(scope("203.0.113.1")):
        for _ in range(80):
            with pytest.raises(Busy):
                doors.admit(scope("203.0.113.1"))
        assert outcomes.take() == {}
        with doors.admit(scope("203.0.113.2")):
            for client in ("203.0.113.1", "203.0.113.3"):
                with pytest.raises(Busy):
                    doors.admit(scope(client))
            assert outcomes.take() == {"websocket": Counts(1, 1, errors_by={"203.0.113.3": 1})}
            doors.draining = True
            with pytest.raises(Busy):
                doors.admit(scope("203.0.113.3"))
    assert outcomes.take() == {}
