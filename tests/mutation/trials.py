"""Run a module's tests against its mutants: collected once, then one fork for each mutant.

`measure` forks a process that collects the tests and runs them as they are, to know how long each takes. A mutant of a
function is then a fork of that process with the function's code exchanged: it imports and collects nothing, runs the
tests first that noticed most mutants in the least time, and ends at the first failure. A mutant of what runs at import
(a constant, a default, a decorator's argument) is a fork that imports the module anew.

A mutant hangs if a test takes several times as long as without it. Whatever a trial starts ends with it.
"""

import contextlib
import io
import json
import os
import selectors
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from tests.mutation.swap import Subject, changed_functions, functions_of, swap_at_import

OPTIONS = (
    *("-q", "-s", "-p", "no:cacheprovider", "-o", "timeout=0", "--no-header"),
    *("-m", "not slow", "-W", "default"),
)
COLLECTED_S, HUNG_S, HUNG_TIMES = 60.0, 4.0, 5.0
"""Collecting takes at most so long; a test hangs if it takes so many times as long as usual, and so much longer."""

PASSED, FAILED = "passed", "failed"


@dataclass
class Verdicts:
    """What became of mutants so far, and what that says about the next one."""

    seconds: Mapping[str, float]
    """How long each test takes without a mutant."""

    killers: dict[int, str | None] = field(default_factory=dict)
    """The test that noticed each mutant, or None where none did."""

    def order(self) -> list[str]:
        """Return the tests in the order in which the next trial had better run them: most told in the least time."""
        told = Counter(killer for killer in self.killers.values() if killer)
        return sorted(self.seconds, key=lambda test: (self.seconds[test] + 0.001) / (told[test] + 0.1))

    def allowed(self, test: str) -> float:
        """Return how long a test may take before it hangs."""
        return HUNG_S + HUNG_TIMES * self.seconds.get(test, COLLECTED_S)


def measure(subject: Subject, chosen: Sequence[int], workers: int) -> dict[int, str | None]:
    """Try mutants of a subject.

    Args:
        subject: The module and its tests.
        chosen: Indices of the mutants to try.
        workers: How many run at a time.

    Returns:
        By index, the test that noticed the mutant, or None if none did.

    Raises:
        RuntimeError: The tests fail, or cannot be collected, without a mutant; or the module is imported already, so
            that it could not be imported with a mutant.
    """
    if subject.module in sys.modules:
        raise RuntimeError(f"{subject.module} is imported already")
    warm = Trial.begin(lambda pipe: _pytest(subject, _Warm(pipe, subject, chosen, workers)))
    try:
        told = warm.everything()
    finally:
        warm.end()
    if not told:
        raise RuntimeError(f"{', '.join(subject.tests)} fail without a mutant")
    answer = json.loads(told[-1])
    verdicts = Verdicts(answer["seconds"], {int(index): test for index, test in answer["killers"].items()})
    left = [index for index in chosen if index not in verdicts.killers]
    _try_all(left, lambda index: _imported_anew(subject, index, verdicts), verdicts, workers)
    return verdicts.killers


@dataclass
class Trial:
    """A process in a group of its own that says line by line, in a pipe, which test it runs and how that ended."""

    pid: int
    pipe: int
    until: float
    last: str = "nothing"

    @classmethod
    def begin(cls, child: Callable[[int], None]) -> "Trial":
        """Fork, and let the child do something with its end of the pipe."""
        reading, writing = os.pipe()
        if (pid := os.fork()) == 0:
            os.setpgid(0, 0)
            os.close(reading)
            try:
                child(writing)
            finally:
                os._exit(1)
        os.close(writing)
        return cls(pid, reading, time.monotonic() + COLLECTED_S)

    def everything(self) -> list[str]:
        """Return all that the process says until it ends."""
        with os.fdopen(self.pipe, closefd=False) as pipe:
            return pipe.read().splitlines()

    def hear(self, verdicts: Verdicts) -> bool | None:
        """Return whether the tests passed, or None while they run; what breaks off has failed."""
        lines = os.read(self.pipe, 1 << 16).decode().splitlines()
        if not lines or lines[-1] == FAILED:
            self.last = lines[-2] if len(lines) > 1 else self.last
            return False
        if lines[-1] == PASSED:
            return True
        self.last = lines[-1]
        self.until = time.monotonic() + verdicts.allowed(self.last)
        return None

    def end(self) -> None:
        """End the process and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.pipe)


def _try_all(indices: Sequence[int], start: Callable[[int], Trial], verdicts: Verdicts, workers: int) -> None:
    """Run a trial of each mutant, several at a time, and add their verdicts."""
    left, running = iter(indices), dict[int, Trial]()
    with selectors.DefaultSelector() as selector:
        while True:
            while len(running) < workers and (index := next(left, None)) is not None:
                running[index] = start(index)
                selector.register(running[index].pipe, selectors.EVENT_READ, index)
            if not running:
                return
            soonest = min(trial.until for trial in running.values())
            heard = {key.data for key, _ in selector.select(max(0.0, soonest - time.monotonic()))}
            for index, trial in list(running.items()):
                passed = trial.hear(verdicts) if index in heard else None
                if passed is None and time.monotonic() < trial.until:
                    continue
                verdicts.killers[index] = None if passed else trial.last
                selector.unregister(trial.pipe)
                running.pop(index).end()


def _pytest(subject: Subject, plugin: "_Tests") -> None:
    """Run the tests in silence."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    sys.stdout = sys.stderr = io.StringIO()
    pytest.main([*OPTIONS, *subject.tests], plugins=[plugin])


