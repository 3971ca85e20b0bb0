"""Whatever goes wrong between the processes or to them: right answers or plain refusals, and no frame is lost.

`make chaos` runs every disturbance under two loads; `make test-slow` runs part of it under the light one.
"""

from collections.abc import Iterator

import pytest

from tests.chaos.crowd import learn
from tests.chaos.disturbances import NETWORK, PROCESSES
from tests.chaos.report import Report
from tests.chaos.strength import STRENGTH
from tests.chaos.trial import Disturbance, endure
from tests.chaos.world import World, world

pytestmark = pytest.mark.slow

BRIEF = {
    "backend": {"latency", "cut", "reset", "black hole", "backend killed, started again", "backend frozen"},
    "redis": {"cut", "black hole", "redis killed, started again", "redis frozen", "redis full", "redis emptied"},
    "services": {"cut", "reset"},
    "browser": {"cut", "jitter", "bandwidth"},
    "none": {"disk full for logs"},
}
CHOSEN = [each for each in NETWORK + PROCESSES if STRENGTH.is_full or each.name in BRIEF[each.place]]
TRIALS = [(disturbance, size) for size in STRENGTH.loads for disturbance in CHOSEN]


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
    finding.judge()
