"""Whatever goes wrong between the processes or to them: right answers or plain refusals, and no frame is lost.

`make chaos` runs every disturbance under two loads and prints a table; `make test` runs part of it under the light one.
"""

import os
from collections.abc import Iterator

import pytest

from tests.chaos.crowd import learn
from tests.chaos.disturbances import NETWORK, PROCESSES
from tests.chaos.report import Report
from tests.chaos.trial import Disturbance, endure
from tests.chaos.world import World, world

pytestmark = pytest.mark.slow

ALL = bool(os.environ.get("CHAOS"))
LOADS = (1, 6) if ALL else (1,)
BRIEF = {
    "backend": {"latency", "cut", "reset", "black hole", "backend killed, started again", "backend frozen"},
    "redis": {"cut", "black hole", "redis killed, started again", "redis frozen", "redis full", "redis emptied"},
    "services": {"cut", "reset"},
    "browser": {"cut", "jitter", "bandwidth"},
    "none": {"disk full for logs"},
}
CHOSEN = [each for each in NETWORK + PROCESSES if ALL or each.name in BRIEF[each.place]]
TRIALS = [(disturbance, size) for size in LOADS for disturbance in CHOSEN]


@pytest.fixture(scope="module")
def whole() -> Iterator[World]:
    with world() as made:
        learn(made)
        yield made


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("disturbance", "size"), TRIALS, ids=[f"{each.place}-{each.name}-{size}" for each, size in TRIALS]
)
async def test_nothing_is_wrong_or_lost(whole: World, report: Report, disturbance: Disturbance, size: int) -> None:
    finding = await endure(whole, disturbance, size)
    report.add(finding)
    assert finding.violations == []
