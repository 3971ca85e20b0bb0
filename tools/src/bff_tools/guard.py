"""Ends the stack's processes when the launcher is gone, however it went.

Run as a script of its own (`python -I guard.py`, standard input a pipe that only the launcher holds open), it is told
`+PID` for each process group that starts and `-PID` for each that was reaped. When the pipe ends, be it by a SIGKILL
of the launcher, it ends the groups that are left. Signals of the terminal do not reach it: it has its own session.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

GRACE_S = 5.0


def signal_group(group: int, number: int) -> bool:
    """Send a signal to a process group; return whether the group still had a process."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group that holds only zombies
        return False
    return True


def end_groups(groups: set[int], grace: float = GRACE_S) -> None:
    """Ask every group to end, wait `grace` seconds at most, then kill what is left."""
    left = {group for group in groups if signal_group(group, signal.SIGTERM)}
    until = time.monotonic() + grace
    while left and time.monotonic() < until:
        time.sleep(0.05)
        left = {group for group in left if signal_group(group, 0)}
    for group in left:
        signal_group(group, signal.SIGKILL)


def watch() -> None:
    """Follow the launcher's messages until its end, then end what it left behind."""
    groups: set[int] = set()
    for line in sys.stdin:
        number = int(line[1:])
        groups.add(number) if line[0] == "+" else groups.discard(number)
    end_groups(groups)


class Guard:
    """The launcher's side: starts the guard process and tells it what to end. `close` ends the guard itself."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603  this very file
            [sys.executable, "-I", "-S", str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
            bufsize=1,
        )

    def add(self, group: int) -> None:
        """Have the process group ended if the launcher disappears."""
        self._tell(f"+{group}\n")

    def remove(self, group: int) -> None:
        """Forget a process group that is gone: its number may be given to somebody else's."""
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """End the guard, and with it whatever it was not told to forget; takes `GRACE_S` seconds at most."""
        if self._process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(GRACE_S + 5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tell(self, line: str) -> None:
        if self._process.stdin:
            with contextlib.suppress(BrokenPipeError, ValueError):
                self._process.stdin.write(line)
                self._process.stdin.flush()


if __name__ == "__main__":
    watch()
