"""The backend's bars as it spells them, `{"symbol","bars":[{t,o,h,l,c,v[,n]}]}`, turned into columns. Pure."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from bff_aggregator.backend import columnar_bars_reader
from bff_aggregator.backend.bars import Bars, empty
from bff_shared import foreign_json

_PRICES = ("o", "h", "l", "c")
_YEARS = range(-62_135_596_800, 253_402_300_800)
"""Seconds of the years 1 to 9999, which dates can be made of."""


class Malformed(ValueError):
    """The body is not what the contract says."""


@dataclass(frozen=True, slots=True, eq=False)
class Parsed:
    """Bars in order, and how many of the body's were put right (out of order) or left out (twice, null, not finite)."""

    bars: Bars
    rejected: int


def parse(content: bytes, *, trades: bool) -> Parsed:
    """Read a body of the bars endpoints; `trades` asks for `n`, 0 where the backend has none. Raises Malformed."""
    bars = columnar_bars_reader.read(content, trades=trades)
    return tidy(bars, 0) if bars is not None else tidy(*_columns(_rows(content), trades=trades))


def _rows(content: bytes) -> list[Any]:
    try:
        document = foreign_json.loads(content)
    except foreign_json.MalformedJson as error:
        raise Malformed(str(error)) from error
    rows = document.get("bars") if isinstance(document, dict) else None
    if not isinstance(rows, list):
        raise Malformed("no list of bars")
    return rows


def _columns(rows: Iterable[Any], *, trades: bool) -> tuple[Bars, int]:
    """Return the usable rows as they came, and the number of the others."""
    good, bad = [], 0
    for row in rows:
        values = _values(row, trades=trades)
        if values is None:
            bad += 1
        else:
            good.append(values)
    if not good:
        return empty(trades=trades), bad
    t, o, h, low, c, v, n = zip(*good, strict=True)
    ints = [np.array(column, np.int64) for column in (t, v, n)]
    floats = [np.array(column, np.float64) for column in (o, h, low, c)]
    return Bars(ints[0], floats[0], floats[1], floats[2], floats[3], ints[1], ints[2] if trades else None), bad


def _values(row: Any, *, trades: bool) -> tuple[int, float, float, float, float, int, int] | None:
    """Return one bar's values, or None if one is missing, null or not a finite number."""
    if not isinstance(row, Mapping):
        return None
    o, h, low, c = (_number(row.get(name)) for name in _PRICES)
    t, v, n = _seconds(row.get("t")), _count(row.get("v")), _count(row.get("n", 0)) if trades else 0
    if t is None or o is None or h is None or low is None or c is None or v is None or n is None:
        return None
    return t, o, h, low, c, v, n


def _number(value: Any) -> float | None:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= 1e308
    return float(value) if usable else None


def _count(value: Any) -> int | None:
    number = _number(value)
    if number is None or not abs(number) < 2**62:
        return None
    return value if isinstance(value, int) else round(number)


def _seconds(value: Any) -> int | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    seconds = math.floor((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    return seconds if seconds in _YEARS else None  # with an offset, the first and the last day may be of other years


def tidy(bars: Bars, rejected: int) -> Parsed:
    """Put bars in order and leave out all but the last of equal stamps; count both in `rejected`."""
    t = bars.t
    if len(t) < 2 or bool(np.all(t[1:] > t[:-1])):
        return Parsed(bars, rejected)
    late = int(np.count_nonzero(t[1:] < np.maximum.accumulate(t)[:-1]))
    bars = bars.take(np.argsort(t, kind="stable"))
    keep = np.append(bars.t[1:] != bars.t[:-1], [True])
    return Parsed(bars.take(keep), rejected + late + int(np.count_nonzero(~keep)))
