"""A TCP proxy that does to a connection what networks do: delay, throttle, cut, reset, swallow, close slowly.

It lives in a thread with an event loop of its own, so that neither a test's loop nor a blocking wait changes its
timing. Every queue is bounded, so a slow side holds the other one back as a real network does.
"""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

PIECE = 16_384
QUEUED = 64
"""Pieces on their way in one direction, at most: a megabyte."""

JOIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to the bytes of connections, those that are there and those that come.

    Attributes:
        latency: seconds that every piece is held back, each way.
        jitter: further seconds, up to this many, drawn for each piece; the order stays.
        bandwidth: bytes a second, each way; 0 for no limit.
        cut_after: bytes towards the client after which both sides are closed as if all were said (FIN).
        reset_after: the same, with a reset (RST).
        black_hole: nothing passes, closing included, until the fault is taken back; connections stay open.
        slow_close: seconds that an end (FIN) is held back.
        refuse: connections that come are reset at once.
    """

    latency: float = 0.0
    jitter: float = 0.0
    bandwidth: float = 0.0
    cut_after: int | None = None
    reset_after: int | None = None
    black_hole: bool = False
    slow_close: float = 0.0
    refuse: bool = False


NONE = Fault()


class FaultProxy:
    """Forwards connections to `host:port` from a free port of its own, under the fault of the moment."""

    def __init__(self, host: str, port: int, seed: int = 0) -> None:
        """Take where to forward to, and what decides the jitter."""
        self.target = host, port
        self.port = 0
        self.fault = NONE
        self.accepted = 0
        self.draw = random.Random(seed)  # noqa: S311  jitter is no secret
        self._links: set[_Link] = set()
        self._passing: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._server: asyncio.Server
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        if not self._started.wait(JOIN_S):
            raise RuntimeError("the fault proxy did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close everything."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(JOIN_S)

    @property
    def url(self) -> str:
        """Where it listens, as an HTTP origin."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """How many connections are held."""
        return len(self._links)

    def inject(self, fault: Fault) -> None:
        """Change what happens from now on, to every connection."""
        self._call(self._inject(fault))

    def heal(self) -> None:
        """Let everything pass again; what a black hole held arrives."""
        self.inject(NONE)

    def drop(self) -> None:
        """Reset every connection that is there."""
        self._call(self._drop())

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(JOIN_S)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._passing = asyncio.Event()
        self._passing.set()
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stopped.wait()
        self._server.close()
        await self._drop()

    async def _inject(self, fault: Fault) -> None:
        self.fault = fault
        for link in self._links:
            link.returned = 0
        if fault.black_hole:
            self._passing.clear()
        else:
            self._passing.set()

    async def _drop(self) -> None:
        links = list(self._links)
        for link in links:
            link.reset()
        for link in links:
            await asyncio.wait({link.task})

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.fault.refuse:
            _reset(writer)
            return
        link = _Link(self, reader, writer)
        self._links.add(link)
        link.task = asyncio.create_task(link.run())
        link.task.add_done_callback(lambda _: self._links.discard(link))

    async def passing(self) -> None:
        """Wait while a black hole swallows everything."""
        await self._passing.wait()


class _Link:
    """One connection: two directions, each a reader, a bounded line of delayed pieces and a writer."""

    def __init__(self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy, self._reader, self._client = proxy, reader, writer
        self._target: asyncio.StreamWriter | None = None
        self._reset = False
        self.returned = 0
        self.task: asyncio.Task[None]

    def reset(self) -> None:
        """End it with a reset on both sides."""
        self._reset = True
        self.task.cancel()

    async def run(self) -> None:
        """Forward until either side is through, or a fault ends it."""
        try:
            reader, self._target = await asyncio.open_connection(*self._proxy.target)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._direction(self._reader, self._target, counted=False))
                both.create_task(self._direction(reader, self._client, counted=True))
        except* (OSError, _Ended):
            self._reset |= self._target is None
        finally:
            for writer in (self._client, self._target):
                if writer is not None:
                    _reset(writer) if self._reset else writer.close()

    async def _direction(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, counted: bool) -> None:
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUED)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._read(source, line))
            both.create_task(self._write(line, sink, counted=counted))

    async def _read(self, source: asyncio.StreamReader, line: asyncio.Queue[tuple[float, bytes]]) -> None:
        last = 0.0
        while True:
            piece = await source.read(PIECE)
            fault = self._proxy.fault
            delay = fault.latency + self._proxy.draw.uniform(0, fault.jitter)
            last = max(last, asyncio.get_running_loop().time() + delay)
            await line.put((last, piece))
            if not piece:
                return

    async def _write(
        self, line: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter, *, counted: bool
    ) -> None:
        while True:
            due, piece = await line.get()
            await self._until(due)
            await self._proxy.passing()
            fault = self._proxy.fault
            if not piece:
                await asyncio.sleep(fault.slow_close)
                if sink.can_write_eof():
                    sink.write_eof()
                return
            if counted:
                piece = self._allowed(fault, piece)
            sink.write(piece)
            await sink.drain()
            if fault.bandwidth:
                await asyncio.sleep(len(piece) / fault.bandwidth)
            if counted:
                self._end_if_due(fault, len(piece))

    def _allowed(self, fault: Fault, piece: bytes) -> bytes:
        most = fault.cut_after if fault.reset_after is None else fault.reset_after
        return piece if most is None else piece[: max(0, most - self.returned)]

    def _end_if_due(self, fault: Fault, sent: int) -> None:
        self.returned += sent
        if fault.reset_after is not None and self.returned >= fault.reset_after:
            self._reset = True
            raise _Ended
        if fault.cut_after is not None and self.returned >= fault.cut_after:
            raise _Ended

    @staticmethod
    async def _until(moment: float) -> None:
        left = moment - asyncio.get_running_loop().time()
        if left > 0:
            await asyncio.sleep(left)


class _Ended(Exception):
    """The fault of the moment ends this connection."""


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close at once with RST: what was not sent is dropped (SO_LINGER of zero seconds)."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
