"""Encoded answers that are kept in this process, each in the codings that were asked for."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from bff_aggregator import codings
from bff_aggregator.query import ChartQuery

OVERHEAD = 2048
_THREAD_BYTES = 64 * 1024
# For the last tenth of its time, half a minute at most, an answer is put together anew, so that chunks refresh early.
_EARLY, _EARLIEST = 0.1, 30.0


@dataclass(eq=False, slots=True)
class Answer:
    """A body, the tags of its codings and, made when first asked for, the coded bytes."""

    body: bytes
    content: str
    fresh_until: float
    coded: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def tag(self, coding: str) -> str:
        """Return the entity tag in a coding."""
        if coding not in self.tags:
            self.tags[coding] = codings.entity_tag(self.content, self.body, coding)
        return self.tags[coding]

    async def bytes_in(self, coding: str) -> bytes:
        """Return the body in a coding."""
        if coding == codings.IDENTITY:
            return self.body
        if coding not in self.coded:
            if len(self.body) < _THREAD_BYTES:
                self.coded[coding] = codings.compress(self.body, coding)
            else:
                self.coded[coding] = await asyncio.to_thread(codings.compress, self.body, coding)
        return self.coded[coding]

    @property
    def size(self) -> int:
        """Bytes that the answer takes, allowing for the codings still to come."""
        return OVERHEAD + len(self.body) + len(self.body) // 4


class Kept:
    """At most `limit` bytes of answers by owner and query, least recently used out first."""

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self._limit, self._clock = limit, clock
        self._answers: OrderedDict[tuple[str, ChartQuery], tuple[Answer, float]] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        """Return the number of answers."""
        return len(self._answers)

    def get(self, owner: str, query: ChartQuery) -> Answer | None:
        """Return the answer to a query while it is good."""
        found = self._answers.get((owner, query))
        if found is None:
            return None
        answer, until = found
        if self._clock() >= until:
            self._drop((owner, query))
            return None
        self._answers.move_to_end((owner, query))
        return answer

    def put(self, owner: str, query: ChartQuery, answer: Answer) -> None:
        """Keep an answer, unless it alone is more than a quarter of the limit."""
        self._drop((owner, query))
        left = answer.fresh_until - self._clock()
        if answer.size > self._limit // 4 or left <= 0:
            return
        until = answer.fresh_until - min(_EARLIEST, left * _EARLY)
        self._answers[owner, query] = answer, until
        self.size += answer.size
        while self.size > self._limit:
            self._drop(next(iter(self._answers)))

    def purge(self, symbol: str) -> None:
        """Forget the answers of a symbol."""
        for key in [key for key in self._answers if key[1].symbol == symbol]:
            self._drop(key)

    def clear(self) -> None:
        """Forget all answers."""
        self._answers.clear()
        self.size = 0

    def _drop(self, key: tuple[str, ChartQuery]) -> None:
        found = self._answers.pop(key, None)
        if found is not None:
            self.size -= found[0].size
