"""Handshakes that are refused leave nothing behind: no memory, no credentials, no task, no reader, no slot."""

import asyncio
import gc
from contextlib import AsyncExitStack
from typing import Any

import pytest

from bff_wsrelay.framelog.failure_cache import FailureCache
from bff_wsrelay.framelog.failures import Failure, FailureReason
from bff_wsrelay.framelog.frame_log import FrameLog
from bff_wsrelay.framelog.ingester import Ingester
from bff_wsrelay.framelog.topic import Topic
from tests.support.passthrough import open_sockets
from tests.support.playback import Relay, playing, watching
from tests.support.rfc6455 import CLOSE, Peer
from tests.support.runs import RunBackend, source

TOKEN = "a-secret-that-nobody-may-keep"
KEPT = (Ingester, Topic, FrameLog, Failure)


def credentials_in_memory() -> int:
    """Return how many objects that the garbage collector knows hold a token of this module's."""
    mark, found = TOKEN.encode(), 0
    for each in gc.get_objects():
        if isinstance(each, tuple | list):
            found += any(isinstance(item, bytes) and mark in item for item in each)
    return found


def kept_objects() -> dict[str, int]:
    """Return how many objects of the reading side are alive."""
    names = [type(each).__name__ for each in gc.get_objects() if isinstance(each, KEPT)]
    return {name: names.count(name) for name in set(names)}


async def refused(relay: Relay, count: int, run: str, kind: str) -> set[int]:
    """Have so many handshakes refused, forty at a time, each with credentials of its own; return how they ended."""
    endings: set[int] = set()

    async def visit(number: int) -> None:
        origin = "https://elsewhere.example" if kind == "foreign" else relay.url
        headers = {"Authorization": f"Bearer {kind}-{TOKEN}-{number}", "Origin": origin}
        endings.add(await handshake(relay.port, f"/api/v1/runs/{run}/stream?autoplay=1", headers))

    for start in range(0, count, 40):
        await asyncio.gather(*(visit(number) for number in range(start, min(start + 40, count))))
    return endings


async def handshake(port: int, path: str, headers: dict[str, str]) -> int:
    """Return the status that a handshake is refused with, or the code of the close frame that follows it."""
    ingester, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(30):
            fields = {"Host": f"127.0.0.1:{port}", "Upgrade": "websocket", "Connection": "Upgrade", **headers}
            fields |= {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version": "13"}
            head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            writer.write(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
            status = int((await ingester.readuntil(b"\r\n\r\n")).split()[1])
            if status != 101:
                return status
            peer = Peer(ingester, writer, mask=True)
            while (seen := await peer.frame()) is not None:
                if seen.opcode == CLOSE:
                    return seen.code
            return 1006
    finally:
        writer.transport.abort()


class Judge(dict[str, int]):
    """Statuses by token: those of this module are judged by the first word of the token."""

    def get(self, token: str, default: Any = None) -> Any:
        if TOKEN not in token:
            return super().get(token, default)
        return {"unauthorized": 401, "forbidden": 403}.get(token.partition("-")[0], 200)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "run", "endings"),
    [
        ("unauthorized", "run", {4401, 401}),
        ("forbidden", "run", {4403, 403}),
        ("unknown", "nowhere", {4404, 404}),
        ("foreign", "run", {403}),
        ("full", "run", {503}),
    ],
)
async def test_refused_handshakes_leave_nothing_behind(kind: str, run: str, endings: set[int]) -> None:
    backend = RunBackend(source(3), tokens=Judge(known=200))
    limit = 1 if kind == "full" else 10_000
    async with (
        playing(backend, stream_max_per_client=limit, stream_max_connections=limit) as relay,
        AsyncExitStack() as stack,
    ):
        if kind == "full":
            await stack.enter_async_context(watching(relay.stream(), "known"))
        await refused(relay, 40, run, kind)
        (tasks, sockets), objects = await left_over(relay, kind)
        assert await refused(relay, 600, run, kind) <= endings
        left = await left_over(relay, kind)
        assert left[0][0] <= tasks
        assert left[0][1] <= sockets
        assert left[1] == objects
        assert credentials_in_memory() == 0


