"""Parse the request headers that a response depends on; build its headers (RFC 9110, 9111, 9211). Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from bff_aggregator.http import content_coding
from bff_aggregator.http.deadline import TIMEOUT_HEADER
from bff_shared.http.headers import Header

CACHE = "bff-aggregator"
_VARY = (b"vary", b"Accept-Encoding, Authorization, Cookie")
_ENCODING, _CONDITION, _TIMEOUT = b"accept-encoding", b"if-none-match", TIMEOUT_HEADER.encode()
_CREDENTIALS = frozenset((b"authorization", b"cookie"))


@dataclass(slots=True)
class RequestHeaders:
    """The headers of a request that an answer depends on; a list of entity tags may come in several lines."""

    encoding: str | None = None
    timeout: str | None = None
    accept: str = ""
    conditions: list[str] = field(default_factory=list)
    credentials: list[Header] = field(default_factory=list)


def parse(headers: Iterable[Header]) -> RequestHeaders:
    """Return what the headers of a request, their names in lower case, ask for."""
    asked = RequestHeaders()
    for header in headers:
        name = header[0]
        if name == _ENCODING:
            more = header[1].decode("latin-1")
            asked.encoding = f"{asked.encoding}, {more}" if asked.encoding else more
        elif name in _CREDENTIALS:
            asked.credentials.append(header)
        elif name == _CONDITION:
            asked.conditions.append(header[1].decode("latin-1"))
        elif name == _TIMEOUT:
            asked.timeout = header[1].decode("latin-1")
        elif name == b"accept":
            asked.accept = header[1].decode("latin-1")
    return asked


def representation(media_type: str, tag: str, coding: str, size: int) -> list[Header]:
    """Return the headers of an answer that stay the same for as long as it is good."""
    headers = [(b"content-type", media_type.encode()), (b"content-length", b"%d" % size)]
    if coding != content_coding.IDENTITY:
        headers.append((b"content-encoding", coding.encode()))
    return [*headers, _VARY, (b"etag", tag.encode())]


def not_modified(tag: str) -> list[Header]:
    """Return the headers of a 304 that stay the same (RFC 9110 section 15.4.5)."""
    return [_VARY, (b"etag", tag.encode())]


def outcome(*, failed: bool, hit: bool, reused: bool) -> str:
    """Return how a cache came by a response (RFC 9211 section 2), as charts and runs say it alike.

    Args:
        failed: the backend was asked in vain, and what the cache had is served stale
        hit: all of it was in the cache
        reused: some of it was
    """
    if failed:
        return "fwd=stale; detail=backend-failed"
    if hit:
        return "hit"
    return "fwd=partial" if reused else "fwd=miss"


def cache_status(status: str, ttl: int | None = None) -> str:
    """Return the value of `Cache-Status`: an outcome, and for how many seconds it is still good where that is known."""
    what, _, detail = status.partition("; detail=")
    return f"{CACHE}; {what}" + ("" if ttl is None else f"; ttl={ttl}") + (f"; detail={detail}" if detail else "")


def freshness(ttl: int, status: str = "hit") -> list[Header]:
    """Return the headers that tell how long an answer is still good, in seconds, and where it came from (RFC 9211)."""
    value = cache_status(status, ttl).encode()
    return [(b"cache-control", b"private, max-age=%d" % max(0, ttl)), (b"cache-status", value)]


def timing(steps: str, seconds: float) -> Header:
    """Return `Server-Timing`: what the steps took, and the whole."""
    return b"server-timing", f"{steps}total;dur={seconds * 1000:.2f}".encode()
