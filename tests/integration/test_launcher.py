"""`python -m bff_tools`, from its first line to the last process it leaves behind: none."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bff_tools.ports import free_ports, is_free

DEADLINE_S = 60.0


def get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310  our own origin
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def eventually(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until, "it did not come true"
        time.sleep(0.05)


def of_run(port: int) -> list[int]:
    """Return the processes whose working folder is that of the run: all that the launcher started but its guard."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            where = (folder / "cwd").readlink()
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if where.match(f".local/{port}") and state != "Z":
            found.append(int(folder.name))
    return found


@contextmanager
def launched(port: int, *arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Run the launcher until its URL line, hand over process and URL, and kill it if the test did not end it."""
    command = [sys.executable, "-m", "bff_tools", "--port", str(port), *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True, start_new_session=True) as process:  # noqa: S603  our own
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if found := re.fullmatch(r"ready at (http://\S+)/ .*\n", line):
                    yield process, found[1]
                    return
            raise AssertionError("".join(lines))
        finally:
            if process.poll() is None:
                process.kill()


pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("_no_settings_of_the_shell"),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


def test_the_whole_stack_comes_up_heals_and_ends_on_ctrl_c() -> None:
    (port,) = free_ports(1)
    with launched(port) as (process, url):
        assert url == f"http://127.0.0.1:{port}"
        assert len(of_run(port)) >= 6
        assert json.loads(get(f"{url}/health")[1])["services"].keys() == {"proxy", "aggregator", "wsrelay"}
        assert get(f"{url}/backtests") == get(f"{url}/api/v1/backtests")
        (backend,) = [pid for pid in of_run(port) if b"bff_demo" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(backend, signal.SIGKILL)
        eventually(lambda: get(f"{url}/api/v1/backtests?limit=1")[0] in {502, 503})
        eventually(lambda: get(f"{url}/api/v1/backtests?limit=1")[0] == 200)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, rest
        assert "backend ended with SIGKILL; starting it again in 3 s" in rest
        assert re.search(r"^nginx +\| \{", rest, re.MULTILINE)
        assert "\x1b" not in rest
    assert of_run(port) == []
    assert is_free(port)


def test_an_absent_backend_does_not_keep_it_from_starting_and_sigterm_ends_it() -> None:
    port, nobody = free_ports(2)
    with launched(port, "--backend-url", f"http://127.0.0.1:{nobody}") as (process, url):
        assert get(f"{url}/health/live")[0] == 200
        health = json.loads(get(f"{url}/health")[1])
        assert health["status"] == "degraded"
        assert health["services"]["proxy"]["dependencies"]["backend"]["status"] == "down"
        status, body = get(f"{url}/api/v1/backtests")
        assert (status, json.loads(body)["error"]["code"]) == (502, "BACKEND_UNAVAILABLE")
        assert not any(b"bff_demo" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in of_run(port))
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, rest
    assert of_run(port) == []


def test_a_launcher_that_is_killed_takes_everything_with_it() -> None:
    port, nobody = free_ports(2)
    with launched(port, "--backend-url", f"http://127.0.0.1:{nobody}") as (process, _):
        assert of_run(port)
        process.kill()
    eventually(lambda: of_run(port) == [])
