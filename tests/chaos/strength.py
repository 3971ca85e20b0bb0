"""How much the trials of this folder do, and what they hold it against: the one place that knows.

`make test-slow` runs them briefly: it shows that harm stays where it is done (nobody is refused, nothing is lost, no
flag or breaker moves, memory has a bound), and allows for a machine that is busy. `make chaos` sets CHAOS and runs them
in full: what is promised in figures is judged there, on a machine that does nothing else.
"""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Strength:
    """What the trials do and allow.

    Attributes:
        is_full: whether all is tried.
        loads: clients of each kind, in turn, under each fault.
        rolled_size: clients of each kind while a service is replaced.
        crowd_size: clients of each kind beside hostile ones.
        fuzzers: clients that make frames up, per endpoint.
        flooders: floods of each kind.
        held: connections of each kind that stay.
        garbled: garbled requests.
        every: of how many attacks one is tried.
        slack_s: what may be added to a deadline.
        patience_s: after which a client gives up what has a deadline.
        recovery_s: by which all is well after a fault.
        usual_s: how long an honest user is measured before an attack.
        attack_s: how long an attack lasts.
        least_rate: requests a second that it has to come to, for it to be one.
        gap_s: the longest pause between two frames of the honest user's,
        gap_times: or so many times its usual longest.
        p99_s: the 99th percentile of its requests of a kind,
        p99_times: or so many times its usual.
        back_s: by which memory and files are back.
        memory_more: bytes of a part that may stay: caches that were not full, arenas of the allocator.
    """

    is_full: bool
    loads: tuple[int, ...]
    rolled_size: int
    crowd_size: int
    fuzzers: int
    flooders: int
    held: int
    garbled: int
    every: int
    slack_s: float
    patience_s: float
    recovery_s: float
    usual_s: float
    attack_s: float
    least_rate: float
    gap_s: float
    gap_times: float
    p99_s: float
    p99_times: float
    back_s: float
    memory_more: int


FULL = Strength(
    is_full=True, loads=(1, 6), rolled_size=6, crowd_size=3, fuzzers=200, flooders=20, held=30, garbled=5_000, every=1,
    slack_s=3.0, patience_s=8.0, recovery_s=15.0, usual_s=3.0, attack_s=8.0, least_rate=10.0,
    gap_s=0.1, gap_times=2.0, p99_s=0.05, p99_times=3.0, back_s=30.0, memory_more=32 << 20,
)  # fmt: skip
BRIEF = Strength(
    is_full=False, loads=(1,), rolled_size=2, crowd_size=1, fuzzers=10, flooders=1, held=2, garbled=60, every=4,
    slack_s=10.0, patience_s=20.0, recovery_s=40.0, usual_s=1.0, attack_s=2.0, least_rate=2.0,
    gap_s=1.0, gap_times=10.0, p99_s=1.0, p99_times=10.0, back_s=60.0, memory_more=128 << 20,
)  # fmt: skip
STRENGTH = FULL if os.environ.get("CHAOS") else BRIEF
