"""A service is replaced under load, or one of its processes is not like the others: nobody notices."""

import os
from collections.abc import Iterator

import pytest

from tests.chaos.crowd import learn
from tests.chaos.disturbances import NOTHING, WORKER_KILLED, rolled
from tests.chaos.report import Report
from tests.chaos.strength import STRENGTH
from tests.chaos.trial import endure
from tests.chaos.world import SERVICES, World, world
from tests.support.clocks import FAKETIME, ahead

pytestmark = pytest.mark.slow

SIZE = STRENGTH.rolled_size
AHEAD = ahead("+1h")


@pytest.fixture(scope="module")
def pairs(report: Report) -> Iterator[World]:
    del report
    with world(replicas=2) as made:
        learn(made)
        yield made


@pytest.mark.timeout(180)
@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_is_replaced_and_no_request_or_frame_is_lost(
    pairs: World, report: Report, service: str
) -> None:
    finding = await endure(pairs, rolled(service), SIZE)
    report.add(finding)
    finding.judge()


@pytest.mark.timeout(180)
async def test_a_killed_worker_is_replaced_and_its_viewers_come_back(report: Report) -> None:
    two = {"BFF_WORKERS": "2"}
    with world(aggregator=two) as made:
        learn(made)
        finding = await endure(made, WORKER_KILLED, SIZE)
    report.add(finding)
    finding.judge()


@pytest.mark.timeout(180)
@pytest.mark.skipif(FAKETIME is None and not os.environ.get("CI"), reason="libfaketime is not installed")
async def test_a_host_whose_clock_is_an_hour_ahead_gives_right_answers(report: Report) -> None:
    assert FAKETIME is not None
    with world(replicas=2, **{f"{service}-2": AHEAD for service in SERVICES}) as made:
        learn(made)
        finding = await endure(made, NOTHING, SIZE)
    finding.name = "the clock of one host an hour ahead"
    report.add(finding)
    finding.judge()
