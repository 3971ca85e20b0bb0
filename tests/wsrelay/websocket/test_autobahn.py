"""The cases of the Autobahn test suite through nginx and the passthrough, and on its upstream side.

Compression (groups 12 and 13) is never negotiated, so there is nothing of it to try; the large messages of group 9
have tests of their own beside the other frames.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import pytest
from kosoku import FailureError, run_fuzzingclient, run_fuzzingserver
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from bff_tools import Stack, StackOptions
from tests.support.passthrough import Relay, StartRelay

pytestmark = pytest.mark.slow

CASES = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"]
SERVICES = ("proxy", "aggregator", "wsrelay")


@pytest.fixture(scope="module")
def make_origin() -> Iterator[Any]:
    with ExitStack() as owned:

        def make(relay_url: str) -> str:
            address = relay_url.removeprefix("ws://").partition("/")[0]
            options = StackOptions(
                backend_url=f"http://{address}", upstreams={service: [address] for service in SERVICES}
            )
            return f"127.0.0.1:{owned.enter_context(Stack(options)).origin_port}"

        yield make


def told(failure: FailureError) -> str:
    wrong = [one for one in failure.results if not one.passed]
    return "\n".join(f"{one.case_id}: {one.behavior.value}, {one.behavior_close.value}: {one.result}" for one in wrong)


async def test_autobahn_finds_no_fault_with_the_origin(echo_relay: Relay, make_origin: Any) -> None:
    origin = await asyncio.to_thread(make_origin, echo_relay.url)
    try:
        results = await run_fuzzingclient(f"ws://{origin}/api/v1/backtests/x/ws", cases=CASES, concurrency=4)
    except FailureError as failure:
        pytest.fail(told(failure))
    assert len(results) > 240


@asynccontextmanager
async def renamed(port: int) -> AsyncIterator[str]:
    """Lead `/backtests/7/ws` to where the fuzzing server has its seventh case; nothing else is changed."""

    under_way: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except OSError:
            pass

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        there, back = await asyncio.open_connection("127.0.0.1", port)
        try:
            back.write(re.sub(rb"^GET /backtests/(\w+)/ws", _place, head))
            await asyncio.gather(pump(reader, back), pump(there, writer))
        finally:
            back.transport.abort()
            writer.transport.abort()

    def connect_through(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(connected(reader, writer))
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    server = await asyncio.start_server(connect_through, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with asyncio.timeout(30):
            await asyncio.gather(*under_way)


def _place(match: re.Match[bytes]) -> bytes:
    return b"GET /runCase?agent=relay&case=" + match[1]


async def visit(url: str) -> list[str | bytes]:
    """Say back what is said until the connection ends; return what that was."""
    heard: list[str | bytes] = []
    try:
        async with asyncio.timeout(20), connect(url, compression=None, proxy=None, max_size=None) as connection:
            async for message in connection:
                heard.append(message)
                await connection.send(message)
    except WebSocketException:
        pass
    return heard


async def test_autobahn_finds_no_fault_with_the_passthrough_as_its_client(start_relay: StartRelay) -> None:
    # A backend that leaves (1001) or fails (1011) before a word was said is dialled again, which is no case of theirs.
    async with run_fuzzingserver(cases=CASES, exclude_cases=["7.7.2", "7.7.9"], port=0) as server:
        fuzzer = f"ws://{server.address}:{server.port}"
        async with renamed(server.port) as url:
            relay = await start_relay(url)
            [count] = await visit(f"{fuzzer}/getCaseCount")
            numbers = iter(range(1, int(count) + 1))

            async def some() -> None:
                for number in numbers:
                    await visit(relay.url.replace("run-1", str(number)))

            await asyncio.gather(*(some() for _ in range(8)))
        await visit(f"{fuzzer}/updateReports?agent=relay")
        try:
            results = await server.get_result()
        except FailureError as failure:
            pytest.fail(told(failure))
    assert len(results) > 240
