"""Chart answers: the bars of a window out of cached chunks, decimated, with what is to be told about them."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import date

from bff_aggregator.backend.bars import Source
from bff_aggregator.backend.refusal import BackendRefusal
from bff_aggregator.cache.entry import Entry, FillResult, Scope, State
from bff_aggregator.cache.loader import Loaded, Loader
from bff_aggregator.cache.single_flight import SingleFlight, joined
from bff_aggregator.cache.store import Store
from bff_aggregator.charts import bars_access, chunk_codec, chunk_fetcher, chunk_plan, hourly_source
from bff_aggregator.charts.bars_access import BarsAccess, Question, UnknownSymbol
from bff_aggregator.charts.chunk_fetcher import ChunkFetcher, Withheld
from bff_aggregator.charts.chunk_plan import Chunk
from bff_aggregator.charts.encode import BAR_BYTES, Encoded, Facts, encode
from bff_aggregator.charts.price_format import price_format
from bff_aggregator.charts.query import ChartQuery
from bff_aggregator.charts.resample import Clock, resample
from bff_aggregator.charts.timeframes import unmerged
from bff_aggregator.http import response_budget
from bff_aggregator.http.cpu_limiter import CpuLimiter
from bff_aggregator.http.steps import Steps, finish
from bff_shared.access.credentials import Reader
from bff_shared.backend_keys import is_symbol
from bff_shared.errors import BackendMalformed, BffError
from bff_shared.upstream.client import Upstream

log = logging.getLogger(__name__)
NAMESPACE = "chart"
_INLINE_BYTES = 128 * 1024
"""Chunks of fewer bytes, some thousands of bars, are assembled by the event loop itself."""

Assembled = tuple[Encoded, Facts]
"""A chart, and the facts about it as for a response out of the cache."""


def clock_of(query: ChartQuery, source: Source) -> Clock:
    """Return what the bars that a query is answered from mean."""
    return Clock(source.minutes, query.timeframe.minutes, daily=source is Source.DAILY, extended=not query.rth_only)


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds that the steps of an answer took."""

    load: float
    make: float


@dataclass(frozen=True, slots=True)
class Chart:
    """An answer in its format, not yet compressed; `fresh_until` is the Unix time when the first of its chunks ends.

    `question` is what tells whether somebody may read it; `stretched` says that the backend could not be asked.
    """

    encoded: Encoded
    facts: Facts
    loaded: Loaded
    fresh_until: float
    timings: Timings
    question: Question
    stretched: bool


@dataclass(slots=True)
class _Work:
    """A query being answered; `begun` is a time of `perf_counter`, `in_vain` counts chunks made that were of no use."""

    query: ChartQuery
    reader: Reader
    scope: Scope
    fetcher: ChunkFetcher
    deadline: float
    question: Question
    stretched: bool = False
    begun: float = field(default_factory=time.perf_counter)
    in_vain: int = 0

    def alone(self, fetcher: Callable[[Scope, Reader], ChunkFetcher]) -> None:
        """Go on without what is shared: what another reader was refused says nothing of this one."""
        self.reader = replace(self.reader, principal=self.reader.credential)
        self.scope = replace(self.scope, principal=self.reader.principal)
        self.fetcher = fetcher(self.scope, self.reader)


