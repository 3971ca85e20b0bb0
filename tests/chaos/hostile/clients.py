"""Hostile clients of the origin: what they do, and what they got. Each `run` blocks until they are done.

They connect to nginx itself, past the fault proxy before it, so that what they do to their sockets reaches it.
"""

import asyncio
import contextlib
import json
import random
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.hostile.attacks import EVIL, HIDDEN, Attack
from tests.chaos.verdicts import LEAKS
from tests.chaos.world import World
from tests.support.rfc6455 import BINARY, CLOSE, CONT, PING, PONG, TEXT, close, frame

Openings = Callable[[World], Iterator[bytes]]
"""Makes the first words of each connection."""

WAIT_S, QUIET_S = 15.0, 0.5
SILENT_S = 2.0
"""Seconds after which the rest of a message that never comes is no longer awaited."""

AT_ONCE = 60
SERVER_FAULT = 1011
SECRETS = (b"bff_http_", b"root:x:", b"\nX-Evil: yes")
"""Metrics, a file of the machine, a header that a client made up: seen only where something was let through."""

AWAY = re.compile(rb"\nlocation: *(https?:|//)", re.IGNORECASE)
CONTROLS: list[Any] = [
    {"t": "ctrl", "cmd": "seek", "val": "x"}, {"t": "ctrl", "cmd": "seek", "val": -1e308}, {"t": "ctrl", "cmd": None},
    {"t": "ctrl", "cmd": "speed", "val": 0}, {"t": "ctrl", "cmd": "speed", "val": float("nan")}, {"t": "ctrl"}, {},
    {"t": "ctrl", "cmd": "play", "val": {"a": []}}, {"t": "ctrl", "cmd": "step", "val": 10**400}, {"t": []}, [], None,
    {"t": "ready", "seq": -1}, {"t": "hb"}, 1e400, "ctrl", {"t": "ctrl", "cmd": "seek", "ts": "9999-99-99T99:99:99Z"},
    {"t": "\ud800"}, {"t" * 5_000: 1},
]  # fmt: skip


@dataclass
class Told:
    """What hostile clients were answered, for counting, and whatever of it was wrong."""

    sent: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def look_for_leaks(self, what: bytes, data: bytes) -> None:
        """Note an answer that tells what nobody outside may know, or says a word of the attacker's as our own."""
        if any(leak in data for leak in (*LEAKS, *SECRETS)) or AWAY.search(data):
            self.wrong.append(f"{what[:120]!r} was told {data[:400]!r}")


def stream_paths(world: World) -> tuple[str, str]:
    """Return the paths of playback and passthrough for the run."""
    run = world.run_id
    return f"/api/v1/runs/{run}/stream?autoplay=1&speed=160", f"/api/v1/backtests/{run}/ws"


def handshake(path: str) -> bytes:
    """Return a good opening handshake."""
    head = f"GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return f"{head}Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()


# ── Requests ──


def send_attacks(world: World, attacks: Iterable[Attack], told: Told) -> None:
    """Send each on a connection of its own, and look at what reached the backend."""
    asyncio.run(_send_all(world, list(attacks), told))


async def _send_all(world: World, attacks: list[Attack], told: Told) -> None:
    for start in range(0, len(attacks), AT_ONCE):
        await asyncio.gather(*(_send(world, attack, told) for attack in attacks[start : start + AT_ONCE]))
        await asyncio.to_thread(_look_behind, world, told)


async def _send(world: World, attack: Attack, told: Told) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.stack.origin_port, limit=1 << 24)
    answer = b""
    with contextlib.suppress(ConnectionError):
        writer.write(attack.data)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SILENT_S if attack.silent else WAIT_S):
                answer = await reader.read(1 << 16)
                async with asyncio.timeout(QUIET_S):
                    while piece := await reader.read(1 << 20):
                        answer += piece
    writer.transport.abort()
    judge(attack, answer, told)


