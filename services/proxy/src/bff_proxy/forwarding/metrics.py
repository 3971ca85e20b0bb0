"""What the proxy counts besides what every service does."""

from prometheus_client import CollectorRegistry, Counter


class ForwardingMetrics:
    """Body bytes in both directions, and how exchanges ended."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.bytes = Counter("bff_proxy_body_bytes_total", "Body bytes", ("direction",), registry=registry)
        self.request_bytes = self.bytes.labels("request")
        self.response_bytes = self.bytes.labels("answer")
        self.exchanges = Counter("bff_proxy_exchanges_total", "Exchanges by end", ("outcome",), registry=registry)
