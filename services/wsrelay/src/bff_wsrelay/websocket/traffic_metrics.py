"""Prometheus metrics of the limits on incoming WebSocket frames. No I/O."""

from prometheus_client import CollectorRegistry, Counter

from bff_shared.telemetry.metrics import gauge


class TrafficMetrics:
    """The collectors of the limits on incoming WebSocket frames, for both endpoints."""

    def __init__(self, registry: CollectorRegistry) -> None:
        refused = Counter(
            "bff_websocket_refused_total",
            "WebSocket connections closed for what they sent: too many frames, messages too large together or too late",
            ("limit",),
            registry=registry,
        )
        self.frames = refused.labels("frames")
        self.client_unfinished = refused.labels("client_unfinished")
        self.unfinished = refused.labels("unfinished")
        self.message_seconds = refused.labels("message_seconds")
        self.pauses = Counter(
            "bff_websocket_pauses_total",
            "Times that a connection was not read because its client address was above its limit",
            registry=registry,
        )
        self.unfinished_bytes = gauge(
            "bff_websocket_unfinished_bytes", "Bytes of messages that have begun and not ended", registry, "livesum"
        )
