"""Real processes: a relay that is told to stop hands its viewers over to another, and none of them loses anything."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.http11 import Response

from tests.support.playback import WAIT, Client, watching
from tests.support.redis_server import free_port, running
from tests.support.runs import RunBackend, assert_conserved, source

VIEWERS = 50
DRAIN_SPREAD = 0.5


class RelayProcess:
    """`python -m bff_wsrelay` at a port of its own."""

    def __init__(self, **environment: str) -> None:
        self.port = free_port()
        own = {
            "BFF_HOST": "127.0.0.1",
            "BFF_PORT": str(self.port),
            "BFF_STREAM_DRAIN_SPREAD": str(DRAIN_SPREAD),
            "BFF_LOG_LEVEL": "WARNING",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bff_wsrelay"], env={**os.environ, **own, **environment}, stdout=subprocess.DEVNULL
        )

    async def ready(self) -> None:
        """Wait until it listens."""
        async with asyncio.timeout(WAIT):
            while True:
                assert self.process.poll() is None
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    return

    def stream(self, query: str) -> str:
        return f"ws://127.0.0.1:{self.port}/api/v1/runs/run/stream{query}"

    async def ends(self) -> int:
        """Wait until the process has ended by itself and return its status."""
        return await asyncio.wait_for(asyncio.to_thread(self.process.wait), WAIT)


@asynccontextmanager
async def relays(backend: RunBackend) -> AsyncIterator[list[RelayProcess]]:
    """Run a backend, a Redis-protocol server and two relays that share what they have read."""
    with running() as redis_server:
        await backend.start()
        settings = {"BFF_BACKEND_URL": backend.url, "BFF_REDIS_URL": redis_server.url}
        both = [RelayProcess(**settings), RelayProcess(**settings)]
        try:
            await asyncio.gather(*(relay.ready() for relay in both))
            yield both
        finally:
            for relay in both:
                relay.process.kill()
                relay.process.wait(WAIT)
            await backend.stop()


async def come_back(url: str, stack: AsyncExitStack) -> Client:
    """Open a stream again, as long as whoever is asked has no place."""
    async with asyncio.timeout(WAIT):
        while True:
            with contextlib.suppress(OSError, InvalidHandshake):
                return await stack.enter_async_context(watching(url))
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_viewers_of_a_relay_that_is_replaced_go_on_at_another_and_lose_nothing() -> None:
    backend = RunBackend(source(2400))
    async with relays(backend) as (first, second), AsyncExitStack() as stack:
        url = first.stream("?speed=30&autoplay=1")
        clients = [await stack.enter_async_context(watching(url)) for _ in range(VIEWERS)]
        await asyncio.gather(*(client.until_type("frame") for client in clients))
        first.process.send_signal(signal.SIGTERM)

        async def watch(client: Client) -> None:
            assert await client.until_closed() == 1012
            told = client.messages[-1]
            assert (told["t"], told["state"]) == ("status", "draining")
            hello, last = client.messages[0], client.frames[-1]
            query = f"?speed=30&autoplay=1&epoch={hello['epoch']}&seq={last['seq']}"
            again = await come_back(second.stream(query), stack)
            assert (await again.next())["resumed"] is True
            await again.until_type("end")
            assert_conserved(client.frames, backend.frames, whole=False)
            assert_conserved(again.frames, backend.frames, start=last["seq"] + 1)

        await asyncio.gather(*(watch(client) for client in clients))
        assert await first.ends() == -signal.SIGTERM
        assert backend.connections == 1


@asynccontextmanager
async def one_relay(backend_url: str, **environment: str) -> AsyncIterator[RelayProcess]:
    relay = RelayProcess(BFF_BACKEND_URL=backend_url, **environment)
    try:
        await relay.ready()
        yield relay
    finally:
        relay.process.kill()
        relay.process.wait(WAIT)


async def open_events(relay: RelayProcess, run: str = "run") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    path = f"/api/v1/runs/{run}/stream?speed=2"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n".encode())
    return reader, writer


async def rest(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(WAIT):
        return await reader.read()


@pytest.mark.timing
async def test_a_process_with_viewers_of_both_kinds_ends_when_they_are_drained() -> None:
    backend = RunBackend(source(20_000))
    await backend.start()
    async with one_relay(backend.url) as relay, AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(watching(relay.stream("?autoplay=1&speed=2"))) for _ in range(50)]
        streams = [await open_events(relay) for _ in range(50)]
        for client in sockets:
            await client.until_type("frame")
        for reader, _ in streams:
            await reader.readuntil(b"event: frame")
        begun = asyncio.get_running_loop().time()
        relay.process.send_signal(signal.SIGTERM)
        codes, ends, status = await asyncio.gather(
            asyncio.gather(*(client.until_closed() for client in sockets)),
            asyncio.gather(*(rest(reader) for reader, _ in streams)),
            relay.ends(),
        )
        assert asyncio.get_running_loop().time() - begun <= DRAIN_SPREAD + 2
        assert (set(codes), status) == ({1012}, -signal.SIGTERM)
        assert all(client.messages[-1]["state"] == "draining" for client in sockets)
        assert all(b'"state":"draining"' in end and end.endswith(b"0\r\n\r\n") for end in ends)
        for _, writer in streams:
            writer.close()
    await backend.stop()


@pytest.mark.timing
async def test_a_process_ends_that_is_told_to_stop_while_handshakes_wait_for_a_verdict() -> None:
    arrived = asyncio.Semaphore(0)

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.release()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, one_relay(url, BFF_STREAM_VERIFY_SECONDS="60") as relay:
        socket = asyncio.create_task(refused(relay.stream("")))
        reader, writer = await open_events(relay, "other")  # for the backend is asked once for all who want one run
        async with asyncio.timeout(WAIT):
            await arrived.acquire()
            await arrived.acquire()
        begun = asyncio.get_running_loop().time()
        relay.process.send_signal(signal.SIGTERM)
        assert await relay.ends() == -signal.SIGTERM
        assert asyncio.get_running_loop().time() - begun <= DRAIN_SPREAD + 2
        answer = await rest(reader)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after:" in answer
        writer.close()
        response = await socket
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) >= 1


async def refused(url: str) -> Response:
    with pytest.raises(InvalidStatus) as refusal:
        async with watching(url):
            pass
    return refusal.value.response
