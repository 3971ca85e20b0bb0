"""What the transparent door understands of a conversation that it passes on untouched. Pure.

It listens for one purpose: when the backend's connection breaks, to bring a new one to where the old one was without
the viewer seeing more than a pause.

    viewer ──▶ backend   ready and controls count as *asked* until the backend answers them, then they are its state.
                         After a break the state is said again (ready, speed, play, in this order: newer backends
                         ignore play until ready) and the answers to that are swallowed; what was asked and never
                         answered is said again as well, and its answer reaches the viewer, who still waits for it.
    backend ──▶ viewer   The backend replays a run from its first frame, so after a break the frames up to the last
                         one passed on are skipped by their `ts`. The viewer's own play after its pause asks for the
                         replay and ends the skipping.

A conversation is the backend's protocol when either side has said one of its messages. One in which other messages
were seen and none of those is somebody else's (an echo server's, say): nothing is added to it or held back.
"""

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Literal

import orjson

Message = str | bytes

_FRAMES = ('{"t": "frame"', '{"t":"frame"')
_TS = re.compile(r'\{\s*"t"\s*:\s*"frame"\s*,\s*"ts"\s*:\s*"([^"\\]*)"')
_BACKEND_ONLY = frozenset(("frame", "hb", "ready_ack", "err", "end"))
_VIEWER_ONLY = frozenset(("ctrl", "ready", "hb"))
_REFUSALS = frozenset(("VALIDATION", "RANGE"))
MAX_PARSED = 64 * 1024  # no message of the protocol that matters here is longer
MAX_ASKED = 64
MAX_EQUAL = 16  # frames of one time that are told apart after a break


class Language(Enum):
    """What is known about a conversation."""

    UNKNOWN = "nothing was said yet"
    FRAMES = "the backend's protocol"
    FOREIGN = "another protocol"


class Overflow(Exception):
    """More was said to an absent backend than is kept for it."""


@dataclass(slots=True)
class Tally:
    """What happened in one conversation, in messages."""

    from_viewer: int = 0
    from_backend: int = 0
    skipped: int = 0
    swallowed: int = 0
    refused: int = 0
    breaks: int = 0


@dataclass(frozen=True, slots=True)
class _Asked:
    """A message that the backend answers; one that is not worth saying again has no `message`."""

    kind: str
    message: Message | None


