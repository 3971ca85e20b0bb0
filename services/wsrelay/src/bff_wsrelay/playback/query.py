"""The query of a playback stream: speed, rate, and the frame to resume after. Pure."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qs

import orjson

from bff_shared.errors import InvalidRequest
from bff_shared.trading_sessions import BarSize
from bff_wsrelay.framelog.topic import Topic
from bff_wsrelay.playback.messages import (
    DEFAULT_FPS,
    DEFAULT_SPEED,
    MAX_INDEX,
    RATES,
    SPEEDS,
    ControlRefused,
    checked_number,
    parse_bar,
    parse_moment,
)
from bff_wsrelay.playback.pacer import Pacer

_BARE_PLUS = re.compile(r"(T\d\d:\d\d[\d:.]*) (\d\d:?\d\d)")
"""A time whose offset was written with an unescaped `+`, which in a query means a space."""


@dataclass(frozen=True, slots=True)
class StreamQuery:
    """What a client's query asks for."""

    speed: float = DEFAULT_SPEED
    fps: float = DEFAULT_FPS
    autoplay: bool = False
    epoch: str | None = None
    seq: int | None = None
    micros: int | None = None
    bar: BarSize | None = None


def parse_query(query: bytes, last_event: str | None, *, autoplay: bool) -> StreamQuery:
    """Read the query: `speed`, `fps`, `autoplay`, `bar`, and `epoch`, `seq`, `ts` of the last frame seen.

    Last-Event-ID (`epoch:seq`), which a browser sends by itself, goes before. Raises InvalidRequest.
    """
    fields = {key: values[-1] for key, values in parse_qs(query.decode("latin-1")).items()}
    try:
        speed = checked_number("speed", float(fields.get("speed", DEFAULT_SPEED)), *SPEEDS)
        fps = checked_number("fps", float(fields.get("fps", DEFAULT_FPS)), *RATES)
        epoch, seq = fields.get("epoch"), fields.get("seq")
        if last_event and ":" in last_event:
            epoch, _, seq = last_event.partition(":")
        micros = parse_moment(_BARE_PLUS.sub(r"\1+\2", fields["ts"])) if "ts" in fields else None
        position = _last_seen(seq) if seq is not None else None
        bar = parse_bar(fields.get("bar"))
    except (ValueError, ControlRefused) as error:
        raise InvalidRequest("the query asks for something impossible", {"query": str(error)}) from error
    wanted = fields.get("autoplay", "1" if autoplay else "0").lower() in {"1", "true", "yes"}
    return StreamQuery(speed, fps, wanted, epoch, position, micros, bar)


def _last_seen(seq: str) -> int:
    """Return the index of the last frame that a viewer has, -1 for none. Raises ValueError."""
    index = max(-1, int(seq))
    if index >= MAX_INDEX:
        raise ValueError("no run has so many frames")
    return index


def start_position(topic: Topic, query: StreamQuery) -> tuple[int, bool | None]:
    """Return where a viewer begins, and whether that is where it left off.

    None if it is new here, or while the run's epoch is unknown. A position without its epoch is never where a client
    left off: it may be one in another run.
    """
    frames = topic.log
    if query.epoch is None and query.seq is None:
        return (frames.nearest(query.micros) if query.micros is not None and len(frames) else 0), None
    following = (query.seq if query.seq is not None else -1) + 1
    if query.epoch is not None and not frames.epoch:
        return following, None
    if query.epoch is not None and query.epoch == frames.epoch:
        return (min(following, len(frames)) if frames.ended else following), True
    if query.micros is not None:
        return frames.after(query.micros), False
    return (min(following, len(frames)) if query.epoch is not None or frames.ended else following), False


def hello_message(topic: Topic, pacer: Pacer, *, resumed: bool | None, bar: BarSize | None = None) -> bytes:
    """Return the first message: what is played, where the viewer stands, how fast it goes, with which bars.

    The epoch is null where the backend could not be asked yet; a status tells it later.
    """
    body = {"t": "hello", "epoch": topic.log.epoch or None, "seq": pacer.cursor - 1, **topic.extent}
    body |= {"fps": pacer.fps, "speed": pacer.speed}
    if bar is not None:
        body["bar"] = bar
    return orjson.dumps(body if resumed is None else {**body, "resumed": resumed})