def test_failures_are_remembered_up_to_a_number_and_for_a_while() -> None:
    failures = FailureCache(seconds=10, limit=100)
    for number in range(1_000):
        failures.remember((f"run{number}", ""), FailureReason("STREAM_ERROR", "", 4424), "a", now=number / 1_000)
    assert len(failures) == 100
    assert failures.find(("run999", ""), now=10) == FailureReason("STREAM_ERROR", "", 4424)
    assert failures.find(("run999", ""), now=11) is None
    failures.remember(("run", ""), FailureReason("RUN_NOT_FOUND", "", 4404), "a", now=20)
    assert len(failures) == 1
    assert failures.find(("run", ""), now=20.9) is not None
    assert failures.find(("run", ""), now=21.1) is None
    failures.remember(("run", ""), FailureReason("BUSY", "", 1013), "a", now=30)
    assert len(failures) == 0


def test_refusals_make_no_run_forgotten_that_was_read_in_vain() -> None:
    failures = FailureCache(seconds=10, limit=100)
    failures.remember(("broken", ""), FailureReason("STREAM_ERROR", "", 4424), "a", now=0)
    for number in range(1_000):
        failures.remember((f"guess{number}", ""), FailureReason("RUN_NOT_FOUND", "", 4404), "a", now=0.1)
    assert len(failures) == 101
    assert failures.find(("broken", ""), now=1) == FailureReason("STREAM_ERROR", "", 4424)


def test_one_address_that_asks_for_many_runs_that_fail_makes_none_of_others_forgotten() -> None:
    failures, reason = FailureCache(seconds=10, limit=100), FailureReason("STREAM_ERROR", "", 4424)
    for number in range(40):
        failures.remember((f"honest{number}", ""), reason, "honest", now=0)
    for number in range(1_000):
        failures.remember((f"guess{number}", ""), reason, f"greedy{number % 2}", now=1)
    assert len(failures) == 100
    assert all(failures.find((f"honest{number}", ""), now=2) == reason for number in range(7, 40))
    assert failures.find(("guess999", ""), now=2) == reason
    assert not failures.find(("guess0", ""), now=2)


def test_a_failure_counts_for_who_met_it_last_and_nothing_is_kept_of_addresses_without_any() -> None:
    failures, reason = FailureCache(seconds=10, limit=100), FailureReason("STREAM_ERROR", "", 4424)
    for client in ("a", "b"):
        failures.remember(("run", ""), reason, client, now=0)
    assert len(failures) == 1
    assert [*failures._costly._by_client] == ["b"]
    assert failures.find(("run", ""), now=10) is None
    assert not failures._costly._by_client


async def left_over(relay: Relay, kind: str) -> tuple[tuple[int, int], dict[str, int]]:
    """Return tasks, sockets and objects once those who were refused are gone."""
    watched = 1 if kind == "full" else 0
    async with asyncio.timeout(30):
        left = (-1, -1)
        while relay.value("bff_stream_viewers") > watched or left != (len(asyncio.all_tasks()), open_sockets()):
            left = (len(asyncio.all_tasks()), open_sockets())
            await asyncio.sleep(0.1)
    gc.collect()
    return left, kept_objects()


@pytest.mark.parametrize("name", ["%2e%2e", "%2e", "a%0Ab", "a%1b%5b2J", "x" * 257])
@pytest.mark.parametrize("path", ["/api/v1/runs/{}/stream", "/api/v1/backtests/{}/ws"])
async def test_what_names_no_run_is_not_asked_of_the_backend(path: str, name: str) -> None:
    backend = RunBackend(source(3))
    async with playing(backend) as relay:
        assert await handshake(relay.port, path.format(name), {}) == 404
        assert (backend.details, backend.connections) == (0, 0)
