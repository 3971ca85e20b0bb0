"""A chart that is being answered: what was found for it so far, and what is told of how that was had."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from bff_aggregator.cache.entry import Entry, Scope
from bff_aggregator.cache.loader import Loaded
from bff_aggregator.charts.bars_access import Question
from bff_aggregator.charts.chunk_fetcher import ChunkFetcher
from bff_aggregator.charts.chunk_plan import Chunk
from bff_aggregator.charts.encode import Encoded, Facts
from bff_aggregator.charts.query import ChartQuery
from bff_shared.access.credentials import Reader


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
class Work:
    """A query being answered; `begun` is a time of `perf_counter`, `in_vain` counts chunks made that were of no use.

    Where it is for a preview, `preview_of` is what was asked for. `found` are the chunks so far, by their keys, and
    `loaded` is what is to be told of how they were had.
    """

    query: ChartQuery
    reader: Reader
    scope: Scope
    fetcher: ChunkFetcher
    deadline: float
    question: Question
    stretched: bool = False
    begun: float = field(default_factory=time.perf_counter)
    preview_of: ChartQuery | None = None
    in_vain: int = 0
    found: dict[str, tuple[Chunk, Entry]] = field(default_factory=dict)
    loaded: Loaded = field(default_factory=lambda: Loaded({}))

    def add(self, wanted: Mapping[str, Chunk], loaded: Loaded) -> None:
        """Add chunks that were loaded to those found before."""
        self.found |= {key: (wanted[key], entry) for key, entry in loaded.entries.items()}
        before = self.loaded
        self.loaded = Loaded(
            {},
            before.hits + loaded.hits,
            before.made + loaded.made,
            before.stale + loaded.stale,
            before.error or loaded.error,
        )

    def alone(self, fetcher: Callable[[Scope, Reader], ChunkFetcher]) -> None:
        """Go on without what is shared: what another reader was refused says nothing of this one."""
        self.reader = self.reader.alone()
        self.scope = replace(self.scope, principal=self.reader.principal)
        self.fetcher = fetcher(self.scope, self.reader)


def data_source(loaded: Loaded) -> str:
    """Return where the chunks of a response came from."""
    if not loaded.made:
        return "cache"
    return "mixed" if loaded.hits or loaded.error else "backend"
