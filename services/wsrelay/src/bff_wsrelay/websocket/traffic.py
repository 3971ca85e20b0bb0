"""How much clients may send: token buckets by connection and client address, and bytes held in memory. Pure.

Every frame counts, whatever its kind, because each costs the event loop the same few microseconds, and so does every
byte. Messages that have begun and not ended count by their bytes, because they are memory until they end.

    frames of one connection     above the rate the connection is closed (1008)
    frames of one client         above it, the client's connections are not read until there is room: its pages share
    bytes of one client          the rate, so that no page is closed for what another one does
    unfinished bytes             of one client above the limit: closed (1008); of the process, or above what others
                                 leave to one client (`FairShare`): closed (1013)

Times are monotonic seconds given by the caller.
"""

from collections import OrderedDict
from dataclasses import dataclass
from math import inf
from typing import Self

from prometheus_client import CollectorRegistry

from bff_shared.limits import FairShare, TokenBucket
from bff_wsrelay.settings import RelaySettings
from bff_wsrelay.websocket.close_codes import POLICY_VIOLATION, TRY_AGAIN_LATER, Close
from bff_wsrelay.websocket.traffic_metrics import TrafficMetrics

BURST_SECONDS = 2.0
"""How many seconds' worth may come at once."""

SETTLE_FRAMES, SETTLE_BYTES = 16, 4096
"""A connection's account is settled whenever so much has come in, so that a lone frame costs next to nothing."""

SMALL = 4096
"""Unfinished bytes of a connection that do not count: a small message may arrive in two halves."""

MAX_IDLE = 10_000
"""Addresses without a connection that are remembered until their buckets are full again."""


@dataclass(frozen=True, slots=True)
class TrafficLimits:
    """Frames and bytes a second, bytes of unfinished messages and seconds for one; infinity where there is no limit."""

    frames_per_second: float = inf
    client_frames_per_second: float = inf
    client_bytes_per_second: float = inf
    client_unfinished_bytes: float = inf
    unfinished_bytes: float = inf
    message_seconds: float = inf

    @classmethod
    def of(cls, settings: RelaySettings) -> Self:
        """Return the limits that the settings describe; one message of the largest size always fits."""
        largest = settings.door_max_message + SMALL
        return cls(
            frames_per_second=settings.stream_frames_per_second,
            client_frames_per_second=settings.stream_client_frames_per_second,
            client_bytes_per_second=settings.stream_client_bytes_per_second,
            client_unfinished_bytes=max(settings.stream_client_unfinished_bytes, largest),
            unfinished_bytes=max(settings.stream_unfinished_bytes, largest),
            message_seconds=settings.stream_message_seconds,
        )


class _Client:
    """What one client address has used."""

    __slots__ = ("address", "bytes", "connections", "frames", "unfinished")

    def __init__(self, address: str, limits: TrafficLimits) -> None:
        self.address = address
        self.frames = _bucket(limits.client_frames_per_second)
        self.bytes = _bucket(limits.client_bytes_per_second)
        self.connections = self.unfinished = 0

    def is_new(self, now: float) -> bool:
        """Return whether nothing is lost by forgetting it."""
        return all(bucket is None or bucket.is_full(now) for bucket in (self.frames, self.bytes))


