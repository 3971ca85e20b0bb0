"""A hostile backend: answers some paths as it is told by the paths themselves, and passes all else on to a real one.

    python -m tests.chaos.hostile.front PORT_OF_THE_REAL_ONE

Prints the port it listens on, and lives until its standard input ends. It is a process of its own, so that what it has
to do delays no measurement. Runs that it makes up, by their ids:

    bomb-N-…        every response is N bytes of zeros, compressed with gzip once; bombs-N-…: twice
    good-…          600 frames that are all right
    malformed-…     every third of them from the middle on has text for a number
    odd-…           every part but the run's detail holds odd values

A list for the symbol ODD holds odd rows beside good ones, bars of ODD odd times.
"""

import asyncio
import base64
import gzip
import hashlib
import json
import re
import struct
import sys
import zlib
from functools import lru_cache
from typing import Any

from tests.chaos.strength import STRENGTH
from tests.support.rfc6455 import TEXT, frame
from tests.support.runs import source

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CANDLE = {"o": 1.5, "h": 2.5, "l": 1.0, "c": 2.0, "v": 100}
DEEP = "[" * 300 + "]" * 300
HUGE = "9" * 400
ROWS = '{"run_id":"row-%d","status":"QUEUED","symbol":"ODD"}'
FRAMES = 600 if STRENGTH.is_full else 150
"""Of a run: 30 are played a second."""

MALFORMED_AT = range(FRAMES // 2, FRAMES, 3)
"""Which of them are malformed: late ones, so that the run is readable when it is opened."""


@lru_cache
def _bomb(size: int, layers: int) -> bytes:
    """Return so many mebibytes' worth of zeros as gzip: one compressed block again and again, so that it is quick."""
    packer, piece, count, checksum = zlib.compressobj(9, zlib.DEFLATED, -15), bytes(1 << 20), size >> 20, 0
    block = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(count):
        checksum = zlib.crc32(piece, checksum)
    end = b"\x03\x00" + struct.pack("<II", checksum, (count << 20) & 0xFFFFFFFF)
    data = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + block * count + end
    return gzip.compress(data) if layers == 2 else data


def _odd_list() -> str:
    odd = (
        "null",
        "[]",
        DEEP,
        HUGE,
        '{"run_id":"' + "\\ud800" + '","status":"DONE"}',
        '{"run_id":"..","status":"DONE"}',
    )
    rows = [ROWS % number for number in range(5)]
    return '{"items":[' + ",".join([*rows, *odd]) + '],"total":11}'


ODD = {
    "": '{"run_id":"odd-1","status":"DONE","symbol":"ODD","created_at":"2024-01-02T00:00:00Z","duration_ms":5,'
    '"run_from":"2024-01-01","run_to":"2024-01-31"}',
    "metrics": '{"total_return":HUGE,"sharpe_ratio":1.5,"deep":DEEP}',
    "equity": '{"equity":[{"ts":"2024-01-02T14:30:00Z","value":HUGE},{"ts":[],"value":1}]}',
    "orders": '{"orders":[{"order_id":"1","ts":"2024-01-02T14:30:00Z","symbol":["AAPL"],"side":"BUY","quantity":HUGE},'
    '{"order_id":"2","ts":"2024-01-02T14:30:00Z","symbol":"ODD","side":"BUY","quantity":1,"price":2}]}',
}
_BAR = '{"t":"%s","o":1.5,"h":2.5,"l":1.0,"c":2.0,"v":%s,"n":1}'
_TIMES = (("0001-01-01T00:00:00+14:00", "1"), ("2024-01-02T14:30:00Z", "100"), ("2024-01-02T14:31:00Z", HUGE))
BARS = '{"symbol":"ODD","bars":[' + ",".join(_BAR % pair for pair in _TIMES) + "]}"


def _answer(target: str) -> bytes | None:
    """Return the whole response to a path of our own, None for others."""
    path, _, query = target.partition("?")
    if found := re.match(r"/backtests/bomb(s?)-(\d+)-", path):
        layers = 2 if found[1] else 1
        coding = ", ".join(["gzip"] * layers)
        return _response(_bomb(int(found[2]), layers), f"Content-Encoding: {coding}\r\n")
    if path == "/backtests" and "symbol=ODD" in query:
        return _response(_odd_list().encode())
    if path.startswith("/bars/") and "ODD" in target:
        return _response(BARS.encode())
    if found := re.fullmatch(r"/backtests/odd-\d+(?:/(\w+))?", path):
        return _response(ODD.get(found[1] or "", "{}").replace("HUGE", HUGE).replace("DEEP", DEEP).encode())
    if found := re.fullmatch(r"/backtests/((?:good|malformed)-\d+)", path):
        run = {"run_id": found[1], "status": "DONE", "created_at": "2025-09-27T06:40:25+00:00", "symbol": "AAPL"}
        return _response(json.dumps({**run, "run_from": "2025-01-02", "run_to": "2025-01-02"}).encode())
    return (
        _response(b"{}", status="404 Not Found") if re.match(r"/backtests/(good|malformed)-\d+/(?!ws)", path) else None
    )


def _response(body: bytes, headers: str = "", status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}{headers}Connection: close\r\n\r\n".encode() + body


def _with_text(one: dict[str, Any]) -> dict[str, Any]:
    """Return a frame whose highest price is text, which nobody can compare with a number."""
    return {**one, "ohlc": {**(one["ohlc"] or CANDLE), "h": "2.0"}}


@lru_cache
def _stream(*, malformed: bool) -> bytes:
    frames = source(FRAMES)
    if malformed:
        frames = [_with_text(each) if at in MALFORMED_AT else each for at, each in enumerate(frames)]
    texts = [*map(json.dumps, frames), '{"t":"end"}']
    return b"".join(frame(TEXT, text.encode(), mask=False) for text in texts)


async def _play(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, malformed: bool) -> None:
    key = re.search(rb"(?i)^sec-websocket-key: *(\S+)", head, re.MULTILINE)
    assert key
    accept = base64.b64encode(hashlib.sha1(key[1] + _GUID, usedforsecurity=False).digest())
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    writer.write(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + _stream(malformed=malformed))
    while await reader.read(1 << 16):
        pass


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


async def _pass_on(port: int, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let the real backend answer one request over a connection of its own, or be spoken to if it is a WebSocket."""
    if b"upgrade: websocket" not in head.lower():
        head = re.sub(rb"(?im)^connection:.*\r\n", b"", head).replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    theirs, ours = await asyncio.open_connection("127.0.0.1", port)
    try:
        ours.write(head)
        asking = asyncio.create_task(_copy(reader, ours))
        await asyncio.wait((asking, asyncio.create_task(_copy(theirs, writer))), return_when=asyncio.FIRST_COMPLETED)
        asking.cancel()
    finally:
        ours.transport.abort()


async def serve(port: int) -> asyncio.Server:
    """Listen in front of a backend's port."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            target = head.split(b" ", 2)[1].decode("latin-1")
            if found := re.match(r"/backtests/(good|malformed)-\d+/ws", target):
                await _play(head, reader, writer, malformed=found[1] == "malformed")
            elif answer := await asyncio.to_thread(_answer, target):
                writer.write(answer)
                await writer.drain()
            else:
                await _pass_on(port, head, reader, writer)
        except (OSError, EOFError):
            pass  # somebody went away
        finally:
            writer.close()

    return await asyncio.start_server(connected, "127.0.0.1", 0, limit=1 << 20)


async def main(port: int) -> None:
    """Serve until standard input ends."""
    server = await serve(port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
