"""A transport that is closed when its test ends."""

from collections.abc import AsyncIterator

import pytest

from bff_shared.upstream.transport.http_transport import HttpTransport
from tests.support.transport import new_transport


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    async with new_transport() as transport:
        yield transport
