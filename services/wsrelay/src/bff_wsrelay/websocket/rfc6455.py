"""Where RFC 6455 asks for more than the websockets library does by itself: two kinds of protocol with both ends' rules.

- A close may come between the fragments of a message (sections 5.4 and 5.5.1); the library takes it for an error.
- Text that is not UTF-8 fails the connection (section 8.1) as soon as a fragment shows it, not when the message ends.
"""

import codecs
import re
from collections.abc import Generator
from typing import Any

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import CONNECTING, Protocol
from websockets.server import ServerProtocol

MAX_INTERIM = 8
"""Interim responses to a handshake that are skipped."""

MAX_STATUS_LINE = 8192
_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)\d\d[ \r\n]")
_make_decoder = codecs.getincrementaldecoder("utf-8")


_TEXT, _CONT, _CLOSE, _PING = Opcode.TEXT, Opcode.CONT, Opcode.CLOSE, Opcode.PING
_DATA = frozenset((Opcode.TEXT, Opcode.BINARY, Opcode.CONT))


class _StrictProtocol(Protocol):
    _text: codecs.IncrementalDecoder | None = None

    def recv_frame(self, frame: Frame) -> None:
        """Take a frame. Raises ProtocolError or UnicodeDecodeError, from which the library makes a close."""
        if frame.opcode is _CLOSE:
            self.current_size = None
        super().recv_frame(frame)
        if self._text is not None or not frame.fin:
            self._check(frame)

    def _check(self, frame: Frame) -> None:
        """See that a fragment goes on as UTF-8; control frames may come in between."""
        if frame.opcode is _TEXT:
            self._text = _make_decoder()
        if self._text is not None and (frame.opcode is _TEXT or frame.opcode is _CONT):
            self._text.decode(frame.data, final=frame.fin)
            if frame.fin:
                self._text = None


class StrictServerProtocol(_StrictProtocol, ServerProtocol):
    """The server side of a connection.

    `frames` counts what arrived and `pongs` are the encoded answers to pings; both are for the caller to take.
    `messages` counts those that have ended, from the beginning of the connection.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.frames = self.messages = 0
        self.pongs: list[bytes] = []

    def recv_frame(self, frame: Frame) -> None:
        """Take a frame, and see that an unfragmented text is UTF-8: uvicorn would write a traceback where it is not.

        A pong is left to the caller: the library would queue it for a peer that reads nothing, too.
        """
        self.frames += 1
        if frame.opcode is _PING:
            self.pongs.append(Frame(Opcode.PONG, frame.data).serialize(mask=False))
            self.events.append(frame)
            return
        super().recv_frame(frame)
        if frame.fin and frame.opcode in _DATA:
            self.messages += 1
        if frame.opcode is _TEXT and frame.fin:
            str(frame.data, "utf-8")


class StrictClientProtocol(_StrictProtocol, ClientProtocol):
    """The client side of a connection."""

    def parse(self) -> Generator[None]:
        """Parse what comes; interim responses (RFC 9110 section 15.2) before the one to the handshake are skipped."""
        if self.state is CONNECTING:
            yield from self._skip_interim_responses()
        yield from super().parse()

    def _skip_interim_responses(self) -> Generator[None]:
        for _ in range(MAX_INTERIM):
            while b"\n" not in self.reader.buffer and len(self.reader.buffer) < MAX_STATUS_LINE and not self.reader.eof:
                yield
            if not _INTERIM.match(self.reader.buffer):
                return
            try:
                while (yield from self.reader.read_line(MAX_STATUS_LINE)).strip():
                    pass
            except (EOFError, RuntimeError):
                return  # what is left is no response, and is refused as such
