"""The frame log of one run: sealed blocks of compressed frames, an index by time, a digest per frame. Pure.

    frames → tail (at most BLOCK frames, as they are) → block (compressed heads and orders, candles, its summary)

A block's summary and orders stand for all of it, so that a frame which covers thousands unpacks two blocks only. How
the run stands after a block (orders so far, peak of the equity) is known for each: any place is looked up in one.
"""

import itertools
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from bff_shared.lru import ByteLRU
from bff_shared.trading_sessions import TradedSessions
from bff_wsrelay.framelog.candles import Candle, Candles, columns_of, concatenated, followed, pack, unpack
from bff_wsrelay.framelog.frame import Frame, Standing, Summary, merged_head, parse_heads

BLOCK = 64
SECOND = 1_000_000
"""One second in µs."""
COLUMNS = 10_000
"""Bytes that a block's candles take unpacked, roughly."""
STANDINGS = 8_000
"""Bytes that how a run stands after each frame of a block takes, at most and roughly."""
OVERHEAD = 600
"""Bytes that a block's Python objects take besides what it holds, roughly."""

FrameCache = ByteLRU[tuple[object, ...], Any]
"""Unpacked blocks, merged and encoded frames, by the log's serial and what of it they are."""

_serials = itertools.count()


class LogFull(Exception):
    """A log has reached its limit of bytes."""


@dataclass(frozen=True, slots=True)
class Block:
    """BLOCK successive frames (fewer only in the last block of a log that has ended)."""

    heads: bytes
    orders: bytes
    candles: bytes
    summary: Summary
    standing: Standing
    """How the run stands after it."""
    raw_size: int

    @property
    def size(self) -> int:
        """Bytes it takes."""
        return len(self.heads) + len(self.orders) + len(self.candles) + OVERHEAD


@dataclass(frozen=True, slots=True)
class Content:
    """Everything in a log that has ended: times (µs, int64) and digests (uint64) of all frames, blocks, the rest."""

    times: bytes
    digests: bytes
    blocks: Sequence[Block]
    tail: Sequence[bytes]


