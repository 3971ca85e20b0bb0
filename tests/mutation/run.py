"""Change one thing at a time in a module, run its tests, and tell which changes no test noticed.

    python -m tests.mutation.run [--sample N] [--seed S] [--write] [MODULE…]

`--sample` takes so many mutants of each module, chosen by the seed; `--write` puts the rows into docs/testing.md.
"""

import argparse
import importlib
import os
import random
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

from tests.mutation.mutants import mutants
from tests.mutation.report import Result, updated
from tests.mutation.subjects import SUBJECTS
from tests.mutation.swap import Subject
from tests.mutation.trials import measure

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/testing.md"
REASONS = Path(__file__).with_name("survivors.toml")
WARM = ("asyncio", "fastapi", "httpx", "hypothesis", "numpy", "orjson", "redis", "uvicorn", "websockets")
"""Libraries that most tests import: once here, not again for each module."""


def _commit() -> str:
    command = ("git", "describe", "--always", "--dirty")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603  fixed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation.run", description="Which changes of the code does no test notice?"
    )
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="modules to change; all without one")
    parser.add_argument("--sample", type=int, metavar="N", help="so many mutants of each module; all without it")
    parser.add_argument("--seed", type=int, default=1, help="chooses the sample (default %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="at a time (default %(default)s)")
    parser.add_argument("--write", action="store_true", help="put the rows into docs/testing.md")
    return parser.parse_args()


def _chosen(subject: Subject, sample: int | None, seed: int) -> Sequence[int]:
    every = range(len(mutants(subject.source)))
    if sample is None:
        return every
    return sorted(random.Random(seed).sample(every, min(sample, len(every))))  # noqa: S311  the same every time


def _examine(subject: Subject, chosen: Sequence[int], workers: int, reasons: dict[str, str]) -> Result:
    """Try mutants of a module, and print the survivors that no reason is kept for, and reasons that fit none."""
    begun, all_of_them = time.monotonic(), mutants(subject.source)
    killers = measure(subject, chosen, workers)
    result = Result(subject.module, len(chosen), [all_of_them[at] for at in chosen if killers[at] is None])
    took = time.monotonic() - begun
    print(f"{subject.module}: {result.killed} of {result.tried} killed, {took:.0f} s", flush=True)
    for mutant in result.survivors:
        if mutant.name not in reasons:
            print(f"  line {mutant.line}, {mutant.name}", flush=True)
    for name in reasons.keys() - {all_of_them[at].name for at in range(len(all_of_them))}:
        print(f"  {REASONS.name} has a reason for what is no mutant: {name}", flush=True)
    return result


def main() -> int:
    """Try the mutants that the command line asks for; returns 1 if one survived without a reason, 2 for no module."""
    chosen = _arguments()
    os.chdir(ROOT)
    known = {subject.module: subject for subject in SUBJECTS}
    if unknown := set(chosen.modules) - known.keys():
        print(f"no tests are named for {', '.join(sorted(unknown))} in tests/mutation/subjects.py", file=sys.stderr)
        return 2
    for name in WARM:
        importlib.import_module(name)
    reasons = tomllib.loads(REASONS.read_text())
    unexplained, commit = 0, _commit()
    for subject in (known[module] for module in chosen.modules or known):
        indices = _chosen(subject, chosen.sample, chosen.seed)
        result = _examine(subject, indices, chosen.workers, reasons.get(subject.module, {}))
        unexplained += sum(each.name not in reasons.get(subject.module, {}) for each in result.survivors)
        if chosen.write:
            PAGE.write_text(updated(PAGE.read_text(), list(known), [result], reasons, commit))
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
