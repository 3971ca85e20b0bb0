"""Who dawdles, makes requests fail or is in a hurry takes no place and no breaker from others."""

import asyncio
from collections import Counter

import pytest

from tests.chaos.hostile.attacker import Attacker, Streams
from tests.chaos.hostile.harness import BACKENDS_OWN, SPOOL_MORE, honest, unharmed
from tests.chaos.hostile.target import Target
from tests.chaos.strength import STRENGTH
from tests.support.http1 import Message, read_answer, read_head

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SLOW, FAILING, AT_ONCE, IDLE = 100, 600, 12, 200
SPOOLED = 50
MEBI = 1 << 20
BODILESS = ("/api/v1/chart-data", "/api/v1/runs", "/api/v1/flags/events")
"""Routes that take no body."""

HURRIED = 200 if STRENGTH.is_full else 40
HELD_S = 15.0 if STRENGTH.is_full else STRENGTH.attack_s
"""In full, the grace for uploads (10 s) ends meanwhile."""

FAILURES = (502, 503, 504)
LENGTH = (b"Content-Length", b"100000")
CHART = "/api/v1/chart-data?symbol=MSFT&timeframe=1M&from_date=2024-{:02}-06&to_date=2024-{:02}-07"


async def test_slow_uploads_of_one_address_hold_nobody_up(target: Target) -> None:
    # With a token, since a backend that refuses at once is none that waits for the body.
    async with honest(target) as witness, Attacker(target, "mallory") as attacker:
        head = attacker.head("POST", "/api/v1/backtests", [LENGTH, (b"Content-Type", b"application/json")])
        uploads = [await attacker.connect(head + b"{") for _ in range(SLOW)]
        await asyncio.sleep(HELD_S)
        ends = Counter([await _end_of(upload) for upload in uploads])
    assert set(ends) <= {"408", "429", "503", "401", "open"}, ends
    await unharmed(target, witness)


async def test_bodies_that_no_route_takes_are_kept_nowhere(target: Target) -> None:
    async with honest(target) as witness, Attacker(target) as attacker:
        length = (b"Content-Length", b"%d" % MEBI)
        for number in range(SPOOLED):
            head = attacker.head("POST", BODILESS[number % len(BODILESS)], [length])
            await attacker.connect(head + b"x" * (MEBI - 1))
        await asyncio.sleep(STRENGTH.attack_s)
        spooled = await asyncio.to_thread(target.spool)
    assert spooled <= witness.before.spool + SPOOL_MORE
    await unharmed(target, witness)


async def _end_of(upload: Streams) -> str:
    try:
        async with asyncio.timeout(1):
            answer: Message = await read_answer(upload[0])
    except TimeoutError:
        return "open"
    except (ConnectionError, asyncio.IncompleteReadError):
        return "closed"
    return str(answer.status)


async def test_idle_event_streams_of_one_address_hold_nobody_up(target: Target) -> None:
    # The backend's streams say one comment and are silent then: what is measured is what our places cost others.
    with target.backend_faults({"path_pattern": "^/backtests/[^/]+/stream$", "idle_stream": True}):
        async with honest(target) as witness, Attacker(target) as attacker:
            path = "/api/v1/backtests/{}/stream"
            heads = [attacker.head("GET", path.format(n), [(b"Accept", b"text/event-stream")]) for n in range(IDLE)]
            streams = [await attacker.connect(head) for head in heads]
            async with asyncio.timeout(30):
                statuses = Counter([(await read_head(stream[0])).status for stream in streams])
            await asyncio.sleep(STRENGTH.attack_s)
        assert statuses[200] > 0, statuses
        assert set(statuses) <= {200, 429, 503}, statuses
        await unharmed(target, witness)


async def test_requests_of_one_caller_that_fail_and_an_upload_without_end_open_no_breaker(target: Target) -> None:
    failures = [{"path_pattern": f"/none-{status}-", "error_status": status} for status in FAILURES]
    async with honest(target) as witness, Attacker(target, "mallory") as attacker:
        head = attacker.head("POST", "/api/v1/backtests", [(b"Transfer-Encoding", b"chunked")])

        async def fail(number: int) -> int:
            path = f"/api/v1/backtests/none-{FAILURES[number % len(FAILURES)]}-{number}/equity"
            return (await attacker.request("GET", path)).status

        with target.backend_faults(*failures):
            for begun in range(0, FAILING, AT_ONCE):
                statuses = await asyncio.gather(*(fail(number) for number in range(begun, begun + AT_ONCE)))
                assert set(statuses) <= {*FAILURES}
        _, writer = await attacker.connect(head + b"1\r\n{\r\n")
        for _ in range(20):
            writer.write(b"1\r\n \r\n")
            await asyncio.sleep(STRENGTH.attack_s / 20)
    await unharmed(target, witness, BACKENDS_OWN)


async def test_clients_in_a_hurry_open_no_breaker(target: Target) -> None:
    async with honest(target) as witness, Attacker(target, "mallory") as attacker:
        for number in range(HURRIED):
            month = number % 12 + 1
            answer = await attacker.request(
                "GET", CHART.format(month, month), [(b"X-Request-Timeout", b"0.05"), (b"Cookie", b"n=%d" % number)]
            )
            assert answer.status in {200, 404, 429, 504}, answer.body
    await unharmed(target, witness)
