"""Search at random for what no test says yet: `make fuzz [MINUTES=10] [SEED=…]`.

Rounds follow each other until the time is up, each with a seed of its own: every property that Hypothesis knows, what
hostile clients say in HTTP and WebSocket, and a few changes to the code that a test ought to notice. What fails is told
with what repeats it; a SEED runs that round alone.
"""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
HOSTILE = "tests/chaos/hostile/test_clients.py"
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")


def properties() -> list[str]:
    """Return the test files that draw examples."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(file.relative_to(ROOT)) for file in files if "from hypothesis" in file.read_text()]


def searches(seed: int) -> Iterator[tuple[str, ...]]:
    """Yield the commands of one round."""
    drawn = ("--hypothesis-profile=fuzz", f"--hypothesis-seed={seed}")
    yield (*PYTEST, "-n", "auto", "--dist", "load", "--timeout", "900", *drawn, *properties())
    yield (*PYTEST, HOSTILE)
    yield (sys.executable, "-m", "tests.mutation.run", "--sample", "1", "--seed", str(seed))


def main(minutes: float, seed: int | None) -> int:
    """Search for so long, or one round with a seed; returns 1 if anything was found."""
    until = time.monotonic() + 60 * minutes
    found: list[tuple[str, ...]] = []
    while not found:
        chosen = secrets.randbelow(2**31) if seed is None else seed
        for command in searches(chosen):
            print(f"seed {chosen}: {' '.join(command[1:6])}…", flush=True)
            environment = {**os.environ, "FUZZ_SEED": str(chosen)}
            if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:  # noqa: S603  our own
                found.append(command)
            if seed is None and time.monotonic() > until:
                break
        if seed is not None or time.monotonic() > until:
            break
    for command in found:
        print(f"found by {' '.join(command)}\nagain with: make fuzz SEED={chosen}", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None))
