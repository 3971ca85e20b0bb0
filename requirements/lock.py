"""Resolve the hashed requirement files beside this script.

One file for each service and the demo (what its image installs), `run` (everything that `make run` starts),
`dev` (run, tests and lint), `bench` (dev and the peers that are measured), `deploy` (what a roll-out runs) and `audit`
(what looks for known vulnerabilities). `bench` is resolved first and constrains the others, so every file agrees on
versions. No file names a registry host.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
WORKSPACE = sorted(
    p.relative_to(ROOT) for p in [ROOT / "shared", ROOT / "demo", ROOT / "tools", *ROOT.glob("services/*")]
)
LOCAL_PACKAGES = [f"bff-{path.name}" for path in WORKSPACE]
BUILD_BACKEND = "flit-core>=3.12"


def declared(path: Path) -> list[str]:
    """Return the dependencies a workspace member declares, optional ones too, without the workspace's own packages."""
    project = tomllib.loads((ROOT / path / "pyproject.toml").read_text())["project"]
    extras = project.get("optional-dependencies", {}).values()
    return [d for d in (*project["dependencies"], *(d for extra in extras for d in extra)) if d not in LOCAL_PACKAGES]


def inputs() -> dict[str, list[str]]:
    """Return the requirements that each lock file resolves, largest file first."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    shared = declared(Path("shared"))
    run = [BUILD_BACKEND, *(d for path in WORKSPACE for d in declared(path))]
    dev = [*run, *groups["dev"]]
    files = {
        "bench": [*dev, *groups["bench"]],
        "dev": dev,
        "run": run,
        "audit": groups["audit"],
        "deploy": groups["deploy"],
        "demo": [BUILD_BACKEND, *declared(Path("demo"))],
    }
    for service in WORKSPACE:
        if service.parts[0] == "services":
            files[service.name] = [BUILD_BACKEND, *shared, *declared(service)]
    return files


def digest(requirements: list[str]) -> str:
    """Return the line that ties a lock file to what it was resolved from."""
    return "# inputs: sha256:" + hashlib.sha256("\n".join(sorted(set(requirements))).encode()).hexdigest()


def lock(upgrade: bool) -> int:
    """Write every lock file; return the first non-zero exit status of the resolver."""
    for name, requirements in inputs().items():
        target = HERE / f"{name}.txt"
        constraints = [] if name == "bench" else ["--constraint", str(HERE.relative_to(ROOT) / "bench.txt")]
        command = [
            str(Path(sys.executable).with_name("uv")),
            *("pip", "compile", "-", "--universal", "--generate-hashes", "--python-version", "3.11", "--quiet"),
            *("--no-emit-index-url", "--no-emit-find-links", "--no-annotate", "--no-header"),
            *("--output-file", str(target.relative_to(ROOT))),
            *(["--upgrade"] if upgrade else []),
            *constraints,
        ]
        wanted = "\n".join(requirements)
        done = subprocess.run(command, input=wanted, text=True, cwd=ROOT, check=False)  # noqa: S603  built above
        if done.returncode:
            return done.returncode
        target.write_text(f"# Made by `make lock`.\n{digest(requirements)}\n{target.read_text()}")
    return 0


def check() -> int:
    """Return 1 and name the files whose inputs have changed since they were resolved."""
    stale = [
        f"requirements/{name}.txt"
        for name, requirements in inputs().items()
        if not (path := HERE / f"{name}.txt").exists() or digest(requirements) not in path.read_text().splitlines()[:2]
    ]
    if stale:
        print(f"out of date, run `make lock`: {', '.join(stale)}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only tell whether the files fit their inputs")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    arguments = parser.parse_args()
    sys.exit(check() if arguments.check else lock(arguments.upgrade))
