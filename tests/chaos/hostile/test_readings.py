"""Strangers who have runs read that nobody watches, or whose streams are refused without end."""

import asyncio
import time
from collections import Counter

import pytest

from tests.chaos.hostile.attacker import Attacker, playback
from tests.chaos.hostile.harness import BACKENDS_OWN, honest, unharmed
from tests.chaos.hostile.target import WAIT_S, Target, longest_run
from tests.chaos.strength import STRENGTH
from tests.support.http1 import Message, read_head
from tests.support.rfc6455 import CLOSE, Peer, Seen

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

LEFT, IDLE = 8, 47
REFUSED = 1500 if STRENGTH.is_full else 20
"""Twice so many: once without credentials, once for a run that is not there."""

STOPS_S = 5.0
"""By when a run is no longer read that nobody watches."""

CLOSED = Seen(CLOSE, b"")


async def test_runs_that_are_asked_for_and_left_at_once_are_soon_read_no_more(target: Target) -> None:
    run_id, user = await asyncio.to_thread(longest_run, target)
    events = (b"Accept", b"text/event-stream")
    async with honest(target) as witness, Attacker(target, user) as attacker:
        for number in range(LEFT):
            headers = [events, (b"Cookie", b"left=%d" % number)]
            reader, writer = await attacker.connect(attacker.head("GET", playback(run_id), headers))
            async with asyncio.timeout(WAIT_S):
                assert (await read_head(reader)).status == 200
            attacker.drop(writer)
        left, frames, more = time.monotonic(), 0, 1
        while more > frames:
            frames = await asyncio.to_thread(frames_nobody_watches, target)
            await asyncio.sleep(1)
            more = max(1, await asyncio.to_thread(frames_nobody_watches, target))
            assert time.monotonic() < left + STOPS_S + STRENGTH.slack_s, f"still read: {frames} → {more} frames"
        print(f"{frames} frames read of {LEFT} readings that were left")
    await unharmed(target, witness, BACKENDS_OWN)


def frames_nobody_watches(target: Target) -> int:
    """Return how many frames the relay has of runs without a viewer."""
    return sum(log["frames"] for log in target.streams()["frame_logs"] if not log["viewers"])


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
        until, number, answers = time.monotonic() + STRENGTH.attack_s, 0, Counter[int]()
        while time.monotonic() < until or number < REFUSED:
            number += 1
            forbidden = stranger.websocket(others, [(b"Cookie", b"guess=%d" % number)])
            unknown = known.websocket(playback(f"nowhere{number}"))
            for answer in await asyncio.gather(forbidden, unknown):
                if isinstance(answer, Message):
                    assert answer.status in {401, 403, 404, 429, 503}
                    answers[answer.status] += 1
                else:
                    answers[await refusal(answer)] += 1
    print(f"{2 * number} refused: {answers}")
    await unharmed(target, witness, BACKENDS_OWN)


async def refusal(peer: Peer) -> int:
    """Return the code of the close frame that refuses a stream, and drop the connection."""
    while (seen := await peer.frame()) is not None and seen.opcode != CLOSE:
        pass
    peer.leave()
    return seen.code if seen else 0
