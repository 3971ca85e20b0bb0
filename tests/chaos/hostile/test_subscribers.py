"""Clients of the playback endpoint that ask without listening, listen without reading, or look at others' streams."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest

from tests.chaos.hostile.attacker import Attacker, playback
from tests.chaos.hostile.harness import honest, unharmed
from tests.chaos.hostile.target import ADMIN_TOKEN, WAIT_S, Target
from tests.chaos.strength import STRENGTH
from tests.support.http1 import read_head
from tests.support.rfc6455 import TEXT, Peer, frame

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

HEADS, AT_ONCE = 1000 if STRENGTH.is_full else 200, 50
EVENTS = ((b"Accept", b"text/event-stream"),)


def streams(target: Target) -> dict[str, Any]:
    """Return what the admin sees of the relay."""
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    found: dict[str, Any] = httpx.get(f"{target.origin}/api/v1/streams", headers=headers, timeout=WAIT_S).json()
    return found


async def only_alice_is_left(target: Target) -> None:
    """Wait until nobody but the honest user has a place."""
    until = time.monotonic() + WAIT_S
    while (found := await asyncio.to_thread(streams, target))["connections"] != 1 or found["viewers"] != 1:
        assert time.monotonic() < until, found
        await asyncio.sleep(0.2)


async def test_heads_of_an_endless_response_end_and_cost_nobody_anything(target: Target) -> None:
    async with honest(target) as witness:
        async with Attacker(target) as attacker:
            for _ in range(0, HEADS, AT_ONCE):
                answers = await asyncio.gather(*(head(attacker, target) for _ in range(AT_ONCE)))
                assert set(answers) == {200}
                await asyncio.sleep(STRENGTH.attack_s * AT_ONCE / HEADS)
            for _ in range(30):  # more than nginx keeps connections to the relay
                assert (await attacker.request("GET", "/api/v1/streams")).status == 200
            health = await attacker.request("GET", "/health")
            assert json.loads(health.body)["services"]["wsrelay"]["status"] == "ok"
        await only_alice_is_left(target)
    await unharmed(target, witness)


async def head(attacker: Attacker, target: Target) -> int:
    reader, writer = await attacker.connect(attacker.head("HEAD", playback(target.run_id), EVENTS))
    async with asyncio.timeout(WAIT_S):
        answer = await read_head(reader)
    attacker.drop(writer)
    return answer.status


async def test_viewers_of_both_kinds_that_do_not_read_cost_nobody_anything(target: Target) -> None:
    run_id = await asyncio.to_thread(target.run_of, "mallory")
    path = f"{playback(run_id)}?autoplay=1&speed=20"
    upgrade = (
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
        (b"Sec-WebSocket-Version", b"13"),
    )
    async with honest(target) as witness:
        async with Attacker(target, "mallory") as attacker:
            for _ in range(10):
                await attacker.connect(attacker.head("GET", path, EVENTS), receive_bytes=4096)
                await attacker.connect(attacker.head("GET", path, upgrade), receive_bytes=4096)
            await asyncio.sleep(STRENGTH.attack_s)
        await only_alice_is_left(target)
    await unharmed(target, witness)


async def test_controls_whose_answers_nobody_reads_are_not_kept(target: Target) -> None:
    run_id = await asyncio.to_thread(target.run_of, "mallory")
    control = frame(TEXT, b'{"t":"ctrl","cmd":"pause","note":"%b"}' % (b"x" * 60_000))
    async with honest(target) as witness:
        async with Attacker(target, "mallory") as attacker:
            peers = [await attacker.websocket(playback(run_id)) for _ in range(5)]
            until = time.monotonic() + STRENGTH.attack_s
            while time.monotonic() < until:
                for peer in peers:
                    assert isinstance(peer, Peer)
                    peer.writer.write(control)
                await asyncio.sleep(1 / 20)
            held = max(stream["buffered"] for stream in (await asyncio.to_thread(streams, target))["streams"])
            assert held < 128 * 1024
        await only_alice_is_left(target)
    await unharmed(target, witness)


@pytest.mark.parametrize("user", [None, "mallory"])
async def test_what_others_watch_is_not_told(target: Target, user: str | None) -> None:
    async with honest(target):
        told = await asyncio.to_thread(target.get, "/api/v1/streams", user)
        (stream,) = (await asyncio.to_thread(streams, target))["streams"]
    assert told.json() == {"viewers": 0, "frame_logs": [], "streams": []}
    assert stream["run_id"] == target.run_id
