"""Where the relay itself has no room for a question to the backend: nobody is let in, and no backend is blamed."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from bff_shared.errors import ClientBusy
from bff_shared.telemetry.metrics import Metrics
from bff_shared.upstream.client import Kind, Upstream
from bff_wsrelay.framelog.registry import Registry
from bff_wsrelay.framelog.run_info import read_detail
from bff_wsrelay.metrics import StreamMetrics
from bff_wsrelay.settings import RelaySettings
from bff_wsrelay.websocket.connector import ConnectionOptions, Connector
from tests.support.playback import FAST, Relay, play_through, playing, watching
from tests.support.runs import RunBackend, assert_conserved, source

NARROW: dict[str, Any] = {"max_connections": 1, "queue_timeout": 0.1}


@contextmanager
def no_room(relay: Relay) -> Iterator[None]:
    """Let no question to the backend through as long as the context lasts."""
    limit = relay.app.state.playback._registry._resources.upstream._limits[Kind.SHORT]
    assert limit.try_acquire()
    try:
        yield
    finally:
        limit.release()


async def test_a_viewer_is_not_let_in_on_an_old_verdict_because_the_relay_has_no_room_to_ask() -> None:
    backend = RunBackend(source(100), tokens={"good": 200})
    async with (
        playing(backend, log_recheck_seconds=0, **NARROW) as relay,
        watching(relay.stream(FAST), "good") as client,
    ):
        await play_through(client)
        backend.tokens["good"] = 401
        with no_room(relay), pytest.raises(InvalidStatus) as busy:
            async with watching(relay.stream(FAST), "good"):
                pass
        assert busy.value.response.status_code == 503
        assert int(busy.value.response.headers["Retry-After"]) >= 1
        with pytest.raises(InvalidStatus) as refused:
            async with watching(relay.stream(FAST), "good"):
                pass
        assert refused.value.response.status_code == 401


async def test_a_reading_that_the_relay_has_no_room_for_waits_and_counts_as_no_break() -> None:
    backend = RunBackend(source(100))
    async with playing(backend, stream_verify_seconds=0.1, **NARROW) as relay:
        with no_room(relay):
            stream = watching(relay.stream(FAST + "&autoplay=1"))
            client = await stream.__aenter__()
            await client.until(lambda message: message.get("state") == "waiting" and "retry_ms" in message)
        await client.until_type("end")
        assert_conserved(client.frames, backend.frames)
        assert not [message for message in client.messages if message.get("state") == "reconnecting"]
        assert relay.value("bff_stream_upstream_breaks_total") == 0
        await stream.__aexit__(None, None, None)


class Asked:
    """An ingester whose first question is refused for the sake of the client that asks it."""

    def __init__(self) -> None:
        self.detail_known = asyncio.Event()
        self.detail_known.set()
        self.questions = 0

    async def fetch_detail(self, _: float) -> bool:
        self.questions += 1
        first = self.questions == 1
        await asyncio.sleep(0)
        if first:
            raise ClientBusy("too many requests of this client", 1.0)
        return False


async def test_a_client_that_has_its_share_of_questions_has_nobody_else_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Registry, "_start_ingester", lambda *_: None)
    settings, metrics = RelaySettings(log_recheck_seconds=0), Metrics()
    upstream = Upstream(settings, metrics)
    registry = Registry(
        settings, upstream, Connector(settings.backend_url, ConnectionOptions()), StreamMetrics(metrics.registry)
    )
    with registry.open("run", [], "192.0.2.1") as entry:
        entry.topic.set_detail(read_detail("run", {"status": "DONE"}), time.monotonic() - 1)
        entry.ingester = ingester = Asked()  # type: ignore[assignment]
        outcomes = await asyncio.gather(*(registry.verify(entry) for _ in range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ClientBusy, type(None), type(None)]
    assert ingester is not None
    assert ingester.questions == 2
    await registry.aclose()
    await upstream.aclose()


async def test_a_log_that_is_opened_again_counts_for_who_watches_it_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "_start_ingester", lambda *_: None)
    settings, metrics = RelaySettings(), Metrics()
    upstream = Upstream(settings, metrics)
    registry = Registry(
        settings, upstream, Connector(settings.backend_url, ConnectionOptions()), StreamMetrics(metrics.registry)
    )
    with registry.open("run", [], "192.0.2.1") as entry:
        assert entry.client == "192.0.2.1"
    with registry.open("run", [], "192.0.2.2") as again:
        assert (again is entry, again.client) == (True, "192.0.2.2")
        with registry.open("run", [], "192.0.2.3"):
            assert again.client == "192.0.2.2"
    first, second = registry.open("run", [], "192.0.2.4"), registry.open("run", [], "192.0.2.5")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert entry.client == "192.0.2.5"
    second.__exit__(None, None, None)
    await registry.aclose()
    await upstream.aclose()
