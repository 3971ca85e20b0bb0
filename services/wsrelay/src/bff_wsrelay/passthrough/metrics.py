"""Prometheus metrics of the passthrough; their names begin with `bff_door_`, as they always did. No I/O."""

from prometheus_client import CollectorRegistry, Counter

from bff_shared.telemetry.metrics import gauge
from bff_wsrelay.websocket.close_codes import metric_label


class PassthroughMetrics:
    """The Prometheus collectors of the passthrough."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.viewers = gauge("bff_door_viewers", "Viewers of the passthrough", registry, "livesum")
        messages = Counter("bff_door_messages_total", "Messages forwarded", ("to",), registry=registry)
        self.to_viewer, self.to_backend = messages.labels("viewer"), messages.labels("backend")
        self.breaks = Counter("bff_door_breaks_total", "Upstream connections that broke", registry=registry)
        self.skipped = Counter("bff_door_skipped_total", "Frames skipped because viewers had them", registry=registry)
        self.refused = Counter(
            "bff_door_refused_total",
            "Viewers' messages not held for an absent backend",
            registry=registry,
        )
        self.closes = Counter("bff_door_closes_total", "Ended streams by close code", ("code",), registry=registry)

    def ended(self, code: int) -> None:
        """Count the end of a stream."""
        self.closes.labels(metric_label(code)).inc()