class TrafficMeter:
    """What all viewers of a process send."""

    def __init__(self, limits: TrafficLimits, metrics: TrafficMetrics | None = None) -> None:
        self.limits = limits
        self.metrics = metrics or TrafficMetrics(CollectorRegistry())
        self.metrics.unfinished_bytes.set_function(lambda: self.unfinished)
        self.unfinished = 0
        self._share = _fair_share(limits)
        self._clients: dict[str, _Client] = {}
        self._idle: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        """Return how many client addresses are remembered."""
        return len(self._clients)

    def join(self, address: str, now: float) -> "Account":
        """Open an account for a new connection; the connection leaves it when it ends."""
        self._forget(now)
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = _Client(address, self.limits)
        client.connections += 1
        self._idle.pop(address, None)
        return Account(self, client)

    def left(self, client: _Client) -> None:
        """Note that a connection of a client ended."""
        client.connections -= 1
        if not client.connections:
            self._idle[client.address] = None

    def has_room(self, client: _Client, more: int) -> bool:
        """Return whether the process has room for what a client has just added to its unfinished messages."""
        if self._share is None:
            return self.unfinished <= self.limits.unfinished_bytes
        return self._share.allows(client.unfinished - more, self._share.total - self.unfinished + more, more)

    def _forget(self, now: float) -> None:
        """Drop up to two addresses whose buckets are full, and whatever is over the bound, the oldest first."""
        for _ in range(min(2, len(self._idle))):
            oldest = next(iter(self._idle))
            if len(self._idle) <= MAX_IDLE and not self._clients[oldest].is_new(now):
                return
            del self._idle[oldest], self._clients[oldest]


class Account:
    """What one connection sends, on the accounts of its client address and of the process as well."""

    __slots__ = ("_bytes", "_client", "_frames", "_new", "_own", "_traffic", "_unfinished")

    def __init__(self, traffic: TrafficMeter, client: _Client) -> None:
        self._traffic, self._client = traffic, client
        self._own = _bucket(traffic.limits.frames_per_second)
        self._new = self._frames = self._bytes = self._unfinished = 0

    def spend(self, frames: int, size: int, now: float) -> float:
        """Count what has come in; return the seconds for which no more may be read, infinity if never again.

        After a pause, ask `wait` again: others of the client may have taken what was there.
        """
        self._new += frames
        self._bytes += size
        if self._new < SETTLE_FRAMES and self._bytes < SETTLE_BYTES:
            return 0.0
        if self._own is not None and not self._own.take(now, self._new):
            self._traffic.metrics.frames.inc()
            return inf
        self._frames += self._new
        self._new = 0
        seconds = self.wait(now)
        if seconds:
            self._traffic.metrics.pauses.inc()
        return seconds

    def wait(self, now: float) -> float:
        """Take from the client's buckets what they hold; return the seconds until there is for the rest."""
        client, seconds = self._client, 0.0
        if self._frames and client.frames is not None:
            if client.frames.take(now, amount := min(self._frames, client.frames.burst)):
                self._frames = 0
            else:
                seconds = client.frames.wait(now, amount)
        if self._bytes and client.bytes is not None:
            if client.bytes.take(now, amount := min(self._bytes, client.bytes.burst)):
                self._bytes = 0
            else:
                seconds = max(seconds, client.bytes.wait(now, amount))
        return seconds

    def hold(self, size: int) -> Close | None:
        """Count the bytes of the message that has not ended; return the close when there are too many."""
        size = size - SMALL if size > SMALL else 0
        more = size - self._unfinished
        if not more:
            return None
        traffic, client = self._traffic, self._client
        self._unfinished = size
        client.unfinished += more
        traffic.unfinished += more
        if more < 0:
            return None
        if client.unfinished > traffic.limits.client_unfinished_bytes:
            traffic.metrics.client_unfinished.inc()
            return Close(POLICY_VIOLATION, "too much of unfinished messages")
        if not traffic.has_room(client, more):
            traffic.metrics.unfinished.inc()
            return Close(TRY_AGAIN_LATER, "the relay holds as much of unfinished messages as it can")
        return None

    def leave(self, now: float) -> None:
        """Close the account, with what it has not paid yet."""
        self._frames += self._new
        self.wait(now)
        self.hold(0)
        self._traffic.left(self._client)


def _fair_share(limits: TrafficLimits) -> FairShare | None:
    """Return how clients share the bytes of unfinished messages; None where one of the limits is not set."""
    if limits.unfinished_bytes == inf or limits.client_unfinished_bytes == inf:
        return None
    return FairShare(int(limits.unfinished_bytes), int(limits.client_unfinished_bytes))


def _bucket(rate: float) -> TokenBucket | None:
    return None if rate == inf else TokenBucket(rate, rate * BURST_SECONDS)
