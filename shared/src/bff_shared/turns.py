"""Long work on the event loop in pieces, between which everything else has its turn. I/O (the loop)."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

PIECE = 256
"""Items of a piece: a millisecond or two of the usual work on one."""


async def in_pieces(items: Iterable[T], size: int = PIECE) -> AsyncIterator[list[T]]:
    """Yield items in lists of at most `size`, others having a turn between two of them; none for a single list."""
    rest = iter(items)
    piece = list(itertools.islice(rest, size))
    while piece:
        yield piece
        piece = list(itertools.islice(rest, size))
        if piece:
            await asyncio.sleep(0)
