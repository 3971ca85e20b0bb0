"""An honest user in a process of its own: watches a run and asks for things, and writes down when what arrived.

    python -m tests.chaos.hostile.witness ORIGIN TOKEN RUN_ID

Prints `ready` once everything has been answered once, then goes on until its standard input ends, and prints one line
of JSON: `{"frames": [seconds…], "closes": [[second, code]…], "requests": [[kind, second, duration, status]…],
"stalls": [[second, second]…]}`, the last of them this process's (tests/support/stalls.py). Seconds are of the monotonic
clock, which all processes of a machine share. It is a process of its own because an attacker in the same event loop
would delay its measurements.
"""

import asyncio
import contextlib
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.support.http1 import read_answer
from tests.support.stalls import Stalls

PAUSE_S = 0.05
"""Between two requests of one kind."""

RETRY_S = 0.1
REQUEST_S = 20.0
REFUSED, ABNORMAL, BROKEN = 0, 1006, 0
"""In place of a close code or a status: no handshake, no close frame, no whole response."""


def targets(run_id: str) -> dict[str, str]:
    """Return what is asked for, by kind of request."""
    return {
        "chart": "/api/v1/chart-data?symbol=AAPL&timeframe=1H&from=2024-10-01&to=2024-11-30",
        "run": f"/api/v1/runs/{run_id}/complete?equity_points=300",
        "proxied": "/api/v1/backtests?limit=20",
        "flags": "/api/v1/flags",
        "legacy": f"/backtests/{run_id}",
    }


@dataclass
class Honest:
    """One user, and what it saw."""

    origin: str
    token: str
    run_id: str
    frames: list[float] = field(default_factory=list)
    closes: list[tuple[float, int]] = field(default_factory=list)
    requests: list[tuple[str, float, float, int]] = field(default_factory=list)

    async def live(self) -> None:
        """Watch and ask until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            for kind, target in targets(self.run_id).items():
                tasks.create_task(self._ask(kind, target))

    def well(self) -> bool:
        """Tell whether a frame arrived and every kind of request was answered."""
        return bool(self.frames) and {row[0] for row in self.requests if row[3] == 200} == {*targets(self.run_id)}

    async def _watch(self) -> None:
        url = f"{self.origin.replace('http', 'ws', 1)}/api/v1/runs/{self.run_id}/stream?autoplay=1&speed=1"
        headers = {"Authorization": f"Bearer {self.token}"}
        while True:
            try:
                async with connect(url, compression=None, proxy=None, additional_headers=headers) as connection:
                    while True:
                        if b'"frame"' in await connection.recv(decode=False):
                            self.frames.append(time.monotonic())
            except ConnectionClosed as closed:
                self.closes.append((time.monotonic(), closed.rcvd.code if closed.rcvd else ABNORMAL))
            except (OSError, EOFError, InvalidHandshake, TimeoutError):
                self.closes.append((time.monotonic(), REFUSED))
            await asyncio.sleep(RETRY_S)

    async def _ask(self, kind: str, target: str) -> None:
        place = urlsplit(self.origin)
        head = f"GET {target} HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {self.token}\r\n\r\n".encode()
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while True:
            begun, status = time.monotonic(), BROKEN
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                async with asyncio.timeout(REQUEST_S):
                    streams = streams or await asyncio.open_connection(place.hostname, place.port, limit=1 << 20)
                    streams[1].write(head)
                    answer = await read_answer(streams[0])
                    status = answer.status
            self.requests.append((kind, begun, time.monotonic() - begun, status))
            if streams and (status == BROKEN or b"close" in answer.values(b"connection")):
                streams[1].transport.abort()
                streams = None
            await asyncio.sleep(PAUSE_S)


async def _end_of_input() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


async def main(origin: str, token: str, run_id: str) -> dict[str, Any]:
    """Live until standard input ends; return what was seen."""
    user = Honest(origin, token, run_id)
    living, ended = asyncio.create_task(user.live()), asyncio.create_task(_end_of_input())
    while not user.well() and not ended.done() and not living.done():
        await asyncio.sleep(0.01)
    print("ready", flush=True)
    with Stalls() as stalls:
        await asyncio.wait((living, ended), return_when=asyncio.FIRST_COMPLETED)
    if living.done():
        living.result()
    living.cancel()
    await asyncio.wait((living,))
    return {"frames": user.frames, "closes": user.closes, "requests": user.requests, "stalls": stalls.seen}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))), flush=True)
