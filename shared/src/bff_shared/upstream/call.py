"""A request to the backend, as services describe it: what is sent, how long, how often, and on whose account."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum

import httpx

from bff_shared.http.context import current, upstream_headers
from bff_shared.http.headers import Header

SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
"""Methods that change nothing (RFC 9110 section 9.2.1)."""


class Kind(Enum):
    """What a call takes while it lasts; each kind has a number of slots of its own."""

    SHORT = "short"
    UPLOAD = "upload"
    """Its request's body is still on its way from the client."""
    STREAM = "stream"
    """Its response lasts: an event stream, or whatever takes longer than `BFF_LONG_SECONDS`."""


@dataclass(slots=True)
class Call:
    """One request to the backend.

    Attributes:
        method: its method, as it is sent.
        target: the raw path and query.
        headers: raw names and values, as they are sent; the transport adds nothing but `Host`.
        body: its body, if it has one; `headers` say how it is delimited.
        deadline: a time of `time.monotonic`, the service's own; none for no limit. A deadline that a client sets is for
            whoever waits for the call, since running out of it says nothing of the backend.
        replay: whether it may be sent again after it may have reached the backend; never with a body, and never once a
            byte of a response came. By default, whether the method is safe.
        circuit: calls of one circuit share a breaker, so that one kind of call that fails does not stop the others;
            there are as many as the services' code has names for.
        kind: which slots it takes.
        client: the address that the call counts for, by default that of the request being handled.
        attempts: the most requests of the call, the replacement of a stale connection included; by default
            1 + `BFF_RETRIES`.
        repeat_statuses: which responses are a reason to send it again.
        on_repeat: called each time that it is.
        uploaded: tells whether a body that is streamed has been read to its end.
    """

    method: str
    target: bytes
    headers: Sequence[Header] = ()
    body: httpx.AsyncByteStream | None = None
    deadline: float | None = None
    replay: bool | None = None
    circuit: str = ""
    kind: Kind = Kind.SHORT
    client: str | None = None
    attempts: int | None = None
    repeat_statuses: Collection[int] = ()
    on_repeat: Callable[[], None] | None = None
    uploaded: Callable[[], bool] = field(default=lambda: True)

    def __post_init__(self) -> None:
        """Fill in what follows from the method and from the request being handled."""
        if self.replay is None:
            self.replay = self.method in SAFE
        if self.client is None:
            context = current()
            self.client = context.client if context else ""

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be sent again after its bytes may have reached the backend."""
        return bool(self.replay) and self.body is None

    def left(self, now: float) -> float | None:
        """Return the seconds until its deadline, at least 0; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - now)


def credentials_and_ids(credentials: Sequence[Header]) -> list[Header]:
    """Return the headers of a call that a service makes itself, on behalf of a user."""
    return [*credentials, (b"accept", b"application/json"), (b"accept-encoding", b"identity"), *upstream_headers()]
