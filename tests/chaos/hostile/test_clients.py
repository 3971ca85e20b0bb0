"""Hostile clients through nginx: a healthy crowd notices nothing of them, and nothing stays behind.

`make chaos` runs many more of them than `make test-all`.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.chaos.crowd import learn
from tests.chaos.hostile.attacks import every, garbled
from tests.chaos.hostile.clients import (
    FLOODS,
    Held,
    Openings,
    Told,
    flood,
    fuzz,
    half_open,
    handshake,
    send_attacks,
    slow_readers,
    stream_paths,
)
from tests.chaos.report import Report
from tests.chaos.strength import STRENGTH
from tests.chaos.trial import Disturbance, endure
from tests.chaos.world import ADMIN_TOKEN, World, world

pytestmark = pytest.mark.slow
SEED = int(os.environ.get("FUZZ_SEED", "1"))
GONE_S = 15.0


@pytest.fixture(scope="module")
def whole() -> Iterator[World]:
    with world() as made:
        learn(made)
        yield made


async def nothing_is_left(whole: World) -> None:
    """Wait until no stream is open any more."""
    until = time.monotonic() + GONE_S
    admin = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    async with httpx.AsyncClient(base_url=whole.stack.origin, timeout=GONE_S, headers=admin) as client:
        while True:
            found = (await client.get("/api/v1/streams")).json()
            if found["viewers"] == found["connections"] == 0 and not found["passthrough"]:
                return
            assert time.monotonic() < until, found
            await asyncio.sleep(0.1)


async def endured(whole: World, report: Report, *hostile_ones: tuple[Disturbance, Told]) -> None:
    """Let hostile clients at the origin while a crowd is at work, and look at everybody afterwards."""

    def begin(whole: World) -> None:
        for each, _ in hostile_ones:
            each.begin(whole)

    def end(whole: World) -> None:
        for each, _ in hostile_ones:
            each.end(whole)

    finding = await endure(
        whole, Disturbance("; ".join(each.name for each, _ in hostile_ones), "none", begin, end), STRENGTH.crowd_size
    )
    report.add(finding)
    for each, told in hostile_ones:
        print(f"{each.name}: {told.sent:,} sent, answered {dict(told.answers.most_common())}")
        assert told.sent
        assert told.wrong == []
    finding.judge()
    await nothing_is_left(whole)


def brought(name: str, begin: Callable[[World, Told], None]) -> tuple[Disturbance, Told]:
    """Return hostile clients that are done when they have begun."""
    told = Told()
    return Disturbance(name, "none", lambda whole: begin(whole, told), lambda _: None), told


def held(name: str, openings: Openings, receive_bytes: int = 0) -> tuple[Disturbance, Told]:
    """Return hostile clients that stay."""
    told = Told()
    connections = Held(openings, told, receive_bytes)
    return Disturbance(name, "none", connections.begin, connections.end), told


@pytest.mark.timeout(300)
async def test_requests_that_mean_to_be_two_are_one_or_none(whole: World, report: Report) -> None:
    attacks = [each for number, each in enumerate(every()) if number % STRENGTH.every == 0]
    smuggled = brought("requests that smuggle", lambda whole, told: send_attacks(whole, attacks, told))
    broken = brought("garbled requests", lambda whole, told: send_attacks(whole, garbled(SEED, STRENGTH.garbled), told))
    await endured(whole, report, smuggled, broken)
    assert smuggled[1].sent == len(attacks)


@pytest.mark.timeout(300)
async def test_viewers_that_talk_nonsense_or_too_much_are_closed(whole: World, report: Report) -> None:
    fuzzed = brought("fuzzed frames", lambda whole, told: fuzz(whole, STRENGTH.fuzzers, told, SEED))
    flooded = brought("floods of messages and pings", lambda whole, told: flood(whole, STRENGTH.flooders, told))
    await endured(whole, report, fuzzed, flooded)
    assert fuzzed[1].answers["1002"]
    # What an address may say in all is spent by many floods at once: the rest of theirs waits unread.
    unread = {"controls to pass through": {"none"}, "controls to playback": {"1008"}}
    for kind in FLOODS:
        ends = {end: flooded[1].answers[f"{kind}: {end}"] for end in unread.get(kind, {"1008", "none"})}
        assert sum(ends.values()) == STRENGTH.flooders, (kind, flooded[1].answers)
    assert flooded[1].answers["pings to playback: 1008"]
    assert flooded[1].answers["pings to pass through: 1008"]


@pytest.mark.timeout(300)
async def test_who_hangs_about_holds_nobody_up(whole: World, report: Report) -> None:
    unfinished = held("half-open", half_open(STRENGTH.held))
    unread = held("slow reading", slow_readers(STRENGTH.held), receive_bytes=4096)
    await endured(whole, report, unfinished, unread)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    "claims", [{}, {"X-Forwarded-Host": "evil.example"}, {"Connection": "Upgrade, Origin, X-Forwarded-Host"}]
)
def test_a_page_of_another_origin_cannot_pretend_to_be_of_ours(
    whole: World, which: int, claims: dict[str, str]
) -> None:
    lines = {"Origin": "http://evil.example", "Forwarded": "host=evil.example", **claims}
    words = (
        handshake(stream_paths(whole)[which])
        .decode()
        .replace("Connection: Upgrade\r\n", "", int("Connection" in claims))
    )
    added = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with socket.create_connection(("127.0.0.1", whole.stack.origin_port), GONE_S) as connection:
        connection.sendall((words[:-2] + added + "\r\n").encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    "named", ["X-Forwarded-For, X-Forwarded-Proto, X-Request-ID", "Host, Content-Length, Forwarded"]
)
def test_a_client_cannot_take_away_what_nginx_adds(whole: World, named: str) -> None:
    whole.forget_requests()
    spoofed = {"X-Forwarded-For": "1.2.3.4", "Forwarded": "for=1.2.3.4", "X-Real-IP": "1.2.3.4"}
    headers = {**spoofed, "Connection": named, "X-Bff-Connection": "host", "X-Request-ID": "given"}
    httpx.post(f"{whole.stack.origin}/api/v1/backtests", json={}, headers=headers, timeout=GONE_S)
    (seen,) = whole.direct("/__requests")["requests"]
    told = dict(seen["headers"])
    assert "1.2.3.4" not in told.values()
    assert not {"forwarded", "x-bff-connection"} & told.keys()
    assert told["x-request-id"] == "given"
    assert told["host"]
    assert told["content-length"] == "2"