class FrameLog:
    """All frames of a run from the first; grows at its end until `ended`.

    `epoch` names what the run is; a log whose run turns out to be another one is not changed but `forked`. `limit`
    is in bytes. `cache` is shared by all logs of a process: unpacked blocks and merged frames.
    """

    def __init__(self, epoch: str, limit: int, cache: FrameCache) -> None:
        self.epoch = epoch
        self.ended = False
        self.expected: int | None = None
        self.latest: int | None = None
        """No frame has a later time, in µs; None where nothing is known."""
        self.length = 0
        self.serial = next(_serials)
        self._limit, self._cache = limit, cache
        self._times: array[int] = array("q")
        self._digests: array[int] = array("Q")
        self._blocks: list[Block] = []
        self._packed = 0
        self._tail: list[bytes] = []
        self._tail_size = 0
        self.sessions = TradedSessions(self._seconds, self._is_final, lambda: self.length // BLOCK)
        """Which sessions its frames belong to."""

    def __repr__(self) -> str:
        """Return the epoch, the frames of how many, the bytes, and whether it has ended."""
        return f"<FrameLog {self.epoch!r} frames={self.length}/{self.total} bytes={self.size} ended={self.ended}>"

    def __len__(self) -> int:
        """How many frames there are."""
        return self.length

    @property
    def size(self) -> int:
        """Bytes it takes, the cache not counted."""
        return self._packed + self._tail_size + 16 * len(self._times)

    @property
    def total(self) -> int | None:
        """How many frames the run has, None while unknown."""
        return len(self) if self.ended else self.expected

    @property
    def span(self) -> tuple[int, int] | None:
        """The times of the first and last frame, None while there is none."""
        return (self._times[0], self._times[-1]) if self._times else None

    def time_of(self, index: int) -> int:
        """Return a frame's time."""
        return self._times[index]

    def times(self, start: int, end: int) -> Sequence[int]:
        """Return the times of a range of frames."""
        return self._times[start:end]

    def _seconds(self, begin: int, end: int) -> Sequence[int]:
        first, last = (bisect_left(self._times, moment * SECOND) for moment in (begin, end))
        return [micros // SECOND for micros in self._times[first:last]]

    def _is_final(self, end: int) -> bool:
        return self.ended or (self.length > 0 and self._times[-1] >= end * SECOND)

    def append(self, frame: Frame) -> None:
        """Add the next frame; raise LogFull when it does not fit."""
        if self.size > self._limit:
            raise LogFull
        self.length += 1
        self._times.append(frame.micros)
        self._digests.append(frame.digest)
        self._tail.append(frame.head)
        self._tail_size += len(frame.head) + 33
        if frame.total is not None:
            self.expected = frame.total
        if len(self._tail) == BLOCK:
            self._seal()

    def matches(self, index: int, frame: Frame) -> bool:
        """Return whether the frame at an index is this one."""
        return self._digests[index] == frame.digest

    def nearest(self, micros: int) -> int:
        """Return the index of the frame nearest in time; the log must not be empty."""
        after = bisect_left(self._times, micros)
        if after == 0:
            return 0
        if after == len(self._times):
            return after - 1
        return after if self._times[after] - micros < micros - self._times[after - 1] else after - 1

    def after(self, micros: int) -> int:
        """Return the index of the first frame later than a time; the log's length if there is none."""
        return bisect_right(self._times, micros)

    def first_at(self, micros: int, start: int, end: int) -> int:
        """Return the index of the first frame in `[start, end)` at a time or later; `end` if there is none."""
        return bisect_left(self._times, micros, start, end)

    def standing(self, length: int) -> Standing:
        """Return how the run stands after its first `length` frames, which must be in the log."""
        number, count = divmod(length, BLOCK)
        before = self._blocks[number - 1].standing if number else Standing()
        if not count:
            return before
        if number >= len(self._blocks):
            return before.after(*parse_heads(self._tail[:count]))
        key = (self.serial, number, "standings")
        known: list[Standing] | None = self._cache.get(key)
        if known is None:
            known = list(itertools.accumulate(parse_heads(self._heads(number)), Standing.after, initial=before))
            self._cache.put(key, known, STANDINGS)
        return known[count]

    def candles(self, start: int, end: int) -> Candles:
        """Return the candles of a range, which must be in the log and not empty."""
        parts = []
        for number in range(start // BLOCK, (end - 1) // BLOCK + 1):
            first = number * BLOCK
            if number < len(self._blocks) and start <= first and first + BLOCK <= end:
                parts.append(unpack(self._blocks[number].candles, BLOCK))  # not kept: a range so large is had once
                continue
            parts.append(self._columns(number).cut(max(0, start - first), end - first))
        return concatenated(parts)

    def candle(self, start: int, end: int) -> Candle | None:
        """Return the one candle of a range, which must be in the log and not empty; None where it has none."""
        whole = None
        for number in range(start // BLOCK, (end - 1) // BLOCK + 1):
            first = number * BLOCK
            if number < len(self._blocks) and start <= first and first + BLOCK <= end:
                ohlc = self._blocks[number].summary.ohlc
                part = None if ohlc is None else (ohlc["o"], ohlc["h"], ohlc["l"], ohlc["c"], ohlc["v"])
            else:
                part = self._columns(number).merged(max(0, start - first), min(BLOCK, end - first))
            whole = followed(whole, part)
        return whole

    def forked(self, length: int, epoch: str) -> "FrameLog":
        """Return a log of another epoch that begins with the first `length` frames of this one."""
        fork = FrameLog(epoch, self._limit, self._cache)
        whole = length // BLOCK
        fork.length = length
        fork._times, fork._digests = self._times[:length], self._digests[:length]
        fork._blocks = self._blocks[:whole]
        fork._packed = sum(block.size for block in fork._blocks)
        fork._tail = list(self._heads(whole))[: length - whole * BLOCK] if length > whole * BLOCK else []
        fork._tail_size = sum(len(head) + 33 for head in fork._tail)
        return fork

    def renewed(self, epoch: str) -> "FrameLog":
        """Return an empty log of another epoch, with the same bounds."""
        return FrameLog(epoch, self._limit, self._cache)

    def content(self) -> Content:
        """Return what the log holds, to be kept elsewhere."""
        return Content(self._times.tobytes(), self._digests.tobytes(), tuple(self._blocks), tuple(self._tail))

    def restore(self, content: Content) -> None:
        """Take over what a whole log held; this one must be empty. Raises LogFull when it does not fit."""
        self._times.frombytes(content.times)
        self._digests.frombytes(content.digests)
        self._blocks, self._tail = list(content.blocks), list(content.tail)
        self._packed = sum(block.size for block in self._blocks)
        self._tail_size = sum(len(head) + 33 for head in self._tail)
        self.length, self.ended = len(self._times), True
        if self.size > self._limit:
            raise LogFull

    def head(self, start: int, end: int) -> bytes:
        """Return the JSON head of one frame that covers `[start, end)`, which must be in the log and not empty."""
        if end - start == 1:
            return self._heads(start // BLOCK)[start % BLOCK]
        key = (self.serial, start, end)
        known: bytes | None = self._cache.get(key)
        if known is None:
            known = self._merge(start, end)
            self._cache.put(key, known, len(known) + 200)
        return known

    def objects(self, start: int, end: int) -> list[dict[str, Any]]:
        """Return the frames of a range as objects."""
        return [
            item
            for block in range(start // BLOCK, (end - 1) // BLOCK + 1)
            for item in parse_heads(self._part(block, start, end))
        ]

    def _part(self, block: int, start: int, end: int) -> Sequence[bytes]:
        first = block * BLOCK
        return self._heads(block)[max(0, start - first) : end - first]

    def _merge(self, start: int, end: int) -> bytes:
        summary, orders = Summary(), []
        for number in range(start // BLOCK, (end - 1) // BLOCK + 1):
            first = number * BLOCK
            if number < len(self._blocks) and start <= first and first + BLOCK <= end:
                block = self._blocks[number]
                summary.add(block.summary.ohlc, block.summary.equity)
                if block.orders:
                    orders.extend(orjson.loads(zlib.decompress(block.orders)))
                continue
            for item in parse_heads(self._part(number, start, end)):
                summary.add(item["ohlc"], item["equity"])
                orders.extend(item["orders"])
        (last,) = self.objects(end - 1, end)
        return merged_head(last, summary, orders)

    def _columns(self, number: int) -> Candles:
        """Return the candles of a block, or of the tail, unpacked."""
        if number >= len(self._blocks):
            return columns_of(item["ohlc"] for item in parse_heads(self._tail))
        key = (self.serial, number, "candles")
        columns: Candles | None = self._cache.get(key)
        if columns is None:
            columns = unpack(self._blocks[number].candles, BLOCK)
            self._cache.put(key, columns, COLUMNS)
        return columns

    def _heads(self, number: int) -> Sequence[bytes]:
        """Return the frames of a block, unpacked."""
        if number >= len(self._blocks):
            return self._tail
        key = (self.serial, number)
        heads: list[bytes] | None = self._cache.get(key)
        if heads is None:
            block = self._blocks[number]
            heads = zlib.decompress(block.heads).split(b"\n")
            self._cache.put(key, heads, block.raw_size)
        return heads

    def _seal(self) -> None:
        """Pack the tail."""
        summary, orders, items = Summary(), [], parse_heads(self._tail)
        for item in items:
            summary.add(item["ohlc"], item["equity"])
            orders.extend(item["orders"])
        packed_orders = zlib.compress(orjson.dumps(orders), 1) if orders else b""
        standing = (self._blocks[-1].standing if self._blocks else Standing()).after(*items)
        block = Block(
            zlib.compress(b"\n".join(self._tail), 1),
            packed_orders,
            pack(columns_of(item["ohlc"] for item in items)),
            summary,
            standing,
            self._tail_size + OVERHEAD,
        )
        self._blocks.append(block)
        self._packed += block.size
        self._tail, self._tail_size = [], 0
