"""A stack for the tests of a module to attack."""

from collections.abc import Iterator

import pytest

from tests.chaos.hostile.target import Target, start_target


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """A stack as delivered, with users, an admin's token and the rollback of flags on."""
    made = start_target()
    yield made
    made.stack.stop()
