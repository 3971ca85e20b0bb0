"""A chart in two stages: a preview from hours, quick and coarse, and the exact one as it comes. I/O.

The stages are two bodies, each whole. Where the exact one is as quick there is no preview.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from bff_aggregator.backend.refusal import BackendRefusal
from bff_shared.errors import BffError

log = logging.getLogger(__name__)
T = TypeVar("T")
LEAD_SECONDS: Final = 0.3
"""What the exact chart waits at most for its preview, which is to have the backend for itself."""


class Stages(Generic[T]):
    """The bodies of one request's chart; `preview` is awaited together with `exact`, in any order.

    With `in_turn` the exact one begins when the preview has come or taken too long. Cancelling either ends that one
    alone.
    """

    def __init__(
        self, preview: Callable[[], Awaitable[T | None]] | None, exact: Callable[[], Awaitable[T]], *, in_turn: bool
    ) -> None:
        self._preview, self._exact = preview, exact
        self.has_preview = preview is not None
        self._turn, self._over = asyncio.Event(), False
        if preview is None or not in_turn:
            self._turn.set()

    async def preview(self) -> T | None:
        """Return the preview; None where there is none, or the exact chart is there already."""
        if self._preview is None:
            return None
        try:
            made = await self._preview()
        except (BffError, BackendRefusal) as error:
            log.debug("no preview", extra={"reason": str(error)})
            return None
        except Exception:  # a preview is worth no failure of the chart that follows it
            log.exception("a preview failed")
            return None
        finally:
            self._turn.set()
        return None if self._over else made

    async def exact(self) -> T:
        """Return the exact chart; raises what keeps it from being had."""
        try:
            await asyncio.wait_for(self._turn.wait(), LEAD_SECONDS)
        except TimeoutError:
            log.debug("the preview takes long")
        made = await self._exact()
        self._over = True
        return made
