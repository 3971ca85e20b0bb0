"""The dashboard: its file is well-formed, and its questions have answers while the whole stack runs."""

import asyncio
import itertools
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import websockets
import yaml

from bff_local import Stack, StackOptions
from bff_local.ports import free_ports
from tests.observe.promtool import FOLDER, ROOT, RULES, program

GRAFANA = ROOT / "deploy/grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards/bff.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {"$service": ".*", "$route": ".*", "$__rate_interval": "1m"}
YEAR = "from_date=2024-01-01&to_date=2024-12-31"
WELL = re.compile(r"coalesced|stale_total|redis_errors|late_parts|part_retries|flag_changes|^ALERTS")
"""Questions that may have no answer while all is well: what they count has a label for each kind, and none has come."""


def expressions() -> Iterator[tuple[str, str]]:
    for panel in PANELS:
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            yield panel["title"], expression


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
    ):
        assert name in asked


@contextmanager
def prometheus(stack: Stack, folder: Path) -> Iterator[httpx.Client]:
    """A real Prometheus that looks at a stack each second by the shipped rules."""
    ports = {name: stack[name].port for name in ("proxy", "aggregator", "wsrelay")}
    targets = [{"targets": [f"127.0.0.1:{port}"], "labels": {"service": name}} for name, port in ports.items()]
    settings = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(path) for path in RULES],
        "scrape_configs": [{"job_name": "bff", "static_configs": targets}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    (port,) = free_ports(1)
    command = [
        program("prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    process = subprocess.Popen(command, cwd=folder)  # noqa: S603  built above
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False, timeout=20) as client:
            yield client
    finally:
        process.terminate()
        process.wait(10)


def ask(client: httpx.Client, expression: str) -> list[Any]:
    answer = client.get("/query", params={"query": expression}).json()
    assert answer["status"] == "success", f"{expression}: {answer}"
    found: list[Any] = answer["data"]["result"]
    return found


def use(stack: Stack) -> None:
    """Do what users do: charts, runs, flags, something of the backend's, something wrong, and both kinds of stream."""
    with httpx.Client(base_url=stack.origin, trust_env=False, timeout=20) as client:
        for _ in range(2):
            assert client.get(f"/api/v1/chart-data?symbol=AAPL&timeframe=1D&{YEAR}").status_code == 200
        runs = client.get("/api/v1/backtests?limit=500").json()["items"]
        done = sorted(run["run_id"] for run in runs if run["status"] == "DONE")
        run_id = next(run for run in done if client.get(f"/api/v1/backtests/{run}/equity").status_code == 200)
        assert client.get(f"/api/v1/runs/{run_id}/complete").status_code == 200
        assert client.get("/api/v1/runs?limit=2").status_code == 200
        assert client.get("/api/v1/backtests/nowhere").status_code == 404
        flag = next(iter(json.loads((ROOT / "deploy/flags/flags.json").read_text())["flags"]))
        assert client.post(f"/ofrep/v1/evaluate/flags/{flag}", json={"context": {}}).status_code == 200
    asyncio.run(_watch(stack.origin.replace("http", "ws", 1), run_id))


async def _watch(origin: str, run_id: str) -> None:
    async with asyncio.timeout(30):
        for path in (f"/api/v1/runs/{run_id}/stream?autoplay=1", f"/api/v1/backtests/{run_id}/ws"):
            async with websockets.connect(origin + path, proxy=None) as viewer:
                if path.endswith("ws"):
                    await viewer.send('{"t":"ready"}')
                    await viewer.send('{"t":"ctrl","cmd":"play"}')
                while '"frame"' not in str(await viewer.recv()):
                    pass


def unanswered(client: httpx.Client) -> list[tuple[str, str]]:
    return [
        (title, question)
        for title, question in expressions()
        if not ask(client, question) and not WELL.search(question)
    ]


def wait_for(seconds: float, what: Callable[[], Sequence[Any]]) -> None:
    """Wait until nothing is missing any more."""
    until, missing = time.monotonic() + seconds, what()
    while missing:
        assert time.monotonic() < until, missing
        time.sleep(0.2)
        missing = what()


def test_every_panel_has_data_while_the_stack_runs(tmp_path: Path) -> None:
    program("prometheus")
    with Stack(StackOptions()) as stack, prometheus(stack, tmp_path) as client:
        use(stack)
        # A counter's first sample is no increase: what is used again has been seen before.
        wait_for(40, lambda: () if seen(client) else ("prometheus has seen nothing yet",))
        use(stack)
        wait_for(40, lambda: unanswered(client))
        assert not ask(client, 'ALERTS{alertstate="firing"}')
        names = {sample["metric"]["service"] for sample in ask(client, "bff_build_info")}
        assert names == {"proxy", "aggregator", "wsrelay"}
        assert not ask(client, '{__name__=~"bff_.*", exported_service!=""}')


def seen(client: httpx.Client) -> list[Any]:
    """Return what is known of the last thing that `use` does, once Prometheus is there."""
    try:
        return ask(client, "bff_door_closes_total")
    except httpx.TransportError:
        return []


def test_scraping_by_hand_and_by_compose_give_the_same_labels() -> None:
    """The rules go by `job` and `service`; the shipped configuration gives them to every target."""
    scrapes = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    (services,) = [scrape for scrape in scrapes if scrape["job_name"] == "bff"]
    ports = {found["names"][0]: found["port"] for found in services["dns_sd_configs"]}
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert ports == {name: int(compose[name]["build"]["args"]["PORT"]) for name in ("proxy", "aggregator", "wsrelay")}
    assert {"source_labels": ["__meta_dns_name"], "target_label": "service"} in services["relabel_configs"]
