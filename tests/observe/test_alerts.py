"""Each alert fires when it has to and is silent otherwise: the rules in deploy/prometheus, judged by promtool."""

import re
from pathlib import Path

import pytest

from tests.observe.promtool import FOLDER, ROOT, RULES, Firing, Situation, alerts, put, run

pytestmark = pytest.mark.slow

PROXY = {"service": "proxy"}
AT = {"service": "proxy", "instance": "proxy:1"}
RELAY = {"service": "wsrelay"}


def requests(status: str, values: str, route: str = "/r") -> dict[str, str]:
    labels = f'service="proxy", instance="proxy:1", method="GET", route="{route}", status="{status}"'
    return {f"bff_http_requests_total{{{labels}}}": values}


def durations(fast: str, every: str, route: str = "/r") -> dict[str, str]:
    labels = f'service="proxy", instance="proxy:1", method="GET", route="{route}"'
    name = "bff_http_request_duration_seconds"
    return {f'{name}_bucket{{{labels}, le="1.0"}}': fast, f"{name}_count{{{labels}}}": every}


def one(metric: str, values: str, service: str = "proxy", more: str = "") -> dict[str, str]:
    return {f'{metric}{{service="{service}", instance="{service}:1"{more}}}': values}


def frames(every: str, late: str) -> dict[str, str]:
    return one("bff_stream_frames_total", every, "wsrelay") | one("bff_stream_late_frames_total", late, "wsrelay")


def up(service: str, values: str) -> dict[str, str]:
    return {f'up{{job="bff", service="{service}", instance="{service}:1"}}': values}


HEALTHY = {
    **requests("200", "0+600x100"),
    **requests("404", "0+30x100"),
    **durations("0+628x100", "0+630x100"),
    **one("process_start_time_seconds", "1000x100", more=', job="bff"'),
    **one("bff_upstream_breaker_open", "0x100"),
    **one("bff_upstream_calls_waiting", "0x100"),
    **one("bff_cache_hits_total", "0+90x100", "aggregator", ', cache="chart", layer="memory"'),
    **one("bff_cache_misses_total", "0+10x100", "aggregator", ', cache="chart"'),
    **one("bff_cache_redis_bypassed", "0x100", "aggregator"),
    **one("bff_flag_store_away", "0x100"),
    **one("bff_flag_definitions_refused", "0x100"),
    **one("bff_flag_source", "1x100", more=', key="bff-charts", source="file"'),
    **one("bff_stream_imbalances_total", "0x100", "wsrelay"),
    **one("bff_stream_upstream_breaks_total", "0x100", "wsrelay"),
    **one("bff_door_breaks_total", "0x100", "wsrelay"),
    **one("bff_stream_resumes_total", "0x100", "wsrelay"),
    **one("bff_stream_viewers", "100x100", "wsrelay"),
    **frames("0+180000x100", "0+900x100"),
}
ERRORS = Firing("BffErrorBudgetBurnsFast", PROXY, "5%")
ERRORS_SLOWLY = Firing("BffErrorBudgetBurnsSlowly", PROXY, "5%")
SLOW = Firing("BffLatencyBudgetBurnsFast", PROXY, "30%")
SLOW_SLOWLY = Firing("BffLatencyBudgetBurnsSlowly", PROXY, "30%")

