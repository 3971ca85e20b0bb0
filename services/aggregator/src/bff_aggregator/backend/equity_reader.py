"""The text of an equity curve into columns. Pure, NumPy.

A year of minutes is 98,000 objects: read as such they take a tenth of a second and hold the interpreter for most of it.
So the text is read in pieces, which can begin while the rest is still coming, and pieces of the usual shape (the same
fields in the same order, times to the second) are never made into objects: the columns are cut out of the bytes. Any
other shape is read the plain way.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bff_aggregator.backend.equity_curve import Curve, make_curve
from bff_aggregator.backend.numeric_json import WIDEST, all_are, floats, floats_at, rows_at
from bff_aggregator.backend.schema import POINT_TIMES, POINT_VALUES, UnexpectedShape, read_json
from bff_aggregator.backend.timestamps import NOWHEN, ROW, parse_rows, parse_times

PIECE: Final = 512 * 1024
_HEAD = re.compile(rb'\s*(?:\{\s*"equity"\s*:\s*)?\[\s*(?=\{)')
_TAIL = re.compile(rb"(?<=\})\s*\](?:\s*\})?\s*")
_SEAM = re.compile(rb"\}\s*,\s*(?=\{)")
_NUMBER = rb"-?[0-9][0-9.eE+-]*"
_POINT = re.compile(
    rb'(\{\s*"(\w+)"\s*:\s*")[0-9T:Z-]{20}("\s*,\s*"(\w+)"\s*:\s*)'
    + _NUMBER
    + rb'(?:(\s*,\s*"drawdown"\s*:\s*)'
    + _NUMBER
    + rb")?\s*\}"
)


@dataclass(frozen=True, slots=True)
class Columns:
    """A piece of a curve as the backend sent it; NaN and `NOWHEN` where it sent nothing usable."""

    at: NDArray[np.int64]
    value: NDArray[np.float64]
    drawdown: NDArray[np.float64]
    extra: list[dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """The constant bytes around the values of a point.

    `lead` stands before its time, from the end of the point before it on; `value` before its value, `drawdown` (or
    None) before its drawdown.
    """

    lead: bytes
    value: bytes
    drawdown: bytes | None


class Scanner:
    """Takes the text of an answer as it comes, and gives the pieces of its list that can be read already.

    A piece is some points and the commas between them, about `size` bytes. `text` is all of it.
    """

    def __init__(self, size: int = PIECE) -> None:
        self._size = size
        self._parts: list[bytes] = []
        self._rest: list[bytes] = []
        self._length, self._enough = 0, size
        self._open = False

    @property
    def text(self) -> bytes:
        """Everything fed so far."""
        return b"".join(self._parts)

    def feed(self, data: bytes) -> list[bytes]:
        """Take more text; return the pieces that are whole by now."""
        self._parts.append(data)
        self._rest.append(data)
        self._length += len(data)
        return [] if self._length < self._enough else self._cut()

    def end(self) -> list[bytes] | None:
        """Return the last pieces; None where the text as a whole is not of the usual shape."""
        found = self._cut()
        rest = b"".join(self._rest)
        tail = rest.rfind(b"}", 0, max(0, rest.rfind(b"]")))
        if not self._open or not _TAIL.fullmatch(rest, tail + 1):
            return None
        return [*found, rest[: tail + 1]]

    def _cut(self) -> list[bytes]:
        rest = b"".join(self._rest)
        start = 0
        if not self._open:
            head = _HEAD.match(rest)
            self._open, start = head is not None, head.end() if head else 0
        found = []
        while self._open and (seam := _SEAM.search(rest, min(start + self._size, len(rest)))):
            found.append(rest[start : seam.start() + 1])
            start = seam.end()
        self._rest, self._length = [rest[start:]], len(rest) - start
        # What has no seams is not looked through again with every bit that comes.
        self._enough = self._size if found else 2 * max(self._size, self._length)
        return found


def parse_curve(text: bytes, size: int = PIECE) -> tuple[Curve, dict[str, Any]]:
    """Return the curve of `{"equity": [points]}` (or of the list alone), and what else the answer says.

    A point has a time and a value under any of their names, and perhaps a drawdown; its other fields are kept.
    Raises UnexpectedShape.
    """
    scanner = Scanner(size)
    try:
        found, last = [read_piece(piece) for piece in scanner.feed(text)], scanner.end()
        if last is not None:
            return join([*found, *map(read_piece, last)]), {}
    except UnexpectedShape:
        pass  # a piece ended inside of a point: the text as a whole says whether it is JSON
    return parse_whole(text)


def parse_whole(text: bytes) -> tuple[Curve, dict[str, Any]]:
    """Return what `parse_curve` does, the plain way."""
    answer = read_json(text)
    rows = answer.get("equity") if isinstance(answer, dict) else answer
    if not isinstance(rows, list):
        raise UnexpectedShape("the equity is a list of points")
    rest = {name: value for name, value in answer.items() if name != "equity"} if isinstance(answer, dict) else {}
    return join([_plain(rows)] if rows else []), rest


def read_piece(piece: bytes) -> Columns:
    """Return the columns of a piece. Raises UnexpectedShape."""
    point = _POINT.match(piece)
    if point is not None and point[2].decode() in POINT_TIMES and point[4].decode() in POINT_VALUES:
        seam = _SEAM.search(piece)
        between = piece[seam.start() : seam.end()] if seam else b"},"
        found = cut(between + piece, Template(between + point[1], point[3], point[5]))
        if found is not None:
            return found
    return _plain(read_json(b"[" + piece + b"]"))


def cut(piece: bytes, template: Template) -> Columns | None:
    """Return the columns of points that all have the shape of `template`, None if one has not.

    `piece` begins as if there were a point before its first.
    """
    ends = np.flatnonzero(np.frombuffer(piece, np.uint8) == ord("}"))
    starts, stops = ends[:-1], ends[1:]
    record = np.dtype(
        [("lead", f"V{len(template.lead)}"), ("time", ROW), ("value", f"V{len(template.value)}")],
    )
    values = starts + record.itemsize
    if not len(stops) or ends[0] != 0 or stops[-1] != len(piece) - 1 or np.any(values >= stops):
        return None
    text = np.frombuffer(piece + bytes(WIDEST), np.uint8)
    heads = rows_at(text, starts, record.itemsize).view(record)
    if not all_are(heads["lead"], template.lead) or not all_are(heads["value"], template.value):
        return None
    at, drawdown = parse_rows(heads["time"]), np.full(len(starts), np.nan)
    if template.drawdown is not None:
        mark = template.drawdown.lstrip()
        commas = np.flatnonzero(text == ord(","))
        if len(commas) != 3 * len(starts):
            return None
        marks = commas[2::3]
        losses = None
        if not np.any(marks < values) and not np.any(marks + len(mark) >= stops):
            same = all_are(rows_at(text, marks, len(mark)), mark)
            losses = floats_at(text, marks + len(mark), stops) if same else None
        if losses is None:
            return None
        stops, drawdown = marks, losses
    value = floats_at(text, values, stops)
    return None if at is None or value is None else Columns(at, value, drawdown)


def _plain(rows: list[Any]) -> Columns:
    """Return the columns of points of any shape."""
    if not all(isinstance(row, dict) for row in rows):
        raise UnexpectedShape("the equity is a list of points")
    when, what = _name(rows[0], POINT_TIMES), _name(rows[0], POINT_VALUES)
    known = {when, what, "drawdown"}
    extra = None
    if any(row.keys() - known for row in rows):
        extra = [{name: value for name, value in row.items() if name not in known} for row in rows]
    at = parse_times([row.get(when) for row in rows])
    value = floats((row.get(what) for row in rows), len(rows))
    return Columns(at, value, floats((row.get("drawdown") for row in rows), len(rows)), extra)


def _name(row: dict[str, Any], names: tuple[str, ...]) -> str:
    name = next((name for name in names if name in row), None)
    if name is None:
        raise UnexpectedShape(f"a point of the equity has none of {', '.join(names)}")
    return name


def join(parts: Sequence[Columns]) -> Curve:
    """Return the curve of its pieces' columns."""
    if not parts:
        return make_curve(np.empty(0, np.int64), np.empty(0), None, None)
    at, value = np.concatenate([part.at for part in parts]), np.concatenate([part.value for part in parts])
    drawdown = np.concatenate([part.drawdown for part in parts])
    extra = None
    if any(part.extra for part in parts):
        extra = [point for part in parts for point in part.extra or [{} for _ in range(len(part.at))]]
    return make_curve(at, np.where(at == NOWHEN, np.nan, value), drawdown, extra)
