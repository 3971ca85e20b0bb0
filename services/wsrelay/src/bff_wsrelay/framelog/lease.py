"""Lease-based sharing of one run's frame log between relays: one reads, the others reuse its log. I/O.

    fetch ──log is there──▶ reused
       │ ▲
       │ └── another relay is reading it now: wait, `log_claim_seconds` at most
       └── nobody is, or its lease has expired: acquired ──▶ read ──▶ offer

Without Redis, or while it is unavailable, every relay reads for itself.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

from bff_shared.http.headers import Header
from bff_wsrelay.framelog.shared_store import SharedStore
from bff_wsrelay.framelog.topic import Topic

log = logging.getLogger(__name__)

POLL = 0.25


class Lease:
    """Fetches and offers one topic's log on behalf of one set of credentials; `aclose` releases the lease.

    Cancelling any call is safe: the lease is released by `aclose`, or expires by itself.
    """

    def __init__(self, store: SharedStore | None, topic: Topic, credentials: Sequence[Header], max_wait: float) -> None:
        self._store, self._topic, self._max_wait = store, topic, max_wait
        self._key = (topic.run_id, list(credentials))
        self._renewing: asyncio.Task[None] | None = None

    async def fetch_or_acquire(self) -> bool:
        """Fill the empty log with what another relay has read, waiting `max_wait` seconds for one that is reading.

        Returns:
            True when the log is whole; False when this relay has to read the run itself.

        Raises:
            LogFull: the shared log is larger than this relay keeps.
        """
        store, topic = self._store, self._topic
        if store is None or len(topic.log):
            return False
        until = time.monotonic() + self._max_wait
        while True:
            turn = await store.acquire(*self._key)
            if await store.fetch(*self._key, topic.log):
                await self.aclose()
                return True
            if turn and self._renewing is None:
                self._renewing = asyncio.create_task(self._renew(store), name="renew a lease")
            if turn is not False or time.monotonic() >= until:
                return False
            topic.enter("waiting", retry_ms=round(1000 * POLL))
            await asyncio.sleep(POLL)

    async def offer(self) -> None:
        """Share the complete log. Redis failing is no failure of this; cancellation shares nothing."""
        if self._store is not None:
            await self._store.offer(*self._key, self._topic.log)

    async def aclose(self) -> None:
        """Release the lease."""
        if self._store is None:
            return
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
        await self._store.release(*self._key)

    async def _renew(self, store: SharedStore) -> None:
        while True:
            await asyncio.sleep(store.lease / 3)
            try:
                await store.acquire(*self._key)
            except Exception:
                # A defect; the lease expires unless the next attempt renews it: at worst a second relay reads the run.
                log.exception("a lease was not renewed", extra={"run_id": self._topic.run_id})
