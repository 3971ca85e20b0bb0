# ruff: noqa: INP001  a script that runs before anything is installed
"""Make `.venv` hold exactly what a verb of the Makefile needs: `bootstrap.py run|dev|bench|deploy|audit`.

Runs on the standard library alone. Does nothing when the lock file and the workspace's package metadata are the ones
that were installed last. Every failure is one line on standard error and exit status 1.
"""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
MEMBERS = [ROOT / "shared", *sorted(ROOT.glob("services/*")), ROOT / "demo", ROOT / "tools"]
NEEDED = (3, 11)
PIP = ["-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet", "install"]


class SetupError(Exception):
    """Setting up failed; the text is the one line that the user sees."""


def fingerprint(lock: Path) -> str:
    """Return a digest of everything that the installed packages depend on."""
    parts = [sys.version.encode(), str(ROOT).encode(), lock.read_bytes()]
    parts += [(member / "pyproject.toml").read_bytes() for member in MEMBERS]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def pip(python: Path, *arguments: str, what: str) -> None:
    """Run pip in the environment; raise SetupError with its most telling line if it fails."""
    done = subprocess.run([python, *PIP, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode == 0:
        return
    lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
    if any(
        sign in done.stderr
        for sign in ("NewConnectionError", "ConnectTimeout", "NameResolution", "ProxyError", "Max retries")
    ):
        raise SetupError(
            f"cannot reach the Python package index to install {what}; check the network or pip's index settings"
        )
    raise SetupError(f"installing {what} failed: {lines[0].strip() if lines else 'pip said nothing'}")


def install(lock: Path, stamp: Path) -> None:
    """Create the environment and install the lock file and the workspace into it."""
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        print("setting up .venv (once)", file=sys.stderr)
        done = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise SetupError(
                "cannot create .venv: the 'venv' module is missing or incomplete (on Debian: python3-venv)"
            )
    stamp.unlink(missing_ok=True)
    print(f"installing {lock.relative_to(ROOT)}", file=sys.stderr)
    pip(python, "--require-hashes", "--only-binary=:all:", "-r", str(lock), what=str(lock.relative_to(ROOT)))
    if not re.search(r"^flit-core==", lock.read_text(), re.MULTILINE):
        return  # nothing of the project's own is built with this lock, because nothing of it is run
    editable = [argument for member in MEMBERS for argument in ("-e", str(member))]
    pip(python, "--no-deps", "--no-build-isolation", *editable, what="the project's own packages")


def main() -> int:
    """Bring the environment up to date for the lock file named on the command line."""
    name = sys.argv[1] if len(sys.argv) > 1 else "run"
    if sys.version_info < NEEDED:
        print(f"error: Python {sys.version.split()[0]} is too old; install Python 3.11 or newer", file=sys.stderr)
        return 1
    lock = ROOT / "requirements" / f"{name}.txt"
    stamp = VENV / f"installed-{name}"
    current = fingerprint(lock)
    if stamp.exists() and stamp.read_text() == current:
        return 0
    try:
        install(lock, stamp)
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    stamp.write_text(current)
    return 0


if __name__ == "__main__":
    sys.exit(main())
