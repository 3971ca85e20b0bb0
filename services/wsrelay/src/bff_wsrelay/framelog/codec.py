"""A whole log as bytes and back, in parts of a bounded size. Pure.

    head: {"epoch", "frames", "sum"}    body: sections, each a length of four bytes (big-endian) and that many bytes
    sections: times, digests, tail, then heads, orders, candles and summary of each block

`sum` is a keyed digest of the body, so that a log forged in the store is not played.

Logs lie under keys that name VERSION: relays of two versions share Redis while one is rolled out, and each finds only
what it can read. Whatever changes here, or in what the sections hold, changes the number.
"""

import hmac
import zlib
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any

import orjson

from bff_wsrelay.framelog.frame import Standing, Summary
from bff_wsrelay.framelog.frame_log import Block, Content, FrameLog

VERSION = 3
PART = 512 * 1024
Parts = tuple[bytes, list[bytes]]


class Damaged(ValueError):
    """These are not the bytes of a log."""


def pack(log: FrameLog, secret: bytes) -> Parts:
    """Return a whole log as a head and the parts of its body."""
    content = log.content()
    sections = [zlib.compress(content.times, 1), content.digests, zlib.compress(b"\n".join(content.tail), 1)]
    for block in content.blocks:
        standing = [block.standing.orders, block.standing.peak]
        summary = orjson.dumps([block.summary.ohlc, block.summary.equity, standing, block.raw_size])
        sections += [block.heads, block.orders, block.candles, summary]
    body = b"".join(len(section).to_bytes(4, "big") + section for section in sections)
    head = {"epoch": log.epoch, "frames": len(log), "sum": _sum(body, secret)}
    return orjson.dumps(head), [body[start : start + PART] for start in range(0, len(body), PART)]


def part_count(head: bytes) -> int:
    """Return how many parts belong to a stored head, which `stored_head` made. Raises Damaged."""
    parts = _read(head).get("parts")
    if not isinstance(parts, int):
        raise Damaged("not a stored head")
    return parts


def stored_head(head: bytes, parts: Sequence[bytes]) -> bytes:
    """Return a head that also says how many parts there are."""
    return orjson.dumps({**_read(head), "parts": len(parts)})


def unpack(head: bytes, parts: Sequence[bytes], epoch: str, secret: bytes) -> Content:
    """Return the content of a log. Raises Damaged, also when it is of another epoch."""
    known, body = _read(head), b"".join(parts)
    if known.get("epoch") != epoch or not hmac.compare_digest(str(known.get("sum")), _sum(body, secret)):
        raise Damaged("not this log")
    try:
        return _content(body)
    except (ValueError, TypeError, IndexError, zlib.error) as error:
        raise Damaged("of another layout") from error


def _content(body: bytes) -> Content:
    sections = list(_sections(body))
    tail = zlib.decompress(sections[2])
    blocks = []
    for place in range(3, len(sections), 4):
        heads, orders, candles, known = sections[place : place + 4]
        ohlc, equity, (count, peak), raw_size = orjson.loads(known)
        standing = Standing(count, peak and (peak[0], peak[1]))
        blocks.append(Block(heads, orders, candles, Summary(ohlc, equity), standing, raw_size))
    return Content(zlib.decompress(sections[0]), sections[1], blocks, tail.split(b"\n") if tail else [])


def _sections(body: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(body):
        begin = place + 4
        place = begin + int.from_bytes(body[place:begin], "big")
        yield body[begin:place]


def _read(head: bytes) -> dict[str, Any]:
    try:
        known = orjson.loads(head)
    except orjson.JSONDecodeError as error:
        raise Damaged("not a head") from error
    if not isinstance(known, dict):
        raise Damaged("not a head")
    return known


def _sum(body: bytes, secret: bytes) -> str:
    return blake2b(body, key=secret[:64], digest_size=16).hexdigest()
