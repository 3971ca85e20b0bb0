"""One request and its response over a connection: from the first byte sent until nobody wants more of the response."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import httpx

from bff_shared.upstream.transport.connection import Connection
from bff_shared.upstream.transport.failures import FailureStage, mark
from bff_shared.upstream.transport.http1 import (
    BodyFramer,
    Framing,
    InvalidRequest,
    MalformedResponse,
    ResponseReader,
)

CONTINUE_SECONDS = 1.0
"""How long a body waits for 100 (Continue) before it goes without (RFC 9110 section 10.1.1)."""

INLINE_BODY_BYTES = 64 * 1024
"""A body in memory up to this size leaves in one write with its head."""


class Timeouts(NamedTuple):
    """Seconds, None for no limit; the keys of httpx's own dict and `first_byte`, the wait for the response's head."""

    connect: float | None
    read: float | None
    write: float | None
    pool: float | None
    first_byte: float | None


class PreparedRequest(NamedTuple):
    """A request ready to be written: its head in bytes, and where its body comes from."""

    request: httpx.Request
    head: bytes
    framing: Framing
    body: httpx.AsyncByteStream | bytes
    timeouts: Timeouts


class RequestCycle:
    """One request and its response. `head` is done when the final response's head has arrived, or has failed."""

    def __init__(
        self, connection: Connection, prepared: PreparedRequest, clock: Callable[[], float], max_head_bytes: int
    ) -> None:
        self.head: asyncio.Future[None] = connection.loop.create_future()
        self.reused = connection.served > 0
        self.connect_seconds = 0.0 if self.reused else connection.connect_seconds
        self.first_byte_seconds = 0.0
        self.reader = ResponseReader(
            is_head=prepared.request.method == "HEAD",
            max_head_bytes=max_head_bytes,
        )
        self.over = False
        self.upload: asyncio.Task[None] | None = None
        self._connection = connection
        self._prepared = prepared
        self._clock = clock
        self._started = clock()
        self._responded = False
        self._error: BaseException | None = None
        self._framer = BodyFramer(prepared.framing)
        self._corked = b""
        self._waiter: asyncio.Future[None] | None = None
        self._go_ahead: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        """Say what was asked for, and how far it came; the query may hold what is nobody's business."""
        request = self._prepared.request
        state = "over" if self.over else "responding" if self._responded else "waiting"
        return f"<RequestCycle {request.method} {request.url.netloc.decode()} {state} buffered={self.reader.buffered}>"

    async def run(self) -> None:
        """Send the request and wait for the head of its final response.

        Raises httpx's errors, each with a Failure, and what the request's body raises; cancelled, or with any error, it
        closes the connection at once.
        """
        if self._connection.closed:
            # Closed between being handed out and being used.
            raise self._error_of(httpx.ReadError, "the connection was lost before its use", stage=FailureStage.CONNECT)
        self._connection.carry(self)
        try:
            self._start()
            await self.head
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        """Write the request, or as much of it as is at hand; a streamed body follows by itself."""
        prepared = self._prepared
        body = prepared.body
        framing = prepared.framing
        if not framing.has_body:
            self._connection.write(prepared.head)
        elif isinstance(body, bytes) and len(body) <= INLINE_BODY_BYTES and not framing.expects_continue:
            try:
                self._connection.write(prepared.head + self._framer.frame(body) + self._framer.finish())
            except InvalidRequest as exc:
                raise self._error_of(httpx.LocalProtocolError, str(exc), stage=FailureStage.CONNECT) from exc
        else:
            self._start_upload()
            return
        self._connection.set_deadline(prepared.timeouts.first_byte)

    async def read(self) -> bytes:
        """Return the next body bytes, b"" after the last. Raises ReadTimeout, ReadError and RemoteProtocolError."""
        reader = self.reader
        while not reader.buffered:
            if reader.complete:
                return b""
            if self._error is not None:
                raise self._error
            if self.over:
                raise httpx.StreamClosed
            await self._wait_for_body()
        data = reader.take()
        if self._connection.cycle is self:
            self._connection.resume_reading()
        return data

    def close(self) -> None:
        """Give the cycle up; unless the response was whole, its connection is closed at once."""
        if not self.over:
            self._end()
            self._connection.abort()

    # What the connection calls.

    def received(self, data: bytes | memoryview) -> None:
        """Take bytes of the response."""
        if not self._responded:
            self._responded = True
            self.first_byte_seconds = self._clock() - self._started
        reader = self.reader
        try:
            reader.feed(data)
        except MalformedResponse as exc:
            self._fail(self._error_of(httpx.RemoteProtocolError, str(exc)), exc)
            return
        if reader.head is not None or reader.continued:
            self._advance()
        if reader.complete:
            self._complete()
        elif reader.buffered > self._connection.high_water:
            self._connection.pause_reading()
        if reader.buffered or reader.complete:
            self._wake()

    def ended(self) -> None:
        """Take the end of the stream."""
        try:
            self.reader.feed_eof()
        except MalformedResponse as exc:
            reason = str(exc) if self._responded else "the peer closed the connection without a response"
            self._fail(self._error_of(httpx.RemoteProtocolError, reason), exc)
            return
        self._complete()
        self._wake()

    def lost(self, cause: Exception | None) -> None:
        """Take the loss of the connection.

        asyncio gives a connection up when a write fails, without a look at what came before: the response of a peer
        that refused the upload and closed may still be in the socket.
        """
        remainder = self._connection.read_remainder(self._connection.high_water)
        if remainder:
            self.received(remainder)
        if not self.over:
            kind = httpx.ReadError if self._framer.complete else httpx.WriteError
            self._fail(self._error_of(kind, "the connection was lost"), cause)

    def timed_out(self) -> None:
        """Take the passing of the deadline."""
        part = "body" if self.head.done() else "head"
        self._fail(self._error_of(httpx.ReadTimeout, f"no more of the response's {part} came in time"))

    # The response.

    def _advance(self) -> None:
        if self._go_ahead is not None and not self._go_ahead.done():
            self._go_ahead.set_result(None)
        if self.reader.head is not None and not self.head.done():
            self._connection.set_deadline(None)
            self.head.set_result(None)

    async def _wait_for_body(self) -> None:
        self._waiter = self._connection.loop.create_future()
        self._connection.set_deadline(self._prepared.timeouts.read)
        try:
            await self._waiter
        finally:
            self._waiter = None
            # The connection may carry another cycle by now, whose deadline is its own.
            if self._connection.cycle is self:
                self._connection.set_deadline(None)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _complete(self) -> None:
        reader = self.reader
        self._end()
        self._connection.finished(
            reusable=reader.reusable
            and self._framer.complete
            and not self._corked
            and not self._prepared.framing.closes,
            keep_alive_seconds=reader.keep_alive_seconds,
        )

    def _fail(self, error: BaseException, cause: BaseException | None = None) -> None:
        if self.over:
            return
        if cause is not None:
            error.__cause__ = cause
        self._error = error
        self._end()
        self._connection.abort()
        if not self.head.done():
            self.head.set_exception(error)
        self._wake()

    def _end(self) -> None:
        self.over = True
        self.reader.close()
        if self.upload is not None:
            self.upload.cancel()

    def _error_of(
        self, kind: type[httpx.TransportError], reason: str, *, stage: FailureStage | None = None
    ) -> httpx.TransportError:
        stage = stage or (FailureStage.RESPONDED if self._responded else FailureStage.SENT)
        return mark(kind(reason, request=self._prepared.request), stage, reused=self.reused)

    # The upload of a body that does not leave with its head.

    def _start_upload(self) -> None:
        self._corked = self._prepared.head
        self.upload = self._connection.loop.create_task(self._send_body())
        self.upload.add_done_callback(self._uploaded)
        # Runs after the task's first step: a first piece that is at hand leaves in one write with the head, and one
        # that is not does not hold the head up.
        self._connection.loop.call_soon(self._uncork)

    def _uncork(self) -> None:
        if self._corked and not self.over:
            head, self._corked = self._corked, b""
            self._connection.write(head)

    def _write(self, data: bytes) -> None:
        head, self._corked = self._corked, b""
        self._connection.write(head + data if head else data)

    async def _send_body(self) -> None:
        prepared = self._prepared
        if prepared.framing.expects_continue and not await self._may_continue():
            return
        seconds = prepared.timeouts.write
        framer = self._framer
        if isinstance(prepared.body, bytes):
            view = memoryview(prepared.body)
            for start in range(0, len(view), INLINE_BODY_BYTES):
                await self._send_piece(framer.frame(bytes(view[start : start + INLINE_BODY_BYTES])), seconds)
        else:
            async for piece in prepared.body:
                await self._send_piece(framer.frame(piece), seconds)
        self._write(framer.finish())

    async def _send_piece(self, data: bytes, seconds: float | None) -> None:
        if not data:
            return
        try:
            await self._connection.drain(seconds)
            if self._connection.is_closing:
                # The event loop reports the loss on its next turn, and that ends this upload.
                await self._connection.loop.create_future()
        except TimeoutError as exc:
            raise self._error_of(httpx.WriteTimeout, "the peer took no more of the body in time") from exc
        self._write(data)

    async def _may_continue(self) -> bool:
        self._uncork()
        self._go_ahead = self._connection.loop.create_future()
        try:
            async with asyncio.timeout(CONTINUE_SECONDS):
                await self._go_ahead
        except TimeoutError:
            return True
        return self.reader.head is None

    def _uploaded(self, upload: "asyncio.Task[None]") -> None:
        if upload.cancelled():
            if not self.over:
                self._fail(self._error_of(httpx.WriteError, "the upload was cancelled"))
            return
        error = upload.exception()
        if isinstance(error, InvalidRequest):
            self._fail(self._error_of(httpx.LocalProtocolError, str(error)), error)
        elif error is not None:
            self._fail(error)
        elif not self.head.done() and not self.over:
            self._connection.set_deadline(self._prepared.timeouts.first_byte)


class ResponseBody(httpx.AsyncByteStream):
    """The body of a response as httpx reads it: bytes as they came, undecoded, each time all that is there."""

    def __init__(self, cycle: RequestCycle, loop: asyncio.AbstractEventLoop) -> None:
        self._cycle = cycle
        self._loop = loop

    def __aiter__(self) -> "ResponseBody":
        """Return the body itself: it can be read once."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next bytes."""
        data = await self._cycle.read()
        if not data:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        """Free the connection: the one of a whole response is free already, any other is closed, its upload stopped."""
        self._cycle.close()
        upload = self._cycle.upload
        if upload is not None and not upload.done():
            # So that the caller's body stream is not read any more when this returns.
            await asyncio.wait({upload}, timeout=CONTINUE_SECONDS)

    def __del__(self) -> None:
        """Free the connection of a response that was dropped without being closed."""
        if not self._cycle.over and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cycle.close)
