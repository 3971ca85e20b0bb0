"""What the trials share."""

from collections.abc import Iterator

import pytest

from tests.chaos.report import Report


@pytest.fixture(scope="module")
def report() -> Iterator[Report]:
    """Collect what a module's trials show."""
    made = Report()
    yield made
    made.write()
