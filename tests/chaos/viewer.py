"""A viewer that comes back where it was, and remembers all that it saw."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

RETRY_S = 0.05
ABNORMAL = 1006
KEEPALIVE_FAILED = 1011
REFUSED = 0
"""Counted among the close codes for a connection that was never made."""

SILENT = -1
"""Counted among them for a connection that the viewer gave up, because no pong came in PING_TIMEOUT_S."""

PING_TIMEOUT_S = 5.0


def _code(closed: ConnectionClosed) -> int:
    if closed.rcvd:
        return closed.rcvd.code
    return SILENT if closed.sent and closed.sent.code == KEEPALIVE_FAILED else ABNORMAL


@dataclass
class Viewer:
    """One viewer of one run, through as many connections as it takes.

    Attributes:
        url: the run's stream, with a query.
        user: whose credentials it sends.
        frames: every frame, `dropped` counted through all connections.
        closes: how its connections ended, by close code.
        longest_gap: the most seconds between two frames.
    """

    url: str
    user: str
    frames: list[dict[str, Any]] = field(default_factory=list)
    closes: Counter[int] = field(default_factory=Counter)
    errors: list[dict[str, Any]] = field(default_factory=list)
    longest_gap: float = 0.0
    ended: bool = False
    _epoch: str = ""
    _last: float = 0.0

    async def watch(self) -> None:
        """Play the run to its end."""
        while not self.ended:
            try:
                async with connect(
                    self.url + self._place(), compression=None, proxy=None, open_timeout=5, ping_interval=1,
                    ping_timeout=PING_TIMEOUT_S, close_timeout=1,
                    additional_headers={"Authorization": f"Bearer {self.user}"},
                ) as connection:  # fmt: skip
                    await self._follow(connection)
            except ConnectionClosed as closed:
                self.closes[_code(closed)] += 1
            except (OSError, EOFError, InvalidHandshake, TimeoutError):
                self.closes[REFUSED] += 1
            if not self.ended:
                await asyncio.sleep(RETRY_S)

    def _place(self) -> str:
        return f"&epoch={self._epoch}&seq={self.frames[-1]['seq']}" if self.frames else ""

    async def _follow(self, connection: ClientConnection) -> None:
        spared = self.frames[-1]["dropped"] if self.frames else 0
        while not self.ended:
            message = json.loads(await connection.recv())
            if message["t"] in ("hello", "status") and "epoch" in message:
                self._epoch = message["epoch"]
            elif message["t"] == "frame":
                self._saw({**message, "dropped": message["dropped"] + spared})
            elif message["t"] == "err":
                self.errors.append(message)
            self.ended = message["t"] == "end"

    def _saw(self, frame: dict[str, Any]) -> None:
        now = time.monotonic()
        if self.frames:
            self.longest_gap = max(self.longest_gap, now - self._last)
        self._last = now
        self.frames.append(frame)
