"""All services' metrics keep Prometheus' conventions, and are right under several workers."""

import asyncio
import os
import re
import runpy
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client import Counter, Gauge, Histogram

from bff_aggregator.app import create_app as make_aggregator
from bff_aggregator.settings import AggregatorSettings
from bff_proxy.app import create_app as make_proxy
from bff_proxy.settings import ProxySettings
from bff_tools.ports import free_ports
from bff_wsrelay.app import create_app as make_wsrelay
from bff_wsrelay.settings import RelaySettings
from bff_wsrelay.websocket.close_codes import metric_label
from tests.observe.promtool import ROOT

Collectors = list[Counter | Gauge | Histogram]
FREE_FORM = {"id", "run_id", "request_id", "user", "path", "url", "symbol", "client", "address"}


@pytest.fixture(params=["proxy", "aggregator", "wsrelay"])
def collectors(request: pytest.FixtureRequest) -> Collectors:
    apps = {
        "proxy": lambda: make_proxy(ProxySettings()),
        "aggregator": lambda: make_aggregator(AggregatorSettings()),
        "wsrelay": lambda: make_wsrelay(RelaySettings()),
    }
    found = apps[request.param]().state.service.metrics.registry.collectors
    return [collector for collector in found if isinstance(collector, Counter | Gauge | Histogram)]


def test_names_have_prefix_base_unit_and_a_text(collectors: Collectors) -> None:
    assert len(collectors) > 9
    for collector in collectors:
        (family,) = collector.describe()
        assert re.fullmatch(r"bff_[a-z0-9]+(_[a-z0-9]+)+", family.name)
        assert not re.search(r"_(ms|millis|milliseconds|minutes|kb|mb|kilobytes|percent|count)\b", family.name)
        assert family.documentation
        if isinstance(collector, Histogram):
            assert family.name.endswith(("_seconds", "_bytes"))
        else:
            assert not family.name.endswith("_total"), "prometheus_client adds it"


def test_no_label_takes_free_text(collectors: Collectors) -> None:
    for collector in collectors:
        assert not FREE_FORM.intersection(collector._labelnames)


def test_gauges_of_dead_workers_do_not_count(collectors: Collectors) -> None:
    gauges = [collector for collector in collectors if isinstance(collector, Gauge)]
    assert {gauge._multiprocess_mode for gauge in gauges} <= {"livesum", "livemax", "livemostrecent"}


@pytest.mark.parametrize(
    ("code", "expected"),
    [(1000, "1000"), (1015, "1015"), (4404, "4404"), (4999, "other"), (3000, "other"), (7, "other")],
)
def test_close_codes_that_anybody_can_make_up_share_a_label(code: int, expected: str) -> None:
    assert metric_label(code) == expected


def test_the_table_of_metrics_is_that_of_the_code() -> None:
    script = runpy.run_path(str(ROOT / "docs/metrics_table.py"))
    document = (ROOT / "docs/observability.md").read_text()
    assert script["BEGIN"] + script["table"]() + script["END"] in document, "run `make docs`"


def folders(temporary: Path) -> list[Path]:
    """Return where workers leave their metrics."""
    return list(temporary.glob("bff-metrics-*"))


@asynccontextmanager
async def two_workers(temporary: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The proxy in two processes, its backend away; each request is a connection of its own, to either."""
    (port,) = free_ports(1)
    settings = {"BFF_WORKERS": "2", "BFF_PORT": str(port), "BFF_BACKEND_URL": "http://127.0.0.1:9"}
    settings |= {"BFF_RETRIES": "0", "BFF_BREAKER_MIN_CALLS": "1", "BFF_BREAKER_OPEN_SECONDS": "600"}
    environment = {**os.environ, **settings, "BFF_LOG_FORMAT": "json", "TMPDIR": str(temporary)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bff_proxy", env=environment, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            for _ in range(2):
                while b"startup complete" not in (line := await process.stderr.readline()):
                    assert line
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=20, trust_env=False
        ) as client:
            yield client
    finally:
        process.terminate()
        await process.communicate()


async def test_two_workers_tell_the_same_figures_whichever_is_asked(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as client:
        assert folders(tmp_path)
        assert (await client.get("/api/v1/bars")).status_code == 502
        for _ in range(7):
            await client.get("/nowhere")
        # One worker's breaker is open; the other learns of it within a refresh.
        async with asyncio.timeout(30):
            agreed = 0
            while agreed < 8:
                text = (await client.get("/metrics")).text
                agreed = agreed + 1 if "bff_upstream_breaker_open 1.0" in text else 0
    assert 'bff_http_requests_total{method="GET",route="unmatched",status="404"} 7.0' in text
    assert 'bff_http_request_duration_seconds_count{method="GET",route="unmatched"} 7.0' in text
    assert 'bff_http_request_duration_seconds_bucket{le="+Inf",method="GET",route="unmatched"} 7.0' in text
    assert 'bff_upstream_calls_total{outcome="backend_unavailable"} 1.0' in text
    assert re.search(r'bff_build_info\{version="\d+\.\d+\.\d+"\} 1\.0', text)
    assert "bff_http_requests_in_flight 1.0" in text
    assert "pid=" not in text
    assert "_created" not in text
    assert not folders(tmp_path)
