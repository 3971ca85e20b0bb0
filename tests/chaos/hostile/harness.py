"""Measures what an attack on a running stack does to an honest user, to memory, files, flags and breakers.

    async def test_pings_disturb_nobody(target: Target) -> None:
        async with honest(target) as witness, Attacker(target) as attacker:
            ...the attack...
        await unharmed(target, witness)

`honest` measures the user for a while before its block begins: that is what the attack is held against. The user comes
from 127.0.0.1, an attacker from 127.0.0.2 with credentials of its own or none, so that limits per client address and
per principal can tell them apart. How long an attack lasts, and what it may do, is in `tests.chaos.strength`; what the
machine stood still for is added. In full an attack lasts so long that there are 100 requests of each kind.
"""

import asyncio
import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bff_aggregator.settings import AggregatorSettings
from bff_wsrelay.settings import RelaySettings
from tests.chaos.hostile.target import TOKENS, Snapshot, Target, keepalive
from tests.chaos.strength import STRENGTH
from tests.support.stalls import STOOD_STILL_S, Stalls, Unsteady

ROOT = Path(__file__).parents[3]

BACKENDS_OWN = frozenset(("legacy", "proxied"))
"""Kinds of request that the backend itself answers, for attacks that keep it busy or are made by it."""

AFTER_S = 0.5
"""What still counts as the attack's doing, after it."""

READY_S = 30.0

LATE_TIMES = 3.0
"""What is added to a time: so often what the machine let the user's process wait, as many processes are on the way."""

FILES_MORE = 16
"""File descriptors that may stay open: connections to the backend and to Redis that are kept for the next call."""

CACHE_BYTES = {"aggregator": AggregatorSettings().cache_bytes, "wsrelay": RelaySettings().log_total_bytes}
SPOOL_MORE = 1 << 20
"""Bytes of request bodies that may lie in nginx's folder."""


@dataclass
class Witness:
    """What an honest user saw before an attack (`usual`) and during it."""

    before: Snapshot
    ready: float
    began: float = 0.0
    ended: float = 0.0
    frames: list[float] = field(default_factory=list)
    closes: list[tuple[float, int]] = field(default_factory=list)
    requests: list[tuple[str, float, float, int]] = field(default_factory=list)
    stalls: Stalls = field(default_factory=Stalls)

    @property
    def stalled_s(self) -> float:
        """The longest that the machine stood still during the attack."""
        return self.stalls.longest(self.began, self.ended)

    @property
    def usual_gap_s(self) -> float:
        """The longest pause between two frames before the attack."""
        return _longest_gap([at for at in self.frames if self.ready <= at <= self.began], self.began)

    @property
    def worst_gap_s(self) -> float:
        """The longest pause between two frames during the attack."""
        last = max((at for at in self.frames if at <= self.began), default=self.began)
        return _longest_gap([last, *(at for at in self.frames if self.began < at <= self.ended)], self.ended)

    @property
    def machine_s(self) -> float:
        """What a busy machine may have added to a request or a pause during the attack."""
        return LATE_TIMES * self.stalled_s

    def latencies(self, kind: str, *, usual: bool = False) -> list[float]:
        """Return how long the requests of a kind took that were under way during the attack, or before it."""
        rows = [(begun, took) for of, begun, took, _ in self.requests if of == kind]
        if usual:
            return [took for begun, took in rows if begun >= self.ready and begun + took < self.began]
        return [took for begun, took in rows if begun + took >= self.began and begun <= self.ended]

    def statuses(self) -> Counter[int]:
        """Count what requests during the attack were answered; 0 is none."""
        return Counter(row[3] for row in self.requests if row[1] + row[2] >= self.began and row[1] <= self.ended)

    def delay(self, unjudged: Collection[str] = ()) -> list[str]:
        """Return by how much the attack held this user up beyond what it may, leaving out `unjudged` kinds."""
        found = []
        if self.worst_gap_s > max(STRENGTH.gap_s, STRENGTH.gap_times * self.usual_gap_s) + self.machine_s:
            found.append(f"no frame for {self.worst_gap_s * 1000:.0f} ms ({self.usual_gap_s * 1000:.0f} before)")
        for kind in sorted({row[0] for row in self.requests}.difference(unjudged)):
            usual, now = percentile(self.latencies(kind, usual=True)), percentile(self.latencies(kind))
            if now > max(STRENGTH.p99_s, STRENGTH.p99_times * usual) + self.machine_s:
                found.append(f"p99 of {kind} is {now * 1000:.0f} ms ({usual * 1000:.0f} before)")
        return found

    def harm(self) -> list[str]:
        """Return what the attack took from this user: its stream, or answers."""
        found = []
        if closes := [code for at, code in self.closes if self.began < at <= self.ended]:
            found.append(f"the stream was closed: {Counter(closes)}")
        if failed := {status: count for status, count in self.statuses().items() if status != 200}:
            found.append(f"requests were answered {failed}")
        return found

    def __str__(self) -> str:
        """Return the figures, for a log."""
        kinds = sorted({row[0] for row in self.requests})
        figures = [
            f"{kind} {percentile(self.latencies(kind, usual=True)) * 1000:.0f} → "
            f"{percentile(self.latencies(kind)) * 1000:.0f} ms"
            for kind in kinds
        ]
        gaps = f"worst gap {self.usual_gap_s * 1000:.0f} → {self.worst_gap_s * 1000:.0f} ms"
        stalled = f"the machine stood still for {self.stalled_s * 1000:.0f} ms"
        return f"{gaps}; p99: {', '.join(figures)}; statuses {dict(self.statuses())}; {stalled}"


