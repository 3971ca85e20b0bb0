"""`make bench-compare`: hold the latest run against a stored one, figure by figure.

Ends with status 1 if a ratio, which does not depend on the machine, has become worse by more than a quarter.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.lib.figures import FORMER, Figure

RESULTS = Path(__file__).parent / "results"
NOISE = 1.25


def figures(report: Mapping[str, Any]) -> dict[str, Figure]:
    """Return the figures of a report by section and name, in today's words."""
    return {
        f"{FORMER.get(section, section)}: {each['name'].replace('the door', 'the relay')}": Figure(**each)
        for section, found in report["sections"].items()
        for each in found["figures"]
    }


def worse_by(before: Figure, after: Figure) -> float:
    """Return how many times worse a figure has become; below 1 it is better."""
    if before.better == "lower":
        return after.value / before.value if before.value else 1.0
    return before.value / after.value if after.value else float("inf")


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield a line for each figure, and whether it is a ratio that has become worse."""
    old, new = figures(before), figures(after)
    for name in sorted(old.keys() | new.keys()):
        if name not in old or name not in new:
            yield f"{name}: only {'before' if name in old else 'now'}", False
            continue
        times = worse_by(old[name], new[name])
        bad = old[name].unit == "x" and times > NOISE
        word = "worse" if times > NOISE else "better" if times < 1 / NOISE else "the same"
        yield f"{name}: {old[name].value:.4g} → {new[name].value:.4g} {new[name].unit} ({word})", bad


def main() -> int:
    """Compare the two reports named on the command line: the stored baseline and the latest run, if none is."""
    named = [Path(name) for name in sys.argv[1:]] or [RESULTS / "baseline.json", RESULTS / "latest.json"]
    if missing := [str(path) for path in named if not path.exists()]:
        print(f"error: no such report: {', '.join(missing)}; make bench writes one", file=sys.stderr)
        return 2
    before, after = (json.loads(path.read_text()) for path in named)
    print(f"before: {before['machine']}\nnow:    {after['machine']}\n")
    rows = list(compare(before, after))
    print("\n".join(f"{'!' if bad else ' '} {text}" for text, bad in rows))
    return int(any(bad for _, bad in rows))


if __name__ == "__main__":
    sys.exit(main())
