"""Makes the cache's chart entries from the backend: chunks of bars, and the dates that a symbol has bars for."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import orjson

from bff_aggregator.backend import bar_calls
from bff_aggregator.backend.bar_calls import Range
from bff_aggregator.backend.bars import Source
from bff_aggregator.backend.bars_reader import Parsed
from bff_aggregator.backend.refusal import BackendRefusal
from bff_aggregator.cache.entry import FillResult, Lifetime, Scope
from bff_aggregator.cache.loader import Loader
from bff_aggregator.charts import chunk_codec, chunk_plan
from bff_aggregator.charts.bars_access import UNKNOWN_TEXT, UnknownSymbol, resource_of
from bff_aggregator.charts.chunk_plan import Chunk
from bff_aggregator.http.cpu_limiter import CpuLimiter
from bff_shared.access.credentials import Reader
from bff_shared.access.gate import AccessGate
from bff_shared.errors import BackendTooLarge, ClientBusy, DatasetNotFound, UpstreamError
from bff_shared.turns import in_pieces
from bff_shared.upstream.client import Upstream

EXTENT = "extent"
UNKNOWN = b""
_DAY = 86_400
_BAR_BYTES = 28
_CHUNK_BYTES = 512
"""A chunk without bars takes as long to make as bars of so many bytes."""


def _split(parsed: Parsed, group: Sequence[Chunk]) -> list[bytes]:
    return chunk_codec.split(parsed.bars, [chunk.bounds for chunk in group], parsed.rejected)


class Withheld(UpstreamError):
    """A call for shared data failed for the sake of the one reader that it was made for; others go on without it."""


@dataclass(frozen=True, slots=True)
class Extent:
    """The first and last date that a symbol has daily bars for."""

    first: date
    last: date


@dataclass(slots=True)
class ChunkFetcher:
    """Makes entries for one request, which took `calls` of the backend; `refusal` is why one was refused to its reader.

    What is shared is never told that a symbol is unknown: that is between the backend and one reader.
    """

    upstream: Upstream
    loader: Loader
    scope: Scope
    reader: Reader
    access: AccessGate
    deadline: float
    today: date
    cpu: CpuLimiter
    calls: int = 0
    refusal: BackendRefusal | ClientBusy | None = None

    async def chunks(
        self, source: Source, rth_only: bool | None, wanted: Mapping[str, Chunk]
    ) -> Mapping[str, FillResult | Exception]:
        """Return new entries for chunks by their keys: one call for neighbours, distant ones concurrently."""
        keys = {chunk: key for key, chunk in wanted.items()}
        groups = chunk_plan.runs(source, list(wanted.values()))
        gate = asyncio.Semaphore(chunk_plan.calls_at_once(source, groups))
        made = await asyncio.gather(*(self._group(source, rth_only, group, gate) for group in groups))
        return {keys[chunk]: item for part in made for chunk, item in part.items()}

    async def extent(self, until: float | None = None) -> Extent | None:
        """Return the dates that the symbol has bars for, None if it is unknown; kept for a while either way.

        Waits until a moment at most, by default the deadline of the calls; a call that takes longer goes on.
        """
        loaded = await self.loader.load(self.scope, [EXTENT], self._extent, until or self.deadline)
        return read_extent(loaded.entries[EXTENT].value)

    async def _group(
        self, source: Source, rth_only: bool | None, group: Sequence[Chunk], gate: asyncio.Semaphore
    ) -> Mapping[Chunk, FillResult | Exception]:
        """Fetch neighbouring chunks with one call; whatever goes wrong is the outcome of each.

        A response that is larger than expected is asked for in halves.
        """
        # An hour that begins at 23:30 would be cut short at the end of its date.
        more = timedelta(days=1 if source is Source.HOUR else 0)
        wanted = Range(self.scope.subject, source, rth_only, group[0].first, group[-1].last + more)
        try:
            async with gate:
                parsed = await self._fetch(wanted)
            if (parsed is None or not len(parsed.bars)) and await self.extent() is None:
                return dict.fromkeys(group, unknown_symbol(self.scope.subject))
            return await self._entries(source, group, parsed)
        except BackendTooLarge as error:
            if len(group) == 1:
                return dict.fromkeys(group, error)
            middle = len(group) // 2
            halves = (group[:middle], group[middle:])
            made = await asyncio.gather(*(self._group(source, rth_only, half, gate) for half in halves))
            return {**made[0], **made[1]}
        except Exception as error:  # noqa: BLE001  every one who waits for these chunks gets it, whatever it is
            return dict.fromkeys(group, error)

    async def _entries(
        self, source: Source, group: Sequence[Chunk], parsed: Parsed | None
    ) -> Mapping[Chunk, FillResult]:
        known_empty = parsed is None
        parsed = parsed or bar_calls.nothing(source)
        size = len(parsed.bars) * _BAR_BYTES + len(group) * _CHUNK_BYTES
        values = await self.cpu.run(size, _split, parsed, group)
        form = chunk_codec.version(parsed.bars)
        made: dict[Chunk, FillResult] = {}
        async for piece in in_pieces(zip(group, values, strict=True)):
            made |= {
                chunk: FillResult(value, chunk_plan.lifetime(chunk, self.today, known_empty=known_empty), form)
                for chunk, value in piece
            }
        return made

    async def _extent(self, keys: Sequence[str]) -> Mapping[str, FillResult | Exception]:
        parsed = await self._fetch(Range(self.scope.subject, Source.DAILY, None))
        if parsed is None or not len(parsed.bars):
            if self.reader.shares:
                return dict.fromkeys(keys, unknown_symbol(self.scope.subject))
            seconds = min(chunk_plan.EMPTY_SECONDS, self.access.verdicts.periods.good)
            return dict.fromkeys(keys, FillResult(UNKNOWN, Lifetime(seconds)))
        ends = [int(parsed.bars.t[row]) // _DAY * _DAY for row in (0, -1)]
        value = orjson.dumps([datetime.fromtimestamp(end, UTC).date() for end in ends])
        return dict.fromkeys(keys, FillResult(value, Lifetime(chunk_plan.OPEN_SECONDS, chunk_plan.MINUTE)))

    async def _fetch(self, wanted: Range) -> Parsed | None:
        """Ask the backend, which thereby judges the reader; None says nothing of access, for it may be a gap."""
        self.calls += 1
        resource, asked = resource_of(wanted.symbol, wanted.source), self.access.now()
        try:
            parsed = await bar_calls.fetch(self.upstream, wanted, self.reader.credentials, self.deadline, self.cpu)
        except (BackendRefusal, ClientBusy) as error:
            self.access.note(self.reader.credential, resource, error)
            if not self.reader.shares:
                raise
            self.refusal = error
            raise Withheld("the backend did not answer another reader") from error
        if parsed is not None:
            self.access.accepted(self.reader.credential, resource, asked)
        return parsed


def read_extent(value: bytes) -> Extent | None:
    """Return what the cache has kept of a symbol's extent."""
    return None if value == UNKNOWN else Extent(*(date.fromisoformat(day) for day in orjson.loads(value)))


def unknown_symbol(symbol: str, similar: str | None = None) -> UnknownSymbol:
    """Return the error for a symbol that the backend has no bars of, with a similar one of which it has."""
    details = {"symbol": symbol, "known": None}
    if similar is None:
        return UnknownSymbol(UNKNOWN_TEXT, details)
    return UnknownSymbol(f"{UNKNOWN_TEXT}; did you mean {similar}?", {**details, "did_you_mean": similar})


def outside(symbol: str, extent: Extent) -> DatasetNotFound:
    """Return the error for a window before or after everything that there is."""
    known = {"from_date": extent.first.isoformat(), "to_date": extent.last.isoformat()}
    return DatasetNotFound("the backend has no bars in this range", {"symbol": symbol, "known": known})
