"""A carrier that is closed when its test ends."""

from collections.abc import AsyncIterator

import pytest

from bff_shared.carrier import Carrier
from tests.support.carrier import new_carrier


@pytest.fixture
async def carrier() -> AsyncIterator[Carrier]:
    async with new_carrier() as carrier:
        yield carrier
