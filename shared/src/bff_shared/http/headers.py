"""Which headers go on to the next hop, and what a proxy adds (RFC 9110 sections 7.6.1 and 7.6.3). Pure.

A header list is `[(name, value)]` in bytes, in the order received, repeats kept.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import ip_address

from bff_shared.settings import Network

Header = tuple[bytes, bytes]

HOP_BY_HOP = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"te", b"transfer-encoding", b"upgrade"),
)
NEVER_NAMED = frozenset((b"content-length", b"host"))
"""Meant for every recipient, so no `Connection` may name them: without its length a body would be lost on the way."""

FORWARDED = frozenset((b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"))


def tokens(values: Iterable[bytes]) -> frozenset[bytes]:
    """Return the lower-cased members of comma-separated list headers."""
    return frozenset(part for value in values for token in value.split(b",") if (part := token.strip().lower()))


def get(headers: Iterable[Header], name: bytes) -> bytes | None:
    """Return the first value of a header, None when it is absent; `name` in lower case."""
    for key, value in headers:
        if key.lower() == name:
            return value
    return None


def end_to_end(headers: Sequence[Header]) -> list[Header]:
    """Return the headers without the hop-by-hop ones and those that `Connection` names (RFC 9110 section 7.6.1)."""
    named = tokens(value for key, value in headers if key.lower() == b"connection") - NEVER_NAMED
    return [(key, value) for key, value in headers if (low := key.lower()) not in HOP_BY_HOP and low not in named]


@lru_cache(maxsize=1024)
def is_trusted(peer: str | None, networks: tuple[Network, ...]) -> bool:
    """Tell whether a peer's address lies in one of the configured proxies' networks; peers are few and come back."""
    try:
        address = ip_address(peer or "")
    except ValueError:
        return False
    return any(address in network for network in networks)


def forwarded(headers: Sequence[Header], peer: str | None, scheme: str, networks: tuple[Network, ...]) -> list[Header]:
    """Return the `X-Forwarded-*` headers for the next hop.

    The chain of a trusted peer is continued; anybody else's is dropped and begun anew with the peer itself.
    """
    known = is_trusted(peer, networks)
    chain = [value for key, value in headers if known and key.lower() == b"x-forwarded-for"]
    proto = get(headers, b"x-forwarded-proto") if known else None
    host = get(headers, b"x-forwarded-host") if known else None
    host = host or get(headers, b"host")
    answer = [(b"x-forwarded-for", b", ".join([*chain, (peer or "unknown").encode("ascii", "replace")]))]
    answer.append((b"x-forwarded-proto", proto or scheme.encode()))
    return [*answer, (b"x-forwarded-host", host)] if host else answer


def credentials(headers: Iterable[Header]) -> list[Header]:
    """Return what the backend judges a user by: `Authorization` and `Cookie`, as they came."""
    return [(key, value) for key, value in headers if key.lower() in {b"authorization", b"cookie"}]
