"""Chart answers: the bars of a window out of cached chunks, decimated, with what is to be told about them."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import date

from bff_aggregator.backend.bars import Source
from bff_aggregator.backend.refusal import BackendRefusal
from bff_aggregator.cache.entry import FillResult, Scope, State
from bff_aggregator.cache.loader import Loaded, Loader
from bff_aggregator.cache.single_flight import SingleFlight, joined
from bff_aggregator.cache.store import Store
from bff_aggregator.charts import bars_access, chunk_codec, chunk_fetcher, chunk_plan, hourly_source, material
from bff_aggregator.charts.assembly import Assembled, assemble
from bff_aggregator.charts.bars_access import BarsAccess, Question, UnknownSymbol
from bff_aggregator.charts.chunk_fetcher import ChunkFetcher, Withheld
from bff_aggregator.charts.chunk_plan import Chunk
from bff_aggregator.charts.encode import BAR_BYTES
from bff_aggregator.charts.material import Material, Wanting, Wants
from bff_aggregator.charts.query import ChartQuery
from bff_aggregator.charts.timeframes import Timeframe
from bff_aggregator.charts.work import Chart, Timings, Work, data_source
from bff_aggregator.http import response_budget
from bff_aggregator.http.cpu_limiter import CpuLimiter
from bff_aggregator.http.steps import finish
from bff_shared.access.credentials import Reader
from bff_shared.backend_keys import is_symbol
from bff_shared.errors import BackendMalformed, BackendTimeout, BackendUnavailable, BffError
from bff_shared.upstream.client import Upstream

log = logging.getLogger(__name__)
NAMESPACE = "chart"
_INLINE_BYTES = 128 * 1024
"""Chunks of fewer bytes, some thousands of bars, are assembled by the event loop itself."""

PREVIEW_DAYS = 31
"""Days of minutes that take long enough for a preview: a month of them is a megabyte."""

_HOURS_SHARE = 0.5
"""Of a request's time, so much may pass until hours that do not come are given up for minutes."""


