"""What has to be restored when an upstream connection breaks, learned from messages that pass unchanged. Pure.

It serves one purpose: to bring a new upstream connection to where the old one was, so that the client sees no more
than a pause.

    viewer ──▶ backend   ready and controls count as *asked* until the backend answers them, then they are its state.
                         After a break the state is sent again (ready, speed, play, in this order: newer backends
                         ignore play until ready) and the answers to that are swallowed; what was asked and never
                         answered is sent again as well, and its answer reaches the viewer, who still waits for it.
    backend ──▶ viewer   The backend replays a run from its first frame, so after a break the frames up to the last
                         one passed on are skipped by their `ts`. The viewer's own play after its pause asks for the
                         replay and ends the skipping.

A session speaks the backend's protocol when either side has sent one of its messages. One in which other messages
were seen and none of those is foreign (an echo server's, say): nothing is added to it or held back.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from bff_wsrelay.passthrough.messages import frame_time, parse_object, word
from bff_wsrelay.websocket import Message

_FRAMES = ('{"t": "frame"', '{"t":"frame"')
_BACKEND_ONLY = frozenset(("frame", "hb", "ready_ack", "err", "end"))
_VIEWER_ONLY = frozenset(("ctrl", "ready", "hb"))
_CONTROL_ERRORS = frozenset(("VALIDATION", "RANGE"))
MAX_ASKED = 64
MAX_EQUAL = 16  # frames of equal time that are distinguished after a break


class Dialect(Enum):
    """Which protocol a session speaks."""

    UNKNOWN = "nothing was sent yet"
    FRAMES = "the backend's protocol"
    FOREIGN = "another protocol"


class BufferFull(Exception):
    """More was sent to an absent backend than is held for it."""


@dataclass(slots=True)
class MessageCounts:
    """Messages of one session, counted."""

    from_viewer: int = 0
    from_backend: int = 0
    skipped: int = 0
    swallowed: int = 0
    refused: int = 0
    breaks: int = 0


@dataclass(frozen=True, slots=True)
class _Asked:
    """A message that the backend answers; one that need not be sent again has no `message`."""

    kind: str
    message: Message | None


class ResumeState:
    """The resume state of one session, fed with every message of both sides.

    While the backend is away at most `max_held` messages of at most `max_bytes` bytes together are held for it.
    """

    def __init__(self, max_held: int = 256, max_bytes: int = 1024 * 1024) -> None:
        self.dialect = Dialect.UNKNOWN
        self.counts = MessageCounts()
        self._max_held, self._max_bytes = max_held, max_bytes
        self._awaiting_answer: deque[_Asked] = deque()
        self._forgotten = 0
        self._held: deque[Message] = deque()
        self._held_bytes = 0
        self._ready: Message | None = None
        self._speed: Message | None = None
        self._play: Message | None = None
        self._recent: deque[str] = deque(maxlen=MAX_EQUAL)
        self._equal = 0
        self._skip_to: datetime | None = None
        self._previous: datetime | None = None
        self._sought = False
        self._swallow: deque[str] = deque()

    @property
    def is_resumable(self) -> bool:
        """Whether the session can go on over a new upstream connection, and may get messages of the relay's own."""
        return self.dialect is not Dialect.FOREIGN

    @property
    def holds(self) -> bool:
        """Return whether messages of the viewer wait for the backend."""
        return bool(self._held)

    def note_sent(self, message: Message) -> bool:
        """Note a client's message on its way to the backend; return whether it is sent again after a break."""
        self.counts.from_viewer += 1
        parsed = parse_object(message)
        kind = word(parsed, "t")
        self._note_dialect(kind in _VIEWER_ONLY)
        if kind == "ready":
            self._remember_asked(_Asked("ready", message))
        elif kind == "ctrl":
            self._remember_asked(_Asked(str(parsed.get("cmd")), message))
        else:
            if kind != "hb":  # an error answers it, in its turn
                self._remember_asked(_Asked("", None))
            return False
        return True

    def _remember_asked(self, asked: _Asked) -> None:
        """Remember a message that the backend will answer; of more than `MAX_ASKED` the oldest are only counted."""
        self._awaiting_answer.append(asked)
        if len(self._awaiting_answer) > MAX_ASKED:
            self._awaiting_answer.popleft()
            self._forgotten += 1

    def hold(self, message: Message, *, first: bool = False) -> None:
        """Hold a client's message for an absent backend, except a heartbeat. Raises BufferFull when that is too much.

        `first` is for one that could not be sent, and goes before those that came later.
        """
        kind = word(parse_object(message), "t")
        self._note_dialect(kind in _VIEWER_ONLY)
        if kind == "hb":
            return
        size = len(message)
        full = len(self._held) >= self._max_held or self._held_bytes + size > self._max_bytes
        if full and not first:  # one that was taken out has its room, though others came meanwhile
            self.counts.refused += 1
            raise BufferFull
        self._held_bytes += size
        if first:
            self._held.appendleft(message)
        else:
            self._held.append(message)

    def next_held(self) -> Message | None:
        """Take the oldest message that was held, None when there is none."""
        if not self._held:
            return None
        message = self._held.popleft()
        self._held_bytes -= len(message)
        return message

    def should_forward(self, message: Message) -> bool:
        """Note a message of the backend; return whether the client gets it."""
        self.counts.from_backend += 1
        if isinstance(message, str) and message.startswith(_FRAMES):
            if self._skip_to is None:
                self._recent.append(message)
                self.dialect = Dialect.FRAMES
                return True
            return self._is_new_frame(message)
        return self._forward_other(message)

    def connection_lost(self) -> int:
        """Note that the connection to the backend is gone: what it did not answer is to be asked again, first.

        Return how many messages it may not have answered are not remembered, and will not be asked again.
        """
        self.counts.breaks += 1
        for asked in reversed(self._awaiting_answer):
            if asked.message is not None:
                self._held.appendleft(asked.message)
                self._held_bytes += len(asked.message)
        self._awaiting_answer.clear()
        forgotten, self._forgotten = self._forgotten, 0
        self.counts.refused += forgotten
        return forgotten

    def restore(self) -> list[Message]:
        """Return what to send on a new upstream connection first; the answers to it are swallowed.

        A viewer that has paused since the break, or whose pause was not answered, has no use for the play before it.
        """
        if any(parse_object(message).get("cmd") == "pause" for message in self._held):
            self._play = None
        restored = [("ready", self._ready), ("speed", self._speed), ("play", self._play)]
        self._swallow = deque(kind for kind, message in restored if message is not None)
        self._skip_to = frame_time(self._recent[-1]) if self._recent else None
        self._equal = sum(frame_time(frame) == self._skip_to for frame in self._recent)
        self._previous, self._sought = None, False
        return [message for _, message in restored if message is not None]

    def _note_dialect(self, known: bool) -> None:
        if known:
            self.dialect = Dialect.FRAMES
        elif self.dialect is Dialect.UNKNOWN:
            self.dialect = Dialect.FOREIGN

    def _forward_other(self, message: Message) -> bool:
        parsed = parse_object(message)
        kind = word(parsed, "t")
        echo = kind == "ctrl" and parsed.get("echo") is True
        self._note_dialect(echo or kind in _BACKEND_ONLY)
        if kind == "frame" and isinstance(message, str):
            return self._frame_of_another_spelling(message)
        if echo:
            return self._on_answer(str(parsed.get("cmd")))
        if kind == "ready_ack":
            return self._on_answer("ready")
        if kind == "err":
            return self._on_refusal(parsed)
        if kind == "end":
            self._play = None
        return True

    def _frame_of_another_spelling(self, message: str) -> bool:
        if self._skip_to is not None:
            return self._is_new_frame(message)
        self._recent.append(message)
        return True

    def _is_new_frame(self, message: str) -> bool:
        """Return whether a frame is new to the viewer."""
        ts, known = frame_time(message), self._skip_to
        went_back = ts is not None and self._previous is not None and ts < self._previous
        self._previous = ts
        if ts is None or known is None:
            return True
        sought = went_back and self._sought
        self._equal -= ts == known
        if ts > known or sought or not self._equal:
            self._skip_to = None
        if ts > known or sought:
            self._recent.append(message)
            return True
        self.counts.skipped += 1
        return False

    def _on_answer(self, kind: str) -> bool:
        """Note the answer to a ready or a control; return whether the viewer is the one who asked."""
        if kind in self._swallow:
            while self._swallow.popleft() != kind:
                pass  # the backend answers in order, so it will not answer these any more
            self.counts.swallowed += 1
            return False
        self._swallow.clear()
        if self._forgotten:  # the backend answers in order
            self._forgotten -= 1
            return True
        message = self._take_asked(kind)
        if message is not None:
            self._apply_answer(kind, message)
        return True

    def _take_asked(self, kind: str) -> Message | None:
        """Take what was asked, and drop what was asked before it and will not be answered any more."""
        if not any(asked.kind == kind for asked in self._awaiting_answer):
            return None
        while (asked := self._awaiting_answer.popleft()).kind != kind:
            pass
        return asked.message

    def _apply_answer(self, kind: str, message: Message) -> None:
        if kind == "ready":
            self._ready = message
        elif kind == "speed":
            self._speed = message
        elif kind == "pause":
            self._play = None
        elif kind == "seek":
            self._sought = True
        elif kind == "play":
            if self._play is None:  # a play while the backend is stopped begins at the first frame
                self._recent.clear()
                self._skip_to = None
            self._play = message

    def _on_refusal(self, parsed: Mapping[str, Any]) -> bool:
        """Note an error; return whether it is the viewer's."""
        code = word(parsed, "code")
        if code not in _CONTROL_ERRORS:
            self._play = None if code == "STREAM_ERROR" else self._play
            return True
        if self._swallow:
            self._swallow.popleft()
            self.counts.swallowed += 1
            return False
        if self._forgotten:
            self._forgotten -= 1
        elif self._awaiting_answer:
            asked = self._awaiting_answer.popleft()
            if asked.kind == "ready":  # an older backend; a newer one that replaces it needs it
                self._ready = asked.message
        return True
