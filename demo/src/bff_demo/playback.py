"""What a client's message means to the backend's player. Pure: text in, a decision out.

The wording of the answers, and that `seek` and `speed` are accepted without effect, is what the deployed backend does.
"""

import json
from dataclasses import dataclass
from typing import Literal

from bff_demo.options import Protocol

__all__ = ["Command", "interpret"]

_COMMANDS = ("play", "pause", "seek", "speed")


@dataclass(frozen=True, slots=True)
class Command:
    """What to answer (nothing if None), what the player shall do, and whether the client is ready from now on."""

    answer: str | None = None
    action: Literal["play", "pause"] | None = None
    ready: bool = False


def interpret(text: str | bytes, protocol: Protocol, *, ready: bool) -> Command:
    """Decide about one message. In the newer protocol `play` counts for nothing until the client said it is ready."""
    try:
        message = json.loads(text)
    except ValueError:
        return _refused("invalid JSON")
    if not isinstance(message, dict):
        return _refused("unsupported message")
    kind = message.get("t")
    if kind == "hb":
        return Command()
    if kind == "ready" and protocol == "newer":
        return Command('{"t": "ready_ack"}', ready=True)
    if kind != "ctrl":
        return _refused("unsupported message")
    command = message.get("cmd")
    if command not in _COMMANDS:
        return _refused("invalid ctrl.cmd")
    if command == "play" and protocol == "newer" and not ready:
        return Command()
    return Command(json.dumps(message | {"echo": True}), command if command in ("play", "pause") else None)


def _refused(why: str) -> Command:
    return Command(json.dumps({"t": "err", "code": "VALIDATION", "msg": why}))
