"""One viewer of the transparent door and its own connection to the backend, which may break without the viewer's. I/O.

Two tasks. One listens to the viewer and sends on, or keeps what it says while the backend is away. The other opens the
connection to the backend, lets the viewer in, passes on what the backend says and opens it again when it breaks. The
first of them to end says how the conversation ended, and the other side is told; a drain is a third way to end.

What the messages mean is `Dialogue`'s affair; what a close means is `closecodes`'.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bff_shared.errors import BackendUnavailable, BffError, Busy, Internal
from bff_shared.http import context
from bff_shared.http.responses import error_response
from bff_shared.limits import TokenBucket
from bff_wsrelay.admission.limits import RETRY_AFTER
from bff_wsrelay.passthrough import headers as handshake_headers
from bff_wsrelay.passthrough.client_socket import Viewer, ViewerGone
from bff_wsrelay.passthrough.metrics import DoorMetrics
from bff_wsrelay.passthrough.resume_state import Dialogue, Language, Message, Overflow, busy, status
from bff_wsrelay.websocket.backoff import Backoff
from bff_wsrelay.websocket.client import Link, LinkClosed
from bff_wsrelay.websocket.close_codes import (
    ABNORMAL,
    COME_BACK,
    GOING_AWAY,
    INTERNAL_ERROR,
    RESTART,
    TRY_AGAIN_LATER,
    Close,
    of_status,
    to_backend,
    to_viewer,
)
from bff_wsrelay.websocket.connector import Refused, Unreachable

log = logging.getLogger("bff.access")

Dial = Callable[[], Awaitable[Link]]

FRUITLESS = 4
"""Connections in a row that brought the viewer nothing, after which opening one is no success any more."""


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """Bounds of one conversation.

    Its handshake waits `admit` seconds for the backend, or `negotiate` where a subprotocol has to be agreed with it; a
    backend that is away is redialled for `reconnect` seconds, and `max_held` messages of `max_held_bytes` bytes
    together are kept for it. In the backend's protocol a viewer is listened to `max_controls` times a second.
    """

    admit: float = 2.0
    negotiate: float = 30.0
    reconnect: float = 3600.0
    max_held: int = 256
    max_held_bytes: int = 1024 * 1024
    max_controls: int = 50


@dataclass(frozen=True, slots=True)
class End:
    """How a conversation ended, and who ended it."""

    close: Close
    by: Literal["viewer", "backend", "relay"]


class Conversation:
    """One viewer and the backend, from handshake to close."""

    def __init__(
        self,
        viewer: Viewer,
        dial: Dial,
        limits: DoorLimits,
        backoff: Backoff,
        metrics: DoorMetrics,
        *,
        negotiates: bool,
    ) -> None:
        self._viewer, self._dial, self._limits, self._backoff = viewer, dial, limits, backoff
        self._metrics, self._negotiates = metrics, negotiates
        self._dialogue = Dialogue(limits.max_held, limits.max_held_bytes)
        self._link: Link | None = None
        self._open: Link | None = None
        self._fruitless = 0
        self._begun = 0.0
        self._allowance = TokenBucket(limits.max_controls, limits.max_controls)
        self._drained: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Serve the viewer until one side ends it, then end the other and leave nothing behind."""
        self._begun = asyncio.get_running_loop().time()
        tasks = [asyncio.create_task(part) for part in (self._listen(), self._serve(), self._drain())]
        end: End | None = None
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            end = next(task for task in tasks if task.done()).result()
        except ViewerGone:
            end = End(Close(ABNORMAL), "viewer")
        finally:
            await _cancel(tasks)
            await self._part(end)
        self._report(end)

    def figures(self) -> dict[str, Any]:
        """Return what `/api/v1/streams` shows of it: age in seconds, state, and counts of messages."""
        age = round(asyncio.get_running_loop().time() - self._begun, 1)
        state = "live" if self._open is not None else "reconnecting"
        return {"age_s": age, "state": state, **asdict(self._dialogue.tally)}

    def drain(self, retry_ms: int) -> None:
        """Ask the viewer to come back after this time, here or at another replica, and close."""
        if not self._drained.done():
            self._drained.set_result(retry_ms)

    async def _drain(self) -> End:
        retry_ms = await self._drained
        if self._viewer.is_accepted:
            await self._tell(status("draining", 0, retry_ms / 1000))
        return End(Close(RESTART, "the relay restarts"), "relay")

    async def _listen(self) -> End:
        """Send on what the viewer says, in order; return how it left."""
        while True:
            message = await self._viewer.receive()
            if isinstance(message, Close):
                return End(message, "viewer")
            link = self._open
            try:
                if link is None:
                    self._dialogue.hold(message)
                else:
                    await self._forward(link, message)
            except Overflow:
                if not self._dialogue.is_ours:
                    return End(Close(TRY_AGAIN_LATER, "the backend is away"), "relay")
                await self._tell(busy())
            if self._dialogue.language is Language.FRAMES:
                await self._pace()

    async def _pace(self) -> None:
        """Leave what a viewer says too fast where it is, until its turn has come: nothing of it may be dropped."""
        while not self._allowance.take(asyncio.get_running_loop().time()):  # noqa: ASYNC110  time fills it, no event
            await asyncio.sleep(1 / self._limits.max_controls)

    async def _forward(self, link: Link, message: Message) -> None:
        """Send a message to the backend, or keep it for the next connection."""
        said_again = self._dialogue.sending(message)
        try:
            await link.transmit(message)
            self._metrics.to_backend.inc()
        except (LinkClosed, asyncio.CancelledError) as error:
            if not said_again:
                self._dialogue.hold(message, first=True)
            if isinstance(error, asyncio.CancelledError):  # the connection it was sent on is gone
                raise

    async def _serve(self) -> End:
        """Reach the backend, let the viewer in, relay until it ends."""
        try:
            link = await self._reach()
        except Refused as refusal:
            headers = handshake_headers.to_client(refusal.headers, context.correlation_id().encode())
            await self._viewer.refuse(refusal.status, headers, refusal.body)
            return End(Close(of_status(refusal.status)), "backend")
        except BffError as error:
            await self._turn_away(error)
            return End(Close(of_status(error.status)), "relay")
        await self._let_in(link)
        return await self._follow(link)

    async def _reach(self) -> Link | None:
        """Return the first connection to the backend, or None: it is away, and the viewer may wait for it inside.

        A viewer that offers subprotocols cannot be let in before the backend chose one.
        """
        limit = self._limits.negotiate if self._negotiates else self._limits.admit
        try:
            async with asyncio.timeout(limit):
                while True:
                    try:
                        self._link = await self._dial()
                    except Unreachable:
                        if not self._negotiates:
                            return None
                    except Refused as refusal:
                        if not refusal.is_gateway:
                            raise
                        if not self._negotiates:
                            return None
                    else:
                        return self._link
                    await asyncio.sleep(self._backoff.next())
        except TimeoutError:
            if self._negotiates:
                raise BackendUnavailable("the backend is not reachable") from None
            return None

    async def _let_in(self, link: Link | None) -> None:
        answered = [] if link is None or link.response is None else list(link.response.headers.raw_items())
        raw = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in answered]
        headers = handshake_headers.to_client(raw, context.correlation_id().encode())
        await self._viewer.accept(link.subprotocol if link else None, headers)

    async def _follow(self, link: Link | None) -> End:
        """Relay over one connection after the other, until the backend means the close it sends."""
        while True:
            if link is None:
                outcome = await self._redial()
                if isinstance(outcome, Close):
                    return End(outcome, "relay")
                link = outcome
            close = await self._relay(link)
            if close.code not in COME_BACK or not self._dialogue.is_ours:
                return End(to_viewer(close), "backend")
            if forgotten := self._dialogue.broke():
                await self._tell(busy(forgotten))
            self._metrics.breaks.inc()
            self._fruitless += 1
            link.transport.close()
            link = self._link = None

    async def _redial(self) -> Link | Close:
        """Return a new connection as soon as there is one, or the close for a viewer that need not wait for one."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.reconnect
        while loop.time() < deadline:
            delay = self._backoff.next()
            await self._tell(status("reconnecting", self._backoff.attempt, delay))
            await asyncio.sleep(delay)
            try:
                link = self._link = await self._dial()
            except Unreachable:
                continue
            except Refused as refusal:
                if refusal.is_passing:
                    continue
                return Close(of_status(refusal.status), "the backend refused the connection")
            await self._tell(status("live", self._backoff.attempt))
            if self._fruitless < FRUITLESS:
                self._backoff.reset()
            return link
        return Close(TRY_AGAIN_LATER, "the backend did not come back")

    async def _relay(self, link: Link) -> Close:
        """Bring a connection up to date, pass on what the backend says, and return how it ended."""
        keeper: list[asyncio.Task[None]] = []
        try:
            for message in self._dialogue.restore():
                await link.transmit(message)
            if self._dialogue.holds:
                keeper.append(asyncio.create_task(self._send_held(link)))
            else:
                self._open = link
            while True:
                batch = [message for message in await link.receive() if self._dialogue.passes(message)]
                if batch:
                    self._fruitless = 0
                    await self._viewer.send(batch)
                    self._metrics.to_viewer.inc(len(batch))
        except LinkClosed:
            return link.end
        finally:
            self._open = None
            await _cancel(keeper)

    async def _send_held(self, link: Link) -> None:
        """Send what was kept; only then may the viewer's next words follow."""
        while (message := self._dialogue.next_held()) is not None:
            await self._forward(link, message)
        self._open = link

    async def _tell(self, text: str) -> None:
        if self._dialogue.is_ours:
            await self._viewer.send([text])

    async def _part(self, end: End | None) -> None:
        """Close both sides as the end says; a viewer that still waits outside is answered instead."""
        if end is None or end.by != "viewer":
            with contextlib.suppress(ViewerGone):
                if not self._viewer.is_answered:
                    await self._turn_away(
                        Busy("the relay restarts", RETRY_AFTER) if end else Internal("the service failed to answer")
                    )
            await self._viewer.close(end.close if end else Close(INTERNAL_ERROR))
        if self._link is not None:
            await self._link.hang_up(to_backend(end.close) if end and end.by == "viewer" else Close(GOING_AWAY))

    async def _turn_away(self, error: BffError) -> None:
        """Answer the handshake with an error."""
        response = error_response(error)
        await self._viewer.refuse(response.status_code, response.raw_headers, bytes(response.body))

    def _report(self, end: End) -> None:
        tally, seconds = self._dialogue.tally, asyncio.get_running_loop().time() - self._begun
        self._metrics.ended(end.close.code)
        self._metrics.skipped.inc(tally.skipped)
        self._metrics.refused.inc(tally.refused)
        fields: dict[str, Any] = {"door": "transparent", "code": end.close.code, "ended_by": end.by}
        log.info("stream", extra={**fields, "duration_ms": round(seconds * 1000, 2), **asdict(tally)})


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended; how does not matter any more."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
