"""A running stack, seen from outside: by Prometheus, by a collector of traces, and through its logs."""

import asyncio
import json
import subprocess
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
import yaml

from bff_tools import Stack, StackOptions, trace
from bff_tools.ports import free_ports
from tests.observe.collector import CLIENT, SERVER, Collector, Received, collecting
from tests.observe.dashboard import WELL, expressions
from tests.observe.promtool import ROOT, RULES, program

pytestmark = pytest.mark.slow

YEAR = "from_date=2024-01-01&to_date=2024-12-31"
TRACE, PAGE = "5ca1ab1e" * 4, "0ddba11c" * 2
"""The trace that the page starts, and the page's own span."""
CHART_ID = "one-chart"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def stack(collector: Collector) -> Iterator[Stack]:
    """The whole stack, exporting spans, its backend telling what it was asked; it has been used."""
    export = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    options = StackOptions(
        environment={"*": {**export, "BFF_LOG_FORMAT": "json"}}, demo_args=("--faults", "--access-log")
    )
    with Stack(options) as running:
        use(running, streams=True)
        yield running


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
    """Return what Prometheus answers; raises HTTPError while it is not up, and for what makes no sense."""
    found: list[Any] = client.get("/query", params={"query": expression}).raise_for_status().json()["data"]["result"]
    return found


def use(stack: Stack, *, streams: bool) -> None:
    """Do what users do: charts, runs, flags, something of the backend's, something wrong, and both kinds of stream."""
    headers = {"traceparent": f"00-{TRACE}-{PAGE}-01"}
    with httpx.Client(base_url=stack.origin, headers=headers, trust_env=False, timeout=20) as client:
        chart = f"/api/v1/chart-data?symbol=AAPL&timeframe=1D&{YEAR}"
        assert client.get(chart, headers={"x-request-id": CHART_ID}).status_code == 200
        assert client.get(chart).status_code == 200
        runs = client.get("/api/v1/backtests?limit=500").json()["items"]
        done = sorted((_days(run), run["run_id"]) for run in runs if run["status"] == "DONE")
        run_id = next(run for _, run in done if client.get(f"/api/v1/backtests/{run}/equity").status_code == 200)
        assert client.get(f"/api/v1/runs/{run_id}/complete").status_code == 200
        assert client.get("/api/v1/runs?limit=2").status_code == 200
        assert client.get("/api/v1/backtests/nowhere").status_code == 404
        flag = next(iter(json.loads((ROOT / "deploy/flags/flags.json").read_text())["flags"]))
        with client.stream("GET", f"/api/v1/runs/{run_id}/stream", headers={"accept": "text/event-stream"}) as events:
            assert "hello" in next(events.iter_lines())
        assert client.post(f"/ofrep/v1/evaluate/flags/{flag}", json={"context": {}}).status_code == 200
    if streams:
        asyncio.run(_watch(stack.origin.replace("http", "ws", 1), run_id, headers))


def _days(run: dict[str, str]) -> int:
    """Return how long a run is: streaming a short one is quick."""
    begin, end = (date.fromisoformat(run[name][:10]) for name in ("run_from", "run_to"))
    return (end - begin).days


async def _watch(origin: str, run_id: str, headers: dict[str, str]) -> None:
    async with asyncio.timeout(30):
        for path in (f"/api/v1/runs/{run_id}/stream?autoplay=1", f"/api/v1/backtests/{run_id}/ws"):
            async with websockets.connect(origin + path, additional_headers=headers, proxy=None) as viewer:
                if path.endswith("ws"):
                    await viewer.send('{"t":"ready"}')
                    await viewer.send('{"t":"ctrl","cmd":"play"}')
                while '"frame"' not in str(await viewer.recv()):
                    pass


def wait_for(seconds: float, what: Callable[[], Collection[Any]]) -> None:
    """Wait until nothing is missing any more."""
    until, missing = time.monotonic() + seconds, what()
    while missing:
        assert time.monotonic() < until, missing
        time.sleep(0.2)
        missing = what()