def judge(attack: Attack, answer: bytes, told: Told) -> None:
    """Count the first answer's status, and note what is wrong with it."""
    told.sent += 1
    told.look_for_leaks(attack.data, answer)
    first = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
    status = int(first[1]) if first else 0
    told.answers[f"{status}" if status else "none"] += 1
    while first and status < 200:
        answer = answer[answer.index(b"\r\n\r\n") + 4 :]
        first = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
        status = int(first[1]) if first else 0
    if status not in attack.allowed and not (status == 0 and attack.silent):
        told.wrong.append(f"{attack.kind}: {attack.data[:300]!r} was answered {answer[:600]!r}")


def _look_behind(world: World, told: Told) -> None:
    """Note a hidden request that arrived, and words that are not for the backend."""
    for seen in world.direct("/__requests")["requests"]:
        if "hidden" in seen["raw_path"]:
            told.wrong.append(f"a hidden request arrived: {seen['raw_path']}")
        if not re.match("/(backtests|bars|healthz|__)", seen["raw_path"]):
            told.wrong.append(f"another path was reached: {seen['raw_path']}")
        named = [value for name, value in seen["headers"] if name == "host"]
        if len(named) != 1 or EVIL in named[0]:
            told.wrong.append(f"the backend was told to be {named}")
    logs = (world.stack[name].log_text() for name in ("proxy", "aggregator", "wsrelay"))
    if any(f'"{HIDDEN}' in text for text in logs):
        told.wrong.append("a service logged a hidden request")
    world.forget_requests()


# ── WebSocket ──


def fuzz(world: World, clients: int, told: Told, seed: int = 1) -> None:
    """Let so many clients of each endpoint say whatever a seeded generator makes up."""
    paths = [path for path in stream_paths(world) for _ in range(clients)]
    asyncio.run(_gather(_fuzz(world, path, random.Random(seed + n), told) for n, path in enumerate(paths)))  # noqa: S311


async def _gather(work: Iterable[Any]) -> None:
    tasks = list(work)
    for start in range(0, len(tasks), AT_ONCE):
        await asyncio.gather(*tasks[start : start + AT_ONCE])


def invented(draw: random.Random) -> bytes:
    """Return something that a client may not say, or hardly."""
    words = json.dumps(draw.choice(CONTROLS)).encode()
    size = draw.choice((0, 1, 125, 126, 127, 65_535, 65_536))
    return draw.choice((
        lambda: frame(TEXT, words),
        lambda: frame(TEXT, words, mask=False),
        lambda: frame(TEXT, words, rsv=draw.randrange(1, 8)),
        lambda: frame(draw.randrange(16), draw.randbytes(size), fin=draw.random() < 0.5),
        lambda: frame(BINARY, draw.randbytes(size)),
        lambda: frame(TEXT, draw.randbytes(size)),
        lambda: frame(TEXT, b"[" * 60_000),
        lambda: frame(TEXT, words, fin=False) + frame(draw.choice((TEXT, CONT)), words),
        lambda: frame(PING, draw.randbytes(draw.choice((0, 125, 126, 1_000)))),
        lambda: frame(PONG, draw.randbytes(125)),
        lambda: frame(CLOSE, draw.randbytes(draw.choice((1, 2, 125)))),
        lambda: close(draw.choice((0, 999, 1004, 1005, 1006, 1015, 2999, 65_535))),
        lambda: bytes([0x81, 0xFF]) + draw.choice((2**63 - 1, 2**64 - 1, 2**40)).to_bytes(8, "big") + b"mask",
        lambda: frame(TEXT, words)[: draw.randrange(1, 8)],
        lambda: draw.randbytes(draw.randrange(1, 2_000)),
        lambda: INNER_REQUEST,
    ))()  # fmt: skip


INNER_REQUEST = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"


async def _fuzz(world: World, path: str, draw: random.Random, told: Told) -> None:
    said = [invented(draw) for _ in range(draw.randint(1, 12))]
    heard = await _talk(world, path, b"".join(said), half_close=draw.random() < 0.3)
    told.sent += len(said)
    told.look_for_leaks(said[-1], heard)
    code = last_code(heard)
    told.answers[str(code or "none")] += 1
    if code == SERVER_FAULT:
        told.wrong.append(f"a server's fault after {[each[:60] for each in said]}")


