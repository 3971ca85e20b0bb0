"""Spans of one service: what is loaded when, what they say of failures, and a collector that does not answer."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from bff_proxy.app import create_app
from bff_proxy.settings import ProxySettings
from bff_shared.telemetry import tracing
from tests.observe.collector import CLIENT, SERVER, Collector, collecting
from tests.support.serving import listening

LOADED = """
import sys
from bff_aggregator.app import create_app as aggregator
from bff_proxy.app import create_app as proxy
from bff_wsrelay.app import create_app as wsrelay
apps = aggregator(), proxy(), wsrelay()
sdk = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "google.protobuf", "requests", "bff_shared.telemetry.otel")
print([name for name in sys.modules if name.startswith(sdk)])
"""


def test_nothing_of_the_sdk_is_loaded_where_no_collector_is_named() -> None:
    command = [sys.executable, "-c", LOADED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)  # noqa: S603  our own interpreter
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_opentelemetrys_own_variables_decide(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], wanted: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert tracing.is_wanted() is wanted


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.endpoint)
        yield running


async def ask(times: int, path: str = "/api/v1/bars", **headers: str) -> list[int]:
    """Ask a proxy whose backend is away, and end it; return the statuses."""
    app = create_app(ProxySettings(backend_url="http://127.0.0.1:9", retries=1, breaker_min_calls=1000))
    async with (
        listening(app, force=False, **app.state.service.server) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        return [(await client.get(path, headers=headers)).status_code for _ in range(times)]


async def test_a_call_that_fails_is_a_failed_span_for_each_attempt(collector: Collector) -> None:
    assert await ask(1, "/api/v1/bars?token=secret") == [502]
    (server,) = [span for span in collector.spans if span.kind == SERVER]
    calls = [span for span in collector.spans if span.kind == CLIENT]
    assert len(calls) == 2
    assert server.failed
    assert server.attributes["http.response.status_code"] == 502
    assert server.attributes["error.type"] == "BACKEND_UNAVAILABLE"
    for call in calls:
        assert (call.parent, call.trace_id, call.failed) == (server.span_id, server.trace_id, True)
        assert call.attributes["error.type"] == "BACKEND_UNAVAILABLE"
        assert (call.attributes["server.address"], call.attributes["server.port"]) == ("127.0.0.1", 9)
    assert "secret" not in str(collector.spans)


async def test_a_caller_that_samples_nothing_is_heeded(collector: Collector) -> None:
    assert await ask(1, traceparent=f"00-{'a1' * 16}-{'b2' * 8}-00") == [502]
    assert collector.spans == []


async def test_a_malformed_traceparent_starts_a_new_trace(collector: Collector) -> None:
    await ask(1, traceparent="00-zz-1-01")
    assert {span.parent for span in collector.spans if span.kind == SERVER} == {""}


async def test_a_collector_that_does_not_answer_costs_spans_and_no_request(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "32")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16")
    monkeypatch.setattr(tracing, "LAST_SECONDS", 0.2)
    collector.free.clear()
    async with asyncio.timeout(30):
        assert await ask(60) == [502] * 60
    assert collector.spans == []
    collector.free.set()
    async with asyncio.timeout(30):
        while not collector.spans:
            await asyncio.sleep(0.01)
    assert len(collector.spans) <= 48
