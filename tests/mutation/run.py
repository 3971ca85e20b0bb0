"""Change one thing at a time in a module, run its tests, and tell which changes no test noticed.

    python -m tests.mutation.run [--sample N] [--seed S] [--write] [MODULE…]

Each mutant runs in a fork of this process, which swaps the module's code when it is imported: no file is touched. A
mutant that makes its tests hang is noticed as well. `--sample` takes so many mutants of each module, chosen by the
seed; `--write` puts the table into docs/testing.md.
"""

import argparse
import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import os
import random
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, ModuleType

import pytest

from tests.mutation.mutants import Mutant, mutants, mutate

ROOT = Path(__file__).parents[2]
PAGE, BEGIN, END = ROOT / "docs/testing.md", "<!-- mutants -->", "<!-- /mutants -->"
REASONS = Path(__file__).with_name("survivors.toml")
HUNG_S, HUNG_TIMES = 10.0, 5.0
"""A mutant hangs if its tests take so much longer than without it."""

OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow", "--no-header", "-W", "default")
WARM = (
    "asyncio",
    "fastapi",
    "httpx",
    "hypothesis",
    "numpy",
    "orjson",
    "polars",
    "pyarrow",
    "redis",
    "uvicorn",
    "websockets",
)
"""Libraries that most tests import: once here, not again in each fork."""


@dataclass(frozen=True)
class Subject:
    """A module, and the test files that ought to notice what is changed in it."""

    module: str
    tests: Sequence[str]

    @property
    def source(self) -> str:
        """Return the module's text."""
        spec = importlib.util.find_spec(self.module)
        assert spec is not None
        assert spec.origin is not None
        return Path(spec.origin).read_text()


SUBJECTS = [
    Subject("bff_aggregator.charts.resample", ["tests/aggregator/charts/test_resample.py"]),
    Subject("bff_aggregator.runs.performance", ["tests/aggregator/runs/test_performance.py"]),
    Subject("bff_aggregator.cache.single_flight", ["tests/aggregator/cache/test_single_flight.py"]),
    Subject("bff_aggregator.backend.priority", ["tests/aggregator/backend/test_priority.py"]),
    Subject(
        "bff_aggregator.cache.loader",
        ["tests/aggregator/cache/test_loader.py", "tests/aggregator/charts/test_chunk_cache.py"],
    ),
    Subject("bff_proxy.flags.rules", ["tests/proxy/flags/test_snapshot.py", "tests/proxy/flags/test_definitions.py"]),
    Subject(
        "bff_proxy.flags.snapshot", ["tests/proxy/flags/test_snapshot.py", "tests/proxy/flags/test_definitions.py"]
    ),
    Subject("bff_shared.upstream.concurrency_limit", ["tests/shared/upstream/test_concurrency_limit.py"]),
    Subject("bff_shared.http.headers", ["tests/shared/http/test_headers.py"]),
    Subject("bff_shared.limits", ["tests/shared/test_limits.py"]),
    Subject("bff_shared.outcomes", ["tests/shared/test_outcomes.py"]),
    Subject("bff_shared.upstream.resilience", ["tests/shared/upstream/test_resilience.py"]),
    Subject("bff_wsrelay.passthrough.resume_state", ["tests/wsrelay/passthrough/test_resume_state.py"]),
    Subject(
        "bff_wsrelay.playback.pacer",
        ["tests/wsrelay/playback/test_pacer.py", "tests/wsrelay/playback/test_conservation.py"],
    ),
    Subject("bff_wsrelay.playback.scheduler", ["tests/wsrelay/playback/test_scheduler.py"]),
]


class _Swap(importlib.abc.MetaPathFinder):
    """Finds one module, and gives it the code of a mutant."""

    def __init__(self, module: str, code: CodeType) -> None:
        self._module, self._code = module, code

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the usual place of the module with another loader, and nothing for any other."""
        if fullname != self._module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _Loader(fullname, spec.origin, self._code)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a mutant."""

    def __init__(self, name: str, path: str, code: CodeType) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002  the signature is the import system's
        """Return the mutant's code."""
        return self._code


def passes(subject: Subject, index: int | None, limit: float) -> bool:
    """Run a subject's tests against a mutant, or the module as it is, in a fork; False as well if they hang."""
    pid = os.fork()
    if pid == 0:
        os._exit(_child(subject, index))
    until = time.monotonic() + limit
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def _child(subject: Subject, index: int | None) -> int:
    os.setpgid(0, 0)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    sys.stdout = sys.stderr = io.StringIO()
    if index is not None:
        code = compile(mutate(subject.source, index), f"mutant {index} of {subject.module}", "exec")
        sys.meta_path.insert(0, _Swap(subject.module, code))
    try:
        return int(pytest.main([*OPTIONS, *subject.tests]))
    except BaseException:  # noqa: BLE001  whatever ends a mutant's tests, they noticed it
        return 1


