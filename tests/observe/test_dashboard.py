"""The dashboard's file is well-formed, and what provisions it agrees with it."""

import itertools
from pathlib import Path

import yaml

from tests.observe.dashboard import DASHBOARD, GRAFANA, PANELS, expressions
from tests.observe.promtool import FOLDER, ROOT


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    everything = DASHBOARD["panels"]
    ids, titles = [panel["id"] for panel in everything], [panel["title"] for panel in everything]
    assert len(set(ids)) == len(ids)
    assert len(set(titles)) == len(titles)
    cells: set[tuple[int, int]] = set()
    for panel in everything:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        columns, rows = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        taken = set(itertools.product(columns, rows))
        assert not cells & taken, panel["title"]
        cells |= taken


def test_every_question_goes_to_the_provisioned_source() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert DASHBOARD["schemaVersion"] >= 36
    assert DASHBOARD["uid"]
    for panel in PANELS:
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": source["type"], "uid": source["uid"]}, panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0
    for variable in DASHBOARD["templating"]["list"]:
        assert variable["datasource"]["uid"] == source["uid"]


def test_the_dashboard_asks_for_everything_that_has_a_goal_or_an_alert() -> None:
    asked = " ".join(expression for _, expression in expressions())
    for name in (
        "bff_upstream_breaker_open",
        "bff_stream_imbalances_total",
        "bff_cache_redis_bypassed",
        "bff_flag_share",
        "bff_stream_refused_total",
        "bff_websocket_refused_total",
        "bff_flag_listeners_refused_total",
        "bff_responses_refused_total",
        "bff_cpu_jobs_refused_total",
        "bff_upstream_refused_total",
        "bff_stream_logs_refused_total",
        "bff_stream_readings_waiting",
        "bff_cache_over_budget_total",
    ):
        assert name in asked


def test_scraping_by_hand_and_by_compose_give_the_same_labels() -> None:
    """The rules go by `job` and `service`; the shipped configuration gives them to every target."""
    scrapes = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    (services,) = [scrape for scrape in scrapes if scrape["job_name"] == "bff"]
    ports = {found["names"][0]: found["port"] for found in services["dns_sd_configs"]}
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert ports == {name: int(compose[name]["build"]["args"]["PORT"]) for name in ("proxy", "aggregator", "wsrelay")}
    assert {"source_labels": ["__meta_dns_name"], "target_label": "service"} in services["relabel_configs"]


def test_compose_puts_everything_where_it_is_looked_for() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/bff.yml").read_text())["providers"]
    mounts = {
        name: dict(volume.split(":")[1::-1] for volume in services[name]["volumes"] if volume.startswith("./"))
        for name in ("prometheus", "grafana")
    }
    assert mounts["prometheus"]["/etc/prometheus"] == "./deploy/prometheus"
    assert mounts["grafana"][provider["options"]["path"]] == "./deploy/grafana/dashboards"
    assert mounts["grafana"]["/etc/grafana/provisioning"] == "./deploy/grafana/provisioning"
    for folders in mounts.values():
        assert all(Path(ROOT, folder).is_dir() for folder in folders.values())
    assert {name for name, service in services.items() if service.get("profiles") == ["observe"]} == set(mounts)
