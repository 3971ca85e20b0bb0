"""A backend of recorded answers, each given after a fixed time: `python -m bench.recorded PORT FOLDER [WORKERS]`.

With so many workers it makes no more answers at once, and the others wait in line. `FOLDER/answers.json` maps a path to
`[seconds, file]`. Making an answer takes this process next to nothing, so what is measured in front of it is not
measured along with the backend's own work.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

HEAD = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
Answers = Mapping[str, tuple[float, bytes]]


def load(folder: Path) -> Answers:
    """Return what is answered, by path."""
    table = json.loads((folder / "answers.json").read_text())
    return {path: (seconds, (folder / name).read_bytes()) for path, (seconds, name) in table.items()}


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
