"""One run's share in what the relays of a fleet read for each other: whose turn it is to read, and what was read. I/O.

    borrow ──log is there──▶ taken over
       │ ▲
       │ └── another relay is reading it now: wait, `log_claim_seconds` at most
       └── nobody is, or its claim is not renewed any more: the turn is ours ──▶ read ──▶ lend

Without Redis, or while it is away, it is always our turn.
"""

import asyncio
import logging
import time
from collections.abc import Sequence

from bff_shared.http.headers import Header
from bff_wsrelay.framelog.shared_store import Replicas
from bff_wsrelay.framelog.topic import Recording

log = logging.getLogger(__name__)

POLL = 0.25


class Sharing:
    """Borrows and lends one recording's log on behalf of one set of credentials; `aclose` gives the turn back."""

    def __init__(
        self, replicas: Replicas | None, recording: Recording, credentials: Sequence[Header], patience: float
    ) -> None:
        self._replicas, self._recording, self._patience = replicas, recording, patience
        self._of = (recording.run_id, list(credentials))
        self._renewing: asyncio.Task[None] | None = None

    async def borrow(self) -> bool:
        """Fill the empty log with what another relay has read; False when this one has to read. Raises Full."""
        replicas, recording = self._replicas, self._recording
        if replicas is None or len(recording.log):
            return False
        until = time.monotonic() + self._patience
        while True:
            turn = await replicas.claim(*self._of)
            if await replicas.fetch(*self._of, recording.log):
                await self.aclose()
                return True
            if turn and self._renewing is None:
                self._renewing = asyncio.create_task(self._renew(replicas), name="renew a claim")
            if turn is not False or time.monotonic() >= until:
                return False
            recording.enter("waiting", retry_ms=round(1000 * POLL))
            await asyncio.sleep(POLL)

    async def lend(self) -> None:
        """Share the whole log."""
        if self._replicas is not None:
            await self._replicas.offer(*self._of, self._recording.log)

    async def aclose(self) -> None:
        """Let others have the turn."""
        if self._replicas is None:
            return
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
        await self._replicas.release(*self._of)

    async def _renew(self, replicas: Replicas) -> None:
        while True:
            await asyncio.sleep(replicas.lease / 3)
            try:
                await replicas.claim(*self._of)
            except Exception:
                # A defect; the claim lapses unless the next attempt keeps it, and the worst is a second reading.
                log.exception("a claim was not renewed", extra={"run_id": self._recording.run_id})
