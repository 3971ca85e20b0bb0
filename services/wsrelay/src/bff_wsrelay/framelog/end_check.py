"""Whether a finished run has come to its end, by what the backend says besides its frames. I/O.

A backend that sends no `end` over its WebSocket still knows where a run ends: its frames are the bars of an instrument
up to `run_to`, and its equity has a point for each. The bars tell for any calendar (a holiday, an early close, a market
that never closes), and a day of them is a small response; the whole equity has megabytes, so it is asked only where
there are none.
"""

import asyncio

from bff_wsrelay.framelog.run_client import RunClient
from bff_wsrelay.framelog.run_info import RunDetail, falls_short

PAUSE_SECONDS = 0.3
"""Without a frame for so long, the backend is asked whether the last one was the last of the run."""


class EndCheck:
    """Where one finished run ends; what has been found out is kept until `reset`.

    Bars and equity are asked for at most once in a pass, so a stream that stutters costs no more than another.
    """

    def __init__(self, run: RunClient) -> None:
        self._run = run
        self._short_at = -1
        self._asking: asyncio.Task[bool] | None = None
        self.reset()

    def reset(self) -> None:
        """Forget what is known: the run was run anew."""
        self._bars_end: int | None = None
        self._curve_end: int | None = None
        self.begin_pass()

    def begin_pass(self) -> None:
        """Let what could not be found out be asked again."""
        self._asked_bars = self._asked_curve = False
        self._asked_at = 0
        self.end_pass()

    def end_pass(self) -> None:
        """End a question that is still open."""
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None

    def is_last(self, last: int, position: int, detail: RunDetail | None) -> bool:
        """Return whether it is known that no frame follows the `position` that have come, the last at the time `last`.

        The backend is asked in the background, so that frames which come meanwhile are taken; ask again later.
        """
        if self._asking is None and position != self._asked_at:
            self._asked_at = position
            self._asking = asyncio.create_task(self._ask(last, detail))
        if self._asking is None or not self._asking.done():
            return False
        asking, self._asking = self._asking, None
        return asking.result() and position == self._asked_at

    async def require_whole(self, last: int, position: int, detail: RunDetail | None) -> None:
        """Check an end that was inferred from quiet, after `position` frames, the last of them at the time `last`.

        A second pass that stops at the same frame is believed.

        Raises:
            TimeoutError: frames are missing by what the backend says.
        """
        if position == self._short_at:
            return
        if self._asking is not None:
            await asyncio.wait({self._asking})
        curve_end, bars_end = await self._fetch_curve_end(), await self._fetch_bars_end(detail)
        known_end = curve_end if curve_end is not None else bars_end
        run_to = detail.run_to if detail is not None and position else None  # an empty run has dates too
        if falls_short(last, known_end if position or curve_end is not None else None, run_to):
            self._short_at = position
            raise TimeoutError("the backend stopped before the end of the run")

    async def is_whole(self, last: int) -> bool:
        """Return whether the run's equity ends no later than the frame at the time `last`, in µs."""
        self.begin_pass()
        end = await self._fetch_curve_end()
        return end is not None and not falls_short(last, end, None)

    async def _ask(self, last: int, detail: RunDetail | None) -> bool:
        bars_end = await self._fetch_bars_end(detail)
        if bars_end is not None:
            return last >= bars_end
        # Of a curve in days the last point lies before the frames of its day, so only the same time counts.
        return last == await self._fetch_curve_end()

    async def _fetch_bars_end(self, detail: RunDetail | None) -> int | None:
        if self._bars_end is None and not self._asked_bars and detail is not None:
            self._asked_bars = True
            self._bars_end = await self._run.fetch_bars_end(detail)
        return self._bars_end

    async def _fetch_curve_end(self) -> int | None:
        if self._curve_end is None and not self._asked_curve:
            self._asked_curve = True
            self._curve_end = await self._run.fetch_equity_end()
        return self._curve_end
