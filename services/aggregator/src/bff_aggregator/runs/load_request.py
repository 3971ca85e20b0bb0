"""One request for a run with its parts: what it has, what it holds and how long it may take."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bff_aggregator.backend.part import Part
from bff_aggregator.cache.single_flight import Flight
from bff_aggregator.runs.revision import RunSnapshot
from bff_aggregator.runs.run_cache import CachedRun
from bff_shared.access.credentials import Reader


@dataclass(eq=False, slots=True)
class Request:
    """One request: whose it is, until when (monotonic seconds) it may take, what it holds and the calls it began.

    `cached` is what the cache had when it came, `acquiring` ends with the parts that another process is reading, and
    `begun` are the parts that were read with its own credentials.
    """

    user: Reader
    run_id: str
    cached: CachedRun
    wanted: Sequence[str]
    deadline: float
    seen: RunSnapshot | None
    calls: int = 0
    acquiring: asyncio.Task[set[str]] | None = None
    held: list[Flight[Part]] = field(default_factory=list)
    begun: set[str] = field(default_factory=set)

    def left(self) -> float:
        """Return the seconds that remain."""
        return max(0.0, self.deadline - time.monotonic())

    async def theirs(self) -> set[str]:
        """Return the parts that another process is reading, once that is agreed on."""
        if self.acquiring is None:
            return set()
        await asyncio.wait((self.acquiring,))
        return self.acquiring.result()