def percentile(durations: list[float], share: float = 0.99) -> float:
    """Return the smallest duration that so large a share does not exceed; 0 of none."""
    return sorted(durations)[math.ceil(share * len(durations)) - 1] if durations else 0.0


def _longest_gap(times: list[float], end: float) -> float:
    return max((later - at for at, later in zip(times, [*times[1:], end], strict=True)), default=math.inf)


@asynccontextmanager
async def honest(target: Target) -> AsyncIterator[Witness]:
    """Let alice watch and ask, measure her for a while, and go on while the block attacks."""
    arguments = ("-m", "tests.chaos.hostile.witness", target.origin, TOKENS["alice"], target.run_id)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=ROOT, limit=1 << 26, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    try:
        async with asyncio.timeout(READY_S):
            assert await process.stdout.readline() == b"ready\n"
        ready = time.monotonic()
        await asyncio.sleep(STRENGTH.usual_s)
        witness = Witness(await asyncio.to_thread(target.snapshot), ready)
        witness.began = time.monotonic()
        yield witness
        await asyncio.sleep(AFTER_S)
        witness.ended = time.monotonic()
        process.stdin.close()
        async with asyncio.timeout(READY_S):
            seen = json.loads(await process.stdout.readline())
        witness.frames, witness.closes, witness.requests = seen["frames"], seen["closes"], seen["requests"]
        for stall in seen["stalls"]:
            witness.stalls.note(*stall)
        print(witness)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def differences(before: Snapshot, now: Snapshot, *, lasting: bool = True) -> list[str]:
    """Return what an attack has changed; memory, files and spool, which may take a while, only if `lasting`."""
    found = [
        f"{name} of {key}: {old} → {new}"
        for name, olds, news in (
            ("flag", before.flags, now.flags),
            ("breaker", before.breakers, now.breakers),
            ("process", before.pids, now.pids),
        )
        for key, (old, new) in _pairs(olds, news)
        if old != new
    ]
    if not lasting:
        return found
    for key, (old, new) in _pairs(before.memory, now.memory):
        if new > old + STRENGTH.memory_more:
            found.append(f"memory of {key}: {old >> 20} → {new >> 20} MiB")
    for key, (old, new) in _pairs(before.files, now.files):
        if new > old + FILES_MORE:
            found.append(f"files of {key}: {old} → {new}")
    for key, (old, new) in _pairs(before.connections, now.connections):
        if new > old + keepalive(key):
            found.append(f"connections of nginx to {key}: {old} → {new}, of which it may keep {keepalive(key)} idle")
    found += _overgrown(before.cached, now.cached)
    if now.spool > before.spool + SPOOL_MORE:
        found.append(f"nginx keeps {now.spool >> 20} MiB of bodies")
    return found


def _overgrown(before: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    return [
        f"{name} keeps {size >> 20} MiB for the next user, of which it may {CACHE_BYTES[name] >> 20}"
        for name, size in now.items()
        if size > max(before.get(name, 0), CACHE_BYTES[name])
    ]


def _pairs(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterable[tuple[str, tuple[Any, Any]]]:
    return ((key, (old.get(key), new.get(key))) for key in {**old, **new})


async def unharmed(target: Target, witness: Witness, unjudged: Collection[str] = ()) -> None:
    """Raise AssertionError if an attack did anything to others; memory and files get a while to come back.

    The latency of `unjudged` kinds of request does not count: those that a backend answers which is busy attacking. The
    error is Unsteady, to be measured again, if only times were too long, or the machine stood still meanwhile.
    """
    until = time.monotonic() + STRENGTH.back_s
    now = await asyncio.to_thread(target.snapshot)
    found, late = witness.harm() + differences(witness.before, now, lasting=False), witness.delay(unjudged)
    left = differences(witness.before, now)
    while left and time.monotonic() < until:
        await asyncio.sleep(0.25)
        left = differences(witness.before, await asyncio.to_thread(target.snapshot))
    harm = [*found, *(each for each in left if each not in found)]
    blame(witness, harm, late)


async def nothing_moved(target: Target, witness: Witness) -> None:
    """Raise AssertionError if a flag, a breaker or a process is another, or the honest user was refused anything.

    How long the user waited is not judged: for attacks that keep a part at work which all requests share.
    """
    now = await asyncio.to_thread(target.snapshot)
    blame(witness, witness.harm() + differences(witness.before, now, lasting=False), [])


def blame(witness: Witness, harm: list[str], late: list[str]) -> None:
    """Raise AssertionError for harm, Unsteady where only times were too long or the machine stood still."""
    if harm or late:
        kind = AssertionError if harm and witness.stalled_s < STOOD_STILL_S else Unsteady
        raise kind("\n".join(["an attack did harm:", *harm, *late, str(witness)]))
