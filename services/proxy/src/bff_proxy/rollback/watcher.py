"""Evaluates the budgets once a second and turns off the flags of pieces that broke theirs."""

import asyncio
import logging
import time
from collections.abc import Callable

from bff_proxy.flags.admin import FlagAdmin
from bff_proxy.flags.store import FlagStore
from bff_proxy.rollback.budgets import Rollback
from bff_shared.errors import Busy
from bff_shared.outcome_log import OutcomeLog
from bff_shared.redis import FAILURES
from bff_shared.supervision import keep_running

log = logging.getLogger(__name__)
EVERY = 1.0


class RollbackWatcher:
    """Owns the task that evaluates; without outcomes nothing is."""

    def __init__(
        self,
        flag_store: FlagStore,
        admin: FlagAdmin,
        outcomes: OutcomeLog,
        rollback: Rollback,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._flag_store, self._admin, self._outcomes, self._rollback = flag_store, admin, outcomes, rollback
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._is_unavailable = False
        self._withheld: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        """Say whether it runs, whether outcomes can be read, and which pieces break a budget for too few clients."""
        running = self._task is not None and not self._task.done()
        return (
            f"<RollbackWatcher running={running} unavailable={self._is_unavailable} withheld={sorted(self._withheld)}>"
        )

    def start(self) -> None:
        """Evaluate every second until `aclose`."""
        self._task = asyncio.create_task(keep_running("rollback", self._watch), name="rollback")

    async def aclose(self) -> None:
        """Stop and close the connections."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._outcomes.aclose()

    async def evaluate(self) -> None:
        """Evaluate the budgets of all pieces once."""
        try:
            spans = await self._outcomes.spans(self._rollback.budget.window)
            for trip in self._rollback.evaluate(self._flag_store.current, spans, self._clock()):
                await self._admin.roll_back(trip.key, trip.reason, trip.version)
            self._is_unavailable = False
            self._log_withheld()
        except (*FAILURES, Busy) as error:
            if not self._is_unavailable:
                log.warning("budgets cannot be evaluated", extra={"reason": type(error).__name__})
            self._is_unavailable = True

    def _log_withheld(self) -> None:
        """Log pieces that have begun to break their budget for too few clients: somebody should look."""
        for key in sorted(self._rollback.withheld - self._withheld):
            text = "a budget is broken, but by too few clients for a rollback"
            log.warning(text, extra={"flag": key, "min_clients": self._rollback.budget.min_clients})
        self._withheld = self._rollback.withheld

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            await self.evaluate()
