"""How the pieces that the frontend can turn off are doing: requests, failures and slow answers of each. Pure.

Nothing is counted here a second time: the figures are those of the service's metrics, looked at once in a while.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

CHART_DATA, RUN_DATA, WEBSOCKET = "chart_data", "run_data", "websocket"
"""Pieces, by the keys of their flags."""

BUCKET_SECONDS = 5
"""Counts of all processes are added up in spans of so many seconds of wall-clock time."""

_REQUESTS = "bff_http_requests_total"
_DURATIONS = "bff_http_request_duration_seconds"
_CLOSES = "bff_stream_closes_total"
_REFUSED = "bff_stream_refused_total"
_VIEW_PARTS = "bff_view_parts_total"
_FAILED_CLOSES = frozenset(("1011", "1014"))


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests (or streams that ended), and how many of them failed or were slow."""

    requests: int = 0
    errors: int = 0
    slow: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        """Return both together."""
        return Counts(self.requests + other.requests, self.errors + other.errors, self.slow + other.slow)

    def __sub__(self, other: "Counts") -> "Counts":
        """Return what came after another look."""
        return Counts(self.requests - other.requests, self.errors - other.errors, self.slow - other.slow)


def piece_of(route: str) -> str | None:
    """Return the piece that a route's template belongs to; streams are counted by how they end instead."""
    if route.startswith("/api/v1/chart-data"):
        return CHART_DATA
    if route.startswith("/api/v1/runs") and not route.endswith("/stream"):
        return RUN_DATA
    return None


def look(registry: CollectorRegistry, slow_seconds: float) -> dict[str, Counts]:
    """Return the counts of each piece since the process began.

    Failed are answers and parts of views of 500 and above, and streams that were refused or closed with 1011 or 1014.
    Slow are answers above the first bound of the histogram that is not below `slow_seconds`.
    """
    found: dict[str, Counts] = {}
    every = [*_requests(registry), *_slow(registry, slow_seconds), *_views(registry), *_streams(registry)]
    for piece, counts in every:
        found[piece] = found.get(piece, Counts()) + counts
    return found


def news(now: Mapping[str, Counts], before: Mapping[str, Counts]) -> dict[str, Counts]:
    """Return what happened between two looks, for the pieces of which something did."""
    grown = {piece: counts - before.get(piece, Counts()) for piece, counts in now.items()}
    return {piece: counts for piece, counts in grown.items() if counts != Counts()}


def bucket(at: float) -> int:
    """Return the number of the span that a time (Unix seconds) lies in."""
    return int(at // BUCKET_SECONDS)


def _requests(registry: CollectorRegistry) -> Iterator[tuple[str, Counts]]:
    for labels, value in _samples(registry, _REQUESTS):
        if piece := piece_of(labels["route"]):
            yield piece, Counts(requests=int(value), errors=int(value) if int(labels["status"]) >= 500 else 0)


def _slow(registry: CollectorRegistry, slow_seconds: float) -> Iterator[tuple[str, Counts]]:
    """Count what lies above a bound of the cumulative histogram: all of it, less what lies below."""
    for labels, value in _samples(registry, f"{_DURATIONS}_count"):
        if piece := piece_of(labels["route"]):
            yield piece, Counts(slow=int(value))
    below: dict[tuple[str, str], tuple[float, float]] = {}
    for labels, value in _samples(registry, f"{_DURATIONS}_bucket"):
        bound, series = float(labels["le"]), (labels["method"], labels["route"])
        if bound >= slow_seconds and (series not in below or bound < below[series][0]):
            below[series] = bound, value
    for (_, route), (_, value) in below.items():
        if piece := piece_of(route):
            yield piece, Counts(slow=-int(value))


def _views(registry: CollectorRegistry) -> Iterator[tuple[str, Counts]]:
    """Count the charts in views like those alone, and the runs that failed; the view itself is a request for a run."""
    for labels, value in _samples(registry, _VIEW_PARTS):
        failed = int(value) if int(labels["status"]) >= 500 else 0
        if labels["part"] == "chart":
            yield CHART_DATA, Counts(requests=int(value), errors=failed)
        else:
            yield RUN_DATA, Counts(errors=failed)


def _streams(registry: CollectorRegistry) -> Iterator[tuple[str, Counts]]:
    for labels, value in _samples(registry, _CLOSES):
        yield WEBSOCKET, Counts(int(value), int(value) if labels["code"] in _FAILED_CLOSES else 0)
    for _, value in _samples(registry, _REFUSED):
        yield WEBSOCKET, Counts(int(value), int(value))


def _samples(registry: CollectorRegistry, name: str) -> Iterator[tuple[Mapping[str, str], float]]:
    for metric in registry.restricted_registry([name]).collect():
        for sample in metric.samples:
            yield sample.labels, sample.value
