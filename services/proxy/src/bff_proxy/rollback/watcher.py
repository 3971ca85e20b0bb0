"""Looks at the outcomes once a second and turns off what broke its budget."""

import asyncio
import logging
import time
from collections.abc import Callable

from bff_proxy.flags.admin import FlagAdmin
from bff_proxy.flags.state import FlagBoard
from bff_proxy.rollback.budgets import Rollback
from bff_shared.errors import Busy
from bff_shared.outcome_log import OutcomeLog
from bff_shared.redis import FAILURES
from bff_shared.supervision import keep_running

log = logging.getLogger(__name__)
EVERY = 1.0


class RollbackWatch:
    """Owns the task that looks; without outcomes nothing is judged."""

    def __init__(
        self,
        board: FlagBoard,
        admin: FlagAdmin,
        outcomes: OutcomeLog,
        rollback: Rollback,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._board, self._admin, self._outcomes, self._rollback = board, admin, outcomes, rollback
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._is_away = False
        self._withheld: frozenset[str] = frozenset()

    def start(self) -> None:
        """Go on looking until `aclose`."""
        self._task = asyncio.create_task(keep_running("rollback", self._watch), name="rollback")

    async def aclose(self) -> None:
        """Stop looking and close the connections."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._outcomes.aclose()

    async def look(self) -> None:
        """Judge all pieces once."""
        try:
            spans = await self._outcomes.spans(self._rollback.budget.window)
            for trip in self._rollback.judge(self._board.now, spans, self._clock()):
                await self._admin.roll_back(trip.key, trip.reason, trip.version)
            self._is_away = False
            self._tell_withheld()
        except (*FAILURES, Busy) as error:
            if not self._is_away:
                log.warning("outcomes cannot be judged", extra={"reason": type(error).__name__})
            self._is_away = True

    def _tell_withheld(self) -> None:
        """Log pieces that have begun to break their budget for too few clients: somebody should look."""
        for key in sorted(self._rollback.withheld - self._withheld):
            text = "a budget is broken, but by too few clients for a rollback"
            log.warning(text, extra={"flag": key, "min_clients": self._rollback.budget.min_clients})
        self._withheld = self._rollback.withheld

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            await self.look()
