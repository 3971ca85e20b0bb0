"""The figures that a measurement is for: printed beside their goal, and kept for `make bench-compare`.

A ratio is measured beside a peer in the same run, so it may be compared with that of another machine; an absolute
figure may be compared only with one of the same machine.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

FILE = "BENCH_FIGURES"
"""The environment variable that names where figures are appended, one JSON object a line."""


FORMER = {
    "carriers": "transports",
    "code": "client_code",
    "door": "passthrough",
    "frontend": "page",
    "pressure": "overload",
}
"""What sections are called now that older reports have under another name."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure.

    Attributes:
        name: what was measured, the same in every run.
        value: the median of the run.
        unit: `ms`, `µs`, `/s`, `MB`; `x` for a ratio.
        better: which way is better.
        goal: what the value should reach, if there is a goal.
    """

    name: str
    value: float
    unit: str
    better: Literal["lower", "higher"] = "lower"
    goal: float | None = None

    @property
    def is_met(self) -> bool | None:
        """Tell whether the goal is reached; None where there is none."""
        if self.goal is None:
            return None
        return self.value <= self.goal if self.better == "lower" else self.value >= self.goal

    def __str__(self) -> str:
        """Return a line for people."""
        goal = ""
        if self.goal is not None:
            most = "at most" if self.better == "lower" else "at least"
            goal = f"  goal: {most} {self.goal:g} {self.unit}, {'met' if self.is_met else 'not met'}"
        return f"» {self.name}: {self.value:.4g} {self.unit}{goal}"


def figure(
    name: str, value: float, unit: str, *, better: Literal["lower", "higher"] = "lower", goal: float | None = None
) -> None:
    """Print a figure and keep it."""
    made = Figure(name, value, unit, better, goal)
    print(made, flush=True)
    if target := os.environ.get(FILE):
        with Path(target).open("a") as file:
            file.write(json.dumps(asdict(made)) + "\n")


def read(lines: str) -> list[Figure]:
    """Return the figures of a file's lines."""
    return [Figure(**json.loads(line)) for line in lines.splitlines()]
