"""The list of runs with each finished run's key metrics, never slower than twice the plain list. I/O.

The metrics come from a cache of their own, or from the backend by a bounded number of calls at once. Those that are not
there in a part of the time that the list itself took are `pending`; their calls go on, and the next request finds them.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from bff_aggregator.backend.part import State
from bff_aggregator.backend.refusal import BackendRefusal
from bff_aggregator.backend.run_calls import RunSource, describe
from bff_aggregator.backend.schema import Json, UnexpectedShape
from bff_aggregator.cache.entry import STALE_IF_ERROR, FillResult, Lifetime, Scope, make_entry
from bff_aggregator.cache.entry import State as Freshness
from bff_aggregator.cache.loader import Loader
from bff_aggregator.cache.single_flight import SingleFlight
from bff_aggregator.cache.store import Store
from bff_aggregator.runs import list_page
from bff_aggregator.runs.list_page import Page, Row
from bff_shared.access.credentials import Reader
from bff_shared.access.gate import AccessGate
from bff_shared.errors import BackendMalformed, BackendUnavailable, BffError, Internal, UpstreamError

log = logging.getLogger(__name__)
NAMESPACE: Final = "run-lists"
RESOURCE: Final = "runs"
"""What the backend's verdict on a page is about."""
SHARE: Final = 0.3  # of the plain list's time; the rest of its time again is for putting the answer together
WORTH_A_CALL: Final = 0.005
AFTER_THE_ANSWER: Final = 0.02
FRESH: Final = 1.0
JOINABLE: Final = 0.5
MOST_UNDER_WAY: Final = 1000
FILL_SECONDS: Final = 30.0
FAILED_SECONDS: Final = 5.0
MOST_FAILED: Final = 1000


@dataclass(frozen=True, slots=True)
class Text:
    """The backend's text of a page, how many calls it took, and why it is not the newest."""

    text: bytes
    calls: int = 0
    error: Json | None = None


