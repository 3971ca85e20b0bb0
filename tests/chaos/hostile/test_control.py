"""The harness itself: quiet does no harm, harm is seen, and an attacker has an address of its own."""

import asyncio
import os
import signal
import time

import pytest

from tests.chaos.hostile.attacker import HOSTILE, Attacker, playback
from tests.chaos.hostile.harness import honest, unharmed
from tests.chaos.hostile.target import WAIT_S, Target
from tests.chaos.strength import STRENGTH
from tests.support.rfc6455 import CLOSE, TEXT, Peer, close, frame

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

FROZEN_S = max(1.0, 4 * STRENGTH.gap_s)


async def test_a_neighbour_who_does_little_harms_nobody(target: Target) -> None:
    async with honest(target) as witness, Attacker(target, "mallory") as attacker:
        peer = await attacker.websocket(playback(target.run_of("mallory")))
        assert isinstance(peer, Peer)
        await peer.send(frame(TEXT, b'{"t":"ctrl","cmd":"play"}'))
        until = time.monotonic() + STRENGTH.attack_s
        while time.monotonic() < until:
            assert (await attacker.request("GET", "/api/v1/backtests?limit=5")).status == 200
            await asyncio.sleep(0.1)
        await peer.send(close(1000))
        assert (await peer.rest())[-1].opcode == CLOSE
    await unharmed(target, witness)


async def test_nginx_knows_an_attacker_by_another_address(target: Target) -> None:
    async with Attacker(target, "mallory") as attacker:
        assert (await attacker.request("GET", "/api/v1/backtests?limit=7")).status == 200
    (seen,) = target.arrivals("limit=7")
    assert dict(seen["headers"])["x-forwarded-for"].split(",")[0] == HOSTILE


async def test_a_service_that_stands_still_is_seen(target: Target) -> None:
    pid = target.stack["wsrelay"].pid
    assert pid
    async with honest(target) as witness, Attacker(target, "alice") as neighbour:
        viewer = await neighbour.websocket(f"{playback(target.run_id)}?autoplay=1&speed=1")
        assert isinstance(viewer, Peer)
        await arrival(viewer, b'"frame"')
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(FROZEN_S)
        os.kill(pid, signal.SIGCONT)
        await viewer.send(frame(TEXT, b'{"t":"ready"}'))
        await arrival(viewer, b'"ready_ack"')  # what comes now was sent after the freeze
        await arrival(viewer, b'"frame"')
    assert witness.worst_gap_s >= 0.9 * FROZEN_S
    with pytest.raises(AssertionError, match="no frame for"):
        await unharmed(target, witness)


async def arrival(viewer: Peer, part: bytes) -> None:
    """Read messages until one holds this."""
    async with asyncio.timeout(WAIT_S):
        while (seen := await viewer.frame()) is not None and part not in seen.payload:
            assert seen.opcode != CLOSE, seen
    assert seen, "the connection ended"
