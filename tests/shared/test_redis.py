"""A command that is given up ends, wherever it has come to."""

import asyncio

from bff_shared.redis import connect
from tests.support import redis_server

STEPS = 80
"""Turns of the event loop after which a command has been sent and waits for its answer."""


async def test_command_that_is_given_up_ends_at_whatever_it_is_doing() -> None:
    with redis_server.running() as server:
        client = await connect(server.url, connections=2, deadline=5)
        server.freeze()
        try:
            for steps in range(STEPS):
                command = asyncio.ensure_future(client.ping())
                for _ in range(steps):
                    await asyncio.sleep(0)
                command.cancel()
                await asyncio.wait((command,), timeout=1)
                assert command.cancelled(), f"after {steps} turns it went on"
        finally:
            server.thaw()
            await client.aclose()
