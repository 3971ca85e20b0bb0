"""Work that keeps a processor busy (assembling, encoding, compressing, decoding): beside the event loop, by turns. I/O.

Python runs one thread at a time, so each thread that computes makes the event loop wait for its turn. So there are few
of them, whatever is asked for at once, and what takes long is done in slices: a generator that yields wherever it may
be interrupted. Between two slices it is another client's turn.
"""

import asyncio
import contextvars
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter

from bff_aggregator.http.fair_queue import Entry, FairQueue
from bff_aggregator.http.steps import Steps, finish, one_step
from bff_shared.errors import Busy, ClientBusy
from bff_shared.http.context import current
from bff_shared.telemetry.metrics import gauge

T = TypeVar("T")
SMALL_BYTES: Final = 64 * 1024
"""What handles less than this is done by the event loop itself: it takes less time than handing it over."""

SLICE_SECONDS: Final = 0.01
RETRY_AFTER_SECONDS: Final = 2.0


@dataclass(eq=False, slots=True)
class _Job(Generic[T]):
    """A piece of work; `done` is what its caller waits for, which cancels it by going away."""

    steps: Steps[T]
    done: asyncio.Future[T]
    context: contextvars.Context


class CpuLimiter:
    """Does at most `threads` pieces of work at a time; the clients of those that wait take turns. One per process.

    `aclose` ends it.
    """

    def __init__(self, threads: int, queue: int, share: float, seconds: float, registry: CollectorRegistry) -> None:
        """Take how many pieces may wait, one client's share of that, and how long one may take with its waiting."""
        self._threads, self._seconds = threads, seconds
        self._queue: FairQueue[_Job[Any]] = FairQueue(queue, share, RETRY_AFTER_SECONDS)
        self._executor = ThreadPoolExecutor(threads, "cpu")
        self._active = 0
        gauge("bff_cpu_jobs_active", "Pieces of work being computed", registry, "livesum").set_function(
            lambda: self._active
        )
        gauge("bff_cpu_jobs_waiting", "Pieces of work that wait to be computed", registry, "livesum").set_function(
            lambda: len(self._queue)
        )
        self._refused = Counter(
            "bff_cpu_jobs_refused_total",
            "Pieces of work refused, by whose limit it was, or because they took too long",
            ("limit",),
            registry=registry,
        )

    def __repr__(self) -> str:
        """Say how many pieces are under way, and how many wait."""
        return f"<CpuLimiter active={self._active}/{self._threads} waiting={len(self._queue)}>"

    async def aclose(self) -> None:
        """Begin nothing more; who still waits is cancelled."""
        while (entry := self._queue.pop()) is not None:
            entry.item.done.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def run(self, size: int, work: Callable[..., T], *arguments: Any) -> T:
        """Return what a function of about `size` bytes returns that cannot be interrupted; raise as `steps` does."""
        if size < SMALL_BYTES:
            return work(*arguments)
        return await self.steps(size, one_step(work, *arguments))

    async def steps(self, size: int, steps: Steps[T]) -> T:
        """Return the result of work in steps on about `size` bytes, or raise what it raises.

        Raises ClientBusy or Busy where too much waits, and Busy where it takes too long. A caller that is cancelled
        ends the work after the step that is under way.
        """
        if size < SMALL_BYTES:
            return finish(steps)
        context, loop = current(), asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        job = _Job(steps, done, contextvars.copy_context())
        try:
            entry = self._queue.push(context.client if context else "", size, job)
        except Busy as error:
            self._refused.labels("client" if isinstance(error, ClientBusy) else "process").inc()
            raise
        self._dispatch()
        try:
            async with asyncio.timeout(self._seconds):
                return await done
        except TimeoutError as error:
            self._refused.labels("time").inc()
            raise Busy("the service has too much to compute", RETRY_AFTER_SECONDS) from error
        finally:
            self._queue.remove(entry)

    def _dispatch(self) -> None:
        """Let those have a slice whose turn it is."""
        loop = asyncio.get_running_loop()
        while self._active < self._threads and (entry := self._queue.pop()) is not None:
            self._active += 1
            run = functools.partial(entry.item.context.run, _advance, entry.item.steps)
            slice_ = loop.run_in_executor(self._executor, run)
            slice_.add_done_callback(functools.partial(self._advanced, entry))

    def _advanced(self, entry: Entry[_Job[Any]], slice_: asyncio.Future[tuple[bool, Any]]) -> None:
        """Take what came of a slice: the result, an exception, or that it goes on."""
        self._active -= 1
        job = entry.item
        if slice_.cancelled() or job.done.done():
            job.done.cancel()
            job.steps.close()
        elif (error := slice_.exception()) is not None:
            job.done.set_exception(error)
        else:
            ended, result = slice_.result()
            if ended:
                job.done.set_result(result)
            else:
                self._queue.put_back(entry)
        self._dispatch()


def _advance(steps: Steps[Any]) -> tuple[bool, Any]:
    """Do steps for a slice of time; return whether they have ended, and their result."""
    until = time.monotonic() + SLICE_SECONDS
    try:
        next(steps)
        while time.monotonic() < until:
            next(steps)
    except StopIteration as end:
        return True, end.value
    return False, None
