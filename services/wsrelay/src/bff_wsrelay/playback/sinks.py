"""What a playback viewer's messages leave through, over WebSocket: a wire that takes encoded frames. I/O."""

import logging
from collections.abc import Callable
from typing import Protocol

from bff_wsrelay.framelog.frame_log import ByteLru, FrameLog
from bff_wsrelay.playback.messages import close_frame, tail
from bff_wsrelay.playback.pacer import Emission
from bff_wsrelay.websocket.close_codes import INTERNAL_ERROR, Close
from bff_wsrelay.websocket.server import Wire, encode_text

log = logging.getLogger(__name__)


def frame_json(log: FrameLog, emission: Emission) -> bytes:
    """Return a frame's whole JSON."""
    head = log.head(emission.start, emission.end)
    return head + tail(emission.end - emission.start, emission.end - 1) + close_frame(emission.dropped)


class Outlet(Protocol):
    """Where messages go. Nothing here waits; `buffered_now()` bytes are not on their way yet."""

    @property
    def buffered_now(self) -> Callable[[], int]:
        """Return the bytes that the connection has not taken, when called."""

    def say(self, payload: bytes, event: str = "") -> None:
        """Send a message; `event` names it where the format has names."""

    def show(self, log: FrameLog, emission: Emission) -> int:
        """Send a frame and return its bytes."""

    def close(self, close: Close) -> None:
        """End the connection after what was sent."""


class Batch:
    """Frames that were decided on and not written yet.

    A system call leaves the processor's caches cold for Python; deciding for all viewers first and writing for all then
    costs a third less than taking turns.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[tuple[Wire, bytes]] = []

    def put(self, wire: Wire, frame: bytes) -> None:
        """Add a frame."""
        self._waiting.append((wire, frame))

    def flush(self) -> None:
        """Write all of them, in order; a connection that cannot be written to is closed (1011), alone."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for wire, frame in waiting:
                try:
                    wire.write(frame)
                except Exception:
                    # Frames of other connections are waiting behind this one.
                    log.exception("writing a frame failed")
                    wire.close(INTERNAL_ERROR, "the relay failed to write")


class WireOutlet:
    """A WebSocket whose server offers a wire; frames are encoded once for all viewers, in the shared cache."""

    __slots__ = ("_batch", "_cache", "_wire", "buffered_now")

    def __init__(self, wire: Wire, cache: ByteLru, batch: Batch) -> None:
        self._batch = batch
        self._wire, self._cache = wire, cache
        self.buffered_now = wire.get_buffered

    def say(self, payload: bytes, event: str = "") -> None:
        """Send a text message, after all frames before it."""
        del event
        self._batch.flush()
        self._wire.write(encode_text(payload))

    def show(self, log: FrameLog, emission: Emission) -> int:
        """Send a frame, when the batch is next flushed."""
        start, end, dropped = emission
        if dropped:
            encoded = encode_text(frame_json(log, emission))
        else:
            key = (log.serial, start, end, "wire")
            encoded = self._cache.get(key)
            if encoded is None:
                encoded = encode_text(frame_json(log, emission))
                self._cache.put(key, encoded, len(encoded) + 250)
        self._batch.put(self._wire, encoded)
        return len(encoded)

    async def drain(self) -> None:
        """Wait until the connection has taken so much of what was sent that more may follow, or is closed."""
        await self._wire.drain()

    def close(self, close: Close) -> None:
        """Close with a code."""
        self._batch.flush()
        self._wire.close(close.code, close.reason)