@dataclass
class Result:
    """How a subject's tests did."""

    subject: Subject
    tried: int = 0
    killed: int = 0
    survivors: list[Mutant] = field(default_factory=list)

    def unexplained(self, reasons: dict[str, str]) -> list[Mutant]:
        """Return the survivors that no reason is kept for."""
        return [mutant for mutant in self.survivors if mutant.name not in reasons]


def examine(subject: Subject, chosen: Sequence[int], workers: int) -> Result:
    """Try mutants of a subject; raises RuntimeError if its tests fail without one."""
    begun = time.monotonic()
    if not passes(subject, None, 600.0):
        raise RuntimeError(f"{', '.join(subject.tests)} fail without a mutant")
    limit = HUNG_S + HUNG_TIMES * (time.monotonic() - begun)
    all_of_them = mutants(subject.source)
    with ThreadPoolExecutor(workers) as pool:
        survived = list(pool.map(lambda index: passes(subject, index, limit), chosen))
    result = Result(subject, len(chosen), survived.count(False))
    result.survivors = [all_of_them[index] for index, alive in zip(chosen, survived, strict=True) if alive]
    return result


def reasons_for(module: str) -> dict[str, str]:
    """Return why mutants of a module may survive, by name."""
    kept: dict[str, str] = tomllib.loads(REASONS.read_text()).get(module, {}) if REASONS.exists() else {}
    return kept


def table(results: Sequence[Result], what: str) -> str:
    """Return the results as Markdown: what was tried, a row for each module, then the survivors."""
    lines = [what, "", "| module | mutants | killed | share |", "|---|---|---|---|"]
    for result in results:
        share = 100 * result.killed // max(1, result.tried)
        lines.append(f"| `{result.subject.module}` | {result.tried} | {result.killed} | {share}% |")
    lines += ["", "Survivors:", ""]
    for result in results:
        reasons = reasons_for(result.subject.module)
        for mutant in result.survivors:
            reason = reasons.get(mutant.name, "not examined")
            lines.append(f"- `{result.subject.module}` {mutant.name}: {reason}")
    return "\n".join(lines)


def _commit() -> str:
    command = ("git", "describe", "--always", "--dirty")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603  fixed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation.run", description="Which changes of the code does no test notice?"
    )
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="modules to change; all without one")
    parser.add_argument("--sample", type=int, metavar="N", help="so many mutants of each module; all without it")
    parser.add_argument("--seed", type=int, default=1, help="chooses the sample (default %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="at a time (default %(default)s)")
    parser.add_argument("--minutes", type=float, help="begin no other module after so long")
    parser.add_argument("--write", action="store_true", help="put the table into docs/testing.md")
    return parser.parse_args()


def _chosen(subjects: Sequence[Subject], sample: int | None, seed: int) -> Iterator[tuple[Subject, list[int]]]:
    draw = random.Random(seed)  # noqa: S311  the same every time
    for subject in subjects:
        every = range(len(mutants(subject.source)))
        yield subject, sorted(draw.sample(every, min(sample, len(every)))) if sample else list(every)


def main() -> None:
    """Try the mutants that the command line asks for; raises RuntimeError if tests fail without one."""
    chosen = _arguments()
    os.chdir(ROOT)
    for name in WARM:
        importlib.import_module(name)
    subjects = [subject for subject in SUBJECTS if not chosen.modules or subject.module in chosen.modules]
    until = time.monotonic() + 60 * chosen.minutes if chosen.minutes else float("inf")
    results = []
    for subject, indices in _chosen(subjects, chosen.sample, chosen.seed):
        if time.monotonic() > until:
            break
        result = examine(subject, indices, chosen.workers)
        results.append(result)
        print(f"{subject.module}: {result.killed} of {result.tried} killed", flush=True)
        for mutant in result.unexplained(reasons_for(subject.module)):
            print(f"  line {mutant.line}, {mutant.name}", flush=True)
    if chosen.write:
        sampled = f"A sample of {chosen.sample} of each module, seed {chosen.seed}:"
        what = f"At commit {_commit()}. {sampled if chosen.sample else 'Every mutant:'}"
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{table(results, what)}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
