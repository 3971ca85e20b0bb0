"""The aggregator in front of a backend that judges, with a clock that the test sets."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from bff_aggregator.app import create_app
from bff_aggregator.settings import AggregatorSettings
from tests.support.judge import Judge, headers_of, judging
from tests.support.serving import listening

NOON = 1_735_732_800.0  # 2025-01-01: all bars are older than a week, so they are fresh for a day


@dataclass
class Hand:
    """A clock that moves only when told to (Unix seconds)."""

    now: float = NOON

    def __call__(self) -> float:
        return self.now


@dataclass
class House:
    """A judge and aggregators in front of it."""

    hand: Hand
    judge: Judge
    apps: list[Any] = field(default_factory=list)
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    async def get(self, path: str, token: str, replica: int = 0, **more: str) -> httpx.Response:
        """Ask an aggregator with a token."""
        return await self.clients[replica].get(path, headers={**headers_of(token), **more})


StartHouse = Callable[..., Awaitable[House]]


@pytest.fixture
async def start_house() -> AsyncIterator[StartHouse]:
    """Return a function that starts a judge, and aggregators with the given settings, which end before it does."""
    async with AsyncExitStack() as stack:

        async def start(replicas: int = 1, **settings: Any) -> House:
            hand = Hand()
            judge = Judge(hand)
            url = await stack.enter_async_context(judging(judge))
            house = House(hand, judge)
            patient: dict[str, Any] = {"chart_timeout": 30, "run_timeout": 30, "digest_key": "k"}
            for _ in range(replicas):
                app = create_app(AggregatorSettings(backend_url=url, **patient | settings), hand)
                port = await stack.enter_async_context(listening(app, force=True, **app.state.service.server))
                origin = f"http://127.0.0.1:{port}"
                house.apps.append(app)
                house.clients.append(await stack.enter_async_context(httpx.AsyncClient(base_url=origin, timeout=60)))
            return house

        yield start
