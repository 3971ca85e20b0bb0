"""Whole logs shared between relays through Redis, so that a fleet reads a run once. I/O.

Optional in every respect: each command has a deadline, a failure keeps Redis out of the way for a while, and a relay
without it reads for itself. Keys hold a keyed digest of run and credentials; the digest's key is BFF_DIGEST_KEY, or one
that the relays agree on in Redis itself.
"""

import asyncio
import contextlib
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from bff_shared.http.headers import Header
from bff_shared.redis import FAILURES, Client, connect
from bff_wsrelay.framelog.codec import VERSION, Damaged, pack, part_count, stored_head, unpack
from bff_wsrelay.framelog.frame_log import FrameLog, LogFull
from bff_wsrelay.settings import RelaySettings

log = logging.getLogger(__name__)

DEADLINE = 2.0
"""Seconds that one command may take; a log is written and read by one command for each of its parts."""
TRANSFER_DEADLINE = 20.0
"""Seconds that all commands for one log may take together."""
CONNECTIONS = 16
PAUSE = 10.0
"""Seconds for which Redis is not used after a failure; leases and transfers of logs fail apart."""
LEASE = 3.0
"""Seconds after which a lease that is not renewed expires."""
ACQUIRE = """
local holder = redis.call('get', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"
SECRET = "bff:stream:secret"  # noqa: S105  the name of a key, not a secret
T = TypeVar("T")


def credentials_digest(secret: bytes, run_id: str, credentials: Sequence[Header]) -> str:
    """Return the keyed digest of a run id and credentials; no credentials are a value too."""
    parts = [run_id.encode(), *(part for name, value in credentials for part in (name.lower(), value))]
    message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)  # no two lists of parts are alike
    return hmac.new(secret, message, hashlib.sha256).hexdigest()[:32]


class SharedStore:
    """Offers and fetches whole logs, and holds the leases on reading them; `aclose` ends its connections."""

    def __init__(
        self, settings: RelaySettings, clock: Callable[[], float] = time.monotonic, lease: float = LEASE
    ) -> None:
        self.lease, self._token = lease, secrets.token_hex(8)
        self._url, self._seconds = settings.redis_url, int(settings.log_share_seconds)
        self._secret = settings.digest_key.get_secret_value().encode()
        self._client: Client | None = None
        self._opening = asyncio.Lock()
        self._leases, self._transfers = _Breaker(DEADLINE, clock), _Breaker(TRANSFER_DEADLINE, clock)

    async def fetch(self, run_id: str, credentials: Sequence[Header], into: FrameLog) -> bool:
        """Fill an empty log with what another relay has read of its epoch; False if there is nothing or Redis is away.

        Raises LogFull.
        """
        found = await self._transfers.attempt(lambda: self._read(run_id, credentials))
        if found is None:
            return False
        head, parts, secret = found
        try:
            content = await asyncio.to_thread(unpack, head, parts, into.epoch, secret)
        except Damaged:
            return False
        try:
            into.restore(content)
        except LogFull:
            log.warning("a shared log is larger than this relay keeps", extra={"run_id": run_id})
            raise
        return True

    async def offer(self, run_id: str, credentials: Sequence[Header], whole: FrameLog) -> None:
        """Share a whole log for a while."""
        await self._transfers.attempt(lambda: self._write(run_id, credentials, whole))

    async def acquire(self, run_id: str, credentials: Sequence[Header]) -> bool | None:
        """Acquire or renew the lease to read a run, for `lease` seconds; False while another relay holds it.

        None when Redis is unavailable.
        """
        return await self._leases.attempt(lambda: self._acquire(run_id, credentials))

    async def release(self, run_id: str, credentials: Sequence[Header]) -> None:
        """Release the lease, if this relay holds it."""
        await self._leases.attempt(lambda: self._release(run_id, credentials))

    async def aclose(self) -> None:
        """Close every connection."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(*FAILURES):
                async with asyncio.timeout(DEADLINE):
                    await client.aclose()

    async def _read(self, run_id: str, credentials: Sequence[Header]) -> tuple[bytes, list[bytes], bytes] | None:
        client, secret = await self._connected()
        name = _name(secret, run_id, credentials)
        head = await _in_time(client.get(name))
        if head is None:
            return None
        try:
            count = part_count(head)
        except Damaged:
            return None
        parts = []
        for number in range(count):
            part = await _in_time(client.get(f"{name}:{number}"))
            if part is None:
                return None
            parts.append(part)
        return head, parts, secret

    async def _write(self, run_id: str, credentials: Sequence[Header], whole: FrameLog) -> None:
        client, secret = await self._connected()
        name = _name(secret, run_id, credentials)
        head, parts = await asyncio.to_thread(pack, whole, secret)
        for number, part in enumerate(parts):
            await _in_time(client.set(f"{name}:{number}", part, ex=self._seconds))
        await _in_time(client.set(name, stored_head(head, parts), ex=self._seconds))

    async def _acquire(self, run_id: str, credentials: Sequence[Header]) -> bool:
        client, secret = await self._connected()
        name = f"{_name(secret, run_id, credentials)}:reader"
        return bool(await client.eval(ACQUIRE, 1, name, self._token, round(1000 * self.lease)))

    async def _release(self, run_id: str, credentials: Sequence[Header]) -> None:
        client, secret = await self._connected()
        await client.eval(RELEASE, 1, f"{_name(secret, run_id, credentials)}:reader", self._token)

    async def _connected(self) -> tuple[Any, bytes]:
        """Return the client and the key of digests."""
        async with self._opening:
            if self._client is None:
                self._client = await connect(self._url, connections=CONNECTIONS, deadline=DEADLINE)
            if not self._secret:
                await self._client.set(SECRET, secrets.token_bytes(32), nx=True)
                found: Any = await self._client.get(SECRET)
                self._secret = found
            return self._client, self._secret


class _Breaker:
    """A circuit breaker: runs one kind of work within a deadline, and after a failure none of it for PAUSE seconds."""

    def __init__(self, deadline: float, clock: Callable[[], float]) -> None:
        self._deadline, self._clock = deadline, clock
        self._aside_until = float("-inf")

    async def attempt(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """Return what the work returns, None when it fails or has failed a moment ago."""
        if self._clock() < self._aside_until:
            return None
        try:
            async with asyncio.timeout(self._deadline):
                return await work()
        except FAILURES as error:
            log.warning("redis is not used for a while", extra={"reason": type(error).__name__, "seconds": PAUSE})
            self._aside_until = self._clock() + PAUSE
            return None


async def _in_time(command: Awaitable[T]) -> T:
    """Return what a command returns. Raises TimeoutError when it takes longer than one may."""
    async with asyncio.timeout(DEADLINE):
        return await command


def _name(secret: bytes, run_id: str, credentials: Sequence[Header]) -> str:
    """Return the key of a log's head; its parts hash to the same slot of a cluster."""
    return f"bff:stream:{VERSION}:{{{credentials_digest(secret, run_id, credentials)}}}"
