"""The load of a measurement counts whole responses, and tells of any that is not what was asked for."""

import asyncio
from typing import Any

import pytest
from bench.lib.http_client import keep_busy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"


def answering(*pieces: bytes) -> Any:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)

    return handle


@pytest.mark.parametrize("pieces", [(OK,), (OK[:20], OK[20:-2], OK[-2:])])
async def test_each_whole_response_counts_once_however_it_arrives(start_raw: Any, pieces: tuple[bytes, ...]) -> None:
    took = await keep_busy(await start_raw(answering(*pieces)) + "/x?y", 2, 0.05)
    assert took
    assert all(seconds >= 0 for seconds in took)


async def test_a_response_other_than_200_is_told(start_raw: Any) -> None:
    origin = await start_raw(answering(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"))
    with pytest.raises(RuntimeError, match="503 Service Unavailable"):
        await keep_busy(origin, 1, 0.05)


async def test_a_connection_that_is_closed_is_told(start_raw: Any) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    with pytest.raises(RuntimeError, match="the connection was closed"):
        await keep_busy(await start_raw(hang_up), 1, 0.05)
