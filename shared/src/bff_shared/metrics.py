"""Prometheus metrics of a service. One `Metrics` per app; other modules add theirs to its registry.

Under several workers (`PROMETHEUS_MULTIPROC_DIR` set) values live in files that the scraped worker adds up.
"""

import os
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


@dataclass(frozen=True)
class Metrics:
    """What every service counts: requests by route template, and calls to the backend by outcome."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    requests: Counter = field(init=False)
    durations: Histogram = field(init=False)
    in_flight: Gauge = field(init=False)
    upstream_calls: Counter = field(init=False)
    upstream_durations: Histogram = field(init=False)
    upstream_retries: Counter = field(init=False)
    breaker_open: Gauge = field(init=False)
    upstream_active: Gauge = field(init=False)
    upstream_waiting: Gauge = field(init=False)
    _children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Register the collectors."""
        add, registry = object.__setattr__, self.registry
        labels = ("method", "route", "status")
        add(self, "requests", Counter("bff_http_requests_total", "Requests answered", labels, registry=registry))
        histogram = Histogram(
            "bff_http_request_duration_seconds", "To the last byte", labels[:2], buckets=SECONDS, registry=registry
        )
        add(self, "durations", histogram)
        add(self, "in_flight", _gauge("bff_http_requests_in_flight", "Requests being answered", registry))
        calls = Counter("bff_upstream_calls_total", "Calls to the backend", ("outcome",), registry=registry)
        add(self, "upstream_calls", calls)
        waits = Histogram(
            "bff_upstream_duration_seconds", "To the head of the answer", buckets=SECONDS, registry=registry
        )
        add(self, "upstream_durations", waits)
        add(self, "upstream_retries", Counter("bff_upstream_retries_total", "Calls made again", registry=registry))
        add(self, "breaker_open", _gauge("bff_upstream_breaker_open", "1 open, 0.5 half-open, 0 closed", registry))
        add(self, "upstream_active", _gauge("bff_upstream_calls_active", "Calls being made", registry))
        add(self, "upstream_waiting", _gauge("bff_upstream_calls_waiting", "Calls waiting for a place", registry))

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request; the labels' lookup is remembered, since it costs more than the counting."""
        known = self._children.get((method, route, status))
        if known is None:
            known = self.requests.labels(method, route, status), self.durations.labels(method, route)
            self._children[method, route, status] = known
        known[0].inc()
        known[1].observe(seconds)

    def render(self) -> bytes:
        """Return the text exposition, summed over the workers when there are several."""
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library leaves it untyped
            return generate_latest(registry)
        return generate_latest(self.registry)


def _gauge(name: str, text: str, registry: CollectorRegistry) -> Gauge:
    return Gauge(name, text, registry=registry, multiprocess_mode="livesum")
