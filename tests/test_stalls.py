"""Stalls of the machine are seen, and only what was judged by a time is measured again."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.support.stalls import NOTED_S, Stalls

pytest_plugins = ["pytester"]

WATCH = """
import sys, time
from tests.support.stalls import Stalls
with Stalls() as stalls:
    print("ready", flush=True)
    sys.stdin.readline()
    begun = time.monotonic()
    print("told", flush=True)
    sys.stdin.readline()
print(stalls.longest(begun, time.monotonic()), flush=True)
"""


def test_a_process_that_was_stopped_lost_that_time() -> None:
    command = [sys.executable, "-c", WATCH]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, bufsize=1) as watching:  # noqa: S603  our own
        assert watching.stdin
        assert watching.stdout
        for word in ("ready", "told"):
            assert watching.stdout.readline() == f"{word}\n"
            if word == "ready":
                watching.stdin.write("go on\n")
        os.kill(watching.pid, signal.SIGSTOP)
        time.sleep(0.3)
        os.kill(watching.pid, signal.SIGCONT)
        watching.stdin.write("end\n")
        assert float(watching.stdout.readline()) >= 0.25


def test_stalls_count_as_far_as_they_lie_within() -> None:
    stalls = Stalls()
    for stall in ((1.0, 2.0), (5.0, 5.5), (7.0, 7.0 + NOTED_S / 2)):
        stalls.note(*stall)
    assert stalls.seen == [(1.0, 2.0), (5.0, 5.5)]
    assert stalls.lost(0.0, 9.0) == 1.5
    assert stalls.lost(1.75, 5.25) == 0.5
    assert stalls.longest(1.75, 9.0) == 0.5
    assert stalls.lost(2.0, 5.0) == stalls.longest(6.0, 9.0) == 0.0


@pytest.mark.parametrize(
    ("raised", "marked", "times"),
    [("Unsteady", "", 3), ("AssertionError", "", 1), ("AssertionError", "@pytest.mark.timing", 3)],
)
def test_what_was_judged_by_a_time_is_measured_up_to_three_times(
    pytester: pytest.Pytester, raised: str, marked: str, times: int
) -> None:
    """The project's own hooks run it."""
    pytester.makeconftest("""
        from tests.conftest import pytest_runtest_makereport, pytest_runtest_protocol
    """)
    pytester.makepyfile(f"""
        import pytest
        from tests.support.stalls import Unsteady

        seen = []

        {marked}
        def test_it():
            seen.append(1)
            raise {raised}(f"time {{len(seen)}}")
    """)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-W", "ignore")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E *{raised}: time {times}"])
