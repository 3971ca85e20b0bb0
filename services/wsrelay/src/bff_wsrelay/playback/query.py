"""What the address of a playback stream asks for, and where such a viewer begins. Pure."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qs

import orjson

from bff_shared.errors import InvalidRequest
from bff_wsrelay.framelog.topic import Recording
from bff_wsrelay.playback.messages import DEFAULT_FPS, DEFAULT_SPEED, MOST_INDEX, RATES, SPEEDS, Refused, moment, number
from bff_wsrelay.playback.pacer import Player

_BARE_PLUS = re.compile(r"(T\d\d:\d\d[\d:.]*) (\d\d:?\d\d)")
"""A time whose offset was written with a `+` that nobody escaped: in a query that means a space."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a viewer's address asks for."""

    speed: float = DEFAULT_SPEED
    fps: float = DEFAULT_FPS
    autoplay: bool = False
    epoch: str | None = None
    seq: int | None = None
    micros: int | None = None


def wish(query: bytes, last_event: str | None, *, autoplay: bool) -> Wish:
    """Read the query: `speed`, `fps`, `autoplay`, and `epoch`, `seq`, `ts` of the last frame seen.

    Last-Event-ID (`epoch:seq`), which a browser sends by itself, goes before. Raises InvalidRequest.
    """
    fields = {key: values[-1] for key, values in parse_qs(query.decode("latin-1")).items()}
    try:
        speed = number("speed", float(fields.get("speed", DEFAULT_SPEED)), *SPEEDS)
        fps = number("fps", float(fields.get("fps", DEFAULT_FPS)), *RATES)
        epoch, seq = fields.get("epoch"), fields.get("seq")
        if last_event and ":" in last_event:
            epoch, _, seq = last_event.partition(":")
        micros = moment(_BARE_PLUS.sub(r"\1+\2", fields["ts"])) if "ts" in fields else None
        position = _seen(seq) if seq is not None else None
    except (ValueError, Refused) as error:
        raise InvalidRequest("the query asks for something impossible", {"query": str(error)}) from error
    wanted = fields.get("autoplay", "1" if autoplay else "0").lower() in {"1", "true", "yes"}
    return Wish(speed, fps, wanted, epoch, position, micros)


def _seen(seq: str) -> int:
    """Return the index of the last frame that a viewer has, -1 for none. Raises ValueError."""
    index = max(-1, int(seq))
    if index >= MOST_INDEX:
        raise ValueError("no run has so many frames")
    return index


def start_of(recording: Recording, asked: Wish) -> tuple[int, bool | None]:
    """Return where a viewer begins, and whether that is where it left off.

    None if it is new here, or if nobody can say as long as the run's epoch is not known. A place without its epoch is
    never where somebody left off: it may be one in another run.
    """
    frames = recording.log
    if asked.epoch is None and asked.seq is None:
        return (frames.nearest(asked.micros) if asked.micros is not None and len(frames) else 0), None
    following = (asked.seq if asked.seq is not None else -1) + 1
    if asked.epoch is not None and not frames.epoch:
        return following, None
    if asked.epoch is not None and asked.epoch == frames.epoch:
        return (min(following, len(frames)) if frames.ended else following), True
    if asked.micros is not None:
        return frames.after(asked.micros), False
    return (min(following, len(frames)) if asked.epoch is not None or frames.ended else following), False


def hello(recording: Recording, player: Player, *, resumed: bool | None) -> bytes:
    """Return the first message: what is played, where the viewer stands, how fast it goes.

    The epoch is null where the backend could not be asked yet; a status tells it later.
    """
    body = {"t": "hello", "epoch": recording.log.epoch or None, "seq": player.cursor - 1, **recording.extent}
    body |= {"fps": player.fps, "speed": player.speed}
    return orjson.dumps(body if resumed is None else {**body, "resumed": resumed})