SITUATIONS = [
    Situation("all is well", 100, HEALTHY),
    Situation("nobody asks for anything", 60, {}),
    Situation(
        "one request in twenty fails",
        100,
        requests("200", "0+570x100") | requests("503", "0+30x100"),
        [ERRORS, ERRORS_SLOWLY],
    ),
    Situation(
        "four requests in a thousand fail for hours",
        100,
        requests("200", "0+996x100") | requests("502", "0+4x100"),
        [Firing("BffErrorBudgetBurnsSlowly", PROXY, "0.4%")],
    ),
    Situation(
        "five in ten thousand fail, which the budget is for",
        100,
        requests("200", "0+9995x100") | requests("502", "0+5x100"),
    ),
    Situation(
        "failures that are over page nobody",
        100,
        requests("200", "0+600x100") | requests("500", "0x20 0+20x20 400x60"),
        aside=["BffErrorBudgetBurnsSlowly"],
    ),
    Situation("the only request of an hour fails", 100, requests("500", "0x80 1x40")),
    Situation(
        "probes that fail are no requests",
        100,
        requests("200", "0+600x100") | requests("503", "0+60x100", "/health/ready"),
    ),
    Situation(
        "three requests in ten are slow",
        100,
        requests("200", "0+100x100") | durations("0+70x100", "0+100x100"),
        [SLOW, SLOW_SLOWLY],
    ),
    Situation(
        "four in a hundred are slow for hours",
        100,
        requests("200", "0+100x100") | durations("0+96x100", "0+100x100"),
        [Firing("BffLatencyBudgetBurnsSlowly", PROXY, "4%")],
    ),
    Situation(
        "three frames in ten are late",
        100,
        frames("0+1800x100", "0+540x100"),
        [
            Firing("BffPlaybackBudgetBurnsFast", RELAY, "30%"),
            Firing("BffPlaybackBudgetBurnsSlowly", RELAY, "30%"),
        ],
    ),
    Situation(
        "four frames in a hundred are late for hours",
        100,
        frames("0+1800x100", "0+72x100"),
        [Firing("BffPlaybackBudgetBurnsSlowly", RELAY, "4%")],
    ),
    Situation("five frames in a thousand are late, which the budget is for", 100, frames("0+1800x100", "0+9x100")),
    Situation("the few frames of a playback that creeps are late", 100, frames("0+30x100", "0+30x100")),
    Situation("streams last", 100, requests("200", "0+100x100") | durations("0x100", "0+50x100", "/runs/{id}/stream")),
    Situation(
        "a service does not answer",
        5,
        up("proxy", "1 1 0x3"),
        [Firing("BffServiceDown", PROXY), Firing("BffInstanceDown", {**AT, "job": "bff"})],
    ),
    Situation(
        "a service is nowhere",
        5,
        {},
        [Firing("BffServiceDown", {"service": "wsrelay", "job": "bff"})],
        up=("proxy", "aggregator"),
    ),
    Situation("a service is scraped in vain once", 5, up("aggregator", "1 1 0 1 1 1")),
    Situation(
        "one of two instances does not answer",
        5,
        {'up{job="bff", service="proxy", instance="proxy:2"}': "0x5"},
        [Firing("BffInstanceDown", {"service": "proxy", "instance": "proxy:2", "job": "bff"})],
    ),
    Situation(
        "a service starts again and again",
        16,
        one("process_start_time_seconds", "1000x3 1200x3 1400x3 1600x10", more=', job="bff"'),
        [Firing("BffServiceRestarts", {**AT, "job": "bff"}, "3")],
    ),
    Situation(
        "a service is rolled twice", 16, one("process_start_time_seconds", "1000x5 1300x5 1600x10", more=', job="bff"')
    ),
    Situation(
        "the breaker stays open",
        6,
        one("bff_upstream_breaker_open", "0 0 1 1 0.5 1 1"),
        [Firing("BffBreakerOpen", AT)],
    ),
    Situation("the breaker opens for a moment", 6, one("bff_upstream_breaker_open", "0 0 1 0.5 0 0 0")),
    Situation(
        "calls wait and wait",
        8,
        one("bff_upstream_calls_waiting", "0 5 5 5 5 5 5 5 5"),
        [Firing("BffBackendCallsQueue", AT, "5")],
    ),
    Situation("calls wait now and then", 8, one("bff_upstream_calls_waiting", "0 5 5 0 5 0 5 5 0")),
    Situation(
        "the cache holds nothing any more",
        100,
        one("bff_cache_hits_total", "0+90x60 5400+10x40", "aggregator", ', cache="chart", layer="redis"')
        | one("bff_cache_misses_total", "0+10x60 600+90x40", "aggregator", ', cache="chart"'),
        [Firing("BffCacheHitRatioFallen", {"service": "aggregator"}, "10%")],
    ),
    Situation(
        "nothing is found in a cache that never had anything",
        100,
        one("bff_cache_misses_total", "0+90x100", "aggregator", ', cache="chart"'),
    ),
    Situation(
        "redis is gone",
        8,
        one("bff_cache_redis_bypassed", "0 1x8", "aggregator"),
        [Firing("BffRedisGone", {"service": "aggregator", "instance": "aggregator:1"})],
    ),
    Situation("flags cannot reach redis", 8, one("bff_flag_store_away", "0 1x8"), [Firing("BffRedisGone", AT)]),
    Situation(
        "a flag was rolled back",
        3,
        one("bff_flag_source", "0 0 1 1", more=', key="bff-charts", source="rollback"'),
        [Firing("BffFlagRolledBack", {"service": "proxy", "key": "bff-charts"})],
    ),
    Situation(
        "a flag was changed by hand", 3, one("bff_flag_source", "0 0 1 1", more=', key="bff-charts", source="runtime"')
    ),
    Situation(
        "bad definitions of flags",
        5,
        one("bff_flag_definitions_refused", "0 0 1 1 1 1"),
        [Firing("BffFlagDefinitionsRefused", AT)],
    ),
    Situation("redis is restarted", 8, one("bff_cache_redis_bypassed", "0 1 1 0 0 0 0 0 0", "aggregator")),
    Situation(
        "a frame is missing",
        10,
        one("bff_stream_imbalances_total", "0x5 1x5", "wsrelay"),
        [Firing("BffStreamNotConserved", {"service": "wsrelay", "instance": "wsrelay:1"}, "1")],
    ),
    Situation(
        "the backend's stream breaks every five seconds",
        30,
        one("bff_stream_upstream_breaks_total", "0+12x30", "wsrelay") | one("bff_door_breaks_total", "0x30", "wsrelay"),
        [Firing("BffBackendStreamsBreak", RELAY, "200m")],
    ),
    Situation(
        "a thousand viewers are redialled once",
        30,
        one("bff_stream_upstream_breaks_total", "0x30", "wsrelay")
        | one("bff_door_breaks_total", "0x20 1000x10", "wsrelay"),
    ),
    Situation(
        "three viewers in four come back each minute",
        30,
        one("bff_stream_resumes_total", "0+75x30", "wsrelay") | one("bff_stream_viewers", "100x30", "wsrelay"),
        [Firing("BffViewersReconnect", RELAY, "75")],
    ),
    Situation(
        "all viewers come back once, from a relay that was rolled",
        30,
        one("bff_stream_resumes_total", "0x20 100x10", "wsrelay") | one("bff_stream_viewers", "100x30", "wsrelay"),
    ),
    Situation(
        "one address asks for more than its share, of streams and of responses",
        30,
        one("bff_stream_refused_total", "0+120x30", "wsrelay", ', reason="client"')
        | one("bff_responses_refused_total", "0+120x30", "aggregator", ', limit="client"'),
        [
            Firing("BffClientsThrottled", RELAY, "2"),
            Firing("BffClientsThrottled", {"service": "aggregator"}, "2"),
        ],
    ),
    Situation(
        "one address asks for more work than its share, where another limit has refused somebody before",
        30,
        one("bff_responses_refused_total", "1x30", "aggregator", ', limit="client"')
        | one("bff_cpu_jobs_refused_total", "0+120x30", "aggregator", ', limit="client"'),
        [Firing("BffClientsThrottled", {"service": "aggregator"}, "2")],
    ),
    Situation(
        "pages of one address find no listener of flags free",
        30,
        one("bff_flag_listeners_refused_total", "0+120x30", "proxy", ', limit="client"')
        | one("bff_flag_listeners_refused_total", "0x30", "proxy", ', limit="process"'),
        [Firing("BffClientsThrottled", PROXY, "2")],
    ),
    Situation(
        "frame logs take all the bytes that they may",
        30,
        one("bff_stream_logs_refused_total", "0+30x30", "wsrelay"),
        [Firing("BffCapacityExhausted", RELAY, "500m")],
    ),
    Situation(
        "what an export makes the aggregator fetch is not shared",
        60,
        one("bff_cache_over_budget_total", "0+120x60", "aggregator", ', cache="chart"'),
        [Firing("BffCacheBudgetSpent", {"service": "aggregator"}, "2")],
    ),
    Situation(
        "an office opens all its pages, and their runs wait for two minutes",
        30,
        one("bff_stream_readings_waiting", "0x5 40x1 0x24", "wsrelay"),
    ),
    Situation(
        "runs wait to be read for minutes",
        30,
        one("bff_stream_readings_waiting", "40x30", "wsrelay"),
        [Firing("BffReadingsWait", RELAY, "40")],
    ),
    Situation(
        "a page is refused a stream now and then",
        30,
        one("bff_stream_refused_total", "0+2x30", "wsrelay", ', reason="rate"')
        | one("bff_stream_refused_total", "0x30", "wsrelay", ', reason="capacity"'),
    ),
    Situation(
        "a relay has no room for another viewer",
        30,
        one("bff_stream_refused_total", "0+30x30", "wsrelay", ', reason="capacity"'),
        [Firing("BffCapacityExhausted", RELAY, "500m")],
    ),
    Situation(
        "a run of the backend's holds frames that nobody can read",
        40,
        one("bff_stream_malformed_frames_total", "0+60x40", "wsrelay"),
        [Firing("BffMalformedFrames", RELAY, "1")],
    ),
]