async def _talk(world: World, path: str, said: bytes, *, half_close: bool = False, within: float = QUIET_S) -> bytes:
    """Open a stream, say all at once, and return what is heard until it ends, but no longer than `within`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.stack.origin_port, limit=1 << 22)
    heard = b""
    with contextlib.suppress(ConnectionError, TimeoutError, asyncio.IncompleteReadError):
        writer.write(handshake(path))
        async with asyncio.timeout(WAIT_S):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(said)
            if half_close:
                writer.write_eof()
            async with asyncio.timeout(within):
                while piece := await reader.read(1 << 20):
                    heard = (heard + piece)[-100_000:]
    writer.transport.abort()
    return heard


def last_code(heard: bytes) -> int | None:
    """Return the code of the close frame that ends a stream, if one does: it is unmasked and at most 127 bytes."""
    for size in range(2, 126):
        start = len(heard) - size - 2
        if start >= 0 and heard[start : start + 2] == bytes([0x88, size]):
            return int.from_bytes(heard[start + 2 : start + 4], "big")
    return None


FLOODS = ("controls to playback", "pings to playback", "controls to pass through", "pings to pass through")


def flood(world: World, clients: int, told: Told) -> None:
    """Let so many clients for each of FLOODS say far too much at once; their answers are counted as `KIND: CODE`."""
    hail = frame(TEXT, b'{"t":"ctrl","cmd":"pause"}') * 5_000
    pings = frame(PING, b"x" * 125) * 5_000
    playback, transparent = stream_paths(world)
    work = [
        (playback, hail, WAIT_S),
        (playback, pings, WAIT_S),
        (transparent, hail, QUIET_S),
        (transparent, pings, WAIT_S),
    ]
    each_kind = list(zip(FLOODS, work, strict=True))
    asyncio.run(_gather(_flood(world, kind, *each, told) for kind, each in each_kind for _ in range(clients)))


async def _flood(world: World, kind: str, path: str, said: bytes, within: float, told: Told) -> None:
    heard = await _talk(world, path, said, within=within)
    told.sent += 5_000
    told.look_for_leaks(said, heard)
    told.answers[f"{kind}: {last_code(heard) or 'none'}"] += 1


# ── Connections that are held ──


@dataclass
class Held:
    """Connections that do nothing, or hardly, from `begin` to `end`."""

    openings: Openings
    told: Told
    receive_bytes: int = 0
    connections: list[socket.socket] = field(default_factory=list)

    def begin(self, world: World) -> None:
        """Open them all, each with its first words."""
        for words in self.openings(world):
            connection = socket.socket()
            if self.receive_bytes:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_bytes)
            connection.settimeout(WAIT_S)
            connection.connect(("127.0.0.1", world.stack.origin_port))
            connection.sendall(words)
            self.connections.append(connection)
            self.told.sent += 1

    def end(self, _world: World) -> None:
        """Vanish, half of them without a goodbye."""
        for number, connection in enumerate(self.connections):
            if number % 2:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
        self.connections.clear()


def half_open(clients: int) -> Openings:
    """Return what makes half-open handshakes, connections and messages of either endpoint, so many of each."""

    def openings(world: World) -> Iterator[bytes]:
        for path in stream_paths(world):
            good = handshake(path)
            words = frame(TEXT, b'{"t":"ctrl","cmd":"play"}')
            for said in (
                b"",
                good[:40],
                good[:-2],
                good,
                good + words[:1],
                good + words[:-3],
                good + frame(TEXT, b"[", fin=False),
            ):
                yield from [said] * clients

    return openings


def slow_readers(clients: int) -> Openings:
    """Return what makes viewers of either endpoint that read nothing of a run played as fast as it goes."""

    def openings(world: World) -> Iterator[bytes]:
        play = frame(TEXT, b'{"t":"ready"}') + frame(TEXT, b'{"t":"ctrl","cmd":"play"}')
        for path in stream_paths(world):
            yield from [handshake(path) + play] * clients

    return openings
