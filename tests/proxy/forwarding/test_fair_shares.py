"""Two, three and ten client addresses that take all they can get, through nginx: another one is served all the same."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.http1 import Message, Peer, read_answer, read_head

Start = Callable[[Any], Awaitable[str]]
StartProxy = Callable[..., Awaitable[str]]

SLOTS = 100
HELD = b"GET /api/v1/held HTTP/1.1\r\nhost: a\r\n\r\n"
QUICK = b"GET /api/v1/quick HTTP/1.1\r\nhost: a\r\n\r\n"
UPLOAD = b"POST /api/v1/held HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n"
ASKED = 65
STREAM = b"GET /api/v1/held/stream HTTP/1.1\r\nhost: a\r\n\r\n"
ONE_OF = {HELD: QUICK, STREAM: STREAM, UPLOAD: UPLOAD.replace(b"/held", b"/quick")}
HONEST = "127.0.0.1"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
WAIT_S = 20.0
REFUSED_S = 0.02
"""Requests that are refused are made again after so long."""

GREEDY = pytest.mark.parametrize("greedy", [2, 3, 10])


class Backend(Peer):
    """Keeps requests for `/held` until it is told to let go; streams and uploads begin at once."""

    def __init__(self) -> None:
        super().__init__(behave=self.serve)
        self.let_go = asyncio.Event()

    async def serve(self, request: Message, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"/stream" in request.target:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hello\n\n")
            await reader.read()
        elif b"/held" in request.target:
            await self.let_go.wait()
        writer.write(OK)


class Client:
    """One address, with connections that are all dropped at the end."""

    def __init__(self, origin: str, address: str) -> None:
        self._place, self._address = urlsplit(origin), address
        self._writers: list[asyncio.StreamWriter] = []

    async def say(self, words: bytes) -> asyncio.StreamReader:
        own = socket.socket()
        own.setblocking(False)
        own.bind((self._address, 0))
        try:
            await asyncio.get_running_loop().sock_connect(own, (self._place.hostname, self._place.port))
            reader, writer = await asyncio.open_connection(sock=own)
        except BaseException:  # whoever insists is cancelled in the middle of it
            own.close()
            raise
        self._writers.append(writer)
        writer.write(words)
        return reader

    async def status(self, words: bytes) -> int:
        async with asyncio.timeout(WAIT_S):
            return (await read_head(await self.say(words))).status

    async def insist(self, words: bytes) -> None:
        """Ask again and again, however often it is refused."""
        while True:
            await read_answer(await self.say(words))
            self._writers.pop(0).close()
            await asyncio.sleep(REFUSED_S)

    def drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def clients(origin: str, greedy: int) -> AsyncIterator[tuple[list[Client], Client]]:
    """Yield so many greedy addresses, and an honest one."""
    found = [Client(origin, f"127.0.1.{number + 1}") for number in range(greedy)], Client(origin, HONEST)
    try:
        yield found
    finally:
        for each in (*found[0], found[1]):
            each.drop()


async def active(proxy: str) -> int:
    """Return how many calls to the backend are under way."""
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"{proxy}/metrics")).text
    return sum(int(float(value)) for value in re.findall(r"^bff_upstream_calls_active (\S+)$", text, re.MULTILINE))


async def take_all(client: Client, words: bytes, proxy: str) -> int:
    """Ask for more than one address gets, and return how much it got."""
    before = await active(proxy)
    answers = [asyncio.ensure_future(read_head(await client.say(words))) for _ in range(ASKED)]
    async with asyncio.timeout(WAIT_S):
        while (got := await active(proxy) - before) + sum(map(is_refused, answers)) < ASKED:
            await asyncio.sleep(0.01)
    for answer in answers:
        answer.cancel()
    return got


def is_refused(answer: "asyncio.Future[Message]") -> bool:
    if not answer.done():
        return False
    # A refusal that meets an upload under way may be lost with its connection (RFC 9112, section 9.6).
    return isinstance(answer.exception(), ConnectionError) or answer.result().status == 503


@GREEDY
@pytest.mark.parametrize("words", [HELD, UPLOAD, STREAM], ids=["short", "upload", "stream"])
async def test_addresses_that_take_all_they_get_leave_room_for_another(
    start_bare_proxy: StartProxy, start_nginx: Start, words: bytes, greedy: int
) -> None:
    backend = Backend()
    sizes = {"max_connections": SLOTS, "max_uploads": SLOTS, "max_streams": SLOTS, "max_queue": 0}
    proxy = await start_bare_proxy(backend, body_grace_seconds=60, **sizes)
    origin = await start_nginx(proxy)
    async with clients(origin, greedy) as (others, honest):
        taken = [await take_all(each, words, proxy) for each in others]
        assert taken[0] == 0.6 * SLOTS
        assert taken == sorted(taken, reverse=True)
        assert await honest.status(ONE_OF[words]) == 200
        assert await honest.status(QUICK) == 200
        backend.let_go.set()


@GREEDY
async def test_an_address_among_others_that_insist_waits_for_one_slot_to_come_free(
    start_bare_proxy: StartProxy, start_nginx: Start, greedy: int
) -> None:
    # Sixty requests at once, again as soon as they are answered, for ten slots; the backend answers in bursts.
    backend = Backend()
    origin = await start_nginx(await start_bare_proxy(backend, max_connections=10, max_queue=20, queue_timeout=WAIT_S))

    async def letting_go() -> None:
        while True:
            await asyncio.sleep(0.05)
            backend.let_go.set()
            await asyncio.sleep(0)
            backend.let_go.clear()

    async with clients(origin, greedy) as (others, honest):
        tasks = [asyncio.create_task(each.insist(HELD)) for each in others for _ in range(60 // greedy)]
        tasks.append(asyncio.create_task(letting_go()))
        served = [await honest.status(HELD) for _ in range(10)]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert served == [200] * 10
