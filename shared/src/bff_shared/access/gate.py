"""Lets a credential at cached data while the backend's verdict on it holds, and has the backend asked. No I/O itself.

Questions about one credential and one resource are one question for all who wait, and go on when these are gone. Who
has a verdict that is about to lapse has it asked for ahead and waits for nothing.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from bff_shared.access.refusal import Refusal
from bff_shared.access.verdicts import Standing, Verdicts
from bff_shared.errors import BackendTimeout, BffError, Busy

log = logging.getLogger(__name__)
Ask = Callable[[], Awaitable[None]]
"""Asks the backend about a resource with a credential; returns if it is accepted, raises whatever else came of it."""
RESERVE = 0.02
"""Seconds of a request's time that are left for the response."""
PATIENCE_SECONDS = 5.0
"""For so long after a question that failed nobody waits for the next one who has a verdict to stretch."""
MAX_QUESTIONS = 1000


class AccessGate:
    """Keeps verdicts and asks for them; `aclose` ends the questions under way.

    Args:
        verdicts: what the backend said.
        refusal: what an exception of a question, or of a call for data, says of access.
        clock: Unix seconds.
        monotonic: the seconds that deadlines are told in.
        expected: the exceptions by which a question reports a failure; any other one is a defect of ours.
    """

    def __init__(
        self,
        verdicts: Verdicts,
        refusal: Callable[[Exception], Refusal],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        expected: tuple[type[Exception], ...] = (BffError,),
    ) -> None:
        self.verdicts, self._refusal, self._clock, self._monotonic = verdicts, refusal, clock, monotonic
        self._expected = expected
        self._questions: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._failed: OrderedDict[tuple[str, str], float] = OrderedDict()

    def __repr__(self) -> str:
        """Say how many verdicts there are and how many questions are under way."""
        return f"<AccessGate {self.verdicts!r}, {len(self._questions)} questions under way>"

    def now(self) -> float:
        """Return the time that verdicts are judged by, in Unix seconds."""
        return self._clock()

    def standing(self, credential: str, resource: str) -> Standing:
        """Return what the last verdict is good for now."""
        return self.verdicts.standing(credential, resource, self._clock())

    def is_good(self, credential: str, resource: str) -> bool:
        """Tell whether a credential may read a resource, and no question is due."""
        return self.verdicts.is_good(credential, resource, self._clock())

    def is_open(self, credential: str, resource: str) -> bool:
        """Tell whether a credential may read a resource without a question."""
        return self.standing(credential, resource) in {Standing.GOOD, Standing.DUE}

    def may_stretch(self, credential: str, resource: str) -> bool:
        """Tell whether a credential may read a resource while the backend cannot be asked."""
        return self.standing(credential, resource) is not Standing.NONE

    def accepted(self, credential: str, resource: str, asked: float) -> None:
        """Note that data was read with a credential by a call that began at a time."""
        self.verdicts.accept(credential, resource, min(asked, self._clock()))

    def note(self, credential: str, resource: str, error: Exception) -> None:
        """Note what the failure of a call for data says of the credential that it was made with."""
        kind = self._refusal(error)
        if kind is not Refusal.NOTHING:
            self.verdicts.refuse(credential, resource if kind is Refusal.RESOURCE else None, self._clock())

    async def require(self, credential: str, resource: str, ask: Ask, deadline: float) -> bool:
        """Return once a credential may read a resource, with whether the verdict had to be stretched.

        Args:
            credential: its digest.
            resource: what is to be read.
            ask: the cheapest question about it.
            deadline: monotonic seconds.

        Raises:
            Exception: what `ask` raised, unless the backend could not be asked and the verdict can be stretched;
                BackendTimeout at the deadline.

        Cancellation ends the waiting only.
        """
        if self.is_good(credential, resource):
            return False
        standing = self.standing(credential, resource)
        question = self._ask(credential, resource, ask, must=standing is not Standing.DUE)
        if standing is Standing.DUE or question is None:
            return False
        return await self._settled(question, credential, resource, deadline, is_lapsed=standing is Standing.LAPSED)

    async def renew(self, credential: str, resource: str, ask: Ask, deadline: float) -> bool:
        """Ask whether a credential may still read a resource, however good its verdict is; else as `require`."""
        question = self._ask(credential, resource, ask, must=True)
        return question is not None and await self._settled(question, credential, resource, deadline, is_lapsed=False)

    async def _settled(
        self, question: asyncio.Task[None], credential: str, resource: str, deadline: float, *, is_lapsed: bool
    ) -> bool:
        """Wait for a question unless the backend is away; return whether the verdict had to be stretched."""
        now = self._monotonic()
        is_away = now < self._failed.get((credential, resource), now)
        if not (is_away and is_lapsed):
            await asyncio.wait((question,), timeout=max(0.0, deadline - RESERVE - now))
        return self._outcome(question, self.may_stretch(credential, resource))

    async def aclose(self) -> None:
        """Cancel the questions under way, and wait until they have ended."""
        tasks = list(self._questions.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _outcome(self, question: asyncio.Task[None], can_stretch: bool) -> bool:
        if not question.done():
            if can_stretch:
                return True
            raise BackendTimeout("the backend did not answer within the deadline")
        error = None if question.cancelled() else question.exception()
        if isinstance(error, Exception):
            if can_stretch and isinstance(error, self._expected) and self._refusal(error) is Refusal.NOTHING:
                return True
            raise error.with_traceback(None)
        question.result()
        return False

    def _ask(self, credential: str, resource: str, ask: Ask, *, must: bool) -> asyncio.Task[None] | None:
        """Return the question under way, begun if there is none; raise Busy where too many are and it must be one."""
        key = (credential, resource)
        known = self._questions.get(key)
        if known is not None:
            return known
        if len(self._questions) >= MAX_QUESTIONS:
            if must:
                raise Busy("too many credentials are being checked")
            return None
        task = self._questions[key] = asyncio.create_task(self._run(credential, resource, ask), name="ask for access")
        task.add_done_callback(lambda done: self._ended(key, done))
        return task

    async def _run(self, credential: str, resource: str, ask: Ask) -> None:
        asked = self._clock()
        try:
            await ask()
        except Exception as error:
            self.note(credential, resource, error)
            if self._refusal(error) is Refusal.NOTHING:
                self._failed[credential, resource] = self._monotonic() + PATIENCE_SECONDS
                self._failed.move_to_end((credential, resource))
                while len(self._failed) > MAX_QUESTIONS:
                    self._failed.popitem(last=False)
            raise
        self._failed.pop((credential, resource), None)
        self.accepted(credential, resource, asked)

    def _ended(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        """Forget a question; its failure is logged, for it may have been asked ahead and nobody waits for it."""
        del self._questions[key]
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, self._expected):
            log.error("asking about access failed", exc_info=error, extra={"resource": key[1]})
        elif error is not None:
            log.debug("a question about access failed", extra={"resource": key[1], "reason": type(error).__name__})
