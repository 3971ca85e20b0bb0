"""How the pieces that the frontend can turn off are doing: requests, failures and slow responses of each. Pure.

Only what a piece did itself counts against it, and by client: one client must not be able to break a budget for
everybody. Nothing is counted before `enable`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bff_shared.http.headers import Header, get
from bff_shared.limits import client_address
from bff_shared.settings import Network

CHART_DATA, RUN_DATA, WEBSOCKET = "chart_data", "run_data", "websocket"
"""Pieces, by the keys of their flags."""

BUCKET_SECONDS = 5
"""Counts of all processes are added up in spans of so many seconds of wall-clock time."""

MAX_CLIENTS = 16
"""Clients that one report tells apart for each piece; failures of further ones are counted without a client."""

FAILED_CLOSES = frozenset((1011, 1014))
"""Close codes of streams that failed: an internal error, a backend that broke off."""

_OWN_DEADLINE = b"x-request-timeout"
_OF_DEADLINE = frozenset((502, 503, 504))


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests (or streams that ended), how many of them failed or were slow, and for which clients.

    `errors_by` and `slow_by` count by client, for some of the clients at least.
    """

    requests: int = 0
    errors: int = 0
    slow: int = 0
    errors_by: Mapping[str, int] = field(default_factory=dict)
    slow_by: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: "Counts") -> "Counts":
        """Return both together."""
        return Counts(
            self.requests + other.requests,
            self.errors + other.errors,
            self.slow + other.slow,
            dict(Counter(self.errors_by) + Counter(other.errors_by)),
            dict(Counter(self.slow_by) + Counter(other.slow_by)),
        )


class _Piece:
    """The counts of one piece since the last report."""

    __slots__ = ("errors", "errors_by", "requests", "slow", "slow_by")

    def __init__(self) -> None:
        self.requests = self.errors = self.slow = 0
        self.errors_by: dict[str, int] = {}
        self.slow_by: dict[str, int] = {}

    def counts(self) -> Counts:
        return Counts(self.requests, self.errors, self.slow, self.errors_by, self.slow_by)


class Outcomes:
    """What became of the requests and streams of this process since the last report."""

    def __init__(self) -> None:
        self.enabled = False
        self._slow_seconds = float("inf")
        self._trusted: Sequence[Network] = ()
        self._pieces: dict[str, _Piece] = {}

    def enable(self, slow_seconds: float, trusted: Sequence[Network]) -> None:
        """Count from now on; a response that takes longer is slow, `trusted` are the networks of our own proxies."""
        self.enabled, self._slow_seconds, self._trusted = True, slow_seconds, trusted

    def responded(self, scope: Mapping[str, Any], route: str, status: int, seconds: float, *, excused: bool) -> None:
        """Count a response to a request (an ASGI scope) of a route, whose head was sent after so many seconds.

        `excused`: it failed by the client's doing, or because this process is going down.
        """
        if not self.enabled or (piece := piece_of(route)) is None:
            return
        failed = not excused and self._is_ours(scope, status)
        self._count(scope, piece, failed=failed, slow=seconds > self._slow_seconds)

    def part(self, scope: Mapping[str, Any], piece: str, status: int, seconds: float, *, requests: int) -> None:
        """Count a part of a response that belongs to a piece; 0 `requests` where the response itself counts as one."""
        if self.enabled:
            failed, slow = self._is_ours(scope, status), seconds > self._slow_seconds
            self._count(scope, piece, failed=failed, slow=slow, requests=requests)

    def stream_ended(self, client: str, code: int) -> None:
        """Count the end of a client's stream by its close code."""
        self.add(WEBSOCKET, client, failed=code in FAILED_CLOSES)

    def add(self, piece: str, client: str, *, failed: bool, slow: bool = False, requests: int = 1) -> None:
        """Count something that a piece did for a client (its address)."""
        if not self.enabled:
            return
        found = self._pieces.get(piece)
        if found is None:
            found = self._pieces[piece] = _Piece()
        found.requests += requests
        if failed:
            found.errors += 1
            _attribute(found.errors_by, client)
        if slow:
            found.slow += 1
            _attribute(found.slow_by, client)

    def take(self) -> dict[str, Counts]:
        """Return what was counted since the last call, for the pieces of which anything was."""
        taken, self._pieces = self._pieces, {}
        return {piece: found.counts() for piece, found in taken.items()}

    def _count(self, scope: Mapping[str, Any], piece: str, *, failed: bool, slow: bool, requests: int = 1) -> None:
        peer = (scope.get("client") or (None,))[0]
        client = client_address(scope["headers"], peer, self._trusted) if failed or slow else ""
        self.add(piece, client, failed=failed, slow=slow, requests=requests)

    def _is_ours(self, scope: Mapping[str, Any], status: int) -> bool:
        """Tell whether a status is a failure of the service: no time-out that the client may have brought about."""
        headers: Sequence[Header] = scope["headers"]
        return status >= 500 and not (status in _OF_DEADLINE and get(headers, _OWN_DEADLINE) is not None)


def piece_of(route: str) -> str | None:
    """Return the piece that a route's template belongs to; streams are counted by how they end instead."""
    if route.startswith("/api/v1/chart-data"):
        return CHART_DATA
    if route.startswith("/api/v1/runs") and not route.endswith("/stream"):
        return RUN_DATA
    return None


def bucket(at: float) -> int:
    """Return the number of the span that a time (Unix seconds) lies in."""
    return int(at // BUCKET_SECONDS)


def _attribute(by: dict[str, int], client: str) -> None:
    if client in by or len(by) < MAX_CLIENTS:
        by[client] = by.get(client, 0) + 1
