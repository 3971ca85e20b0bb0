"""What is counted of runs and their parts."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter


@dataclass(frozen=True)
class RunMetrics:
    """Collectors by `part`: run, metrics, equity, orders; of views chart and run."""

    parts: Counter
    late: Counter
    restarts: Counter
    bodies: Counter
    view_parts: Counter

    @classmethod
    def create(cls, registry: CollectorRegistry) -> "RunMetrics":
        """Register the collectors."""
        return cls(
            parts=Counter("bff_run_parts_total", "Parts of answers", ("part", "state", "source"), registry=registry),
            late=Counter(
                "bff_run_late_parts_total", "Parts kept that missed their answer", ("part",), registry=registry
            ),
            restarts=Counter(
                "bff_run_restarts_total", "Answers begun anew because the run moved on", registry=registry
            ),
            bodies=Counter("bff_run_bodies_total", "Encoded answers", ("origin",), registry=registry),
            view_parts=Counter("bff_view_parts_total", "Parts of views", ("part", "status"), registry=registry),
        )