def _imported_anew(subject: Subject, index: int, verdicts: Verdicts) -> Trial:
    def child(pipe: int) -> None:
        swap_at_import(subject.module, subject.code(index))
        _pytest(subject, _Tests(pipe, verdicts.order()))

    return Trial.begin(child)


class _Tests:
    """A plugin of pytest that runs what was collected and says how it goes; the first failure ends the process.

    It ends without pytest's own way out, which would collect garbage for a while.
    """

    def __init__(self, pipe: int, order: Sequence[str] = ()) -> None:
        self._pipe, self._order = pipe, order

    def say(self, line: str) -> None:
        """Write a line into the pipe, whole."""
        left = f"{line}\n".encode()
        while left:
            left = left[os.write(self._pipe, left) :]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        place = {test: at for at, test in enumerate(self._order)}
        items = sorted(session.items, key=lambda item: place.get(item.nodeid, len(place)))
        for item, after in zip(items, [*items[1:], None], strict=True):
            self.say(item.nodeid)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
        self.say(PASSED if items and not session.testsfailed else FAILED)
        os._exit(0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.say(FAILED)
            os._exit(1)


class _Timed(_Tests):
    """Says as well how long each part of a test took."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.say(json.dumps([report.nodeid, report.duration]))
        super().pytest_runtest_logreport(report)


class _Warm(_Tests):
    """Has the tests collected and the module imported, and forks for each mutant that is within a function."""

    def __init__(self, pipe: int, subject: Subject, chosen: Sequence[int], workers: int) -> None:
        super().__init__(pipe)
        self._subject, self._chosen, self._workers = subject, chosen, workers

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        seconds = None if session.testsfailed else self._seconds(session)
        if seconds is None:
            os._exit(1)
        verdicts = Verdicts(seconds)
        before, live = self._subject.code(), functions_of(self._subject.path)
        changes = {index: changed_functions(before, self._subject.code(index)) for index in self._chosen}
        within = [index for index, changed in changes.items() if changed and changed.keys() <= live.keys()]

        def start(index: int) -> Trial:
            def child(pipe: int) -> None:
                for old, new in (changes[index] or {}).items():
                    for function in live[old]:
                        function.__code__ = new
                self._go_on(session, _Tests(pipe, verdicts.order()))

            return Trial.begin(child)

        _try_all(within, start, verdicts, self._workers)
        self.say(json.dumps({"killers": verdicts.killers, "seconds": seconds}))
        os._exit(0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Leave failures to the forks that they happen in."""

    def _go_on(self, session: pytest.Session, plugin: _Tests) -> None:
        session.config.pluginmanager.unregister(self)
        session.config.pluginmanager.register(plugin)
        plugin.pytest_runtestloop(session)

    def _seconds(self, session: pytest.Session) -> dict[str, float] | None:
        """Return how long each test takes, or None if one fails."""
        baseline = Trial.begin(lambda pipe: self._go_on(session, _Timed(pipe)))
        lines = baseline.everything()
        baseline.end()
        taken: Counter[str] = Counter()
        for test, duration in _reports(lines):
            taken[test] += duration  # type: ignore[assignment]  # a Counter adds floats as well
        return dict(taken) if PASSED in lines[-1:] else None


def _reports(lines: Sequence[str]) -> Iterator[tuple[str, float]]:
    for line in lines:
        if line.startswith("["):
            test, duration = json.loads(line)
            yield test, duration
