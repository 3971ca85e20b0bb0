"""Strangers who have runs read that nobody watches, or whose streams are refused without end."""

import asyncio
import time

import pytest

from tests.chaos.hostile.attacker import Attacker, playback
from tests.chaos.hostile.harness import BACKENDS_OWN, honest, unharmed
from tests.chaos.hostile.target import WAIT_S, Target, longest_run
from tests.chaos.strength import STRENGTH
from tests.support.http1 import Message
from tests.support.rfc6455 import CLOSE, Peer, Seen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

IDLE = 47
CLOSED = Seen(CLOSE, b"")


async def test_runs_that_are_asked_for_and_left_at_once_disturb_nobody(target: Target) -> None:
    path = playback(target.run_of("mallory"))
    async with honest(target) as witness, Attacker(target, "mallory") as attacker:
        for number in range(8):
            headers = [(b"Accept", b"text/event-stream"), (b"Cookie", b"visit=%d" % number)]
            _, writer = await attacker.connect(attacker.head("GET", path, headers))
            await writer.drain()
            await asyncio.sleep(0.05)
            attacker.drop(writer)
        await asyncio.sleep(STRENGTH.attack_s)
    await unharmed(target, witness, BACKENDS_OWN)


@pytest.mark.skipif(not STRENGTH.is_full, reason="part of make chaos: the logs stay for BFF_LOG_LINGER")
async def test_idle_viewers_with_a_cookie_each_leave_room_for_a_newcomer(target: Target) -> None:
    run_id, user = await asyncio.to_thread(longest_run, target)
    async with (
        honest(target) as witness,
        Attacker(target, user) as attacker,
        Attacker(target, "alice", "127.0.0.4") as newcomer,
    ):
        idle = [
            await attacker.websocket(playback(run_id), [(b"Cookie", b"visit=%d" % number)]) for number in range(IDLE)
        ]
        assert sum(isinstance(peer, Peer) for peer in idle) == IDLE
        await asyncio.sleep(STRENGTH.attack_s)
        new = [(b"Cookie", b"visit=new")]  # so that it is no viewer of the log that is there
        peer = await newcomer.websocket(f"{playback(target.run_id)}?autoplay=1&speed=1", new)
        assert isinstance(peer, Peer), peer.body
        async with asyncio.timeout(WAIT_S):
            while b'"frame"' not in (seen := await peer.frame() or CLOSED).payload:
                assert seen.opcode != CLOSE, seen
        print(f"relay {(await asyncio.to_thread(target.memory, 'wsrelay')) >> 20} MiB with {IDLE} idle viewers")
    await unharmed(target, witness, BACKENDS_OWN)


async def test_a_flood_of_refused_streams_disturbs_nobody(target: Target) -> None:
    others = playback(target.run_of("alice"))
    async with honest(target) as witness, Attacker(target, "mallory") as known, Attacker(target) as stranger:
        until, number = time.monotonic() + STRENGTH.attack_s, 0
        while time.monotonic() < until:
            number += 1
            forbidden = stranger.websocket(others, [(b"Cookie", b"guess=%d" % number)])
            unknown = known.websocket(playback(f"nowhere{number}"))
            for answer in await asyncio.gather(forbidden, unknown):
                if isinstance(answer, Message):
                    assert answer.status in {401, 403, 404, 429, 503}
                else:
                    answer.leave()
    assert number > 20
    await unharmed(target, witness, BACKENDS_OWN)
