"""What the proxy's app offers to whoever looks into a running process."""

import asyncio
import logging
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from bff_proxy.app import create_app
from bff_proxy.flags.service import FlagService
from bff_proxy.forwarding.forwarder import Forwarder
from bff_proxy.settings import ProxySettings
from bff_shared.upstream.client import Upstream
from tests.support.http1 import Peer


def settings(backend: str = "http://127.0.0.1:9") -> ProxySettings:
    return ProxySettings(backend_url=backend, proxy_prefixes=("/",), connect_timeout=20)


def test_every_component_is_reached_from_the_apps_state() -> None:
    state = create_app(settings()).state
    assert isinstance(state.upstream, Upstream)
    assert isinstance(state.forwarder, Forwarder)
    assert isinstance(state.flags, FlagService)
    assert state.rollback is None  # needs Redis
    assert state.service.name == "proxy"
    assert "\n" not in repr(state.upstream)


async def test_debug_logging_tells_what_goes_in_and_out_of_each_layer(
    start_app: Any, start_raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "bff_proxy")
    caplog.set_level(logging.DEBUG, "bff_shared")
    caplog.set_level(logging.DEBUG, "bff.access")
    origin = await start_app(create_app(settings(await start_raw(Peer()))))
    async with httpx.AsyncClient() as client:
        await client.get(f"{origin}/api/v1/backtests")
    messages: list[tuple[str, str]] = []
    async with asyncio.timeout(30):
        while ("bff.access", "request") not in messages:
            messages = [(record.name, record.message) for record in caplog.records]
            await asyncio.sleep(0)
    assert messages == [
        ("bff_shared.upstream.client", "the backend responded"),
        ("bff_proxy.forwarding.forwarder", "request forwarded"),
        ("bff_proxy.forwarding.forwarder", "response body"),
        ("bff.access", "request"),
    ]


def test_only_what_is_idempotent_may_be_retried() -> None:
    assert ProxySettings(retry_methods=("GET", "PUT")).retry_methods == ("GET", "PUT")
    with pytest.raises(ValidationError, match="'POST' is not an idempotent method"):
        ProxySettings(retry_methods=("GET", "POST"))
