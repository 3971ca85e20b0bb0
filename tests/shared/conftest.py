"""A carrier that is closed when its test ends."""

from collections.abc import AsyncIterator

import pytest

from bff_shared.upstream.transport.http_transport import Carrier
from tests.support.carrier import new_carrier


@pytest.fixture
async def carrier() -> AsyncIterator[Carrier]:
    async with new_carrier() as carrier:
        yield carrier
