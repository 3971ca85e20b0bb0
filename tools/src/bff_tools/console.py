"""The logs of all processes on one terminal: each line behind the name of who wrote it."""

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, TextIO

COLOURS = (36, 33, 35, 32, 34, 96, 93, 95)
"""ANSI foreground colours, told apart on dark and light grounds (ECMA-48, SGR)."""

PERIOD_S = 0.1
LONGEST_LINE = 64 * 1024
LARGEST_LOG = 64 * 1024 * 1024
"""Bytes after which a log file is emptied: its lines have been shown by then, and a disk is not endless."""


def prefix(name: str, position: int, width: int, coloured: bool) -> str:
    """Return what stands before a line: the name, padded to `width`, in its colour."""
    text = f"{name:<{width}} |"
    return f"\x1b[{COLOURS[position % len(COLOURS)]}m{text}\x1b[0m" if coloured else text


class Tail:
    """Reads what was appended to a file since the last time, in whole lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""

    def lines(self) -> list[str]:
        """Return the new complete lines; an overlong one comes in pieces."""
        if self._file is None:
            if not self._path.exists():
                return []
            self._file = self._path.open("rb")
        self._rest += self._file.read()
        if self._file.tell() > LARGEST_LOG:
            os.truncate(self._path, 0)
            self._file.seek(0)
        *whole, self._rest = self._rest.split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            whole, self._rest = [*whole, self._rest], b""
        return [line.decode("utf-8", "replace") for line in whole]

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()


class Console:
    """Writes lines of the launcher and of the followed files to one stream; `follow` starts, `close` shows the rest.

    The processes write to files and are never held up by a terminal that does not take their lines.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._coloured = stream.isatty() and "NO_COLOR" not in os.environ
        self._tails: list[tuple[str, Tail]] = []
        self._ended = threading.Event()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)

    def say(self, line: str) -> None:
        """Write one line of the launcher's own."""
        with self._writing:
            self._write(line)

    def follow(self, logs: Iterable[tuple[str, Path]]) -> None:
        """Begin to show what the named files get."""
        named = list(logs)
        width = max(len(name) for name, _ in named)
        self._tails = [(prefix(name, at, width, self._coloured), Tail(path)) for at, (name, path) in enumerate(named)]
        self._thread.start()

    def close(self) -> None:
        """Show what is left, and end."""
        self._ended.set()
        if self._thread.ident:
            self._thread.join()
        for _, tail in self._tails:
            tail.close()

    def _run(self) -> None:
        while not self._ended.wait(PERIOD_S):
            self._show()
        self._show()

    def _show(self) -> None:
        with self._writing:
            for before, tail in self._tails:
                for line in tail.lines():
                    self._write(f"{before} {line}")

    def _write(self, line: str) -> None:
        try:
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except (OSError, ValueError):  # the terminal is gone; the files still have it
            self._ended.set()
