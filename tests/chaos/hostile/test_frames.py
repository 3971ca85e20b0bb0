"""Floods of WebSocket frames and messages that never end, from one address: an honest user's stream and the memory."""

import asyncio
import time
from typing import cast

import pytest

from tests.chaos.hostile.attacker import Attacker, passthrough, playback
from tests.chaos.hostile.harness import honest, unharmed
from tests.chaos.hostile.target import Target
from tests.chaos.strength import STRENGTH
from tests.support.http1 import Message
from tests.support.rfc6455 import BINARY, CONT, PING, PONG, TEXT, Peer, frame

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

MEBI = 1 << 20
RATE = 3_000_000
"""Bytes a second of a flood."""

FLOODS = {
    "pongs": (b"", frame(PONG)),
    "pings": (b"", frame(PING)),
    "fragments": (frame(TEXT, fin=False), frame(CONT, fin=False)),
}


async def flood(attacker: Attacker, path: str, first: bytes, each: bytes, *, reads: bool = True) -> None:
    """Send one small frame after the other, over a new connection whenever one is closed or refused."""
    piece, until = each * (RATE // 50 // len(each)), time.monotonic() + STRENGTH.attack_s
    while time.monotonic() < until:
        try:
            peer = await attacker.websocket(path)
            if isinstance(peer, Message):
                await asyncio.sleep(0.02)
                continue
            if not reads:
                cast("asyncio.Transport", peer.writer.transport).pause_reading()
            peer.writer.write(first)
            while time.monotonic() < until and not peer.reader.at_eof():
                peer.writer.write(piece)
                async with asyncio.timeout(1):
                    await peer.writer.drain()
                await asyncio.sleep(0.02)
        except (OSError, EOFError, TimeoutError):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("kind", FLOODS)
async def test_tiny_frames_disturb_nobody(target: Target, kind: str) -> None:
    async with honest(target) as witness, Attacker(target, "mallory") as attacker:
        await flood(attacker, playback(target.run_of("mallory")), *FLOODS[kind])
    await unharmed(target, witness)


async def test_four_sockets_without_a_token_disturb_nobody(target: Target) -> None:
    async with honest(target) as witness, Attacker(target) as attacker:
        await asyncio.gather(*(flood(attacker, playback("none"), *FLOODS["pongs"]) for _ in range(4)))
    await unharmed(target, witness)


async def test_messages_that_never_end_leave_no_memory_behind(target: Target) -> None:
    unfinished = frame(BINARY, bytes(16 * MEBI - 100))[:-1000]  # made once: it takes the machine's time too
    before = target.memory("wsrelay")
    async with honest(target) as witness, Attacker(target, "mallory") as attacker:
        for path in [passthrough(target.run_of("mallory"))] * 20:
            peer = await attacker.websocket(path)
            assert isinstance(peer, Peer)
            peer.writer.write(unfinished)
            await asyncio.sleep(STRENGTH.attack_s / 40)
        assert target.memory("wsrelay") < before + 100 * MEBI
    await unharmed(target, witness)


async def test_pings_whose_pongs_nobody_reads_leave_no_memory_behind(target: Target) -> None:
    async with honest(target) as witness, Attacker(target, "mallory") as attacker:
        path = playback(target.run_of("mallory"))
        await flood(attacker, path, b"", frame(PING, bytes(125)), reads=False)
        assert target.memory("wsrelay") < witness.before.memory["wsrelay"] + 64 * MEBI
    await unharmed(target, witness)
