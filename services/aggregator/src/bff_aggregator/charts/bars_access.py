"""Whether a credential may read a symbol's bars of one source: the backend is asked for one day of them. I/O."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final

from bff_aggregator.backend import bar_calls
from bff_aggregator.backend.bar_calls import Range
from bff_aggregator.backend.bars import Source
from bff_aggregator.cache.entry import Entry
from bff_aggregator.charts import chunk_codec
from bff_aggregator.http.cpu_limiter import CpuLimiter
from bff_shared.access.credentials import Reader
from bff_shared.access.gate import AccessGate
from bff_shared.errors import DatasetNotFound
from bff_shared.upstream.client import Upstream

UNKNOWN_TEXT: Final = "the backend has no bars of this symbol"


class UnknownSymbol(DatasetNotFound):
    """The backend has no bars of a symbol at all."""


@dataclass(frozen=True, slots=True)
class Question:
    """The cheapest question about bars: those of a day that has some. What may be read is one source of a symbol."""

    symbol: str
    source: Source
    rth_only: bool | None
    day: date
    resource: str = field(init=False)
    """What the backend's verdict is about."""

    def __post_init__(self) -> None:
        """Name the resource once, for it is looked up with each request."""
        object.__setattr__(self, "resource", resource_of(self.symbol, self.source))


class BarsAccess:
    """Has the backend judge who reads bars; a question may take `timeout` seconds, whoever waits for it."""

    def __init__(self, gate: AccessGate, upstream: Upstream, cpu: CpuLimiter, timeout: float) -> None:
        self.gate, self._upstream, self._cpu, self._timeout = gate, upstream, cpu, timeout

    def is_good(self, reader: Reader, question: Question) -> bool:
        """Tell whether a verdict is good, and no question is due."""
        return self.gate.is_good(reader.credential, question.resource)

    async def require(self, reader: Reader, question: Question, deadline: float) -> bool:
        """Return once the reader may read; true if the verdict had to be stretched.

        Raises UnknownSymbol, BackendRefusal, an UpstreamError or Busy. `deadline` is in monotonic seconds.
        """
        return await self.gate.require(
            reader.credential, question.resource, lambda: self._ask(reader, question), deadline
        )

    async def _ask(self, reader: Reader, question: Question) -> None:
        """Ask for the day; where the backend has nothing of it, for a day of which it must have something."""
        symbol, source = question.symbol, question.source
        if await self._last_day(reader, symbol, source, question.rth_only, question.day) is not None:
            return
        last = await self._last_day(reader, symbol, Source.DAILY, None, None)
        is_there = last is not None and (
            source is Source.DAILY
            or (await self._last_day(reader, symbol, source, question.rth_only, last) is not None)
        )
        if not is_there:
            raise UnknownSymbol(UNKNOWN_TEXT, {"symbol": symbol, "known": None})

    async def _last_day(
        self, reader: Reader, symbol: str, source: Source, rth_only: bool | None, day: date | None
    ) -> date | None:
        """Return the last date that the backend has of a day, or of all days; None if it has none."""
        wanted = Range(symbol, source, rth_only, day, day)
        deadline = time.monotonic() + self._timeout
        parsed = await bar_calls.fetch(self._upstream, wanted, reader.credentials, deadline, self._cpu)
        if parsed is None or not len(parsed.bars):
            return None
        return datetime.fromtimestamp(int(parsed.bars.t[-1]), UTC).date()


def resource_of(symbol: str, source: Source) -> str:
    """Return the name of what the backend's verdict is about: who may read days may not read minutes yet."""
    return f"bars:{source}:{symbol}"


def last_day(entries: Mapping[str, Entry]) -> date | None:
    """Return the last date with bars among chunks by their keys, None where no chunk has any. Pure."""
    for key in sorted(entries, reverse=True):
        if (last := chunk_codec.last_second(entries[key].value)) is not None:
            return datetime.fromtimestamp(last, UTC).date()
    return None


def last_read(entries: Mapping[str, Entry]) -> float | None:
    """Return when the newest of the chunks that have bars was asked for (Unix seconds). Pure.

    One without bars may stem from a 404, which says nothing of who may read.
    """
    times = [entry.made - entry.cost for entry in entries.values() if chunk_codec.last_second(entry.value) is not None]
    return max(times, default=None)
