"""Outcomes of all processes, added up in Redis, so that the proxy can judge a piece as a whole.

Only the automatic rollback needs them. Counts that cannot be delivered are dropped: it judges what it knows of. Clients
are digests there, under a key that all processes share; nobody's address is stored.
"""

import asyncio
import contextlib
import hashlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from bff_shared import outcomes
from bff_shared.outcomes import Counts, Outcomes
from bff_shared.redis import FAILURES, Client, connect
from bff_shared.supervision import keep_running

log = logging.getLogger(__name__)
EVERY = 1.0
DEADLINE = 1.0
KEPT_SECONDS = 900
"""How long a span is kept; no window is longer."""

SECRET = "bff:1:{outcomes}:secret"  # noqa: S105  the name of the key in Redis
_FIELDS = ("requests", "errors", "slow")
_BY_CLIENT = ("errors", "slow")
_MAX_DIGITS = 15


class OutcomeLog:
    """The spans in Redis; `aclose` ends the connections. All keys lie in one slot of a cluster.

    `digest_key` is the key of the digests of clients; without one the processes agree on one through Redis.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.time, *, digest_key: bytes = b"") -> None:
        self._url, self._digest_key, self._clock = url, digest_key, clock
        self._client: Client | None = None

    async def add(self, counts: Mapping[str, Counts]) -> None:
        """Add counts to the present span; raises one of FAILURES."""
        name = _name(outcomes.bucket(self._clock()))
        async with asyncio.timeout(DEADLINE):
            client = await self._open()
            key = await self._key(client) if any(one.errors_by or one.slow_by for one in counts.values()) else b""
            pipeline = client.pipeline(transaction=False)
            for field, amount in _fields(counts, key):
                pipeline.hincrby(name, field, amount)
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

    async def _key(self, client: Client) -> bytes:
        """Return the key of digests; the one in Redis is asked for anew each time, since Redis may lose it."""
        if self._digest_key:
            return self._digest_key
        pipeline = client.pipeline(transaction=False)
        pipeline.set(SECRET, secrets.token_bytes(32), nx=True)
        pipeline.get(SECRET)
        _, found = await pipeline.execute()
        return bytes(found or b"")


@contextlib.asynccontextmanager
async def reporting(log_of_all: OutcomeLog, counted: Outcomes) -> AsyncIterator[None]:
    """Report this process's outcomes once a second for as long as the context lasts; then close the log."""
    reporter = _Reporter(log_of_all, counted)
    task = asyncio.create_task(keep_running("report outcomes", reporter.run), name="report outcomes")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await log_of_all.aclose()


class _Reporter:
    """Hands over what was counted; what cannot be delivered is dropped."""

    def __init__(self, log_of_all: OutcomeLog, counted: Outcomes) -> None:
        self._log, self._counted = log_of_all, counted
        self._is_away = False

    async def run(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            if happened := self._counted.take():
                await self._report(happened)

    async def _report(self, happened: Mapping[str, Counts]) -> None:
        try:
            await self._log.add(happened)
            self._is_away = False
        except FAILURES as error:
            if not self._is_away:
                log.warning("outcomes cannot be reported", extra={"reason": type(error).__name__})
            self._is_away = True


def _name(number: int) -> str:
    return f"bff:1:{{outcomes}}:{number}"


def _digest(client: str, key: bytes) -> str:
    """Return what stands for a client's address; without the key nobody can try addresses against it."""
    return hashlib.blake2b(client.encode(), digest_size=8, key=hashlib.sha256(key).digest()).hexdigest()


def _fields(counts: Mapping[str, Counts], key: bytes) -> list[tuple[str, int]]:
    """Return what is added to a span's hash: `piece:field`, and `piece:field:client` for what is known by client."""
    found = [(f"{piece}:{field}", getattr(one, field)) for piece, one in counts.items() for field in _FIELDS]
    for piece, one in counts.items():
        for field in _BY_CLIENT:
            by: Mapping[str, int] = getattr(one, f"{field}_by")
            found += [(f"{piece}:{field}:{_digest(client, key)}", amount) for client, amount in by.items()]
    return [(field, amount) for field, amount in found if amount]


def _counts(fields: Mapping[bytes, bytes]) -> dict[str, Counts]:
    """Return the counts in a span's hash; whatever else was written there counts for nothing."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in fields.items():
        piece, _, rest = name.decode("utf-8", "replace").partition(":")
        field, _, client = rest.partition(":")
        if field not in _FIELDS or not value.isdigit() or len(value) > _MAX_DIGITS:
            continue
        amounts = found.setdefault(piece, {})
        if not client:
            amounts[field] = int(value)
        elif field in _BY_CLIENT:
            amounts.setdefault(f"{field}_by", {})[client] = int(value)
    return {piece: Counts(**amounts) for piece, amounts in found.items()}
