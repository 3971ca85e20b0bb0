"""What the trials share."""

from collections.abc import Iterator

import pytest

from tests.chaos.report import Report


@pytest.fixture(scope="session")
def report() -> Iterator[Report]:
    """Collect what all trials show."""
    made = Report()
    yield made
    made.write()
