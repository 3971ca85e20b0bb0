"""The view of a run through the real nginx."""

import json
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from bff_tools import Stack, StackOptions
from tests.integration.standin import MakeStack

LONG = 60.0
GUARD = 20.0


@pytest.fixture(scope="module")
def slow_stack(make_stack: MakeStack) -> Stack:
    """A stack whose curves may take longer than any test."""
    environment = {"aggregator": {"BFF_RUN_TIMEOUT": str(LONG), "BFF_RUN_LATE_TIMEOUT": str(LONG)}}
    return make_stack(StackOptions(demo_args=("--faults",), environment=environment))


@pytest.fixture
def backend(slow_stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=slow_stack.backend_url, trust_env=False, timeout=GUARD) as client:
        yield client
        client.put("/__faults", json={"rules": []}).raise_for_status()


def hold_back(backend: httpx.Client, pattern: str) -> None:
    """Let the backend send the answers to these paths byte by byte, a second each."""
    rules = [{"path_pattern": pattern, "drip_bytes_per_s": 1}]
    backend.put("/__faults", json={"rules": rules}).raise_for_status()


def settled(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + GUARD
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("held", "timeframe", "names"),
    [("/equity$|^/bars/daily", "1D", ["head"]), ("/equity$", "1H", ["head", "chart"])],
)
def test_lines_come_one_by_one_and_a_client_that_leaves_is_noticed(
    slow_stack: Stack, backend: httpx.Client, held: str, timeframe: str, names: list[str]
) -> None:
    hold_back(backend, held)
    runs = backend.get("/backtests?limit=100&symbol=AAPL").json()["items"]
    run = next(item for item in runs if item["status"] == "DONE" and item["run_from"] == "2024-11-01")
    headers = {"X-Request-ID": f"left-after-{names[-1]}", "Accept-Encoding": "gzip"}
    with (
        httpx.Client(base_url=slow_stack.origin, trust_env=False, timeout=GUARD) as origin,
        origin.stream("GET", f"/api/v1/runs/{run['run_id']}/view?timeframe={timeframe}", headers=headers) as answer,
    ):
        lines = answer.iter_lines()
        told = [json.loads(next(lines)) for _ in names]
    assert answer.headers["content-encoding"] == "gzip"
    assert [line["name"] for line in told] == names
    assert told[0]["body"]["run_from"] == "2024-11-01"
    # A request is logged when it ends; left alone this one would go on for longer than the guard.
    settled(lambda: headers["X-Request-ID"] in (slow_stack.folder / "aggregator.log").read_text())