def test_situations_fire_these_alerts_and_no_others(tmp_path: Path) -> None:
    done = put(SITUATIONS, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_expectation_is_noticed(tmp_path: Path) -> None:
    assert put([Situation("silence expected wrongly", 5, up("proxy", "0x5"))], tmp_path).returncode == 1


def test_every_alert_fires_in_some_situation() -> None:
    assert {firing.alert for situation in SITUATIONS for firing in situation.fires} == set(alerts())


def test_rules_and_configuration_are_sound() -> None:
    for arguments in (["check", "config", "prometheus.yml"], ["check", "rules", *map(str, RULES)]):
        done = run(*arguments, cwd=FOLDER)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_what_is_wrong_and_where_to_read_on(name: str) -> None:
    rule = alerts()[name]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"


def test_every_alert_has_its_section_in_the_runbook_and_the_other_way_round() -> None:
    sections = re.split(r"^## ", (ROOT / "docs/runbook.md").read_text(), flags=re.MULTILINE)[1:]
    told = {section.splitlines()[0]: section for section in sections if section.startswith("Bff")}
    assert set(told) == set(alerts())
    for name, section in told.items():
        for part in ("**Meaning.**", "**What users see.**", "**First checks.**", "**Remedy.**"):
            assert part in section, f"{name}: {part}"
        checks = section[section.index("**First checks.**") : section.index("**Remedy.**")]
        numbers = [int(number) for number in re.findall(r"^(\d)\. ", checks, re.MULTILINE)]
        assert numbers == list(range(1, len(numbers) + 1)), name
        assert len(numbers) in {3, 4}, name
        assert checks.count("`") >= 2, name
