"""How much one client address, and all clients together, may take: token buckets, fair shares, connections. Pure.

Times are monotonic seconds given by the caller. A limiter's slot is taken when its context is entered, not before, so
that nothing between asking and entering can lose one.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_network
from math import sqrt

from bff_shared.errors import Busy, ClientBusy
from bff_shared.http.headers import Header, is_trusted
from bff_shared.settings import Network

IPV6_PREFIX_BITS = 64
"""What one subscriber of an IPv6 network usually has (RFC 6177); limits by single addresses would limit nobody."""


class TokenBucket:
    """Allows `rate` units a second on average and `burst` at once; begins full. Time does not go backwards."""

    __slots__ = ("_at", "_level", "burst", "rate")

    def __init__(self, rate: float, burst: float) -> None:
        self.rate, self.burst = rate, burst
        self._level, self._at = float(burst), float("-inf")

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Spend `amount` and return True, or return False and spend nothing when there is less."""
        self._refill(now)
        if self._level < amount:
            return False
        self._level -= amount
        return True

    def wait(self, now: float, amount: float = 1.0) -> float:
        """Return the seconds until `amount` is there: 0 when it is, infinity when it can never be."""
        self._refill(now)
        missing = amount - self._level
        if missing <= 0:
            return 0.0
        return missing / self.rate if self.rate > 0 and amount <= self.burst else float("inf")

    def is_full(self, now: float) -> bool:
        """Tell whether the bucket is as good as a new one."""
        self._refill(now)
        return self._level >= self.burst

    def _refill(self, now: float) -> None:
        if now > self._at:
            # The first call finds a full bucket, whatever the clock's origin is.
            self._level = min(self.burst, self._level + (now - self._at) * self.rate) if self.rate else self._level
            self._at = now


class KeyedBuckets:
    """A token bucket for each key (a client address), for at most `max_keys` keys.

    A bucket that has filled up again is forgotten, since a new one is the same. Beyond `max_keys` the one used longest
    ago goes, which is the nearest to full.
    """

    def __init__(self, rate: float, burst: float, max_keys: int = 10_000) -> None:
        self._rate, self._burst, self._max_keys = rate, burst, max_keys
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        """Return how many keys are remembered."""
        return len(self._buckets)

    def take(self, key: str, now: float, amount: float = 1.0) -> bool:
        """Spend `amount` of a key's bucket; return False and spend nothing when there is less."""
        return self._bucket(key, now).take(now, amount)

    def wait(self, key: str, now: float, amount: float = 1.0) -> float:
        """Return the seconds until `amount` is in a key's bucket."""
        known = self._buckets.get(key)
        return known.wait(now, amount) if known is not None else 0.0 if amount <= self._burst else float("inf")

    def _bucket(self, key: str, now: float) -> TokenBucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(self._rate, self._burst)
        self._buckets.move_to_end(key)
        self._forget(now)
        return bucket

    def _forget(self, now: float) -> None:
        """Drop up to two full buckets and whatever is over the bound, the ones used longest ago first."""
        for _ in range(2):
            oldest = next(iter(self._buckets))
            if len(self._buckets) < 2 or not self._buckets[oldest].is_full(now):
                break
            del self._buckets[oldest]
        while len(self._buckets) > max(1, self._max_keys):
            self._buckets.popitem(last=False)


@dataclass(frozen=True, slots=True)
class FairShare:
    """How much of `total` a client may hold beside others, where nothing is taken back from who holds it.

    The more a client holds already, the more has to stay free when it takes another one: nothing for its first, and
    everything else once it holds `per_client`, which is what it may hold alone. So clients that take all they get share
    what is there, and however many there are, the last of it goes to those who hold least: of 2,000 with a limit of
    1,200, ten such clients leave 68 to others one after another, and twenty leave 29.
    """

    total: int
    per_client: int

    def allows(self, held: int, free: int, amount: int = 1) -> bool:
        """Tell whether a client that holds so many may take `amount` of the free ones."""
        if amount > free or held + amount > self.per_client:
            return False
        last = held + amount - 1
        return free - amount + 1 > (self.total - self.per_client) * sqrt(last / self.per_client)


class ConnectionLimiter:
    """At most `total` slots in use at a time, at most `per_client` of them by one client, and fewer beside others.

        with limiter.slot(address):
            ...

    What one client may take of what others leave is said by `FairShare`.
    `what` names the thing in the refusal ("event stream"), `retry_after` is its Retry-After in seconds.
    """

    def __init__(self, total: int, per_client: int, *, what: str = "connection", retry_after: float = 2.0) -> None:
        self.total, self.per_client = total, per_client
        self._what, self._retry_after = what, retry_after
        self._share = FairShare(total, per_client)
        self._taken: Counter[str] = Counter()
        self._active = 0
        self.refused = 0

    def __repr__(self) -> str:
        """Say what is limited, how many slots are in use, and by how many clients."""
        taken = f"active={self._active}/{self.total} clients={len(self._taken)}"
        return f"<ConnectionLimiter {self._what!r} {taken} refused={self.refused}>"

    @property
    def active(self) -> int:
        """How many slots are in use."""
        return self._active

    def of(self, client: str) -> int:
        """Return how many slots one client uses."""
        return self._taken[client]

    def acquire(self, client: str) -> None:
        """Take a slot, which needs one `release`. Raises Busy when there is none, for anybody or for this client."""
        mine = self._taken[client]
        if not self._share.allows(mine, self.total - self._active):
            if not mine:
                del self._taken[client]
            self.refused += 1
            if mine >= self.per_client or self._active < self.total:
                raise ClientBusy(f"no slot for another {self._what} of one client", self._retry_after)
            raise Busy(f"no slot for another {self._what} of this service", self._retry_after)
        self._taken[client] = mine + 1
        self._active += 1

    def release(self, client: str) -> None:
        """Give a slot back."""
        self._taken[client] -= 1
        self._active -= 1
        if not self._taken[client]:
            del self._taken[client]

    @contextmanager
    def slot(self, client: str) -> Iterator[None]:
        """Hold a slot from entering the context to leaving it; entering raises Busy as `acquire` does."""
        self.acquire(client)
        try:
            yield
        finally:
            self.release(client)


def client_address(headers: Sequence[Header], peer: str | None, networks: Sequence[Network]) -> str:
    """Return the address that a request with such headers counts for, as `nearest_client` does."""
    return nearest_client([value for name, value in headers if name.lower() == b"x-forwarded-for"], peer, networks)


def nearest_client(chain: Sequence[bytes], peer: str | None, networks: Sequence[Network]) -> str:
    """Return the address that a request counts for: the nearest hop that is not one of our own proxies.

    Args:
        chain: the values of `X-Forwarded-For`
        peer: the address at the other end of the connection
        networks: those of our own proxies

    Of an IPv6 address only the network counts (`2001:db8::/64`), since a client has all addresses of it.
    """
    peer = peer or "unknown"
    if not chain:
        return _network(peer)
    hops = [part.strip().decode("latin-1") for part in b",".join(chain).split(b",") if part.strip()]
    hops.append(peer)
    while len(hops) > 1 and is_trusted(hops[-1], tuple(networks)):
        hops.pop()
    return _network(hops[-1])


def _network(address: str) -> str:
    if ":" not in address:
        return address
    try:
        known = IPv6Address(address)
    except ValueError:
        return address
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    if known.is_loopback:
        return address
    return str(ip_network((known.packed, IPV6_PREFIX_BITS), strict=False))
