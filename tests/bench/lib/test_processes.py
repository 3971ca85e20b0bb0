import math
import subprocess
import sys

from bench.lib.processes import cpu_seconds

WORK = "import sys; sum(range(3_000_000)); print(flush=True); sys.stdin.read()"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WORK!r}])"


def test_the_cpu_of_a_process_counts_its_childrens_too_and_is_nan_once_it_is_gone() -> None:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603  ourselves
        assert process.stdout is not None
        before = cpu_seconds(process.pid)
        process.stdout.readline()
        assert cpu_seconds(process.pid) - before > 0.01
        process.communicate(b"")
    assert math.isnan(cpu_seconds(process.pid))
