"""The OpenTelemetry SDK behind `tracing`; imported only where spans are exported.

Spans wait in a bounded queue (`OTEL_BSP_MAX_QUEUE_SIZE`, 2,048) for a thread of the SDK, which sends them in batches: a
collector that is slow or away costs spans, never a request.
"""

import os
import threading
from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Span as OtelSpan

from bff_shared.http.ids import Trace

Attributes = Mapping[str, str | int]


class Span:
    """One span under way, and its place in the trace."""

    def __init__(self, exporter: "Exporter", span: OtelSpan) -> None:
        self._exporter, self._span = exporter, span
        found = span.get_span_context()
        self.trace = Trace(f"{found.trace_id:032x}", f"{found.span_id:016x}", f"{found.trace_flags:02x}")

    def call(self, name: str, attributes: Attributes) -> "Span":
        """Begin the span of a call that is made for this one."""
        context = set_span_in_context(self._span)
        tracer = self._exporter.tracer
        return Span(self._exporter, tracer.start_span(name, context, SpanKind.CLIENT, dict(attributes)))

    def end(self, attributes: Attributes, *, name: str = "", failed: bool = False) -> None:
        """End it, with what is known by now."""
        if name:
            self._span.update_name(name)
        self._span.set_attributes(dict(attributes))
        if failed:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class Exporter:
    """Makes spans and sends them to the collector that the `OTEL_…` variables name; `close` sends what is left."""

    def __init__(self, service: str, version: str) -> None:
        name = os.environ.get("OTEL_SERVICE_NAME") or f"bff-{service}"
        resource = Resource.create({"service.name": name, "service.version": version})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self.tracer = self._provider.get_tracer("bff_shared", version)

    def begin(self, name: str, parent: Trace | None, attributes: Attributes) -> Span:
        """Begin the span of a request that continues the caller's trace, or starts one; the sampler decides on it."""
        context = None
        if parent is not None:
            flags = TraceFlags(int(parent.flags, 16))
            remote = SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=flags)
            context = set_span_in_context(NonRecordingSpan(remote))
        return Span(self, self.tracer.start_span(name, context, SpanKind.SERVER, dict(attributes)))

    def close(self, seconds: float) -> None:
        """Send what is left, for at most so long."""
        thread = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        thread.start()
        thread.join(seconds)
