"""The response cache of charts: serialized charts in this process, each in the content codings asked for so far."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from bff_aggregator.charts.query import ChartQuery
from bff_aggregator.http import cache_headers, content_coding
from bff_shared.http.headers import Header

OVERHEAD = 2048
_THREAD_BYTES = 64 * 1024
# For the last tenth of its time, half a minute at most, an answer is put together anew, so that chunks refresh early.
_EARLY, _EARLIEST = 0.1, 30.0


@dataclass(eq=False, slots=True)
class CodedBody:
    """An answer's bytes in a coding, and the headers that stay the same."""

    body: bytes
    headers: list[Header]


@dataclass(eq=False, slots=True)
class Representation:
    """A serialized chart: its bytes, a digest of the data, one of the metadata, and the coded bodies made so far."""

    body: bytes
    content: str
    edition: str
    media_type: str
    fresh_until: float
    coded: dict[str, CodedBody] = field(default_factory=dict)
    _aged: tuple[int, list[Header]] = (-1, [])

    def tag(self, coding: str) -> str:
        """Return the entity tag in a coding."""
        return content_coding.entity_tag(self.content, self.edition, coding)

    async def in_coding(self, coding: str) -> CodedBody:
        """Return the answer in a coding."""
        found = self.coded.get(coding)
        return found if found is not None else await self._code(coding)

    def hit(self, now: float) -> list[Header]:
        """Return the headers of a cached answer that change with time, which is once a second."""
        ttl = int(self.fresh_until - now)
        if self._aged[0] != ttl:
            self._aged = ttl, cache_headers.freshness(ttl)
        return self._aged[1]

    async def _code(self, coding: str) -> CodedBody:
        if coding == content_coding.IDENTITY:
            body = self.body
        elif len(self.body) < _THREAD_BYTES:
            body = content_coding.compress(self.body, coding)
        else:
            body = await asyncio.to_thread(content_coding.compress, self.body, coding)
        headers = cache_headers.representation(self.media_type, self.tag(coding), coding, len(body))
        made = self.coded[coding] = CodedBody(body, headers)
        return made

    @property
    def size(self) -> int:
        """Bytes that the answer takes, allowing for the codings still to come."""
        return OVERHEAD + len(self.body) + len(self.body) // 4


class ResponseCache:
    """At most `limit` bytes of representations by principal and query; the least recently used leave first."""

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self._limit, self._clock = limit, clock
        self._responses: OrderedDict[tuple[str, str], tuple[Representation, float, str]] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        """Return the number of answers."""
        return len(self._responses)

    def get(self, principal: str, query: ChartQuery) -> Representation | None:
        """Return the answer to a query while it is good."""
        key = principal, query.key
        found = self._responses.get(key)
        if found is None:
            return None
        representation, until, _ = found
        if self._clock() >= until:
            self._drop(key)
            return None
        self._responses.move_to_end(key)
        return representation

    def put(self, principal: str, query: ChartQuery, representation: Representation) -> None:
        """Keep a representation, unless it alone is more than a quarter of the limit."""
        key = principal, query.key
        self._drop(key)
        left = representation.fresh_until - self._clock()
        if representation.size > self._limit // 4 or left <= 0:
            return
        until = representation.fresh_until - min(_EARLIEST, left * _EARLY)
        self._responses[key] = representation, until, query.symbol
        self.size += representation.size
        while self.size > self._limit:
            self._drop(next(iter(self._responses)))

    def purge(self, symbol: str) -> None:
        """Forget the answers of a symbol."""
        for key in [key for key, (_, _, of) in self._responses.items() if of == symbol]:
            self._drop(key)

    def clear(self) -> None:
        """Forget all answers."""
        self._responses.clear()
        self.size = 0

    def _drop(self, key: tuple[str, str]) -> None:
        found = self._responses.pop(key, None)
        if found is not None:
            self.size -= found[0].size
