"""HTTP/1.1 in plain bytes, for tests: sends what it is given, shows what arrived; none of the product's code."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

Pairs = list[tuple[bytes, bytes]]


@dataclass
class Message:
    """One message as it was on the wire: its first line, headers in order with their case, and unchunked body."""

    first: bytes
    headers: Pairs
    body: bytes = b""
    trailers: Pairs = field(default_factory=list)

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def status(self) -> int:
        return int(self.first.split(b" ")[1])

    @property
    def target(self) -> bytes:
        return self.first.split(b" ")[1]

    @property
    def method(self) -> bytes:
        return self.first.split(b" ")[0]


async def _fields(reader: asyncio.StreamReader) -> Pairs:
    pairs: Pairs = []
    while line := (await reader.readuntil(b"\r\n"))[:-2]:
        name, _, value = line.partition(b":")
        pairs.append((name, value.strip(b" \t")))
    return pairs


async def read_head(reader: asyncio.StreamReader) -> Message:
    """Read a first line and headers; raises asyncio.IncompleteReadError at the end of the connection."""
    first = (await reader.readuntil(b"\r\n"))[:-2]
    return Message(first, await _fields(reader))


async def read_body(reader: asyncio.StreamReader, message: Message, *, until_close: bool) -> None:
    """Read the body that the message's own framing announces."""
    if message.values(b"transfer-encoding"):
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            message.body += (await reader.readexactly(size + 2))[:-2]
        message.trailers = await _fields(reader)
    elif lengths := message.values(b"content-length"):
        message.body = await reader.readexactly(int(lengths[0]))
    elif until_close:
        message.body = await reader.read()


async def read_answer(reader: asyncio.StreamReader, method: bytes = b"GET") -> Message:
    """Read a final answer, interim ones skipped (RFC 9112 section 6.3 for what has a body)."""
    message = await read_head(reader)
    while message.status < 200:
        message = await read_head(reader)
    if method != b"HEAD" and message.status not in {204, 304}:
        await read_body(reader, message, until_close=True)
    return message


async def read_request(reader: asyncio.StreamReader) -> Message:
    """Read a whole request."""
    message = await read_head(reader)
    await read_body(reader, message, until_close=False)
    return message


def address(origin: str) -> tuple[str, int]:
    host, port = origin.removeprefix("http://").split(":")
    return host, int(port)


async def exchange(origin: str, request: bytes, method: bytes = b"GET", *, client: str = "127.0.0.1") -> Message:
    """Send a request in bytes over a new connection, from an address of this machine, and read the answer."""
    reader, writer = await asyncio.open_connection(*address(origin), local_addr=(client, 0))
    try:
        writer.write(request)
        return await read_answer(reader, method)
    finally:
        writer.close()


Answer = Callable[[Message, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Peer:
    """A backend in bytes: remembers each request and answers with `answer`, or with `behave` does as it pleases."""

    def __init__(self, answer: bytes = OK, behave: Answer | None = None) -> None:
        self.answer, self._behave = answer, behave
        self.requests: list[Message] = []
        self.connections = 0
        self.open = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while True:
                if self._behave is None:
                    self.requests.append(await read_request(reader))
                    writer.write(self.answer)
                    await writer.drain()
                else:
                    self.requests.append(await read_head(reader))
                    await self._behave(self.requests[-1], reader, writer)
        finally:
            self.open -= 1
