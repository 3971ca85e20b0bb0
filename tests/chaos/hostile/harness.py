"""Measures what an attack on a running stack does to an honest user, to memory, files, flags and breakers.

    async def test_pings_disturb_nobody(target: Target) -> None:
        async with honest(target) as witness, Attacker(target) as attacker:
            ...the attack...
        await unharmed(target, witness)

`honest` measures the user for USUAL_S before its block begins: that is what the attack is held against. The user comes
from 127.0.0.1, an attacker from 127.0.0.2 with credentials of its own or none, so that limits per client address and
per principal can tell them apart. An attack should last 5 s or longer, for there to be 100 requests of each kind.
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

from tests.chaos.hostile.target import TOKENS, Snapshot, Target

ROOT = Path(__file__).parents[3]

USUAL_S = 3.0
"""How long a user is measured before an attack."""

BACKENDS_OWN = frozenset(("legacy", "proxied"))
"""Kinds of request that the backend itself answers, for attacks that keep it busy or are made by it."""

AFTER_S = 0.5
"""What still counts as the attack's doing, after it."""

READY_S = 30.0

# ── What an attack may do to others ──

GAP_S = 0.1
"""The longest pause between two frames, or GAP_TIMES the usual longest on a machine that is busy anyway."""

GAP_TIMES = 2.0
P99_S, P99_TIMES = 0.05, 3.0
"""The 99th percentile of a kind of request may be so long, or so many times its usual."""

LATE_TIMES = 3.0
"""So many times what the machine let the user's own process wait is added to both: as many processes are on the way."""

BACK_S = 30.0
"""By then memory and files are back."""

MEMORY_MORE = 32 << 20
"""Bytes of a part of the stack that may stay: caches that were not full, arenas of the allocator."""

FILES_MORE = 16
"""File descriptors that may stay open: connections that are kept for the next call."""

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
    late: list[tuple[float, float]] = field(default_factory=list)

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
        return LATE_TIMES * max((late for at, late in self.late if self.began < at <= self.ended), default=0.0)

    def latencies(self, kind: str, *, usual: bool = False) -> list[float]:
        """Return how long the requests of a kind took that were under way during the attack, or before it."""
        rows = [(begun, took) for of, begun, took, _ in self.requests if of == kind]
        if usual:
            return [took for begun, took in rows if begun >= self.ready and begun + took < self.began]
        return [took for begun, took in rows if begun + took >= self.began and begun <= self.ended]

    def statuses(self) -> Counter[int]:
        """Count what requests during the attack were answered; 0 is none."""
        return Counter(row[3] for row in self.requests if row[1] + row[2] >= self.began and row[1] <= self.ended)

    def harm(self, unjudged: Collection[str] = ()) -> list[str]:
        """Return what the attack did to this user beyond what it may, leaving out the latency of `unjudged` kinds."""
        found = []
        allowed = max(GAP_S, GAP_TIMES * self.usual_gap_s) + self.machine_s
        if self.worst_gap_s > allowed:
            found.append(f"no frame for {self.worst_gap_s * 1000:.0f} ms ({self.usual_gap_s * 1000:.0f} before)")
        if closes := [code for at, code in self.closes if self.began < at <= self.ended]:
            found.append(f"the stream was closed: {Counter(closes)}")
        if failed := {status: count for status, count in self.statuses().items() if status != 200}:
            found.append(f"requests were answered {failed}")
        for kind in sorted({row[0] for row in self.requests}.difference(unjudged)):
            usual, now = percentile(self.latencies(kind, usual=True)), percentile(self.latencies(kind))
            if now > max(P99_S, P99_TIMES * usual) + self.machine_s:
                found.append(f"p99 of {kind} is {now * 1000:.0f} ms ({usual * 1000:.0f} before)")
        return found

    def __str__(self) -> str:
        """Return the figures, for a log."""
        kinds = sorted({row[0] for row in self.requests})
        figures = [
            f"{kind} {percentile(self.latencies(kind, usual=True)) * 1000:.0f} → "
            f"{percentile(self.latencies(kind)) * 1000:.0f} ms"
            for kind in kinds
        ]
        late = f"the machine's own lateness {self.machine_s / LATE_TIMES * 1000:.0f} ms"
        gaps = f"worst gap {self.usual_gap_s * 1000:.0f} → {self.worst_gap_s * 1000:.0f} ms"
        return f"{gaps}; p99: {', '.join(figures)}; {late}; statuses {dict(self.statuses())}"


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
        await asyncio.sleep(USUAL_S)
        witness = Witness(await asyncio.to_thread(target.snapshot), ready)
        witness.began = time.monotonic()
        yield witness
        await asyncio.sleep(AFTER_S)
        witness.ended = time.monotonic()
        process.stdin.close()
        async with asyncio.timeout(READY_S):
            seen = json.loads(await process.stdout.readline())
        witness.frames, witness.closes = seen["frames"], seen["closes"]
        witness.requests, witness.late = seen["requests"], seen["late"]
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
        if new > old + MEMORY_MORE:
            found.append(f"memory of {key}: {old >> 20} → {new >> 20} MiB")
    for key, (old, new) in _pairs(before.files, now.files):
        if new > old + FILES_MORE:
            found.append(f"files of {key}: {old} → {new}")
    if now.spool > before.spool + SPOOL_MORE:
        found.append(f"nginx keeps {now.spool >> 20} MiB of bodies")
    return found


def _pairs(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterable[tuple[str, tuple[Any, Any]]]:
    return ((key, (old.get(key), new.get(key))) for key in {**old, **new})


async def unharmed(target: Target, witness: Witness, unjudged: Collection[str] = ()) -> None:
    """Raise AssertionError if an attack did anything to others; memory and files get BACK_S to come back.

    The latency of `unjudged` kinds of request does not count: those that a backend answers which is busy attacking.
    """
    until = time.monotonic() + BACK_S
    now = await asyncio.to_thread(target.snapshot)
    found = witness.harm(unjudged) + differences(witness.before, now, lasting=False)
    left = differences(witness.before, now)
    while left and time.monotonic() < until:
        await asyncio.sleep(0.25)
        left = differences(witness.before, await asyncio.to_thread(target.snapshot))
    harm = [*found, *(each for each in left if each not in found)]
    if harm:
        raise AssertionError("\n".join(["an attack did harm:", *harm, str(witness)]))
