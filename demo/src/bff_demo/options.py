"""What a demo backend can be told, with its defaults."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

__all__ = ["Options", "Protocol", "parse_tokens"]

Protocol = Literal["observed", "newer"]


@dataclass(frozen=True, slots=True)
class Options:
    """Times are in seconds; `clock` returns seconds since the Unix epoch and decides every status.

    `tokens` maps a user to a bearer token; empty means that anybody may do anything. `load_delay` is how long the event
    loop stands still while a run is loaded for streaming; the deployed backend's needs 3.9 s. `running_seconds` after
    the start the one running run is done. A posted run is queued for `queue_seconds`, then runs for `work_seconds`; at
    most `created_limit` are kept. Without `early_closes` stocks trade on to 16:00 on days that close at 13:00, and
    without `part_routes` metrics, equity and orders of a run are not found: two things that the deployed backend does.
    """

    seed: int = 42
    protocol: Protocol = "observed"
    tokens: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    faults: bool = False
    access_log: bool = False
    load_delay: float = 0.0
    early_closes: bool = True
    part_routes: bool = True
    heartbeat_seconds: float = 5.0
    running_seconds: float = 30.0
    queue_seconds: float = 1.0
    work_seconds: float = 2.0
    created_limit: int = 200
    clock: Callable[[], float] = time.time


def parse_tokens(spec: str) -> dict[str, str]:
    """Read `user=token` pairs from a file (one a line, `#` comments) or from a list separated by commas.

    Raises ValueError naming what is wrong, never the token.
    """
    path = Path(spec)
    lines = path.read_text().splitlines() if path.is_file() else spec.split(",")
    tokens: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        user, separator, token = entry.partition("=")
        if not (user and separator and token):
            raise ValueError(f"entry {number} of the tokens is not user=token")
        if token in tokens.values():
            raise ValueError(f"the token of {user} is somebody else's as well")
        tokens[user] = token
    if not tokens:
        raise ValueError("no tokens given")
    return tokens