class Dialogue:
    """The state of one conversation, fed with every message of both sides.

    While the backend is away at most `max_held` messages of at most `max_bytes` bytes together are kept for it.
    """

    def __init__(self, max_held: int = 256, max_bytes: int = 1024 * 1024) -> None:
        self.language = Language.UNKNOWN
        self.tally = Tally()
        self._max_held, self._max_bytes = max_held, max_bytes
        self._asked: deque[_Asked] = deque()
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
    def is_ours(self) -> bool:
        """Tell whether messages of our own have a place in it, and whether it can go on over a new connection."""
        return self.language is not Language.FOREIGN

    @property
    def holds(self) -> bool:
        """Tell whether messages of the viewer wait for the backend."""
        return bool(self._held)

    def sending(self, message: Message) -> bool:
        """Note a viewer's message on its way to the backend; tell whether it will be said again if that breaks now."""
        self.tally.from_viewer += 1
        parsed = _parse(message)
        kind = parsed.get("t")
        self._learn(kind in _VIEWER_ONLY)
        if kind == "ready":
            self._ask(_Asked("ready", message))
        elif kind == "ctrl":
            self._ask(_Asked(str(parsed.get("cmd")), message))
        else:
            if kind != "hb":  # an error answers it, in its turn
                self._ask(_Asked("", None))
            return False
        return True

    def _ask(self, asked: _Asked) -> None:
        """Remember a message that the backend will answer; of more than `MAX_ASKED` the oldest are only counted."""
        self._asked.append(asked)
        if len(self._asked) > MAX_ASKED:
            self._asked.popleft()
            self._forgotten += 1

    def hold(self, message: Message, *, first: bool = False) -> None:
        """Keep a viewer's message for an absent backend, a heartbeat excepted. Raises Overflow when that is too much.

        `first` is for one that could not be sent, and goes before those that came later.
        """
        kind = _parse(message).get("t")
        self._learn(kind in _VIEWER_ONLY)
        if kind == "hb":
            return
        size = len(message)
        full = len(self._held) >= self._max_held or self._held_bytes + size > self._max_bytes
        if full and not first:  # one that was taken out has its room, though others came meanwhile
            self.tally.refused += 1
            raise Overflow
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

    def passes(self, message: Message) -> bool:
        """Note a message of the backend; tell whether the viewer gets it."""
        self.tally.from_backend += 1
        if isinstance(message, str) and message.startswith(_FRAMES):
            if self._skip_to is None:
                self._recent.append(message)
                self.language = Language.FRAMES
                return True
            return self._catch_up(message)
        return self._passes_other(message)

    def broke(self) -> int:
        """Note that the connection to the backend is gone: what it did not answer is to be asked again, first.

        Return how many messages it may not have answered are not remembered, and will not be asked again.
        """
        self.tally.breaks += 1
        self._swallow.clear()
        for asked in reversed(self._asked):
            if asked.message is not None:
                self._held.appendleft(asked.message)
                self._held_bytes += len(asked.message)
        self._asked.clear()
        forgotten, self._forgotten = self._forgotten, 0
        self.tally.refused += forgotten
        return forgotten

    def restore(self) -> list[Message]:
        """Return what to say to a new connection before anything else; its answers will be swallowed.

        A viewer that has paused since the break, or whose pause was not answered, has no use for the play before it.
        """
        if any(_parse(message).get("cmd") == "pause" for message in self._held):
            self._play = None
        said = [("ready", self._ready), ("speed", self._speed), ("play", self._play)]
        self._swallow = deque(kind for kind, message in said if message is not None)
        self._skip_to = _ts(self._recent[-1]) if self._recent else None
        self._equal = sum(_ts(frame) == self._skip_to for frame in self._recent)
        self._previous, self._sought = None, False
        return [message for _, message in said if message is not None]

    def _learn(self, known: bool) -> None:
        if known:
            self.language = Language.FRAMES
        elif self.language is Language.UNKNOWN:
            self.language = Language.FOREIGN

    def _passes_other(self, message: Message) -> bool:
        parsed = _parse(message)
        kind = parsed.get("t")
        echo = kind == "ctrl" and parsed.get("echo") is True
        self._learn(echo or kind in _BACKEND_ONLY)
        if kind == "frame" and isinstance(message, str):
            return self._frame_of_another_spelling(message)
        if echo:
            return self._answered(str(parsed.get("cmd")))
        if kind == "ready_ack":
            return self._answered("ready")
        if kind == "err":
            return self._refused(parsed)
        if kind == "end":
            self._play = None
        return True

    def _frame_of_another_spelling(self, message: str) -> bool:
        if self._skip_to is not None:
            return self._catch_up(message)
        self._recent.append(message)
        return True

    def _catch_up(self, message: str) -> bool:
        """Tell whether a frame is new to the viewer."""
        ts, known = _ts(message), self._skip_to
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
        self.tally.skipped += 1
        return False

    def _answered(self, kind: str) -> bool:
        """Note the answer to a ready or a control; tell whether the viewer is the one who asked."""
        if kind in self._swallow:
            while self._swallow.popleft() != kind:
                pass  # the backend answers in order, so it will not answer these any more
            self.tally.swallowed += 1
            return False
        self._swallow.clear()
        if self._forgotten:  # the backend answers in order
            self._forgotten -= 1
            return True
        message = self._take_asked(kind)
        if message is not None:
            self._becomes(kind, message)
        return True

    def _take_asked(self, kind: str) -> Message | None:
        """Take what was asked, and drop what was asked before it and will not be answered any more."""
        if not any(asked.kind == kind for asked in self._asked):
            return None
        while (asked := self._asked.popleft()).kind != kind:
            pass
        return asked.message

    def _becomes(self, kind: str, message: Message) -> None:
        if kind == "ready":
            self._ready = message
        elif kind == "speed":
            self._speed = message
        elif kind == "pause":
            self._play = None
        elif kind == "seek":
            self._sought = True
        elif kind == "play":
            if self._play is None:  # a play that finds the player stopped begins at the first frame
                self._recent.clear()
                self._skip_to = None
            self._play = message

    def _refused(self, parsed: Mapping[str, Any]) -> bool:
        """Note an error; tell whether it is the viewer's."""
        if parsed.get("code") not in _REFUSALS:
            self._play = None if parsed.get("code") == "STREAM_ERROR" else self._play
            return True
        if self._swallow:
            self._swallow.popleft()
            self.tally.swallowed += 1
            return False
        if self._forgotten:
            self._forgotten -= 1
        elif self._asked:
            asked = self._asked.popleft()
            if asked.kind == "ready":  # an older backend; a newer one that takes its place wants to hear it
                self._ready = asked.message
        return True


State = Literal["reconnecting", "live", "draining"]


def status(state: State, attempt: int = 0, retry_seconds: float = 0.0) -> str:
    """Return the message that tells a viewer how its connection to the backend is doing."""
    body: dict[str, Any] = {"t": "status", "state": state, "attempt": attempt, "retry_ms": round(retry_seconds * 1000)}
    return orjson.dumps(body).decode()


BUSY = "the backend is away and no more messages are kept for it"


def busy(count: int = 1) -> str:
    """Return the error for messages that were not kept for an absent backend; `count` says how many."""
    body: dict[str, Any] = {"t": "err", "code": "BUSY", "msg": BUSY}
    body |= {"count": count} if count > 1 else {}
    return orjson.dumps(body).decode()


def _parse(message: Message) -> dict[str, Any]:
    """Return a JSON object, or an empty one for anything else."""
    if not isinstance(message, str) or len(message) > MAX_PARSED or not message.lstrip().startswith("{"):
        return {}
    try:
        parsed = orjson.loads(message)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _ts(message: str) -> datetime | None:
    """Return a frame's time, None when it has none that can be compared."""
    match = _TS.match(message)
    text = match[1] if match else _parse(message).get("ts")
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