class RunListService:
    """Loads pages; `fanout` metrics are asked for at once. `aclose` ends what is under way.

    What is cached, pages and metrics alike, belongs to one subject, so that one look finds all metrics of a page, and
    one purge forgets them.
    """

    def __init__(
        self,
        source: RunSource,
        store: Store,
        loader: Loader,
        gate: AccessGate,
        fanout: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take a clock in seconds since the Unix epoch."""
        self._source, self._store, self._loader, self._gate, self._clock = source, store, loader, gate, clock
        self._lists: SingleFlight[bytes] = SingleFlight(clock, JOINABLE)
        self._batch, self._fanout = fanout, asyncio.Semaphore(fanout)
        self._under_way: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._failed: OrderedDict[tuple[str, str], tuple[State, float]] = OrderedDict()

    async def aclose(self) -> None:
        """End all calls."""
        tasks = set(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._lists.aclose()

    async def load(self, user: Reader, query: str, deadline: float) -> Page:
        """Return a page by the `deadline` (monotonic seconds); raise as `RunSource.list` does."""
        begun = time.monotonic()
        scope = Scope(NAMESPACE, "", user.principal)
        found = await self._text(scope, user, query, deadline)
        plain = list_page.read_page(found.text)
        now = time.monotonic()
        until = min(deadline, now + SHARE * (now - begun) if found.calls else now)
        cached = self._store.get_local(scope, [row.key for row in plain.rows if row.key])
        at = self._clock()
        due = [row for row in plain.rows if row.key and (row.key not in cached or at >= cached[row.key].fresh_until)]
        failed = {row.key: state for row in due if (state := self._recent_failure(scope, row.key))}
        wanted = [row for row in due if row.key not in failed]
        # Where no call of the backend's could end in time, beginning them would only hold up the answer.
        pause = 0.0 if until - now > WORTH_A_CALL else AFTER_THE_ANSWER
        tasks = self._begin(scope, user, wanted, pause)
        missing = [row.key for row in wanted if row.key not in cached]
        if missing and tasks and until > time.monotonic():
            await asyncio.wait(tasks, timeout=until - time.monotonic())
            cached |= self._store.get_local(scope, missing)
            failed |= {key: state for key in missing if (state := self._recent_failure(scope, key))}
        return Page(plain, {key: item.value for key, item in cached.items()}, failed, found.calls, found.error)

    async def _text(self, scope: Scope, user: Reader, query: str, deadline: float) -> Text:
        """Return the page as the backend has it, or a cached one: for a second, and when the backend fails.

        A page is asked for with the reader's own credentials, unless the backend has accepted them lately.
        """
        cached = self._store.get_local(scope, (query,)).get(query)
        if cached is not None and self._clock() < cached.fresh_until and self._gate.is_open(user.credential, RESOURCE):
            return Text(cached.value)
        stand_in = cached if self._gate.may_stretch(user.credential, RESOURCE) else None
        holder = object()
        flight, begun = self._lists.join((user.credential, query), holder, lambda: self._ask(scope, user, query))
        try:
            await asyncio.wait((flight.task,), timeout=max(0.0, deadline - time.monotonic()))
            return Text(flight.result(), int(begun))
        except UpstreamError as error:
            if stand_in is None:
                raise
            return Text(stand_in.value, int(begun), describe(error))
        except (BffError, BackendRefusal):
            raise
        except Exception:
            if stand_in is None:
                raise
            log.exception("a page of the list could not be loaded")
            return Text(stand_in.value, int(begun), describe(Internal("the service failed to load the list")))
        finally:
            self._lists.release(flight, holder)

    async def _ask(self, scope: Scope, user: Reader, query: str) -> bytes:
        """Ask the backend; what it says is cached in this process, for it is good for seconds only."""
        epoch, asked = self._store.epoch(), self._clock()
        try:
            text = await self._source.fetch_list(user, query)
            list_page.read_page(text)
        except BackendRefusal as error:
            self._gate.note(user.credential, RESOURCE, error)
            await self._store.delete(scope, (query,))
            raise
        except UnexpectedShape as error:
            raise BackendMalformed(f"the backend's answer is not a list of runs: {error}") from error
        self._gate.accepted(user.credential, RESOURCE, asked)
        made = FillResult(text, Lifetime(FRESH, stale_if_error=STALE_IF_ERROR))
        self._store.put_local(scope, {query: make_entry(made, self._clock(), 0.0, 0.0)}, epoch)
        return text

    def _begin(self, scope: Scope, user: Reader, rows: Sequence[Row], pause: float) -> set[asyncio.Task[None]]:
        """Have metrics brought that nobody is bringing yet; return the tasks of all that are under way."""
        keys = {row.key: row for row in rows if (scope.principal, row.key) not in self._under_way}
        if keys and len(self._under_way) + len(keys) <= MOST_UNDER_WAY:
            task = asyncio.create_task(self._bring(scope, user, list(keys.values()), pause), name="list-metrics")
            mine = {(scope.principal, key): task for key in keys}
            self._under_way |= mine
            task.add_done_callback(lambda _: self._end(mine))
        return {
            self._under_way[scope.principal, row.key] for row in rows if (scope.principal, row.key) in self._under_way
        }

    def _end(self, keys: Iterable[tuple[str, str]]) -> None:
        for key in keys:
            del self._under_way[key]

    async def _bring(self, scope: Scope, user: Reader, rows: Sequence[Row], pause: float) -> None:
        """Bring metrics into memory; a defect on the way costs these metrics only, and is logged."""
        try:
            await self._bring_all(scope, user, rows, pause)
        except Exception:
            log.exception("metrics of the list could not be brought")

    async def _bring_all(self, scope: Scope, user: Reader, rows: Sequence[Row], pause: float) -> None:
        """Bring metrics: all that Redis has with one look, the others, after a pause, in batches."""
        found, _ = await self._store.get_shared(scope, [row.key for row in rows], self._store.epoch())
        now = self._clock()
        rest = [row for row in rows if row.key not in found or found[row.key].state(now) is not Freshness.FRESH]
        if rest:
            await asyncio.sleep(pause)
        for batch in list_page.batches(rest, self._batch):
            by_key = {row.key: row for row in batch}

            async def fill(
                keys: Sequence[str], by_key: Mapping[str, Row] = by_key
            ) -> Mapping[str, FillResult | Exception]:
                made = await asyncio.gather(*(self._metrics(scope, user, by_key[key]) for key in keys))
                return dict(zip(keys, made, strict=True))

            with suppress(BffError):  # each failure is remembered by itself
                await self._loader.load(scope, list(by_key), fill, time.monotonic() + FILL_SECONDS)

    async def _metrics(self, scope: Scope, user: Reader, row: Row) -> FillResult | Exception:
        """Ask the backend for one run's metrics."""
        async with self._fanout:
            part = await self._source.fetch_part(user, row.run_id, "metrics", ahead=True)
        if part.final:
            life = Lifetime(list_page.lifetime(row, part.state, self._clock()), stale_if_error=STALE_IF_ERROR)
            return FillResult(list_page.shown(part), life)
        self._failed[scope.principal, row.key] = part.state, time.monotonic() + FAILED_SECONDS
        while len(self._failed) > MOST_FAILED:
            self._failed.popitem(last=False)
        return BackendUnavailable("the metrics of a run of the list are not available")

    def _recent_failure(self, scope: Scope, key: str) -> State | None:
        state, until = self._failed.get((scope.principal, key), (None, 0.0))
        return state if time.monotonic() < until else None
