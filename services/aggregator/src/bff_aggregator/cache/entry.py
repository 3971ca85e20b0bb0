"""What the cache keeps: an entry, how long it is good for, and its bytes in Redis. Pure; times are Unix seconds.

    made ────────── fresh_until ────── revalidate_until ───────────────── usable_until
         served           served, while      served only when the
                          it is refreshed    backend fails            gone

Sources: `stale-while-revalidate` and `stale-if-error` of RFC 5861; early refresh by XFetch (Vattani, Chierichetti,
Lowenstein: Optimal Probabilistic Cache Stampede Prevention, 2015).
"""

import hashlib
import math
import struct
from dataclasses import dataclass
from enum import Enum
from urllib.parse import quote

STALE_IF_ERROR = 86_400.0
JITTER = 0.1
_XFETCH_BETA = 1.0

# Magic and format, five numbers, generation; then a digest over key, head and value, then the value.
_MAGIC = b"BFC"
_FORMATS = (1, 2)
_HEAD = struct.Struct("<4sddddf8s")
_DIGEST = 16
NO_GENERATION = b"\0" * 8


class State(Enum):
    """What an entry may be used for."""

    FRESH = "fresh"
    REVALIDATE = "revalidate"
    IF_ERROR = "if-error"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Scope:
    """Where entries belong: what is purged together is a namespace's `subject`; `principal` is a digest of credentials.

    All keys of one subject share a hash tag and so a slot of a Redis Cluster.
    """

    namespace: str
    subject: str
    principal: str

    @property
    def tag(self) -> str:
        """The hash tag, without braces."""
        return f"{self.namespace}:{quote(self.subject, safe='')}"

    def redis_key(self, key: str) -> str:
        """Return the name of an entry in Redis."""
        return f"bff:1:{{{self.tag}}}:{self.principal}:{key}"


@dataclass(frozen=True, slots=True)
class Lifetime:
    """Seconds that an entry is fresh, then served while it is refreshed, then kept for when the backend fails.

    That of a negative answer is a short `fresh` and nothing after it.
    """

    fresh: float
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0


@dataclass(frozen=True, slots=True)
class FillResult:
    """A new value and how long it is good for.

    A version of this service takes an entry for none whose `format` it does not know.
    """

    value: bytes
    lifetime: Lifetime
    format: int = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """A cached value; `cost` is the seconds that making it took."""

    value: bytes
    made: float
    fresh_until: float
    revalidate_until: float
    usable_until: float
    cost: float
    format: int = 1

    def state(self, now: float) -> State:
        """Tell what the entry may be used for."""
        if now < self.fresh_until:
            return State.FRESH
        if now < self.revalidate_until:
            return State.REVALIDATE
        return State.IF_ERROR if now < self.usable_until else State.GONE

    def refresh_is_due(self, now: float, draw: float) -> bool:
        """Tell whether this request shall refresh a fresh entry early; `draw` is uniform in [0, 1).

        The more requests ask, and the longer making it takes, the earlier one of them is drawn (XFetch).
        """
        return now - self.cost * _XFETCH_BETA * math.log(1.0 - draw) >= self.fresh_until


def make_entry(made: FillResult, now: float, cost: float, draw: float) -> Entry:
    """Return the entry of a new value, its freshness shortened by up to a tenth so that entries do not end together."""
    life = made.lifetime
    fresh = now + life.fresh * (1.0 - JITTER * draw)
    revalidate = fresh + life.stale_while_revalidate
    return Entry(made.value, now, fresh, revalidate, revalidate + life.stale_if_error, cost, made.format)


def pack_entry(item: Entry, key: str, generation: bytes) -> bytes:
    """Return an entry's bytes for Redis; they are valid under this key only."""
    times = (item.made, item.fresh_until, item.revalidate_until, item.usable_until, item.cost)
    head = _HEAD.pack(_MAGIC + bytes((item.format,)), *times, generation)
    return b"".join((head, _digest(key, head, item.value), item.value))


def unpack_entry(data: bytes, key: str, generation: bytes) -> Entry | None:
    """Return the entry, or None if it is of another format, key or generation, or damaged."""
    if len(data) < _HEAD.size + _DIGEST or data[:3] != _MAGIC or data[3] not in _FORMATS:
        return None
    head, digest, value = data[: _HEAD.size], data[_HEAD.size : _HEAD.size + _DIGEST], data[_HEAD.size + _DIGEST :]
    _, made, fresh, swr, keep, cost, written = _HEAD.unpack(head)
    if written != generation or digest != _digest(key, head, value):
        return None
    return Entry(value, made, fresh, swr, keep, cost, data[3])


def _digest(key: str, head: bytes, value: bytes) -> bytes:
    digest = hashlib.blake2b(head, digest_size=_DIGEST)
    digest.update(len(key).to_bytes(4, "little") + key.encode())
    digest.update(value)
    return digest.digest()
