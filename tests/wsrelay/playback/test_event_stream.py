"""A playback as Server-Sent Events, as a connection and a response: its status, how it ends, what it leaves."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from websockets.asyncio.server import ServerConnection

from bff_wsrelay.framelog.failures import Code, FailureReason, http_error, is_refused_early
from tests.support.http1 import read_answer, read_head
from tests.support.passthrough import open_sockets
from tests.support.playback import FAST, Relay, playing, watching
from tests.support.runs import Fate, RunBackend, source

WAIT = 20
PATH = "/api/v1/runs/run/stream"
HEAD = f"HEAD {PATH} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n".encode()
LIVE = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"
ACCEPT = {"Accept": "text/event-stream"}


def get(query: str = "") -> bytes:
    return f"GET {PATH}{query} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n".encode()


async def eventually(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT):
        while not is_so():
            await asyncio.sleep(0.01)


def places(relay: Relay) -> int:
    taken: int = relay.app.state.admission.connections
    return taken


def is_empty(relay: Relay) -> bool:
    return not places(relay) and not relay.app.state.playback.subscribers


class Unstreamable(RunBackend):
    """A backend that knows the run and says an error whenever it is to be played."""

    async def _play(self, connection: ServerConnection, fate: Fate) -> None:
        del fate
        await connection.send('{"t":"err","code":"STREAM_ERROR","msg":"artifact missing"}')


async def test_head_is_answered_counts_no_connection_and_leaves_the_connection_usable() -> None:
    backend = RunBackend(source(300))
    async with playing(backend) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        async with asyncio.timeout(WAIT):
            for _ in range(3):
                writer.write(HEAD)
                head = await read_head(reader)
                assert head.status == 200
                assert head.values(b"content-type") == [b"text/event-stream; charset=utf-8"]
                assert places(relay) == 0
                writer.write(LIVE)
                assert json.loads((await read_answer(reader)).body) == {"status": "ok"}
        writer.close()
        assert backend.details == backend.connections == 0


async def test_a_thousand_heads_leave_nothing() -> None:
    backend = RunBackend(source(300))
    async with playing(backend) as relay:
        await heads(relay, 100)
        before = len(asyncio.all_tasks()), open_sockets()
        await heads(relay, 1000)
        await eventually(lambda: (len(asyncio.all_tasks()), open_sockets()) <= before)
        assert is_empty(relay)
        assert relay.value("bff_stream_recordings") == 0


async def heads(relay: Relay, count: int) -> None:
    """Ask so many times, each on a connection of its own that is dropped after the answer."""

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(HEAD)
        async with asyncio.timeout(WAIT):
            assert (await read_head(reader)).status == 200
        writer.transport.abort()

    for _ in range(0, count, 50):
        await asyncio.gather(*(ask() for _ in range(50)))


@pytest.mark.parametrize("resuming", [False, True])
@pytest.mark.parametrize(("status", "code"), [(401, "UNAUTHORIZED"), (403, "FORBIDDEN")])
async def test_refused_credentials_are_a_status(status: int, code: str, *, resuming: bool) -> None:
    async with playing(RunBackend(source(30), tokens={"bad": status})) as relay:
        answer = await ask(relay, token="bad", resuming=resuming)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert answer.headers["content-type"] == "application/json"
        assert is_empty(relay)


@pytest.mark.parametrize("resuming", [False, True])
async def test_an_unknown_run_is_404(*, resuming: bool) -> None:
    async with playing(RunBackend(source(30))) as relay:
        answer = await ask(relay, run="nowhere", resuming=resuming)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "RUN_NOT_FOUND")


@pytest.mark.parametrize("resuming", [False, True])
async def test_a_run_that_the_backend_cannot_stream_is_502(*, resuming: bool) -> None:
    async with playing(Unstreamable(source(30))) as relay:
        answer = await ask(relay, resuming=resuming)
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "STREAM_ERROR")
        assert answer.json()["error"]["message"] == "the backend cannot stream this run: artifact missing"
        assert is_empty(relay)


@pytest.mark.parametrize(
    ("code", "status", "is_early"),
    [
        ("UNAUTHORIZED", 401, True),
        ("FORBIDDEN", 403, True),
        ("RUN_NOT_FOUND", 404, False),
        ("STREAM_ERROR", 502, False),
        ("TOO_LARGE", 502, False),
        ("INTERNAL", 500, False),
        ("BUSY", 503, False),
    ],
)
def test_every_failure_has_its_status(code: Code, status: int, *, is_early: bool) -> None:
    failure = FailureReason(code, "why", 4000)
    error = http_error(failure)
    assert (error.code, error.status, error.message) == (code, status, "why")
    assert is_refused_early(failure) is is_early
    assert ("retry-after" in error.headers()) is (code == "BUSY")


async def test_a_run_that_is_not_ready_is_waited_for_inside() -> None:
    async with playing(RunBackend([], status="QUEUED")) as relay:
        assert (await ask(relay)).status_code == 200


async def test_a_backend_that_is_away_keeps_nobody_out() -> None:
    backend = RunBackend(source(30))
    async with playing(backend, stream_verify_seconds=0.2) as relay:
        await backend.stop(keep_port=True)
        assert (await ask(relay)).status_code == 200


async def ask(relay: Relay, *, run: str = "run", token: str = "", resuming: bool = False) -> httpx.Response:
    """Return the response, of a stream only what has come by then."""
    headers = {**ACCEPT, **({"Authorization": f"Bearer {token}"} if token else {})}
    headers |= {"Last-Event-ID": "some-epoch:7"} if resuming else {}
    async with (
        httpx.AsyncClient(timeout=WAIT) as http,
        http.stream("GET", f"{relay.url}/api/v1/runs/{run}/stream", headers=headers) as answer,
    ):
        if answer.status_code != 200:
            await answer.aread()
        return answer


@pytest.mark.parametrize("query", ["ts=0001-01-01T00:00:00%2B14:00", "ts=9999-12-31T23:59:59-14:00", "ts=x", "seq=1e3"])
async def test_a_query_that_cannot_be_is_422(query: str) -> None:
    async with playing(RunBackend(source(30))) as relay, httpx.AsyncClient() as http:
        answer = await http.get(f"{relay.url}{PATH}?epoch=z&{query}", headers=ACCEPT)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "VALIDATION")


@pytest.mark.parametrize("offset", ["+00:00", "%2B00:00", "Z"])
async def test_an_offset_whose_plus_is_not_escaped_is_understood(offset: str) -> None:
    async with playing(RunBackend(source(300))) as relay:
        async with watching(relay.stream(FAST)) as first:
            await first.until_type("extent")
        async with watching(relay.stream(f"?ts=2025-01-02T14:35:00{offset}")) as client:
            assert (await client.next())["seq"] == 4


@pytest.mark.parametrize("run", ["%2e%2e", "..", "a%0Ab", "a%00b"])
async def test_what_is_no_run_is_404_and_never_reaches_the_backend(run: str) -> None:
    backend = RunBackend(source(30))
    async with playing(backend) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(get().replace(b"/run/", f"/{run}/".encode()))
        async with asyncio.timeout(WAIT):
            assert (await read_answer(reader)).status == 404
        writer.close()
        assert backend.details == 0


async def narrow(relay: Relay, words: bytes) -> socket.socket:
    """Return a connection that takes next to nothing, after its first words."""
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    own.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(own, ("127.0.0.1", relay.port))
    await loop.sock_sendall(own, words)
    return own


async def test_a_client_that_takes_nothing_is_let_go_with_all_that_it_held() -> None:
    backend = RunBackend(source(20_000))
    options: dict[str, Any] = {"stream_stuck_seconds": 0.5, "stream_heartbeat": 0.1, "log_linger": 0}
    async with playing(backend, **options) as relay:
        before = len(asyncio.all_tasks()), open_sockets()
        held = [await narrow(relay, get("?speed=60&fps=60")) for _ in range(10)]
        await eventually(lambda: places(relay) == 10)
        await eventually(lambda: is_empty(relay) and not relay.value("bff_stream_recordings"))
        await eventually(lambda: len(asyncio.all_tasks()) <= before[0])
        await eventually(lambda: open_sockets() <= before[1] + len(held))
        for each in held:
            each.close()
        samples = relay.app.state.service.metrics.registry
        assert samples.get_sample_value("bff_stream_closes_total", {"code": "1013"}) == 10


async def test_a_slow_client_gets_fewer_frames_and_not_older_ones() -> None:
    backend = RunBackend(source(20_000))
    async with playing(backend) as relay:
        slow = await narrow(relay, get("?speed=2&fps=60"))
        await eventually(lambda: len(relay.app.state.playback.subscribers) == 1)
        (subscriber,) = relay.app.state.playback.subscribers
        await eventually(lambda: subscriber.pacer._spared > 30)  # frames that were due and wait to be covered by one
        assert subscriber.describe()["buffered"] < 64 * 1024
        slow.close()
        await eventually(lambda: is_empty(relay))


@pytest.mark.parametrize("behind", [b"", LIVE, get()])
async def test_a_client_that_leaves_is_noticed_whatever_it_asked_behind_its_stream(behind: bytes) -> None:
    async with playing(RunBackend(source(300))) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(get())
        assert (await read_head(reader)).status == 200
        await eventually(lambda: places(relay) == 1)
        writer.write(behind)
        await writer.drain()
        writer.transport.abort()
        await eventually(lambda: is_empty(relay))


async def test_a_drain_ends_a_stream_whose_client_takes_nothing() -> None:
    async with playing(RunBackend(source(20_000))) as relay:
        held = await narrow(relay, get("?speed=60&fps=60"))
        await eventually(lambda: len(relay.app.state.playback.subscribers) == 1)
        (subscriber,) = relay.app.state.playback.subscribers
        await eventually(lambda: subscriber.describe()["buffered"] > 8 * 1024)
        await relay.drain()
        await eventually(lambda: is_empty(relay))
        held.close()


async def visit(relay: Relay) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(get())
    async with asyncio.timeout(WAIT):
        await reader.readuntil(b"event: frame")
    writer.transport.abort()


async def test_nothing_is_left_of_event_streams_that_come_and_go() -> None:
    async with playing(RunBackend(source(300)), log_linger=0) as relay:
        await many(lambda: visit(relay), 50)
        await eventually(lambda: is_empty(relay) and not relay.value("bff_stream_recordings"))
        before = len(asyncio.all_tasks()), open_sockets()
        await many(lambda: visit(relay), 300)
        await eventually(lambda: is_empty(relay) and not relay.value("bff_stream_recordings"))
        await eventually(lambda: (len(asyncio.all_tasks()), open_sockets()) <= before)


async def many(one: Callable[[], Awaitable[None]], count: int) -> None:
    for _ in range(0, count, 50):
        await asyncio.gather(*(one() for _ in range(50)))


HANDSHAKE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.mark.parametrize("header", [b"Accept: text/event-stream\r\n", HANDSHAKE])
@pytest.mark.parametrize("comes", ["run", "nothing"])
async def test_a_client_that_leaves_before_its_verdict_is_no_failure_of_ours(
    caplog: pytest.LogCaptureFixture, header: bytes, comes: str
) -> None:
    backend = RunBackend(source(300))
    gate = backend.http.gates["/backtests/run"] = asyncio.Event()
    async with playing(backend, stream_verify_seconds=1.0) as relay:
        _, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(f"GET {PATH} HTTP/1.1\r\nHost: a\r\n".encode() + header + b"\r\n")
        await writer.drain()
        await eventually(lambda: places(relay) == 1)
        writer.close()
        if comes == "run":
            gate.set()
        await eventually(lambda: is_empty(relay))
        requests = relay.app.state.service.metrics.registry.collect()
        statuses = {
            s.labels["status"]: s.value for m in requests for s in m.samples if s.name == "bff_http_requests_total"
        }
        gate.set()
    assert [record for record in caplog.records if record.levelname in {"ERROR", "CRITICAL"}] == []
    assert statuses == ({} if header is HANDSHAKE else {"499": 1.0})  # nothing was said to anybody
