"""`make bench`: run every measurement after the other and keep the report in `bench/results/latest.md`.

`make bench ARGS="proxy charts"` runs some of them.
"""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SCRIPTS = ("carriers", "proxy", "pressure", "charts", "runs", "door", "playback", "flags", "frontend")


def machine() -> str:
    """Return what figures depend on besides the code."""
    system = f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {system}; load before the run {load}"


def run(name: str) -> str:
    """Run one script, show what it prints and return it."""
    print(f"\n== {name} ==", flush=True)
    process = subprocess.Popen(  # noqa: S603  our own scripts
        [sys.executable, "-m", f"bench.{name}"], cwd=HERE.parent, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None  # noqa: S101  asked for above
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    if process.wait():
        lines.append(f"ended with status {process.returncode}\n")
    return "".join(lines)


def main() -> int:
    """Run the scripts named on the command line, else all; return 1 if one failed."""
    chosen = sys.argv[1:] or [name for name in SCRIPTS if (HERE / f"{name}.py").exists()]
    about = machine()
    print(about)
    reports = {name: run(name) for name in chosen}
    RESULTS.mkdir(exist_ok=True)
    sections = "".join(f"\n## {name}\n\n```\n{text}```\n" for name, text in reports.items())
    (RESULTS / "latest.md").write_text(f"# Measurements\n\n{about}\n{sections}")
    return int(any("ended with status" in text for text in reports.values()))


if __name__ == "__main__":
    sys.exit(main())