class ChartService:
    """Answers chart queries; a backend call may take `timeout` seconds, whoever waits for it.

    With `by_hours` long charts of minutes are made from hours where these stand in for them.
    """

    def __init__(
        self,
        upstream: Upstream,
        store: Store,
        loader: Loader,
        access: BarsAccess,
        timeout: float,
        today: Callable[[], date],
        cpu: CpuLimiter,
        *,
        by_hours: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._upstream, self._store, self._loader, self.access = upstream, store, loader, access
        self._timeout, self._today, self._clock = timeout, today, clock
        self._by_hours, self._cpu = by_hours, cpu
        self._under_way: SingleFlight[Assembled] = SingleFlight(clock)

    async def aclose(self) -> None:
        """End what is being assembled."""
        await self._under_way.aclose()

    def answering(self) -> AbstractContextManager[None]:
        """Return a context in which an answer is made, ahead of what nobody waits for."""
        return self._loader.answering()

    async def chart(self, query: ChartQuery, reader: Reader, deadline: float) -> Chart:
        """Return the answer to a query. Raises DatasetNotFound, BackendRefusal, an UpstreamError or Busy.

        A symbol is the backend's and never changed; the error for one that it does not have names it in capitals if it
        has that one.
        """
        try:
            return await self._chart(query, reader, deadline)
        except UnknownSymbol:
            similar = await self._similar(query.symbol, replace(reader, principal=reader.credential), deadline)
            raise chunk_fetcher.unknown_symbol(query.symbol, similar) from None

    async def _similar(self, symbol: str, reader: Reader, deadline: float) -> str | None:
        """Return the symbol in capitals if the backend has that one; no failure of the question counts."""
        capitals = symbol.upper()
        if capitals == symbol or not is_symbol(capitals):
            return None
        fetcher = self._fetcher(Scope(NAMESPACE, capitals, reader.principal), reader)
        try:
            return capitals if await fetcher.extent(min(fetcher.deadline, deadline)) else None
        except (BffError, BackendRefusal) as error:
            log.debug("no hint for an unknown symbol", extra={"symbol": symbol, "reason": str(error)})
            return None

    async def _chart(self, query: ChartQuery, reader: Reader, deadline: float) -> Chart:
        work = self._work(query, reader, deadline)
        self._deny_unknown(work.scope)
        chart = (
            await self._from_hours(work)
            if self._by_hours and hourly_source.may_stand_in(query, self._today())
            else None
        )
        if chart is None:
            source = query.timeframe.source
            chart = await self._make(work, source, await self._load(work, source))
        if not chart.facts.source_bars:
            await self._require_extent(work)
        facts = chart.facts
        if log.isEnabledFor(logging.DEBUG):
            bars = {"source": facts.source, "source_bars": facts.source_bars, "bars": facts.total_bars}
            log.debug("chart made", extra={"symbol": query.symbol, **bars, "backend_calls": facts.backend_calls})
        return chart

    def _work(self, query: ChartQuery, reader: Reader, deadline: float) -> _Work:
        scope = Scope(NAMESPACE, query.symbol, reader.principal)
        source = query.timeframe.source
        day = chunk_plan.last_weekday(min(query.last, self._today()))
        question = Question(query.symbol, source, None if source is Source.DAILY else query.rth_only, day)
        return _Work(query, reader, scope, self._fetcher(scope, reader), deadline, question)

    async def _from_hours(self, work: _Work) -> Chart | None:
        """Return a chart of minutes made from hours; None where these make no sense, or do not stand in for minutes.

        A backend that is away is not asked for the minutes as well.
        """
        try:
            loaded = await self._load(work, Source.HOUR)
        except BackendMalformed:
            work.in_vain = 1
            return None
        except UnknownSymbol:  # perhaps of its hours only
            if not work.reader.shares:
                raise
            return None
        try:
            return await self._make(work, Source.HOUR, loaded)
        except hourly_source.NotInterchangeable:
            work.in_vain = loaded.made
            return None

    def _fetcher(self, scope: Scope, reader: Reader) -> ChunkFetcher:
        limit = time.monotonic() + self._timeout
        gate = self.access.gate
        return ChunkFetcher(self._upstream, self._loader, scope, reader, gate, limit, self._today(), self._cpu)

    def _deny_unknown(self, scope: Scope) -> None:
        """Spare the backend the question for a symbol that it has just denied."""
        known = self._store.get_local(scope, [chunk_fetcher.EXTENT]).get(chunk_fetcher.EXTENT)
        if known is not None and known.value == chunk_fetcher.UNKNOWN and known.state(self._clock()) is State.FRESH:
            raise chunk_fetcher.unknown_symbol(scope.subject)

    async def _load(self, work: _Work, source: Source) -> Loaded:
        """Return the chunks of a query once its reader may read them.

        Shared chunks are looked at after the backend's verdict only. A reader's own may be their own proof: that they
        have just been read.
        """
        query = work.query
        rth_only = None if source is Source.DAILY else query.rth_only
        work.question = replace(work.question, source=source, rth_only=rth_only)
        if work.reader.shares:
            work.stretched |= await self.access.require(work.reader, work.question, work.deadline)
        prefix = f"{source}{'' if rth_only is None else '-rth' if rth_only else '-all'}"
        wanted = {f"{prefix}:{chunk.key}": chunk for chunk in chunk_plan.chunks(source, query.first, query.last)}

        async def fill(keys: Sequence[str]) -> Mapping[str, FillResult | Exception]:
            return await work.fetcher.chunks(source, rth_only, {key: wanted[key] for key in keys})

        try:
            loaded = await self._loader.load(work.scope, list(wanted), fill, work.deadline)
        except Withheld:
            if work.fetcher.refusal is not None:
                raise work.fetcher.refusal from None
            work.alone(self._fetcher)
            return await self._load(work, source)
        if work.fetcher.refusal is not None:
            raise work.fetcher.refusal
        loaded.made += work.in_vain
        if (day := bars_access.last_day(loaded.entries)) is not None:
            work.question = replace(work.question, day=day)
        if not work.reader.shares and (loaded.hits or loaded.stale):
            await self._require_own(work, loaded, has_bars=day is not None)
        return loaded

    async def _require_own(self, work: _Work, loaded: Loaded, *, has_bars: bool) -> None:
        """Require that the backend accepts a reader whose own chunks were cached; they tell when it last did."""
        reader, gate = work.reader, self.access.gate
        resource = work.question.resource
        if (read := bars_access.last_read(loaded.entries)) is not None:
            gate.accepted(reader.credential, resource, read)
        if loaded.error is not None:
            if not gate.may_stretch(reader.credential, resource):
                raise loaded.error.with_traceback(None)
            work.stretched |= not gate.is_open(reader.credential, resource)
            return
        if not has_bars and not gate.is_open(reader.credential, resource):
            extent = await work.fetcher.extent(min(work.fetcher.deadline, work.deadline))
            if extent is None:
                return  # which is what the response says
            work.question = replace(work.question, day=extent.last)
        work.stretched |= await self.access.require(reader, work.question, work.deadline)

    async def _make(self, work: _Work, source: Source, loaded: Loaded) -> Chart:
        """Return the chart made from what was loaded; raise hourly_source.NotInterchangeable, ClientBusy or Busy."""
        found = [loaded.entries[key] for key in sorted(loaded.entries)]
        begun = time.perf_counter()
        load_ms = (begun - work.begun) * 1000
        encoded, made = await self._assembled(work, source, found, stale=loaded.stale > 0)
        facts = replace(
            made, source=data_source(loaded), hit=not loaded.made, backend_calls=work.fetcher.calls, load_ms=load_ms
        )
        timings = Timings(load_ms, (time.perf_counter() - begun) * 1000)
        fresh_until = min(item.fresh_until for item in found)
        return Chart(encoded, facts, loaded, fresh_until, timings, work.question, work.stretched)

    async def _assembled(self, work: _Work, source: Source, found: Sequence[Entry], *, stale: bool) -> Assembled:
        """Assemble chunks, together with all who want the same of them; what is large goes by turns, if it has room."""
        size = sum(len(item.value) for item in found)
        steps = assemble(work.query, found, source, stale=stale)
        if size < _INLINE_BYTES:
            return finish(steps)
        bars = min(work.query.target, size // chunk_codec.BAR_BYTES)
        reservation = response_budget.reserve(bars * BAR_BYTES[work.query.format])
        key = (work.scope, work.query.key, source, stale, tuple(item.made for item in found))
        assembled, _ = await joined(self._under_way, key, lambda: self._cpu.steps(size, steps))
        reservation.settle(len(assembled[0].text))
        return assembled

    async def _require_extent(self, work: _Work) -> None:
        """Raise DatasetNotFound for an empty window that is not within what the backend has of the symbol."""
        query, fetcher = work.query, self._fetcher(work.scope, work.reader)
        try:
            extent = await fetcher.extent(min(fetcher.deadline, work.deadline))
        except Withheld:  # from this reader, or from another one who asked first
            if fetcher.refusal is not None:
                raise fetcher.refusal from None
            work.alone(self._fetcher)
            extent = await work.fetcher.extent(min(fetcher.deadline, work.deadline))
        if extent is None:
            raise chunk_fetcher.unknown_symbol(query.symbol)
        if query.last < extent.first or query.first > extent.last:
            raise chunk_fetcher.outside(query.symbol, extent)


def data_source(loaded: Loaded) -> str:
    """Return where the chunks of a response came from."""
    if not loaded.made:
        return "cache"
    return "mixed" if loaded.hits or loaded.error else "backend"


def assemble(query: ChartQuery, found: Sequence[Entry], source: Source, *, stale: bool) -> Steps[Assembled]:
    """Return, in steps, a chart and the facts about its bars; raise hourly_source.NotInterchangeable. Pure."""
    piece = chunk_codec.join([item.value for item in found])
    yield
    bars = piece.bars.between(*Chunk(query.first, query.last).bounds)
    stands_in = source is not query.timeframe.source
    if stands_in:
        hourly_source.require_fit(bars, piece.rejected, query.target)
    done = resample(bars, query.target, clock_of(query, source))
    yield
    facts = Facts(
        total_bars=len(done.bars),
        source_bars=len(bars),
        source_timeframe=unmerged(source),
        decimated=done.decimated or stands_in,
        stride=done.stride,
        rejected_bars=piece.rejected,
        source="cache",
        hit=True,
        stale=stale,
        backend_calls=0,
        load_ms=0.0,
        price_format=price_format(done.bars),
    )
    return encode(query, done.bars, facts), facts
