"""What is counted about flags; labels are the defined keys, and a few words."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from bff_proxy.flags.evaluation import Evaluated, FlagSet
from bff_shared.telemetry.metrics import gauge


class FlagMetrics:
    """The collectors."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._shown: set[str] = set()
        labels = ("key", "variant", "reason")
        self._evaluations = Counter("bff_flag_evaluations_total", "Evaluations", labels, registry=registry)
        self._share = Gauge(
            "bff_flag_share",
            "Share of targeting keys that are on",
            ("key",),
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._changed = Gauge(
            "bff_flag_source",
            "1 for where a flag's state comes from",
            ("key", "source"),
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self.changes = Counter(
            "bff_flag_changes_total", "Changes made through this process", ("key", "source"), registry=registry
        )
        self.rollbacks = Counter("bff_flag_rollbacks_total", "Automatic rollbacks", ("key",), registry=registry)
        refused = "1 while the newest definitions are refused"
        self.refused = gauge("bff_flag_definitions_refused", refused, registry, "livemax")
        self.store_away = gauge("bff_flag_store_away", "1 while Redis does not answer", registry, "livemax")
        self.listeners = gauge("bff_flag_listeners", "Open event streams", registry, "livesum")
        self.listeners_refused = Counter(
            "bff_flag_listeners_refused_total",
            "Event streams refused, by whose limit it was",
            ("limit",),
            registry=registry,
        )
        for limit in ("client", "process"):
            self.listeners_refused.labels(limit)

    def evaluated(self, found: Evaluated) -> None:
        """Count one evaluation of a defined flag."""
        self._evaluations.labels(found.key, found.variant, found.reason).inc()

    def show(self, flags: FlagSet) -> None:
        """Show the state of all flags; those that are no longer defined are off, and come from nowhere."""
        self._shown |= flags.flags.keys()
        for key in self._shown:
            flag = flags.flags.get(key)
            share = 0.0 if flag is None else flag.share
            self._share.labels(key).set(float("nan") if share is None else share)
            for source in ("file", "runtime", "rollback"):
                self._changed.labels(key, source).set(flag is not None and source == flags.source(key))
