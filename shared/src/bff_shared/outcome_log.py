"""Outcomes of all processes, added up in Redis, so that the proxy can judge a piece as a whole.

Only the automatic rollback needs them. Counts that cannot be delivered are dropped: it judges what it knows of.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from bff_shared import outcomes
from bff_shared.outcomes import Counts
from bff_shared.redis_client import FAILURES, Client, connect

log = logging.getLogger(__name__)
EVERY = 1.0
DEADLINE = 1.0
KEPT_SECONDS = 900
"""How long a span is kept; no window is longer."""

_FIELDS = ("requests", "errors", "slow")


class OutcomeLog:
    """The spans in Redis; `aclose` ends the connections. All keys lie in one slot of a cluster."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self._url, self._clock = url, clock
        self._client: Client | None = None

    async def add(self, counts: Mapping[str, Counts]) -> None:
        """Add counts to the present span; raises one of FAILURES."""
        name = _name(outcomes.bucket(self._clock()))
        async with asyncio.timeout(DEADLINE):
            pipeline = (await self._open()).pipeline(transaction=False)
            for piece, one in counts.items():
                for field in _FIELDS:
                    if amount := getattr(one, field):
                        pipeline.hincrby(name, f"{piece}:{field}", amount)
            pipeline.expire(name, KEPT_SECONDS)
            await pipeline.execute()

    async def spans(self, seconds: float) -> dict[int, dict[str, Counts]]:
        """Return the counts of each piece by the number of the span, the present one included."""
        last = outcomes.bucket(self._clock())
        numbers = range(outcomes.bucket(self._clock() - seconds), last + 1)
        async with asyncio.timeout(DEADLINE):
            pipeline = (await self._open()).pipeline(transaction=False)
            for number in numbers:
                pipeline.hgetall(_name(number))
            found = await pipeline.execute()
        return {number: _counts(fields) for number, fields in zip(numbers, found, strict=True)}

    async def aclose(self) -> None:
        """Close every connection."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(*FAILURES):
                async with asyncio.timeout(DEADLINE):
                    await client.aclose()

    async def _open(self) -> Client:
        if self._client is None:
            self._client = await connect(self._url, connections=1, deadline=DEADLINE)
        return self._client


@contextlib.asynccontextmanager
async def reporting(log_of_all: OutcomeLog, registry: CollectorRegistry, slow_seconds: float) -> AsyncIterator[None]:
    """Report this process's outcomes once a second for as long as the context lasts; then close the log."""
    task = asyncio.create_task(_report(log_of_all, registry, slow_seconds), name="report outcomes")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await log_of_all.aclose()


async def _report(log_of_all: OutcomeLog, registry: CollectorRegistry, slow_seconds: float) -> None:
    before, is_away = outcomes.look(registry, slow_seconds), False
    while True:
        await asyncio.sleep(EVERY)
        now = outcomes.look(registry, slow_seconds)
        happened, before = outcomes.news(now, before), now
        if not happened:
            continue
        try:
            await log_of_all.add(happened)
            is_away = False
        except FAILURES as error:
            if not is_away:
                log.warning("outcomes cannot be reported", extra={"reason": type(error).__name__})
            is_away = True


def _name(number: int) -> str:
    return f"bff:1:{{outcomes}}:{number}"


def _counts(fields: Mapping[bytes, bytes]) -> dict[str, Counts]:
    found: dict[str, dict[str, Any]] = {}
    for name, value in fields.items():
        piece, _, field = name.decode("utf-8", "replace").partition(":")
        # Whatever else was written there counts for nothing; it must not end the watch.
        if field in _FIELDS and value.isdigit():
            found.setdefault(piece, {})[field] = int(value)
    return {piece: Counts(**amounts) for piece, amounts in found.items()}
