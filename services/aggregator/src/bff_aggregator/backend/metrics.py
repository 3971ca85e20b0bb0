"""Metrics of the calls for runs and their parts."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram

from bff_shared.telemetry.metrics import SECONDS


@dataclass(frozen=True)
class CallMetrics:
    """Collectors by `part`: run, list, metrics, equity, orders."""

    seconds: Histogram
    retries: Counter

    @classmethod
    def create(cls, registry: CollectorRegistry) -> "CallMetrics":
        """Register the collectors."""
        return cls(
            seconds=Histogram(
                "bff_run_part_seconds", "To ask for a part and read it", ("part",), buckets=SECONDS, registry=registry
            ),
            retries=Counter("bff_run_part_retries_total", "Calls for parts made again", ("part",), registry=registry),
        )
