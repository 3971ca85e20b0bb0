"""The text of an equity curve into columns. Pure, NumPy.

A year of minutes is 98,000 objects: read as such they take a tenth of a second and hold the interpreter for most of it.
So the text is read in pieces, and pieces of the usual shape (the same fields in the same order, times to the second)
are never made into objects: the columns are cut out of the bytes. Any other shape is read the plain way.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from bff_aggregator.equity import Curve, make_curve
from bff_aggregator.times import NOWHEN, ROW, WIDTH, parse_rows, parse_times
from bff_aggregator.vocabulary import POINT_TIMES, POINT_VALUES, UnexpectedShape, is_number, read_json

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
_NUMERIC: Final = b"0123456789+-.eE,"
_WIDEST: Final = 32


@dataclass(frozen=True, slots=True)
class Columns:
    """A piece of a curve as the backend sent it; NaN and `NOWHEN` where it sent nothing usable."""

    at: NDArray[np.int64]
    value: NDArray[np.float64]
    drawdown: NDArray[np.float64]
    extra: list[dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """The constant bytes around the values of a point: before its time, its value and (or None) its drawdown."""

    time: bytes
    value: bytes
    drawdown: bytes | None


def parse_curve(text: bytes) -> tuple[Curve, dict[str, Any]]:
    """Return the curve of `{"equity": [points]}` (or of the list alone), and what else the answer says.

    A point has a time and a value under any of their names, and perhaps a drawdown; its other fields are kept.
    Raises UnexpectedShape.
    """
    head, tail = _HEAD.match(text), text.rfind(b"}", 0, max(0, text.rfind(b"]")))
    if head is not None and _TAIL.fullmatch(text, tail + 1):
        try:
            return _join([_columns(piece) for piece in pieces(text, head.end(), tail + 1)]), {}
        except UnexpectedShape:
            pass  # a piece ended inside of a point: the text as a whole says whether it is JSON
    return _parse_whole(text)


def _parse_whole(text: bytes) -> tuple[Curve, dict[str, Any]]:
    answer = read_json(text)
    rows = answer.get("equity") if isinstance(answer, dict) else answer
    if not isinstance(rows, list):
        raise UnexpectedShape("the equity is a list of points")
    rest = {name: value for name, value in answer.items() if name != "equity"} if isinstance(answer, dict) else {}
    return _join([_plain(rows)] if rows else []), rest


def pieces(text: bytes, start: int, end: int, size: int = PIECE) -> Iterator[bytes]:
    """Yield the text of a list's elements in pieces of about `size` bytes, cut between two of them."""
    while start < end:
        seam = _SEAM.search(text, min(start + size, end), end)
        yield text[start : seam.start() + 1 if seam else end]
        start = seam.end() if seam else end


def _columns(piece: bytes) -> Columns:
    point = _POINT.match(piece)
    if point is not None and point[2].decode() in POINT_TIMES and point[4].decode() in POINT_VALUES:
        found = cut(piece, Template(point[1], point[3], point[5]))
        if found is not None:
            return found
    return _plain(read_json(b"[" + piece + b"]"))


def cut(piece: bytes, template: Template) -> Columns | None:
    """Return the columns of points that all have the shape of `template`, None if one has not."""
    text = np.frombuffer(piece + bytes(_WIDEST + len(template.value) + WIDTH), np.uint8)
    ends = np.flatnonzero(text == ord("}"))
    seam = piece.find(b"{", 1) - int(ends[0]) if len(ends) > 1 else 1
    if seam < 1 or ends[-1] != len(piece) - 1:
        return None
    times = np.append(0, ends[:-1] + seam) + len(template.time)
    if piece.count(piece[ends[0] : ends[0] + seam] + template.time) != len(ends) - 1:
        return None
    values = times + WIDTH + len(template.value)
    if values[-1] >= len(piece) or not _has(text, times + WIDTH, template.value):
        return None
    at = parse_rows(_windows(text, ROW)[times])
    stops, drawdown = ends, np.full(len(ends), np.nan)
    if template.drawdown is not None:
        mark = template.drawdown.lstrip()
        commas = np.flatnonzero(text == ord(","))
        stops = commas[np.minimum(np.searchsorted(commas, values), len(commas) - 1)]
        losses = _numbers_at(text, stops + len(mark), ends) if _has(text, stops, mark) else None
        if losses is None:
            return None
        drawdown = losses
    value = _numbers_at(text, values, stops)
    return None if at is None or value is None else Columns(at, value, drawdown)


def _windows(text: NDArray[np.uint8], kind: Any) -> NDArray[Any]:
    """Return the bytes from each position on as records of a kind, without copying any."""
    dtype = np.dtype(kind)
    return np.ndarray((len(text) - dtype.itemsize,), dtype, text, strides=(1,))


def _has(text: NDArray[np.uint8], starts: NDArray[np.intp], wanted: bytes) -> bool:
    """Tell whether the bytes from each of `starts` are `wanted`."""
    if starts[-1] + len(wanted) >= len(text):
        return False
    return bool(np.all(_windows(text, f"S{len(wanted)}")[starts] == wanted))


def _numbers_at(
    text: NDArray[np.uint8], starts: NDArray[np.intp], stops: NDArray[np.intp]
) -> NDArray[np.float64] | None:
    """Return the JSON numbers between `starts` and `stops`, None if there is anything else.

    They are brought together as one list for the JSON reader, so that each is read to the last digit.
    """
    lengths = stops - starts
    widest = int(lengths.max())
    if lengths.min() < 1 or widest >= _WIDEST:
        return None
    table = _windows(text, f"V{widest + 1}")[starts].view(np.uint8).reshape(len(starts), widest + 1)
    table[np.arange(len(starts)), lengths] = ord(",")
    joined = table[np.arange(widest + 1) <= lengths[:, None]].tobytes()
    if joined.translate(None, _NUMERIC):
        return None
    try:
        found = orjson.loads(b"[" + joined[:-1] + b"]")
    except orjson.JSONDecodeError:
        return None
    return np.array(found, dtype=np.float64) if len(found) == len(starts) else None


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
    value = _numbers([row.get(what) for row in rows])
    return Columns(at, value, _numbers([row.get("drawdown") for row in rows]), extra)


def _name(row: dict[str, Any], names: tuple[str, ...]) -> str:
    name = next((name for name in names if name in row), None)
    if name is None:
        raise UnexpectedShape(f"a point of the equity has none of {', '.join(names)}")
    return name


def _numbers(values: list[Any]) -> NDArray[np.float64]:
    return np.array([value if is_number(value) else np.nan for value in values], dtype=np.float64)


def _join(parts: list[Columns]) -> Curve:
    if not parts:
        return make_curve(np.empty(0, np.int64), np.empty(0), None, None)
    at, value = np.concatenate([part.at for part in parts]), np.concatenate([part.value for part in parts])
    drawdown = np.concatenate([part.drawdown for part in parts])
    extra = None
    if any(part.extra for part in parts):
        extra = [point for part in parts for point in part.extra or [{} for _ in range(len(part.at))]]
    return make_curve(at, np.where(at == NOWHEN, np.nan, value), drawdown, extra)
