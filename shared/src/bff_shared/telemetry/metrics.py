"""Prometheus metrics of a service. One `Metrics` per app; other modules add theirs to its registry.

Under several workers (`PROMETHEUS_MULTIPROC_DIR` set) values live in files that the scraped worker adds up.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from bff_shared.outcomes import Outcomes

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class LiveGauge(Gauge):
    """A gauge that can follow a function under several workers too, where the library's own would stay 0.

    The other workers read what `collect` has written last; `Metrics.refresh` has each worker do so now and then.
    """

    _follows: Callable[[], float] | None = None

    def set_function(self, f: Callable[[], float]) -> None:
        """Have the gauge tell what a function says."""
        if _several_workers():
            self._follows = f
        else:
            super().set_function(f)

    def collect(self) -> Iterable[Metric]:
        """Return the samples, written anew if they follow a function."""
        if self._follows is not None:
            self.set(self._follows())
        return super().collect()


def gauge(name: str, text: str, registry: CollectorRegistry, mode: Literal["livesum", "livemax"]) -> LiveGauge:
    """Return a gauge; under several workers its value is the sum, or the highest, of those of living workers."""
    return LiveGauge(name, text, registry=registry, multiprocess_mode=mode)


class _Registry(CollectorRegistry):
    """A registry that tells what it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.collectors: list[Collector] = []

    def register(self, collector: Collector) -> None:
        super().register(collector)
        self.collectors.append(collector)


@dataclass(frozen=True)
class Metrics:
    """What every service counts: requests by route template, and calls to the backend by outcome."""

    registry: _Registry = field(default_factory=_Registry)
    outcomes: Outcomes = field(default_factory=Outcomes)
    build: Gauge = field(init=False)
    requests: Counter = field(init=False)
    durations: Histogram = field(init=False)
    in_flight: Gauge = field(init=False)
    upstream_calls: Counter = field(init=False)
    upstream_durations: Histogram = field(init=False)
    upstream_retries: Counter = field(init=False)
    breaker_open: Gauge = field(init=False)
    upstream_active: Gauge = field(init=False)
    upstream_waiting: Gauge = field(init=False)
    upstream_uploads: Gauge = field(init=False)
    upstream_streams: Gauge = field(init=False)
    upstream_refused: Counter = field(init=False)
    _children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Register the collectors; those of the process itself only where it is the only one."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter
        add, registry = object.__setattr__, self.registry
        if not _several_workers():
            ProcessCollector(registry=registry)
        build = Gauge(
            "bff_build_info",
            "Always 1; the labels tell what runs",
            ("version",),
            registry=registry,
            multiprocess_mode="livemax",
        )
        add(self, "build", build)
        labels = ("method", "route", "status")
        add(self, "requests", Counter("bff_http_requests_total", "Requests answered", labels, registry=registry))
        histogram = Histogram(
            "bff_http_request_duration_seconds", "To the last byte", labels[:2], buckets=SECONDS, registry=registry
        )
        add(self, "durations", histogram)
        add(self, "in_flight", gauge("bff_http_requests_in_flight", "Requests being answered", registry, "livesum"))
        calls = Counter("bff_upstream_calls_total", "Calls to the backend", ("outcome",), registry=registry)
        add(self, "upstream_calls", calls)
        waits = Histogram(
            "bff_upstream_duration_seconds", "To the head of the answer", buckets=SECONDS, registry=registry
        )
        add(self, "upstream_durations", waits)
        add(self, "upstream_retries", Counter("bff_upstream_retries_total", "Calls made again", registry=registry))
        breaker = gauge("bff_upstream_breaker_open", "1 open, 0.5 half-open, 0 closed", registry, "livemax")
        add(self, "breaker_open", breaker)
        add(self, "upstream_active", gauge("bff_upstream_calls_active", "Calls being made", registry, "livesum"))
        waiting = gauge("bff_upstream_calls_waiting", "Calls waiting for a place", registry, "livesum")
        add(self, "upstream_waiting", waiting)
        uploads = gauge("bff_upstream_uploads_active", "Calls whose body is still coming", registry, "livesum")
        add(self, "upstream_uploads", uploads)
        streams = gauge("bff_upstream_streams_active", "Event streams and long responses", registry, "livesum")
        add(self, "upstream_streams", streams)
        refused = Counter(
            "bff_upstream_refused_total", "Calls refused for want of a place", ("kind", "limit"), registry=registry
        )
        add(self, "upstream_refused", refused)

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
        if _several_workers():
            self.refresh()
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library leaves it untyped
            return generate_latest(registry)
        return generate_latest(self.registry)

    def refresh(self) -> None:
        """Write what gauges follow to where other workers read it; needed under several workers only."""
        for collector in self.registry.collectors:
            if isinstance(collector, LiveGauge):
                collector.collect()


def _several_workers() -> bool:
    return "PROMETHEUS_MULTIPROC_DIR" in os.environ
