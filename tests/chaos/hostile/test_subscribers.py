"""Clients of the playback endpoint that ask without listening, listen without reading, or look at others' streams."""

import asyncio
import json
import time
from typing import cast

import pytest

from tests.chaos.hostile.attacker import Attacker, playback
from tests.chaos.hostile.harness import honest, unharmed
from tests.chaos.hostile.target import WAIT_S, Target
from tests.chaos.strength import STRENGTH
from tests.support.http1 import read_answer, read_head
from tests.support.rfc6455 import TEXT, Peer, frame

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

HEADS, AT_ONCE = 1000 if STRENGTH.is_full else 200, 50
EVENTS = ((b"Accept", b"text/event-stream"),)
UPGRADE = (
    (b"Upgrade", b"websocket"),
    (b"Connection", b"Upgrade"),
    (b"Sec-WebSocket-Key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
    (b"Sec-WebSocket-Version", b"13"),
)
STUCK = 5
LET_GO_S = 90.0
"""By when who takes nothing is let go: after the time to fill its buffers and the 30 s of BFF_STREAM_STUCK_SECONDS."""

TALKERS, CONTROLS = 5, 45
"""Viewers, and controls of each in a second: just what a viewer may."""

UNREAD_BYTES = 24 << 20
"""What the relay may keep of its responses to them."""


async def only_alice_is_left(target: Target, within_s: float = WAIT_S) -> None:
    """Wait until nobody but the honest user has a place."""
    until = time.monotonic() + within_s
    while (found := await asyncio.to_thread(target.streams))["connections"] != 1 or found["viewers"] != 1:
        assert time.monotonic() < until, found
        await asyncio.sleep(0.2)


async def test_heads_of_an_endless_response_take_no_place_and_leave_their_connections_usable(target: Target) -> None:
    path = f"{playback(await asyncio.to_thread(target.run_of, 'mallory'))}?autoplay=1&speed=1"
    relay = target.stack["wsrelay"].port
    async with honest(target) as witness:
        async with (
            Attacker(target, "mallory") as through_nginx,
            Attacker(target, "mallory", port=relay) as direct,
            Attacker(target) as stranger,
        ):
            for _ in range(0, HEADS, AT_ONCE):
                pairs = (head_and_next(one, path) for one in (through_nginx, direct) for _ in range(AT_ONCE // 2))
                assert await asyncio.gather(*pairs) == [(200, 200)] * AT_ONCE
                await asyncio.sleep(STRENGTH.attack_s * AT_ONCE / HEADS)
            for _ in range(30):  # more than nginx keeps connections to the relay
                assert (await stranger.request("GET", "/api/v1/streams")).status == 200
            health = await stranger.request("GET", "/health")
            assert json.loads(health.body)["services"]["wsrelay"]["status"] == "ok"
            await only_alice_is_left(target)
        await only_alice_is_left(target)
    await unharmed(target, witness)


async def head_and_next(attacker: Attacker, path: str) -> tuple[int, int]:
    """Return the statuses of a HEAD and of what is asked for next on its connection, which stays open."""
    reader, writer = await attacker.connect(attacker.head("HEAD", path, EVENTS))
    async with asyncio.timeout(WAIT_S):
        first = await read_head(reader)
        writer.write(attacker.head("GET", "/health/live"))
        return first.status, (await read_answer(reader)).status


async def test_viewers_of_both_kinds_that_do_not_read_are_let_go_and_cost_nobody_anything(target: Target) -> None:
    # An event stream through nginx can only be told to be stuck once the kernel's buffers are full, after minutes.
    path = f"{playback(await asyncio.to_thread(target.run_of, 'mallory'))}?autoplay=1&speed=4"  # which lasts a minute
    relay = target.stack["wsrelay"].port
    streams: list[asyncio.StreamWriter] = []
    async with honest(target) as witness:
        async with Attacker(target, "mallory") as through_nginx, Attacker(target, "mallory", port=relay) as direct:
            for _ in range(STUCK):
                _, stream = await through_nginx.connect(through_nginx.head("GET", path, EVENTS), receive_bytes=4096)
                for attacker, kind in ((through_nginx, UPGRADE), (direct, EVENTS), (direct, UPGRADE)):
                    await attacker.connect(attacker.head("GET", path, kind), receive_bytes=4096)
                streams.append(stream)
            await asyncio.sleep(STRENGTH.attack_s)
            for stream in streams:
                through_nginx.drop(stream)
            if STRENGTH.is_full:
                await only_alice_is_left(target, LET_GO_S)
        await only_alice_is_left(target)
    await unharmed(target, witness)


async def test_controls_whose_answers_nobody_reads_are_not_kept(target: Target) -> None:
    path = playback(await asyncio.to_thread(target.run_of, "mallory"))
    control = frame(TEXT, b'{"t":"ctrl","cmd":"pause","note":"%b"}' % (b"x" * 60_000))
    async with honest(target) as witness:
        async with Attacker(target, "mallory") as attacker:
            transports = [await writes_only(attacker, path) for _ in range(TALKERS)]
            with target.peak("wsrelay") as peak:
                usual, until = peak(), time.monotonic() + STRENGTH.attack_s
                while time.monotonic() < until:
                    for transport in transports:
                        if transport.get_write_buffer_size() < len(control):
                            transport.write(control)
                    await asyncio.sleep(1 / CONTROLS)
                print(f"memory {usual >> 20} → at most {peak() >> 20} MiB")
                assert peak() < usual + UNREAD_BYTES
        await only_alice_is_left(target)
    await unharmed(target, witness)


async def writes_only(attacker: Attacker, path: str) -> asyncio.Transport:
    """Open a stream and return its connection, from which nothing more is read."""
    peer = await attacker.websocket(path)
    assert isinstance(peer, Peer), peer.body
    transport = cast("asyncio.Transport", peer.writer.transport)
    transport.pause_reading()
    return transport


@pytest.mark.parametrize("user", [None, "mallory"])
async def test_what_others_watch_is_not_told(target: Target, user: str | None) -> None:
    async with honest(target):
        told = await asyncio.to_thread(target.get, "/api/v1/streams", user)
        (stream,) = (await asyncio.to_thread(target.streams))["streams"]
    assert told.json() == {"viewers": 0, "frame_logs": [], "streams": []}
    assert stream["run_id"] == target.run_id
