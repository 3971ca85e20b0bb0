# ruff: noqa: INP001  a script that runs before anything is installed
"""Build the page into `frontend/dashboard/dist` if its sources are not the ones that it was built from last.

Where Node is missing or the build fails (npm's registry cannot be reached, say), one line says so and the status is 0:
everything but the page works. `--needed` makes that an error. Runs on the standard library alone.
"""

import hashlib
import importlib
import subprocess
import sys
from typing import Any

# The script beside this one. Told by name, because tools take the plain import for the folder `frontend/`.
frontend: Any = importlib.import_module("frontend")

DASHBOARD = frontend.FRONTEND / "dashboard"
BUILT = DASHBOARD / "dist"
SOURCES = ("client/src", "dashboard/src", "dashboard/public")
FILES = ("package-lock.json", "tsconfig.base.json", "dashboard/index.html", "dashboard/vite.config.ts")


def fingerprint() -> str:
    """Return a digest of everything that the page is made of."""
    folders = (path for folder in SOURCES for path in (frontend.FRONTEND / folder).rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in sorted([*folders, *(frontend.FRONTEND / name for name in FILES)]):
        digest.update(f"{path.relative_to(frontend.FRONTEND)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def build(node: Any) -> None:
    """Install what the build takes, and build. Raises FrontendError."""
    frontend.install(node)
    stamp = frontend.MODULES / ".page"
    with frontend.alone():
        current = fingerprint()
        if (BUILT / "index.html").exists() and stamp.exists() and stamp.read_text() == current:
            return
        print("building the page", file=sys.stderr)
        done = node.run("run", "build", "--workspace", "bff-dashboard", capture=True)
        if done.returncode:
            lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            raise frontend.FrontendError(f"the page could not be built: {lines[0].strip() if lines else 'no word why'}")
        stamp.write_text(current)


def main() -> int:
    """Build; return 1 if the page is needed and not there."""
    needed = "--needed" in sys.argv[1:]
    node = frontend.find_node()
    if node is None:
        print(f"{'error' if needed else 'note'}: no Node for this machine, the page is not built", file=sys.stderr)
        return int(needed)
    try:
        build(node)
    except (frontend.FrontendError, OSError, subprocess.SubprocessError) as error:
        print(f"{'error' if needed else 'note'}: {error}", file=sys.stderr)
        return int(needed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
