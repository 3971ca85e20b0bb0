import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SUBJECT = """
LIMIT = 3
UNTOLD = 5

def below(n: int) -> bool:
    while n > 10:
        n = n - 1
    return n < LIMIT

def nobody_asks(n: int) -> int:
    return n + 1
"""
TESTS = """
from subject import below

def test_bounds():
    assert [below(n) for n in (1, 2, 3, 11)] == [True, True, False, False]
"""
DRIVER = """
import json
from tests.mutation import trials
from tests.mutation.mutants import mutants
from tests.mutation.swap import Subject

trials.HUNG_S = 1.0
subject = Subject("subject", ["test_subject.py"])
every = mutants(subject.source)
killers = trials.measure(subject, range(len(every)), 2)
print(json.dumps({every[at].name: killer for at, killer in killers.items()}))
"""


def verdicts(folder: Path, tests: str) -> subprocess.CompletedProcess[str]:
    for name, text in (("subject.py", SUBJECT), ("test_subject.py", tests), ("pytest.ini", "[pytest]\n")):
        (folder / name).write_text(text)
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[2]}:{folder}"}
    command = [sys.executable, "-c", DRIVER]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603


def test_what_a_test_notices_is_killed_by_it_and_what_hangs_as_well(tmp_path: Path) -> None:
    killers = json.loads(verdicts(tmp_path, TESTS).stdout)
    survivors = {name for name, killer in killers.items() if killer is None}
    assert survivors == {
        "module: `5` → `6`",
        "nobody_asks: `return n + 1` → `return None`",
        "nobody_asks: `n + 1` → `n - 1`",
        "nobody_asks: `1` → `2`",
        "below: `n > 10` → `n >= 10`",
        "below: `10` → `11`",
        "below: `1` → `2`",
    }
    assert killers["module: `3` → `4`"] == "test_subject.py::test_bounds"  # imported anew
    assert {killer for killer in killers.values() if killer} == {"test_subject.py::test_bounds"}
    assert killers["below: `n - 1` → `n + 1`"] == "test_subject.py::test_bounds"  # it never ends


def test_tests_that_fail_without_a_mutant_judge_none(tmp_path: Path) -> None:
    told = verdicts(tmp_path, TESTS.replace("False, False", "False, True"))
    assert "RuntimeError: test_subject.py fail without a mutant" in told.stderr


@pytest.fixture(autouse=True)
def _plugins_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
