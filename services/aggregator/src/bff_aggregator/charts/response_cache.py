"""The response cache of charts: serialized charts in this process, each in the content codings asked for so far."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from bff_aggregator.charts.bars_access import Question
from bff_aggregator.charts.query import ChartQuery
from bff_aggregator.http import cache_headers, content_coding
from bff_aggregator.http.response_budget import WHOLE_BYTES
from bff_shared.http.headers import Header

OVERHEAD = 2048
# For the last tenth of its time, half a minute at most, an answer is put together anew, so that chunks refresh early.
_EARLY, _EARLIEST = 0.1, 30.0


@dataclass(eq=False, slots=True)
class CodedBody:
    """A body in a coding, in pieces that may belong to others too, and the headers that stay the same."""

    pieces: tuple[bytes, ...]
    headers: list[Header]


@dataclass(eq=False, slots=True, weakref_slot=True)
class Representation:
    """A serialized chart: its bytes, a digest of the data, one of the metadata, and the coded bodies made so far.

    `question` is what tells whether somebody may read it.
    """

    pieces: tuple[bytes, ...]
    content: str
    edition: str
    media_type: str
    fresh_until: float
    question: Question
    coded: dict[str, CodedBody] = field(default_factory=dict)
    _aged: tuple[int, list[Header]] = (-1, [])
    length: int = field(init=False)

    def __post_init__(self) -> None:
        """Note the number of bytes."""
        self.length = sum(map(len, self.pieces))

    def tag(self, coding: str) -> str:
        """Return the entity tag in a coding."""
        return content_coding.entity_tag(self.content, self.edition, coding)

    def code(self, coding: str, pieces: tuple[bytes, ...]) -> CodedBody:
        """Store the body in a coding, and return it."""
        size = sum(map(len, pieces))
        if size <= WHOLE_BYTES:  # One message to the server costs less than two, and more than a copy.
            pieces = (b"".join(pieces),)
        if coding == content_coding.IDENTITY:
            self.pieces = pieces
        headers = cache_headers.representation(self.media_type, self.tag(coding), coding, size)
        made = self.coded[coding] = CodedBody(pieces, headers)
        return made

    def hit(self, now: float) -> list[Header]:
        """Return the headers of a cached response that change with time, which is once a second."""
        ttl = int(self.fresh_until - now)
        if self._aged[0] != ttl:
            self._aged = ttl, cache_headers.freshness(ttl)
        return self._aged[1]

    @property
    def size(self) -> int:
        """Bytes that the response takes, allowing for the codings still to come."""
        return OVERHEAD + self.length + self.length // 4


class ResponseCache:
    """At most `limit` bytes of representations by principal and query; the least recently used leave first.

    What nobody has asked for twice is the first to leave, so that windows seen once push out none that are in use.
    `epoch` changes with every purge: what began before one is not kept after it.
    """

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self._limit, self._clock = limit, clock
        self._responses: OrderedDict[tuple[str, str], tuple[Representation, float, str]] = OrderedDict()
        self.size = self.epoch = 0

    def __len__(self) -> int:
        """Return the number of responses."""
        return len(self._responses)

    def get(self, principal: str, query: ChartQuery) -> Representation | None:
        """Return the response to a query while it is good."""
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

    def put(
        self, principal: str, query: ChartQuery, representation: Representation, epoch: int, *, again: bool = True
    ) -> None:
        """Keep a representation begun at an `epoch`, unless it alone is more than a quarter of the limit.

        With `again` its window was asked for before.
        """
        left = representation.fresh_until - self._clock()
        if epoch != self.epoch or representation.size > self._limit // 4 or left <= 0:
            return
        key = principal, query.key
        self._drop(key)
        until = representation.fresh_until - min(_EARLIEST, left * _EARLY)
        self._responses[key] = representation, until, query.symbol
        self._responses.move_to_end(key, last=again)
        self.size += representation.size
        while self.size > self._limit:
            self._drop(next(iter(self._responses)))

    def purge(self, symbol: str) -> None:
        """Forget the responses of a symbol."""
        self.epoch += 1
        for key in [key for key, (_, _, of) in self._responses.items() if of == symbol]:
            self._drop(key)

    def clear(self) -> None:
        """Forget all responses."""
        self.epoch += 1
        self._responses.clear()
        self.size = 0

    def _drop(self, key: tuple[str, str]) -> None:
        found = self._responses.pop(key, None)
        if found is not None:
            self.size -= found[0].size
