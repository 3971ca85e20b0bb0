"""Work that several requests share while it is under way, and that may outlive the request that began it."""

import asyncio
import functools
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from bff_shared.errors import BackendTimeout

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Flight(Generic[T]):
    """Work under way for one key or several. `began` is Unix seconds; `holders` are who wants it."""

    keys: tuple[Any, ...]
    task: asyncio.Task[T]
    began: float
    holders: set[object] = field(default_factory=set)

    def __repr__(self) -> str:
        """Say what it is for and where it stands."""
        more = f" and {len(self.keys) - 1} more" if len(self.keys) > 1 else ""
        state = "landed" if self.task.done() else "under way"
        return f"<Flight {self.keys[0]!r}{more}, {state}, {len(self.holders)} holders>"

    def result(self) -> T:
        """Return what came of it, or raise it; raises BackendTimeout while it is under way."""
        if not self.task.done():
            raise BackendTimeout("the backend did not answer within the deadline")
        return self.task.result()


class SingleFlight(Generic[T]):
    """At most one flight per key at a time, unless a newer one is asked for; `aclose` ends what is still under way.

    Cancelling who waits for a flight (with `asyncio.wait`) does not cancel it; `release` does, once nobody holds it.

    A flight can be joined for `joinable` seconds: one that hangs for longer may never end, and must not take along
    everybody who comes after. One that has landed can be joined for as long as somebody holds it, however long ago it
    began, where `shareable` says so of its result; without `shareable` none can.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        joinable: float = math.inf,
        shareable: Callable[[T], bool] | None = None,
    ) -> None:
        """Take the clock that `began` is read from (seconds since the Unix epoch)."""
        self._clock, self._joinable, self._shareable = clock, joinable, shareable
        self._latest: dict[Any, Flight[T]] = {}
        self._all: set[asyncio.Task[T]] = set()

    def join(
        self, key: Any, holder: object, start: Callable[[], Coroutine[Any, Any, T]], not_before: float = 0.0
    ) -> tuple[Flight[T], bool]:
        """Return the flight of `key`, and whether it was begun by this call; `holder` holds it until it is released.

        One that began before `not_before` will not do: another is begun.
        """
        flight = self._latest.get(key)
        if flight is not None and self._can_be_joined(flight, self._clock(), not_before):
            flight.holders.add(holder)
            return flight, False
        return self.begin((key,), start, holder), True

    def get(self, key: Any) -> Flight[T] | None:
        """Return the flight of `key`, if one is under way."""
        return self._latest.get(key)

    def begin(
        self, keys: Sequence[Any], start: Callable[[], Coroutine[Any, Any, T]], holder: object | None = None
    ) -> Flight[T]:
        """Begin a flight for several keys at once, whatever is under way for them.

        Without a `holder` it belongs to nobody: it goes on however many of those who wait for it are gone.
        """
        task = asyncio.create_task(start(), name="flight")
        flight = Flight(tuple(keys), task, self._clock(), set() if holder is None else {holder})
        self._latest |= dict.fromkeys(flight.keys, flight)
        self._all.add(task)
        task.add_done_callback(functools.partial(self._end, flight))
        return flight

    def forget(self, match: Callable[[Any], bool]) -> None:
        """Let nobody join the flights of the keys that `match` is true of; they go on for those who have."""
        for key in [key for key in self._latest if match(key)]:
            del self._latest[key]

    def release(self, flight: Flight[T], holder: object) -> None:
        """Want a flight no longer; one that nobody holds is cancelled, or forgotten when it has landed."""
        flight.holders.discard(holder)
        if flight.holders:
            return
        if flight.task.done():
            self._forget(flight)
        else:
            flight.task.cancel()

    def __len__(self) -> int:
        """Return how many are under way."""
        return len(self._all)

    def __repr__(self) -> str:
        """Say how much is under way."""
        return f"<SingleFlight {len(self._all)} under way, {len(self._latest)} keys to be joined>"

    async def aclose(self) -> None:
        """Cancel every flight, and wait until they have ended."""
        for task in self._all:
            task.cancel()
        await asyncio.gather(*self._all, return_exceptions=True)

    def _can_be_joined(self, flight: Flight[T], now: float, not_before: float) -> bool:
        if flight.began < not_before or flight.task.cancelling():
            return False
        return flight.task.done() or flight.began >= now - self._joinable

    def _end(self, flight: Flight[T], task: asyncio.Task[T]) -> None:
        self._all.discard(task)
        failed = (
            task.cancelled() or task.exception() is not None
        )  # marks it retrieved: asyncio logs no failure that nobody awaited
        if failed or not flight.holders or self._shareable is None or not self._shareable(task.result()):
            self._forget(flight)

    def _forget(self, flight: Flight[T]) -> None:
        for key in flight.keys:
            if self._latest.get(key) is flight:
                del self._latest[key]


async def joined(flights: SingleFlight[T], key: Any, start: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, bool]:
    """Return what comes of the flight of a key, joined or begun by this call, and whether it was begun by it.

    Raises what the flight raises. A caller that is cancelled leaves; the last one ends the flight.
    """
    holder = object()
    flight, begun = flights.join(key, holder, start)
    try:
        await asyncio.wait((flight.task,))
    finally:
        flights.release(flight, holder)
    return flight.task.result(), begun


class BackgroundTasks:
    """A bounded number of background tasks, such as caching what came too late; `aclose` cancels them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """Return how many are under way."""
        return len(self._tasks)

    def start(self, job: Callable[[], Awaitable[None]]) -> bool:
        """Begin a job, unless too many are under way already; tell whether it was begun."""
        if len(self._tasks) >= self._limit:
            return False
        task = asyncio.create_task(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def aclose(self) -> None:
        """Cancel every job, and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, job: Callable[[], Awaitable[None]]) -> None:
        try:
            await job()
        except Exception:
            log.exception("a background job failed")
