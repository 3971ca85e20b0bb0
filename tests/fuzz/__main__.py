"""Search at random for what no test says yet: `make fuzz [MINUTES=10] [TARGET=…] [SEED=…]`.

    python -m tests.fuzz [--minutes M] [TARGET [--seed S]]

Turns follow each other until the time is up, each with a seed of its own; each target has its share of the time. Where
a turn finds something, the end of what it printed is shown with the command that repeats it, and the search goes on
with the other targets. With a seed one turn runs alone.
"""

import argparse
import contextlib
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO

from tests.fuzz.targets import ROOT, Target, next_target, targets

SHOWN = 20_000
"""Bytes that are shown at most of what a turn printed: its end."""


@dataclass
class Search:
    """Turns so far: how much time each target had, and what was found."""

    targets: Sequence[Target]
    until: float
    used: Counter[str] = field(default_factory=Counter)
    turns: Counter[str] = field(default_factory=Counter)
    found: list[str] = field(default_factory=list)
    _waiting: dict[str, deque[str]] = field(default_factory=dict)

    def run(self) -> None:
        """Run turns until the time is up or everything has found something."""
        by_name = {target.name: target for target in self.targets}
        while by_name and time.monotonic() < self.until:
            name = next_target({name: target.share for name, target in by_name.items()}, self.used)
            if not self.turn(by_name[name], self._draw(by_name[name]), secrets.randbelow(2**31)):
                del by_name[name]

    def turn(self, target: Target, variant: str, seed: int) -> bool:
        """Run one turn; returns False if it found something."""
        begun = time.monotonic()
        with tempfile.TemporaryFile() as printed:
            status = _run(target.command(variant, seed), printed, self.until - begun)
            took = time.monotonic() - begun
            self.used[target.name] += took  # type: ignore[assignment]  # a Counter adds floats as well
            self.turns[target.name] += 1
            outcome = {None: "cut off, the time is up", 0: "nothing found"}.get(status, "FOUND")
            print(f"{target.name}: {variant}, seed {seed}, {took:.0f} s: {outcome}", flush=True)
            if not status:
                return True
            print(_end_of(printed), flush=True)
        self.found.append(f"make fuzz TARGET={variant} SEED={seed}")
        print(f"again with: {self.found[-1]}", flush=True)
        return False

    def _draw(self, target: Target) -> str:
        waiting = self._waiting.setdefault(target.name, deque())
        if not waiting:
            waiting.extend(random.SystemRandom().sample(target.variants, len(target.variants)))
        return waiting.popleft()

    def summary(self) -> str:
        """Return how many turns each target had, and how to repeat what was found."""
        lines = [f"{name}: {turns} turns, {self.used[name]:.0f} s" for name, turns in self.turns.items()]
        found = [f"found, again with: {command}" for command in self.found] or ["nothing found"]
        return "\n".join([*lines, *found])


def _run(command: Sequence[str], printed: IO[bytes], seconds: float) -> int | None:
    """Return a command's status, or None if it was ended with all that it had started because its time was up."""
    with subprocess.Popen(  # noqa: S603  our own
        command, cwd=ROOT, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _end_of(printed: IO[bytes]) -> str:
    printed.seek(max(0, printed.seek(0, os.SEEK_END) - SHOWN))
    return printed.read().decode(errors="replace")


def main() -> int:
    """Search as the command line says; returns 1 if anything was found, 2 if there is no such target."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Search at random for defects.")
    parser.add_argument("target", nargs="?", help="a target, a test file or a mutated module; all without one")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default %(default)s)")
    parser.add_argument("--seed", type=int, help="repeat one turn; needs the target")
    chosen = parser.parse_args()
    known = targets()
    if chosen.target:
        named = [target for target in known if chosen.target in (target.name, *target.variants)]
        if not named:
            parser.error(f"there is no target {chosen.target}")
        (target,) = named
        variants = [chosen.target] if chosen.target in target.variants else target.variants
        known = [Target(target.name, target.share, variants, target.command)]
    search = Search(known, time.monotonic() + 60 * chosen.minutes)
    if chosen.seed is None:
        search.run()
    elif chosen.target and len(known[0].variants) == 1:
        search.turn(known[0], known[0].variants[0], chosen.seed)
    else:
        parser.error("a seed repeats a turn of one target: name it")
    print(search.summary())
    return 1 if search.found else 0


if __name__ == "__main__":
    sys.exit(main())
