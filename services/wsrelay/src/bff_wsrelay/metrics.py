"""What playback counts: plain integers on the hot path, handed to Prometheus once a second. No I/O."""

from dataclasses import dataclass, fields
from typing import get_args

from prometheus_client import CollectorRegistry, Counter

from bff_shared.outcomes import Outcomes
from bff_shared.telemetry.metrics import gauge
from bff_wsrelay.admission.limits import Reason
from bff_wsrelay.websocket.close_codes import metric_label

LATE_SECONDS = 0.05


@dataclass(slots=True)
class StreamCounts:
    """Counts since the last flush."""

    frames: int = 0
    source_frames: int = 0
    bytes: int = 0
    dropped: int = 0
    frame_delay_seconds: float = 0.0
    late_frames: int = 0
    controls: int = 0
    resumes: int = 0
    imbalances: int = 0
    upstream_connects: int = 0
    upstream_breaks: int = 0
    logs_refused: int = 0
    malformed_frames: int = 0


_HELP = {
    "frames": "Frames sent to viewers",
    "source_frames": "Source frames that those covered",
    "bytes": "Bytes of frames sent to viewers",
    "dropped": "Frames that slow viewers were spared",
    "frame_delay_seconds": "Time from when frames were due until they were sent, added up",
    "late_frames": "Frames sent more than 50 ms after they were due",
    "controls": "Controls carried out",
    "resumes": "Connections that resumed where an earlier one had ended",
    "imbalances": "Frames that did not continue where the one before ended: must stay 0",
    "upstream_connects": "Connections to the backend's stream",
    "upstream_breaks": "Passes over the backend's stream that failed or broke off",
    "logs_refused": "Runs that viewers were refused, or lost, because frame logs took all the bytes that they may",
    "malformed_frames": "Malformed frames of the backend that were skipped",
}


class StreamMetrics:
    """The Prometheus collectors of playback; `counts` is what the hot path adds to."""

    def __init__(self, registry: CollectorRegistry, outcomes: Outcomes | None = None) -> None:
        self.counts = StreamCounts()
        self._outcomes = outcomes or Outcomes()
        self._counters = {
            name: Counter(f"bff_stream_{name}_total", text, registry=registry) for name, text in _HELP.items()
        }
        self.refused = Counter(
            "bff_stream_refused_total", "Viewers refused, by either endpoint", ("reason",), registry=registry
        )
        for reason in get_args(Reason):
            self.refused.labels(reason)
        self.closes = Counter("bff_stream_closes_total", "Ended streams by close code", ("code",), registry=registry)
        self.viewers = gauge("bff_stream_viewers", "Viewers of playback", registry, "livesum")
        self.topics = gauge("bff_stream_recordings", "Runs whose frame log is held", registry, "livesum")
        self.log_bytes = gauge("bff_stream_log_bytes", "Bytes of all frame logs", registry, "livesum")
        self.held_ingesters = gauge(
            "bff_stream_readings_held",
            "Runs that are read no further now, because their viewers have enough and others are being read",
            registry,
            "livesum",
        )
        self.waiting_ingesters = gauge(
            "bff_stream_readings_waiting",
            "Runs queued to be read, because as many are being read as may be, in all or for their client address",
            registry,
            "livesum",
        )
        self.totals = dict.fromkeys(self._counters, 0)

    def flush(self) -> None:
        """Add the counts to the Prometheus counters and reset them."""
        for field in fields(self.counts):
            amount = getattr(self.counts, field.name)
            if amount:
                self._counters[field.name].inc(amount)
                self.totals[field.name] += amount
                setattr(self.counts, field.name, 0)

    def ended(self, code: int, client: str) -> None:
        """Count the end of a client's stream."""
        self._outcomes.stream_ended(client, code)
        self.closes.labels(metric_label(code)).inc()
