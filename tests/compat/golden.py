"""Recordings of what a released version of a service left in Redis, and what it answered from it.

A recording is made once, at a release, by `python -m tests.compat.record SERVICE` and never edited: it stands for
version N-1 when the current code is N. Its values are those bytes that the version itself wrote.
"""

import base64
import json
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import redis

FOLDER = Path(__file__).parent / "golden"
DIGEST_KEY = "recorded"
LIFE_SECONDS = 600


@dataclass
class Recording:
    """What one version of one service wrote.

    at       when, in Unix seconds: entries are only good for a while after
    values   the strings in Redis by key
    answers  what it answered from these, by path
    more     whatever else its test needs
    """

    service: str
    version: str
    at: float
    values: dict[bytes, bytes]
    answers: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    def restore(self, client: "redis.Redis") -> None:
        """Put the values back into Redis."""
        for key, value in self.values.items():
            client.set(key, value, ex=LIFE_SECONDS)

    def save(self) -> Path:
        """Write the recording beside this module."""
        body = asdict(self) | {"values": {key.decode(): _text(value) for key, value in self.values.items()}}
        path = FOLDER / f"{self.service}-{self.version}.json"
        path.write_text(json.dumps(body, indent=1) + "\n")
        return path


def load(path: Path) -> Recording:
    """Read a recording."""
    body = json.loads(path.read_text())
    values = {key.encode(): zlib.decompress(base64.b64decode(value)) for key, value in body.pop("values").items()}
    return Recording(**body, values=values)


def recordings(service: str) -> list[Recording]:
    """Return a service's recordings, the oldest version first."""
    found = [load(path) for path in FOLDER.glob(f"{service}-*.json")]
    return sorted(found, key=lambda recording: [int(number) for number in recording.version.split(".")])


def strings(client: "redis.Redis") -> dict[bytes, bytes]:
    """Return all strings that are in Redis, except what says who may write now, and how much."""
    found: dict[bytes, bytes] = {}
    for key in client.scan_iter():
        value = client.get(key) if client.type(key) == b"string" else None
        if (
            isinstance(key, bytes)
            and isinstance(value, bytes)
            and not key.endswith((b":lock", b":reader"))
            and b"{spent:" not in key
        ):
            found[key] = value
    return found


def _text(value: bytes) -> str:
    return base64.b64encode(zlib.compress(value, 9)).decode()
