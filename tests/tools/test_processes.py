import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bff_tools.processes import StartError
from tests.tools.conftest import MakeChild

DEADLINE_S = 10.0

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""
LAUNCHER = """
import sys, time
from pathlib import Path
from bff_tools.guard import Guard
from bff_tools.processes import Child
command = [sys.executable, "-c", "import time; time.sleep(60)"]
child = Child("x", command, port=1, log=Path(sys.argv[1]), probe=bool, guard=Guard())
child.start()
print(child.pid, flush=True)
time.sleep(60)
"""


def eventually(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until, "it did not come true"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Tell whether no such process runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_child_is_ready_when_it_answers(make_child: MakeChild) -> None:
    child = make_child()
    assert not child.answers(0.1)
    child.start()
    child.wait_ready(DEADLINE_S)
    assert child.answers()
    assert child.log_text() == "serving\n"


def test_a_stopped_child_starts_again_on_its_port(make_child: MakeChild) -> None:
    child = make_child()
    child.start()
    child.wait_ready(DEADLINE_S)
    first = child.pid
    child.restart(DEADLINE_S)
    assert child.pid != first
    assert child.answers()
    assert child.log_text() == "serving\n" * 2


def test_a_start_while_it_runs_changes_nothing(make_child: MakeChild) -> None:
    child = make_child()
    child.start()
    first = child.pid
    child.start()
    assert child.pid == first


def test_sigterm_ends_a_child_that_listens_to_it(make_child: MakeChild) -> None:
    child = make_child()
    child.start()
    child.wait_ready(DEADLINE_S)
    child.stop()
    assert (child.pid, child.exit_status, child.fate, child.wanted) == (None, -signal.SIGTERM, "SIGTERM", False)


def test_sigkill_ends_a_child_that_does_not(make_child: MakeChild) -> None:
    child = make_child(STUBBORN)
    child.start()
    eventually(lambda: "deaf" in child.log_text())
    child.stop(grace=0.05)
    assert child.exit_status == -signal.SIGKILL


@pytest.mark.parametrize("end", ["stop", "kill", "crash"])
def test_what_a_child_started_ends_with_it(make_child: MakeChild, end: str) -> None:
    child = make_child(PARENT)
    child.start()
    eventually(lambda: child.log_text().endswith("\n"))
    grandchild = int(child.log_text())
    if end == "crash":
        os.kill(child.pid or 0, signal.SIGKILL)
        eventually(lambda: child.exit_status is not None)
    else:
        getattr(child, end)()
    eventually(lambda: gone(grandchild))


def test_a_hanging_child_can_be_stopped(make_child: MakeChild) -> None:
    child = make_child()
    child.start()
    child.wait_ready(DEADLINE_S)
    child.signal(signal.SIGSTOP)
    assert not child.answers(0.1)
    child.stop()
    assert child.exit_status == -signal.SIGTERM


def test_a_child_that_ends_at_once_is_reported_with_its_last_words(make_child: MakeChild) -> None:
    child = make_child("import sys; sys.exit('no such setting')")
    child.start()
    with pytest.raises(StartError, match=r"child ended with status 1\n  child \| no such setting"):
        child.wait_ready(DEADLINE_S)


def test_a_child_that_never_answers_is_reported_in_time(make_child: MakeChild) -> None:
    child = make_child("import time; time.sleep(60)")
    child.start()
    with pytest.raises(StartError, match=r"child does not answer on port \d+ after 0\.1 s"):
        child.wait_ready(0.1)


def test_a_program_that_does_not_exist_is_reported(make_child: MakeChild) -> None:
    child = make_child()
    child.command = ["/no/such/program"]
    with pytest.raises(StartError, match="child cannot be started: No such file or directory"):
        child.start()


def test_the_wait_for_an_answer_can_be_cancelled(make_child: MakeChild) -> None:
    child = make_child("import time; time.sleep(60)")
    child.start()
    with pytest.raises(StartError, match="cancelled"):
        child.wait_ready(DEADLINE_S, cancelled=lambda: True)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_children_end_when_their_launcher_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LAUNCHER, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as launcher:  # noqa: S603  our own program
        assert launcher.stdout is not None
        child = int(launcher.stdout.readline())
        assert not gone(child)
        launcher.kill()
    eventually(lambda: gone(child))
