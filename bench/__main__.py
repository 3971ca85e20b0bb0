"""`make bench`: run every measurement after the other and keep the report in `bench/results/`, as Markdown and JSON.

`make bench ARGS="proxy charts"` runs some of them; `make bench ARGS=essentials BEFORE=../other-checkout` holds that
checkout's services against this one's.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from bench.lib import figures
from bench.lib.figures import FORMER, Figure

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SCENARIOS = (
    "essentials",
    "transports",
    "libraries",
    "proxy",
    "overload",
    "charts",
    "original",
    "runs",
    "access",
    "passthrough",
    "playback",
    "flags",
    "client_code",
    "page",
    "scaling",
)
"""Each module of `bench/scenarios/`, which is a section of a report."""


def machine() -> str:
    """Return what figures depend on besides the code."""
    system = f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {system}; load before the run {load}"


def run(name: str, kept: Path) -> tuple[str, list[Figure]]:
    """Run one scenario, show what it prints, and return that and its figures."""
    print(f"\n== {name} ==", flush=True)
    kept.write_text("")
    process = subprocess.Popen(  # noqa: S603  our own scripts
        [sys.executable, "-m", f"bench.scenarios.{name}"],
        cwd=HERE.parent,
        env={**os.environ, figures.FILE: str(kept)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None  # noqa: S101  asked for above
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    if process.wait():
        lines.append(f"ended with status {process.returncode}\n")
    return "".join(lines), figures.read(kept.read_text())


def table(found: list[Figure]) -> str:
    """Return figures as a Markdown table."""
    rows = [
        f"| {each.name} | {each.value:.4g} {each.unit} "
        f"| {'' if each.goal is None else f'{each.goal:g} {each.unit}'} "
        f"| {'' if each.is_met is None else 'yes' if each.is_met else 'no'} |"
        for each in found
    ]
    return "\n".join(["| figure | measured | goal | met |", "|---|---|---|---|", *rows, ""]) if rows else ""


def main() -> int:
    """Run the scenarios named on the command line, else all; return 1 if one failed, 2 if there is none of a name."""
    chosen = [FORMER.get(name, name) for name in sys.argv[1:]] or list(SCENARIOS)
    if unknown := [name for name in chosen if name not in SCENARIOS]:
        print(f"error: no such scenario: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}", file=sys.stderr)
        return 2
    about = machine()
    print(about)
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        reports = {name: run(name, Path(folder) / "figures") for name in chosen}
    sections = "".join(f"\n## {name}\n\n{table(found)}\n```\n{text}```\n" for name, (text, found) in reports.items())
    (RESULTS / "latest.md").write_text(f"# Measurements\n\n{about}\n{sections}")
    kept = {name: {"figures": [asdict(each) for each in found]} for name, (_, found) in reports.items()}
    (RESULTS / "latest.json").write_text(json.dumps({"machine": about, "sections": kept}, indent=1) + "\n")
    return int(any("ended with status" in text for text, _ in reports.values()))


if __name__ == "__main__":
    sys.exit(main())
