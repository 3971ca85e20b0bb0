"""What the cache counts."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bff_shared.telemetry.metrics import SECONDS, gauge


@dataclass(frozen=True)
class CacheMetrics:
    """Collectors by `cache` (the namespace), and by `layer` (memory, redis) where there are two."""

    hits: Counter
    misses: Counter
    coalesced: Counter
    stale: Counter
    refreshes: Counter
    fill_seconds: Histogram
    filled_bytes: Counter
    evictions: Counter
    memory_bytes: Gauge
    memory_entries: Gauge
    redis_errors: Counter
    redis_bypassed: Gauge
    rejected: Counter
    purges: Counter
    over_budget: Counter

    @classmethod
    def create(cls, registry: CollectorRegistry) -> "CacheMetrics":
        """Register the collectors."""

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"bff_cache_{name}_total", text, labels, registry=registry)

        fill = Histogram(
            "bff_cache_fill_seconds", "To make missing entries", ("cache",), buckets=SECONDS, registry=registry
        )
        return cls(
            hits=counter("hits", "Entries found", "cache", "layer"),
            misses=counter("misses", "Entries that had to be made", "cache"),
            coalesced=counter("coalesced", "Entries that somebody else was already making", "cache", "where"),
            stale=counter("stale", "Stale entries served", "cache", "reason"),
            refreshes=counter("refreshes", "Entries made anew before they were needed", "cache", "reason"),
            fill_seconds=fill,
            filled_bytes=counter("filled_bytes", "Bytes of entries made", "cache"),
            evictions=counter("evictions", "Entries that went to make room"),
            memory_bytes=gauge("bff_cache_memory_bytes", "Bytes kept in memory", registry, "livesum"),
            memory_entries=gauge("bff_cache_memory_entries", "Entries kept in memory", registry, "livesum"),
            redis_errors=counter("redis_errors", "Commands that failed", "kind"),
            redis_bypassed=gauge(
                "bff_cache_redis_bypassed", "1 from a failure of Redis to its next answer", registry, "livemax"
            ),
            rejected=counter("rejected", "Damaged or foreign entries dropped", "cache"),
            over_budget=counter("over_budget", "Entries not shared, for their client shared too many bytes", "cache"),
            purges=counter("purges", "Subjects purged", "cache", "origin"),
        )