class ChartService:
    """Answers chart queries; a backend call may take `late_timeout` seconds, however long who began it waits for it.

    With `by_hours` long charts of minutes are made from hours where these stand in for them.
    """

    def __init__(
        self,
        upstream: Upstream,
        store: Store,
        loader: Loader,
        access: BarsAccess,
        late_timeout: float,
        today: Callable[[], date],
        cpu: CpuLimiter,
        *,
        by_hours: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._upstream, self._store, self._loader, self.access = upstream, store, loader, access
        self._late_timeout, self._today, self._clock = late_timeout, today, clock
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
            similar = await self._similar(query.symbol, reader.alone(), deadline)
            raise chunk_fetcher.unknown_symbol(query.symbol, similar) from None

    def has_preview(self, query: ChartQuery, reader: Reader) -> bool:
        """Tell whether a chart takes long enough for a preview: a long one of minutes that are not all in memory."""
        if query.timeframe.source is not Source.MINUTE or (query.last - query.first).days < PREVIEW_DAYS:
            return False
        keys = list(self._keys(query, Source.MINUTE, chunk_plan.chunks(Source.MINUTE, query.first, query.last)))
        found, now = self._store.get_local(Scope(NAMESPACE, query.symbol, reader.principal), keys), self._clock()
        return any(key not in found or found[key].state(now) is not State.FRESH for key in keys)

    def begins_with_hours(self, query: ChartQuery) -> bool:
        """Tell whether the chart itself, or what it begins with, is what a preview is made from."""
        return self._by_hours and hourly_source.may_stand_in(query, self._today())

    async def preview(self, query: ChartQuery, reader: Reader, deadline: float) -> Chart | None:
        """Return a chart of minutes as its hours show it, quick and coarse; None where there are none to be had."""
        work = self._work(replace(query, timeframe=Timeframe.HOUR), reader, deadline)
        work.preview_of = query
        try:
            chart = await self._from(work, Source.HOUR, deadline)
        except (BffError, BackendRefusal) as error:
            log.debug("no preview", extra={"symbol": query.symbol, "reason": str(error)})
            return None
        return chart if chart.facts.source_bars else None

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
        chart = None
        if self.begins_with_hours(query):
            chart = await self._from_hours(work)
        if chart is None:
            chart = await self._from(work, query.timeframe.source, work.deadline)
        if not chart.facts.source_bars:
            await self._require_extent(work)
        facts = chart.facts
        if log.isEnabledFor(logging.DEBUG):
            bars = {"source": facts.source, "source_bars": facts.source_bars, "bars": facts.total_bars}
            log.debug("chart made", extra={"symbol": query.symbol, **bars, "backend_calls": facts.backend_calls})
        return chart

    def _work(self, query: ChartQuery, reader: Reader, deadline: float) -> Work:
        scope = Scope(NAMESPACE, query.symbol, reader.principal)
        source = query.timeframe.source
        day = chunk_plan.last_weekday(min(query.last, self._today()))
        question = Question(query.symbol, source, None if source is Source.DAILY else query.rth_only, day)
        return Work(query, reader, scope, self._fetcher(scope, reader), deadline, question)

    async def _from_hours(self, work: Work) -> Chart | None:
        """Return a chart of minutes made from hours; None where these fail, or do not stand in for minutes.

        A backend that cannot be reached is not asked for the minutes as well.
        """
        now = time.monotonic()
        try:
            return await self._from(work, Source.HOUR, now + (work.deadline - now) * _HOURS_SHARE)
        except hourly_source.NotInterchangeable:
            work.in_vain = work.loaded.made
        except (BackendMalformed, BackendTimeout) as error:
            self._give_up_hours(work, error)
        except BackendUnavailable as error:
            if "backend_status" not in error.details:
                raise
            self._give_up_hours(work, error)
        except UnknownSymbol:  # perhaps of its hours only
            if not work.reader.shares:
                raise
        work.found, work.loaded = {}, Loaded({})
        return None

    def _give_up_hours(self, work: Work, error: BffError) -> None:
        work.in_vain = work.loaded.made + 1
        log.warning("no hours, so minutes are read", extra={"symbol": work.query.symbol, "reason": str(error)})

    async def _from(self, work: Work, source: Source, deadline: float) -> Chart:
        """Return the chart made from a source's bars, of a window as wide as it takes."""
        wants = Wants(source, material.foreseen(work.query, source, self._today()))
        while True:
            given = await self._load(work, wants, deadline)
            try:
                return await self._make(work, given)
            except Wanting as wanting:
                wants = wanting.wants

    def _fetcher(self, scope: Scope, reader: Reader) -> ChunkFetcher:
        limit = time.monotonic() + self._late_timeout
        gate = self.access.gate
        return ChunkFetcher(self._upstream, self._loader, scope, reader, gate, limit, self._today(), self._cpu)

    def _deny_unknown(self, scope: Scope) -> None:
        """Spare the backend the question for a symbol that it has just denied."""
        known = self._store.get_local(scope, [chunk_fetcher.EXTENT]).get(chunk_fetcher.EXTENT)
        if known is not None and known.value == chunk_fetcher.UNKNOWN and known.state(self._clock()) is State.FRESH:
            raise chunk_fetcher.unknown_symbol(scope.subject)

    async def _load(self, work: Work, wants: Wants, deadline: float) -> Material:
        """Return the chunks of what is wanted; those that the work has found before are not looked for again."""
        wanted = self._keys(work.query, wants.source, chunk_plan.chunks(wants.source, *wants.window.dates))
        minutes = self._keys(work.query, Source.MINUTE, [Chunk(day, day) for day in wants.minute_dates])
        for source, keys in ((wants.source, wanted), (Source.MINUTE, minutes)):
            await self._find(work, source, {key: keys[key] for key in keys if key not in work.found}, deadline)
        parts = ([work.found[key] for key in sorted(keys)] for keys in (wanted, minutes))
        return Material(wants, *parts)

    def _keys(self, query: ChartQuery, source: Source, chunks: Sequence[Chunk]) -> dict[str, Chunk]:
        """Return chunks by their keys in the cache."""
        hours = "" if source is Source.DAILY else "-rth" if query.rth_only else "-all"
        return {f"{source}{hours}:{chunk.key}": chunk for chunk in chunks}

    async def _find(self, work: Work, source: Source, wanted: Mapping[str, Chunk], deadline: float) -> None:
        """Add chunks to what the work has found, once its reader may read them.

        Shared chunks are looked at after the backend's verdict only. A reader's own may be their own proof: that they
        have just been read.
        """
        if not wanted:
            return
        rth_only = None if source is Source.DAILY else work.query.rth_only
        work.question = replace(work.question, source=source, rth_only=rth_only)
        if work.reader.shares:
            work.stretched |= await self.access.require(work.reader, work.question, deadline)

        async def fill(keys: Sequence[str]) -> Mapping[str, FillResult | Exception]:
            return await work.fetcher.chunks(source, rth_only, {key: wanted[key] for key in keys})

        try:
            loaded = await self._loader.load(work.scope, list(wanted), fill, deadline)
        except Withheld:
            if work.fetcher.refusal is not None:
                raise work.fetcher.refusal from None
            work.alone(self._fetcher)
            await self._find(work, source, wanted, deadline)
            return
        if work.fetcher.refusal is not None:
            raise work.fetcher.refusal
        if (day := bars_access.last_day(loaded.entries)) is not None:
            work.question = replace(work.question, day=day)
        if not work.reader.shares and (loaded.hits or loaded.stale):
            await self._require_own(work, loaded, has_bars=day is not None)
        work.add(wanted, loaded)

    async def _require_own(self, work: Work, loaded: Loaded, *, has_bars: bool) -> None:
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

    async def _make(self, work: Work, given: Material) -> Chart:
        """Return the chart made of what was loaded; raise what `assemble` does, ClientBusy or Busy."""
        begun = time.perf_counter()
        load_ms = (begun - work.begun) * 1000
        loaded = replace(work.loaded, made=work.loaded.made + work.in_vain)
        encoded, made = await self._assembled(work, given, stale=loaded.stale > 0)
        facts = replace(
            made, source=data_source(loaded), hit=not loaded.made, backend_calls=work.fetcher.calls, load_ms=load_ms
        )
        timings = Timings(load_ms, (time.perf_counter() - begun) * 1000)
        fresh_until = min(item.fresh_until for item in given.entries)
        return Chart(encoded, facts, loaded, fresh_until, timings, work.question, work.stretched)

    async def _assembled(self, work: Work, given: Material, *, stale: bool) -> Assembled:
        """Assemble chunks, together with all who want the same of them; what is large goes by turns, if it has room."""
        found = given.entries
        size = sum(len(item.value) for item in found)
        steps = assemble(work.query, given, self._today(), stale=stale, preview_of=work.preview_of)
        if size < _INLINE_BYTES:
            return finish(steps)
        bars = min(work.query.target, size // chunk_codec.BAR_BYTES)
        reservation = response_budget.reserve(bars * BAR_BYTES[work.query.format])
        asked = (work.query.key, work.preview_of and work.preview_of.key)
        key = (work.scope, asked, given.wants, stale, tuple(item.made for item in found))
        try:
            assembled, _ = await joined(self._under_way, key, lambda: self._cpu.steps(size, steps))
        except Exception:
            reservation.settle(0)
            raise
        reservation.settle(len(assembled[0].text))
        return assembled

    async def _require_extent(self, work: Work) -> None:
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
