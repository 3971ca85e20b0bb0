"""What belongs to the request being handled, readable anywhere below the app: its ids, route and log fields."""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from bff_shared.http.ids import Trace


class Span(Protocol):
    """A span under way, where spans are exported."""

    trace: Trace

    def call(self, name: str, attributes: Mapping[str, str | int]) -> "Span":
        """Begin the span of a call that is made for this one."""

    def end(self, attributes: Mapping[str, str | int], *, name: str = "", failed: bool = False) -> None:
        """End it, with what is known by now."""


@dataclass(slots=True)
class RequestContext:
    """One request: ids, the route's template (bounded, for metrics) and what its log line shall say besides.

    `client` is the address that the request counts for in limits per client, `status` that of its response (0 before
    this has begun), `error` the code of the error that it was answered with, `span` that of the request where spans are
    exported. `excused` says that its failure is the client's own doing, so that it counts against no flag's budget.
    """

    request_id: str
    trace: Trace
    route: str = "unmatched"
    client: str = ""
    status: int = 0
    error: str = ""
    log: dict[str, Any] = field(default_factory=dict)
    span: Span | None = None
    excused: bool = False


_current: ContextVar[RequestContext | None] = ContextVar("bff_request", default=None)


def current() -> RequestContext | None:
    """Return the context of the request being handled, None outside of any."""
    return _current.get()


def enter(context: RequestContext) -> None:
    """Make a context current for this task and the tasks it starts."""
    _current.set(context)


def correlation_id() -> str:
    """Return the current request's id, or `-` outside of any."""
    context = _current.get()
    return context.request_id if context else "-"


def upstream_headers() -> list[tuple[bytes, bytes]]:
    """Return the headers that carry the current request's ids to the next hop."""
    context = _current.get()
    if context is None:
        return []
    return [(b"x-request-id", context.request_id.encode()), (b"traceparent", context.trace.header.encode())]
