"""Where RFC 6455 asks for more than the websockets library does by itself: two kinds of protocol with both ends' rules.

- A close may come between the fragments of a message (sections 5.4 and 5.5.1); the library takes it for an error.
- Text that is not UTF-8 fails the connection (section 8.1) as soon as a fragment shows it, not when the message ends.
"""

import codecs
from typing import Any

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol
from websockets.server import ServerProtocol

_make_decoder = codecs.getincrementaldecoder("utf-8")


_TEXT, _CONT, _CLOSE, _PING = Opcode.TEXT, Opcode.CONT, Opcode.CLOSE, Opcode.PING


class _Rules(Protocol):
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


class ServerSide(_Rules, ServerProtocol):
    """The protocol of a connection that somebody opened to us.

    `frames` counts what arrived and `pongs` are the encoded answers to pings; both are for the caller to take.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.frames = 0
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
        if frame.opcode is _TEXT and frame.fin:
            str(frame.data, "utf-8")


class ClientSide(_Rules, ClientProtocol):
    """The protocol of a connection that we opened."""
