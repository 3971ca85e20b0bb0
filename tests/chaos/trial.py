"""One trial: a crowd at work, a disturbance that comes and goes, and what came of it."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.chaos.crowd import Crowd
from tests.chaos.faultproxy import Fault
from tests.chaos.strength import STRENGTH
from tests.chaos.verdicts import lateness, violation
from tests.chaos.viewer import SILENT
from tests.chaos.world import World, open_files, resident
from tests.support.runs import assert_conserved
from tests.support.stalls import STOOD_STILL_S, Stalls, Unsteady

HELD_REQUESTS = 1
"""A disturbance lasts until so many requests of each kind have begun and ended under it."""

_CROWDS = itertools.count(1)
STREAMS_MAY_CLOSE = {"backend": set[int](), "redis": set[int](), "none": set[int](), "rolled": {1012}}
"""Close codes that viewers may see, by place; any where nothing is said."""

LONGEST_S = 25.0 + STRENGTH.slack_s
PLAYED_S = 60.0
FILES_MORE = 40
"""File descriptors that a process may hold more than before: connections kept open for what comes next."""


@dataclass(frozen=True)
class Disturbance:
    """Something that goes wrong, and how it is put right.

    Attributes:
        name: what goes wrong.
        place: where, a row of the table in `verdicts`.
        begin: brings it about.
        end: puts it right.
        stays: whether every process has to live through it.
    """

    name: str
    place: str
    begin: Callable[[World], None]
    end: Callable[[World], None] = World.heal
    stays: bool = True


def network(name: str, place: str, fault: Fault) -> Disturbance:
    """Return a fault of the network as a disturbance."""
    return Disturbance(name, place, lambda world: world.inject(place, fault))


@dataclass
class Finding:
    """What a trial showed.

    Attributes:
        violations: what happened that may not.
        late: what took too long, also for a machine that stood still for as long as this one did.
        stalled_s: the longest that the machine stood still.
    """

    name: str
    place: str
    size: int
    answers: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    closes: Counter[int] = field(default_factory=Counter)
    longest_gap_s: float = 0.0
    recovered_s: float = 0.0
    stalled_s: float = 0.0
    violations: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)

    def judge(self) -> None:
        """Raise AssertionError for what may not be: Unsteady, to be measured again, where the machine may be why."""
        if self.violations and self.stalled_s < STOOD_STILL_S:
            raise AssertionError("\n".join(self.violations + self.late))
        if self.violations or self.late:
            raise Unsteady("\n".join([f"stalled for {self.stalled_s:.1f} s", *self.violations, *self.late]))


async def endure(world: World, disturbance: Disturbance, size: int) -> Finding:
    """Run one trial with `size` clients of each kind, whom nobody has met before."""
    finding = Finding(disturbance.name, disturbance.place, size)
    pids, files = world.pids(), _files(world)
    world.forget_requests()
    begun = time.monotonic()
    with Stalls() as stalls:
        async with Crowd(world, f"crowd-{next(_CROWDS)}", size) as crowd:
            if not await crowd.well(STRENGTH.recovery_s):
                finding.late.append("not well before anything was broken")
            await _disturb(world, disturbance, crowd, finding)
            _judge_requests(world, disturbance, crowd, stalls, finding)
            _judge_streams(world, disturbance, crowd, finding)
    finding.stalled_s = stalls.longest(begun, time.monotonic())
    _judge_posts(world, crowd, finding)
    if disturbance.stays:
        await _judge_processes(world, pids, files, finding)
    return finding


async def _disturb(world: World, disturbance: Disturbance, crowd: Crowd, finding: Finding) -> None:
    begun = time.monotonic()
    await asyncio.to_thread(disturbance.begin, world)
    crowd.add_viewers()
    try:
        held = await crowd.asked(HELD_REQUESTS, begun, LONGEST_S)
    finally:
        await asyncio.to_thread(disturbance.end, world)
    if not held:
        finding.late.append("requests hung while it was broken")
    healed = time.monotonic()
    if not await crowd.well(STRENGTH.recovery_s):
        finding.late.append("not well again")
    finding.recovered_s = time.monotonic() - healed
    if not await crowd.watched(PLAYED_S):
        finding.late.append("a stream did not come to its end")
    await crowd.rest(LONGEST_S)


def _judge_requests(world: World, disturbance: Disturbance, crowd: Crowd, stalls: Stalls, finding: Finding) -> None:
    for seen in crowd.seen:
        outcome = seen.outcome
        slack = STRENGTH.slack_s + stalls.lost(seen.begun, seen.begun + outcome.seconds)
        if late := lateness(outcome, disturbance.place, slack):
            finding.late.append(late)
        finding.answers[outcome.what] += 1
        finding.slowest_s = max(finding.slowest_s, outcome.seconds)
        wrong = violation(outcome, disturbance.place, world.answers[outcome.path])
        if wrong:
            finding.violations.append(wrong)


def _judge_streams(world: World, disturbance: Disturbance, crowd: Crowd, finding: Finding) -> None:
    for viewer in crowd.viewers:
        finding.closes += viewer.closes
        finding.longest_gap_s = max(finding.longest_gap_s, viewer.longest_gap)
        try:
            assert_conserved(viewer.frames, world.frames)
        except AssertionError as error:
            finding.violations.append(f"frames are not those of the run: {str(error)[:300]}")
        if viewer.errors:
            finding.violations.append(f"a stream was told {viewer.errors[:2]}")
    allowed = STREAMS_MAY_CLOSE.get(disturbance.place, set(finding.closes))
    if unasked := set(finding.closes) - allowed:
        found = finding.late if unasked == {SILENT} else finding.violations
        found.append(f"streams were closed: {dict(finding.closes)}")


def _judge_posts(world: World, crowd: Crowd, finding: Finding) -> None:
    arrived = world.arrivals()
    twice = [key for key in crowd.keys if arrived[key] > 1]
    if twice:
        finding.violations.append(f"{len(twice)} of {len(crowd.keys)} POSTs arrived more than once")


async def _judge_processes(world: World, pids: dict[str, int | None], files: dict[str, int], finding: Finding) -> None:
    if world.pids() != pids:
        finding.violations.append(f"processes ended: {pids} became {world.pids()}")
        return
    until = time.monotonic() + STRENGTH.recovery_s
    while any(now > files[name] + FILES_MORE for name, now in _files(world).items()):
        if time.monotonic() > until:
            finding.violations.append(f"open files grew from {files} to {_files(world)}")
            return
        await asyncio.sleep(0.05)


def _files(world: World) -> dict[str, int]:
    return {name: open_files(pid) for name, pid in world.pids().items() if pid}


def memory(world: World) -> dict[str, int]:
    """Return the resident bytes of each service's processes."""
    return {name: resident(pid) for name, pid in world.pids().items() if pid and name.partition("-")[0] != "backend"}
