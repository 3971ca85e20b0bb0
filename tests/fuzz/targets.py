"""What is searched at random, how large a share of the time each kind of search has, and how one turn of it is run."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.subjects import SUBJECTS

ROOT = Path(__file__).parents[2]
BACKEND_JSON = "tests/aggregator/test_odd_backend_values.py"
DRAWS = "from hypothesis import"
PYTEST = (
    *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "600"),
    *("--hypothesis-profile=fuzz",),
)
MUTANTS_A_TURN = 6


@dataclass(frozen=True)
class Target:
    """A kind of search.

    Attributes:
        name: How it is called.
        share: How much of the time it has, beside the others' shares.
        variants: What a turn may be about; each has had a turn before one has another.
        command: Returns what runs a turn about a variant with a seed; its status is 0 if it found nothing.
    """

    name: str
    share: int
    variants: Sequence[str]
    command: Callable[[str, int], Sequence[str]]


def _wire(variant: str, seed: int) -> Sequence[str]:
    return (sys.executable, "-m", "tests.fuzz.wire", variant, str(seed))


def _drawn(variant: str, seed: int) -> Sequence[str]:
    return (*PYTEST, f"--hypothesis-seed={seed}", *_only_what_draws(ROOT / variant), variant)


def _only_what_draws(file: Path) -> Sequence[str]:
    """Return the option that leaves out a file's tests that draw nothing, where pytest can tell."""
    inner = any(line.startswith(" ") and line.strip().startswith("@given(") for line in file.read_text().splitlines())
    return () if inner else ("-m", "hypothesis")


def _mutants(variant: str, seed: int) -> Sequence[str]:
    return (sys.executable, "-m", "tests.mutation.run", "--sample", str(MUTANTS_A_TURN), "--seed", str(seed), variant)


def properties() -> list[str]:
    """Return the test files that draw examples, but for the one that is a target of its own."""
    files = (str(file.relative_to(ROOT)) for file in sorted((ROOT / "tests").rglob("test_*.py")))
    return [file for file in files if DRAWS in (ROOT / file).read_text() and file != BACKEND_JSON]


def targets() -> list[Target]:
    """Return every kind of search."""
    return [
        Target("http", 2, ["http"], _wire),
        Target("websocket", 2, ["websocket"], _wire),
        Target("backend-json", 2, [BACKEND_JSON], _drawn),
        Target("properties", 3, properties(), _drawn),
        Target("mutants", 1, [subject.module for subject in SUBJECTS], _mutants),
    ]


def next_target(shares: Mapping[str, int], used: Mapping[str, float]) -> str:
    """Return whose turn it is: who has had the least time for its share, the first one of those that had the same.

    Args:
        shares: By name; not empty.
        used: Seconds that each has had, 0 where it is not in there.
    """
    return min(shares, key=lambda name: used.get(name, 0.0) / shares[name])
