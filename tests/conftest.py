"""Fixtures for all tests: a service's app on a real socket, and servers that answer in raw bytes."""

import asyncio
import functools
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from unittest import mock

import httpx
import pytest
from _pytest.runner import runtestprotocol
from httpx import _config as httpx_config
from httpx._transports import default as httpx_default
from hypothesis import HealthCheck, settings

from tests.support.serving import listening
from tests.support.stalls import Unsteady

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Start = Callable[[Any], Awaitable[str]]
StartRaw = Callable[[Handler], Awaitable[str]]

_CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no defect
settings.register_profile("test", _CALM, derandomize=True, database=None)
settings.register_profile("fuzz", _CALM, max_examples=200, print_blob=True)
settings.load_profile("test")
"""The same examples in every run; `make fuzz` searches at random, with --hypothesis-profile=fuzz."""


mock.patch.object(httpx_default, "create_ssl_context", functools.cache(httpx.create_ssl_context)).start()
"""Each client of httpx reads the certificates of all authorities: 20 to 40 ms of thousands of tests, which use none."""

httpx_config.DEFAULT_TIMEOUT_CONFIG.__init__(30.0)  # type: ignore[misc]  # the very object is every client's default
"""httpx gives up after 5 s, which a busy machine can take to answer."""

httpx_config.DEFAULT_LIMITS.keepalive_expiry = 1.0
"""uvicorn closes an idle connection after 5 s. httpx keeps one just as long, so that a request could meet its end."""


def pytest_xdist_auto_num_workers() -> int:
    """Return how many workers `-n auto` means: more than there are cores, because half of what tests do is waiting."""
    return max(2, 3 * len(os.sched_getaffinity(0)) // 2)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let what measures time run last; such a test is slow as well."""
    for item in items:
        if item.get_closest_marker("timing"):
            item.add_marker("slow")
    items.sort(key=lambda item: item.get_closest_marker("timing") is not None)


MEASUREMENTS = 3
"""How often a test that measures time is run until it passes: what else the machine does is no defect of ours."""

_UNSTEADY = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember that a test failed for a time that it measured."""
    if call.excinfo is not None and call.excinfo.errisinstance(Unsteady):
        item.stash[_UNSTEADY] = True
    return (yield)


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Measure again where a `timing` test fails, or another one for a time (Unsteady).

    What fails each time has failed, and each failure is reported.
    """
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for attempt in range(1, MEASUREMENTS + 1):
        item.stash[_UNSTEADY] = item.get_closest_marker("timing") is not None
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        failed = [report for report in reports if report.failed]
        if not failed or not item.stash[_UNSTEADY] or attempt == MEASUREMENTS:
            break
        print(f"\n{item.nodeid} failed, measured again:\n{failed[0].longreprtext[-2000:]}", file=sys.__stderr__)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep settings of the shell that runs the tests out of them."""
    for name in [name for name in os.environ if name.startswith("BFF_")]:
        monkeypatch.delenv(name)


@asynccontextmanager
async def _uvicorn(app: Any) -> AsyncIterator[str]:
    service = getattr(getattr(app, "state", None), "service", None)
    own = service.server if service else {}
    async with listening(app, force=True, **{**own, "lifespan": "auto"}) as port:
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def _raw(handler: Handler) -> AsyncIterator[str]:
    writers: set[asyncio.StreamWriter] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            writers.discard(writer)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in list(writers):
            writer.transport.abort()


@pytest.fixture
async def start_app() -> AsyncIterator[Start]:
    """Return a function that serves an ASGI app until the test ends, and returns its origin."""
    async with AsyncExitStack() as stack:

        async def start(app: Any) -> str:
            return await stack.enter_async_context(_uvicorn(app))

        yield start


@pytest.fixture
async def start_raw() -> AsyncIterator[StartRaw]:
    """Return a function that lets a handler answer each connection in bytes, and returns its origin."""
    async with AsyncExitStack() as stack:

        async def start(handler: Handler) -> str:
            return await stack.enter_async_context(_raw(handler))

        yield start