def test_every_panel_has_data_while_the_stack_runs(stack: Stack, tmp_path: Path) -> None:
    with prometheus(stack, tmp_path) as client:
        # A counter's first sample is no increase: what is used again has been seen before.
        wait_for(40, lambda: unseen(client))
        use(stack, streams=False)
        open_questions = [question for question in expressions() if not WELL.search(question[1])]

        def unanswered() -> list[tuple[str, str]]:
            open_questions[:] = [(title, asked) for title, asked in open_questions if not ask(client, asked)]
            return open_questions

        wait_for(40, unanswered)
        assert not ask(client, 'bff_http_requests_total{route="unmatched"}')
        assert not ask(client, 'ALERTS{alertstate="firing"}')
        names = {sample["metric"]["service"] for sample in ask(client, "bff_build_info")}
        assert names == {"proxy", "aggregator", "wsrelay"}
        assert not ask(client, '{__name__=~"bff_.*", exported_service!=""}')


def unseen(client: httpx.Client) -> set[str]:
    """Return the services that Prometheus, once it is there, has not looked at."""
    services = {"proxy", "aggregator", "wsrelay"}
    try:
        return services - {sample["metric"]["service"] for sample in ask(client, "bff_build_info")}
    except httpx.HTTPError:
        return services


ROUTES = {
    "bff-aggregator /api/v1/chart-data",
    "bff-aggregator /api/v1/runs/{run_id}/complete",
    "bff-proxy /api/v1/backtests/{path}",
    "bff-wsrelay /api/v1/runs/{run_id}/stream",
    "bff-wsrelay /api/v1/backtests/{run_id}/ws",
}


def test_one_trace_leads_from_the_page_through_the_services_to_the_backend(stack: Stack, collector: Collector) -> None:
    heard = _heard(stack)
    assert {kind for kind, _ in heard} == {"http", "websocket"}

    def missing() -> set[str]:
        """Return what is not exported yet of routes, of calls that the backend heard of, and of their parents."""
        spans = [span for span in collector.spans if span.trace_id == TRACE]
        known = {span.span_id for span in spans}
        wanted = {name for _, name in heard} | {span.parent for span in spans} - {PAGE}
        return (wanted - known) | (ROUTES - {_where(span) for span in spans})

    wait_for(40, missing)
    spans = {span.span_id: span for span in collector.spans if span.trace_id == TRACE}
    for span in spans.values():
        if span.kind == SERVER:
            assert span.parent == PAGE
        else:
            assert spans[span.parent].kind == SERVER
            assert spans[span.parent].service == span.service
            assert span.attributes["url.full"].startswith(stack.backend_url)
            assert "?" not in span.attributes["url.full"]
    assert {spans[name].kind for _, name in heard} == {CLIENT}
    by_route = {_where(span): span for span in spans.values() if span.kind == SERVER}
    assert by_route["bff-aggregator /api/v1/chart-data"].name == "GET /api/v1/chart-data"
    assert by_route["bff-aggregator /api/v1/chart-data"].attributes["http.response.status_code"] == 200
    assert by_route["bff-wsrelay /api/v1/backtests/{run_id}/ws"].attributes["http.response.status_code"] == 101


def _heard(stack: Stack) -> set[tuple[str, str]]:
    """Return the requests of our trace that have reached the backend: http or websocket, and the caller's span."""
    asked = httpx.get(f"{stack.backend_url}/__requests", trust_env=False).json()["requests"]
    parents = [(seen["type"], dict(map(tuple, seen["headers"])).get("traceparent", "").split("-")) for seen in asked]
    return {(kind, parts[2]) for kind, parts in parents if parts[1:2] == [TRACE]}


def _where(span: Received) -> str:
    return f"{span.service} {span.attributes.get('http.route')}"


def test_probes_and_scrapes_leave_no_spans(stack: Stack, collector: Collector) -> None:
    httpx.get(f"http://127.0.0.1:{stack['proxy'].port}/metrics", trust_env=False)
    assert not [
        span for span in collector.spans if span.attributes.get("url.path", "").startswith(("/health", "/metrics"))
    ]


def test_a_request_is_followed_through_all_logs(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    assert trace.main([CHART_ID, "--logs", str(stack.folder)]) == 0
    first, _, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{CHART_ID}: ")
    sources = [line.split(" ms")[-1].split()[0] for line in lines]
    assert sources[:2] == ["nginx", "aggregator"]
    assert set(sources) == {"nginx", "aggregator", "backend"}  # asked for by each test that has used the stack
    assert all("200" in line for line in lines)


def test_a_request_that_no_log_knows_is_said_so(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    assert trace.main(["nothing-like-it", "--logs", str(stack.folder)]) == 1
    assert capsys.readouterr().err.startswith("error: no log in ")
