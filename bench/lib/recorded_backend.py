"""A backend that sends recorded responses, each after a fixed time.

Usage: python -m bench.lib.recorded_backend PORT FOLDER [WORKERS]

At most WORKERS responses are in the making at a time; other requests wait. `FOLDER/answers.json` maps a path to
`[seconds, file]`. A response costs this process next to nothing, so the figures of what stands in front of it leave the
backend's own work out.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.lib.servers import Client

HEAD = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
PARTS = ("", "/metrics", "/equity", "/orders")
Answers = Mapping[str, tuple[float, bytes]]


def load(folder: Path) -> Answers:
    """Return what is answered, by path."""
    table = json.loads((folder / "answers.json").read_text())
    return {path: (seconds, (folder / name).read_bytes()) for path, (seconds, name) in table.items()}


def record(backend: Client, run: str, folder: Path, pace: dict[str, float], copies: int = 1) -> list[str]:
    """Keep a run's answers for this backend, which sends each part after `pace` seconds; return the runs' ids."""
    table: dict[str, tuple[float, str]] = {"/healthz": (0.0, "healthz.json")}
    (folder / "healthz.json").write_text('{"status":"ok"}')
    runs = [f"{run}-{number}" for number in range(copies)]
    for part in PARTS:
        name = f"{part.strip('/') or 'run'}.json"
        (folder / name).write_bytes(backend.ask(f"/backtests/{run}{part}")[1])
        table |= {f"/backtests/{copy}{part}": (pace[part], name) for copy in runs}
    (folder / "answers.json").write_text(json.dumps(table))
    return runs


async def serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: Answers, workers: asyncio.Semaphore
) -> None:
    """Answer one connection's requests, one after the other."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            found = answers.get(head.split(b" ", 2)[1].decode().partition("?")[0])
            seconds, body = found or (0.0, b'{"error":{"code":"RUN_NOT_FOUND","message":"no such run"}}')
            async with workers:
                await asyncio.sleep(seconds)
            writer.write(HEAD % (b"200 OK" if found else b"404 Not Found", len(body)) + body)
            await writer.drain()
    writer.close()


async def main(port: int, folder: Path, workers: int = 10_000) -> None:
    """Answer until the process is ended."""
    answers, places = load(folder), asyncio.Semaphore(workers)
    server = await asyncio.start_server(
        lambda reader, writer: serve(reader, writer, answers, places), "127.0.0.1", port, backlog=1000
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:])))
