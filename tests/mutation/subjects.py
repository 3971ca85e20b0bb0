"""The modules whose mutants are tried: decisions, and the places where it is decided what I/O happens."""

from tests.mutation.swap import Subject

SUBJECTS = [
    Subject("bff_aggregator.charts.resample", ["tests/aggregator/charts/test_resample.py"]),
    Subject("bff_aggregator.runs.performance", ["tests/aggregator/runs/test_performance.py"]),
    Subject("bff_aggregator.cache.single_flight", ["tests/aggregator/cache/test_single_flight.py"]),
    Subject("bff_aggregator.backend.priority", ["tests/aggregator/backend/test_priority.py"]),
    Subject(
        "bff_aggregator.cache.leased_fill",
        ["tests/aggregator/cache/test_leased_fill.py", "tests/aggregator/cache/test_loader.py"],
    ),
    Subject(
        "bff_aggregator.cache.loader",
        ["tests/aggregator/cache/test_loader_layers.py", "tests/aggregator/cache/test_loader.py"],
    ),
    Subject("bff_proxy.flags.rules", ["tests/proxy/flags/test_evaluation.py", "tests/proxy/flags/test_definitions.py"]),
    Subject(
        "bff_proxy.flags.evaluation", ["tests/proxy/flags/test_evaluation.py", "tests/proxy/flags/test_definitions.py"]
    ),
    Subject("bff_shared.upstream.concurrency_limit", ["tests/shared/upstream/test_concurrency_limit.py"]),
    Subject("bff_shared.http.headers", ["tests/shared/http/test_headers.py"]),
    Subject("bff_shared.limits", ["tests/shared/test_limits.py"]),
    Subject("bff_shared.outcomes", ["tests/shared/test_outcomes.py"]),
    Subject("bff_shared.upstream.resilience", ["tests/shared/upstream/test_resilience.py"]),
    Subject("bff_wsrelay.passthrough.resume_state", ["tests/wsrelay/passthrough/test_resume_state.py"]),
    Subject(
        "bff_wsrelay.playback.pacer",
        [
            "tests/wsrelay/playback/test_pacer_schedule.py",
            "tests/wsrelay/playback/test_pacer_held_back.py",
            "tests/wsrelay/playback/test_pacer.py",
        ],
    ),
    Subject("bff_wsrelay.playback.scheduler", ["tests/wsrelay/playback/test_scheduler.py"]),
]
