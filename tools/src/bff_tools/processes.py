"""One child process of the stack: started, asked whether it answers, ended with everything that it started itself."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bff_tools.guard import Guard, signal_group
from bff_tools.probes import Probe

TERM_GRACE_S = 10.0
LOG_LINES_IN_ERROR = 8


class StartError(Exception):
    """The stack cannot be started; the text says which part failed and how, for the user to read."""


class Child:
    """A command, its log file and how to tell that it answers; can be stopped and started again on the same port.

    The process leads a session and process group of its own, so the terminal's signals do not reach it and
    everything that it forks ends with it. Its output is appended to `log`, which therefore stays whole across restarts.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        port: int,
        log: Path,
        probe: Probe,
        guard: Guard,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.port = port
        self.log = log
        self._probe = probe
        self._guard = guard
        self._environment = dict(os.environ if environment is None else environment)
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None
        self.wanted = False
        """Whether it is meant to run: false before `start` and after `stop` or `kill`."""

    @property
    def pid(self) -> int | None:
        """The number of the running process, if it runs."""
        return self._process.pid if self._process and self.exit_status is None else None

    @property
    def exit_status(self) -> int | None:
        """How the process ended: a status, or minus the signal's number; None while it runs or before its start."""
        if self._process and self._process.returncode is None and self._process.poll() is not None:
            # At once: when its number is given to another process, this would end a stranger.
            signal_group(self._process.pid, signal.SIGKILL)
            self._guard.remove(self._process.pid)
        return self._process.returncode if self._process else None

    @property
    def fate(self) -> str:
        """How the process ended, in words."""
        status = self.exit_status
        if status is None:
            return "nothing: it runs" if self._process else "nothing: it was never started"
        return signal.Signals(-status).name if status < 0 else f"status {status}"

    def start(self) -> None:
        """Start the process without waiting for an answer.

        Raises:
            StartError: the program cannot be executed.
        """
        self.wanted = True
        if self.pid:
            return
        try:
            with self.log.open("ab") as output:
                self._process = subprocess.Popen(  # noqa: S603  commands are built by the stack
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=self._environment,
                    cwd=self._cwd,
                    start_new_session=True,
                )
        except OSError as error:
            raise StartError(f"{self.name} cannot be started: {error.strerror}: {self.command[0]}") from error
        self._guard.add(self._process.pid)

    def wait_ready(self, timeout: float = 30.0, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Wait until it answers.

        Raises:
            StartError: it ended, or did not answer within `timeout` seconds, with the last lines of its log; or
                `cancelled` said so meanwhile.
        """
        until = time.monotonic() + timeout
        while not cancelled():
            if not self.pid:
                raise StartError(f"{self.name} ended with {self.fate}{self._last_words()}")
            left = until - time.monotonic()
            if left <= 0:
                raise StartError(
                    f"{self.name} does not answer on port {self.port} after {timeout:g} s{self._last_words()}"
                )
            if self._probe(min(left, 2.0)):
                return
            time.sleep(0.03)
        raise StartError("the start was cancelled")

    def answers(self, timeout: float = 1.0) -> bool:
        """Ask once whether it answers."""
        return self._probe(timeout)

    def signal(self, number: int) -> None:
        """Send a signal to the process and everything that it started; SIGSTOP makes it hang."""
        if pid := self.pid:
            signal_group(pid, number)

    def terminate(self) -> None:
        """Ask the process to end, without waiting."""
        self.wanted = False
        if pid := self.pid:
            os.kill(pid, signal.SIGTERM)
            signal_group(pid, signal.SIGCONT)

    def stop(self, grace: float = TERM_GRACE_S) -> None:
        """End the process with SIGTERM, and after `grace` seconds with SIGKILL; returns when nothing of it is left."""
        self.terminate()
        until = time.monotonic() + grace
        while self.pid and time.monotonic() < until:
            time.sleep(0.01)
        self.kill()

    def kill(self) -> None:
        """End the process and everything that it started with SIGKILL; returns when nothing of it is left."""
        self.wanted = False
        if pid := self.pid:
            signal_group(pid, signal.SIGKILL)
        while self.pid:
            time.sleep(0.005)

    def restart(self, timeout: float = 30.0) -> None:
        """Stop it, start it on the same port and wait until it answers; raises StartError like `wait_ready`."""
        self.stop()
        self.start()
        self.wait_ready(timeout)

    def log_text(self) -> str:
        """Return what it has printed so far, across restarts."""
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def _last_words(self) -> str:
        lines = [line for line in self.log_text().splitlines() if line.strip()][-LOG_LINES_IN_ERROR:]
        return "".join(f"\n  {self.name} | {line}" for line in lines)
