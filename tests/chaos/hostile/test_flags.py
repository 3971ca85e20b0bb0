"""Strangers turn no flag off, take no page's event stream and guess no token, and an honest user notices nothing."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.chaos.hostile.attacker import Attacker, playback
from tests.chaos.hostile.harness import honest, nothing_moved, unharmed
from tests.chaos.hostile.target import ADMIN_TOKEN, WAIT_S, Target
from tests.chaos.strength import STRENGTH
from tests.support.http1 import Message, read_head

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ADDRESSES = ("127.0.0.2", "127.0.0.3")
"""More than one, so that it is not the number of clients that keeps a flag on."""

EVENT_STREAMS = 1000 if STRENGTH.is_full else 400

Attack = Callable[[Attacker, int], Awaitable[Message]]


async def repeat(
    target: Target, attack: Attack, *, lanes: int = 4, pause: float = 0.02, user: str | None = None
) -> Counter[int]:
    """Attack from each address in some lanes, with a pause after each answer; return the statuses."""
    statuses: Counter[int] = Counter()
    ends = time.monotonic() + STRENGTH.attack_s

    async def lane(attacker: Attacker, number: int) -> None:
        while time.monotonic() < ends:
            statuses[(await attack(attacker, number)).status] += 1
            number += lanes
            await asyncio.sleep(pause)

    async with asyncio.TaskGroup() as group:
        for address in ADDRESSES:
            for number in range(lanes):
                group.create_task(lane(Attacker(target, user, address), number))
    return statuses


async def test_handshakes_of_foreign_pages_turn_no_flag_off(target: Target) -> None:
    foreign = [(b"Origin", b"https://evil.example")]

    async def handshake(attacker: Attacker, _number: int) -> Message:
        refused = await attacker.websocket(playback(target.run_id), foreign)
        assert isinstance(refused, Message)
        attacker.drop_all()
        return refused

    async with honest(target) as witness:
        statuses = await repeat(target, handshake)
    assert statuses[403] >= STRENGTH.least_rate * STRENGTH.attack_s
    assert set(statuses) <= {403, 429}
    await unharmed(target, witness)


@pytest.mark.parametrize("kind", ["chart", "run"])
async def test_requests_in_too_much_of_a_hurry_turn_no_flag_off(target: Target, kind: str) -> None:
    hurry, run = [(b"X-Request-Timeout", b"0.001")], target.run_of("mallory")
    chart = "/api/v1/chart-data?symbol=MSFT&timeframe=1M&from=2024-{:02}-{:02}&to=2024-{:02}-{:02}"

    async def ask(attacker: Attacker, number: int) -> Message:
        day = (number // 12 % 12 + 1, number % 28 + 1)
        path = chart.format(*day, *day) if kind == "chart" else f"/api/v1/runs/{run}/complete?equity_points=100"
        return await attacker.request("GET", path, hurry)

    async with honest(target) as witness:
        statuses = await repeat(target, ask, lanes=1, pause=0.1, user="mallory")
    assert statuses.total() >= STRENGTH.least_rate * STRENGTH.attack_s
    await nothing_moved(target, witness)


async def test_one_client_that_wants_all_event_streams_leaves_others_theirs(target: Target) -> None:
    async with honest(target) as witness, Attacker(target) as attacker:
        statuses: Counter[int] = Counter()
        for _ in range(EVENT_STREAMS):
            reader, writer = await attacker.connect(attacker.head("GET", "/api/v1/flags/events"))
            async with asyncio.timeout(WAIT_S):
                status = (await read_head(reader)).status
            statuses[status] += 1
            if status != 200:
                attacker.drop(writer)
            await asyncio.sleep(0.005)
        async with Attacker(target, address="127.0.0.4") as page:
            reader, _ = await page.connect(page.head("GET", "/api/v1/flags/events"))
            async with asyncio.timeout(WAIT_S):
                assert (await read_head(reader)).status == 200
                assert b"retry:" in await reader.readuntil(b"\n\n")
        await asyncio.sleep(max(0.0, witness.began + STRENGTH.attack_s - time.monotonic()))
    assert 0 < statuses[200] <= 250
    assert set(statuses) <= {200, 429, 503}
    await nothing_moved(target, witness)


async def test_guesses_at_the_admin_token_disturb_nobody_and_do_not_shut_the_admin_out(target: Target) -> None:
    async def guess(attacker: Attacker, number: int) -> Message:
        headers = [(b"X-Admin", b""), (b"Authorization", b"Bearer guess-%d" % number), (b"Content-Length", b"0")]
        return await attacker.request("PUT", "/api/v1/flags/websocket", headers)

    async with honest(target) as witness:
        statuses = await repeat(target, guess)
    assert statuses[401] <= 2 * (5 + STRENGTH.attack_s)
    assert statuses[429] > statuses[401]
    assert set(statuses) <= {401, 429}
    async with httpx.AsyncClient(base_url=target.origin, timeout=WAIT_S) as client:
        admin = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        assert (await client.get("/api/v1/flags?details=true", headers=admin)).status_code == 200
    await unharmed(target, witness)
