"""The backend's bars as it spells them, `{"symbol","bars":[{t,o,h,l,c,v[,n]}]}`, turned into columns. Pure.

    {"t":"2024-10-31T13:30:00Z","o":229.51,"h":229.51,"l":228.9,"c":229.12,"v":575300}

A body without spaces and in the contract's order is cut into columns without an object for each bar: the colons say
where its values are, and every byte that belongs to none is looked at. Where one is not as expected, and for any other
spelling, the body is read as JSON first; `bar_fields` says which ones are understood.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson

from bff_aggregator.backend import bar_fields, numeric_json
from bff_aggregator.backend.bars import Bars, Floats, Ints, empty
from bff_aggregator.backend.numeric_json import UNKNOWN, WIDEST, Places, Text, all_are, floats_at, ints_at, rows_at
from bff_aggregator.backend.timestamps import MICROSECONDS, NOWHEN, ROW, parse_rows
from bff_shared import foreign_json

_START = b'"bars":['
_PRICES = ("o", "h", "l", "c")
# Where the parts of a bar are, counted from its first colon: `{"t":"2024-10-31T13:30:00Z","o":1.5`.
_OPEN, _STAMP, _AFTER_STAMP, _FIRST_PRICE = -4, 2, 22, 28


class Malformed(ValueError):
    """The body is not what the contract says."""


@dataclass(frozen=True, slots=True, eq=False)
class Parsed:
    """Bars in order, and how many of the body's were put right (out of order) or left out (twice, null, not finite)."""

    bars: Bars
    rejected: int


def parse(content: bytes, *, trades: bool) -> Parsed:
    """Read a body of the bars endpoints; `trades` asks for `n`, 0 where the backend has none. Raises Malformed."""
    bars = cut(content, trades=trades)
    return tidy(bars, 0) if bars is not None else tidy(*columns(rows(content), trades=trades))


def cut(content: bytes, *, trades: bool) -> Bars | None:
    """Return the bars of a body as they come, cut out of its bytes; None where it is spelled in another way."""
    begin, end = content.find(_START) + len(_START), content.rfind(b"]")
    if begin < len(_START) or end <= begin or not _is_frame(content[:begin] + content[end:]):
        return None
    text = np.frombuffer(content + bytes(WIDEST), np.uint8)
    keys = b"hlcvn" if trades else b"hlcv"
    found = np.flatnonzero(text[begin:end] == ord(":")) + begin
    # One of the key `t`, two of its value, one of the key `o`, one of each other key.
    if not len(found) or len(found) % (4 + len(keys)) or text[end - 1] != ord("}"):
        return None
    colons = [np.ascontiguousarray(column) for column in found.reshape(-1, 4 + len(keys)).T]
    first, others = colons[0], colons[4:]
    at = parse_rows(rows_at(text, first + _STAMP, ROW.itemsize).view(ROW)) if first[0] + _OPEN == begin else None
    if at is None or not _are_keys(text, first, others, keys):
        return None
    starts = [first + _FIRST_PRICE, *(colon + 1 for colon in others)]
    stops = [*(colon - 4 for colon in others), np.append(first[1:] - 6, end - 1)]
    o, h, low, c = (floats_at(text, *place) for place in zip(starts[:4], stops[:4], strict=True))
    v = _quantities_at(text, starts[4], stops[4])
    n = ints_at(text, starts[5], stops[5]) if trades else None
    if o is None or h is None or low is None or c is None or v is None or (trades and n is None):
        return None
    return Bars(at // MICROSECONDS, o, h, low, c, v, n)


def _quantities_at(text: Text, starts: Places, stops: Places) -> Ints | Floats | None:
    """Return whole numbers where all of the texts are, else floats; None if one is no number."""
    counts = ints_at(text, starts, stops)
    if counts is not None:
        return counts
    floats = floats_at(text, starts, stops)
    return None if floats is None else numeric_json.whole(floats)


def _is_frame(text: bytes) -> bool:
    """Tell whether the body without its bars is JSON with an empty list in their place."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return isinstance(document, dict) and document.get("bars") == []


def _are_keys(text: Text, first: Places, others: list[Places], keys: bytes) -> bool:
    """Look at every byte that belongs to no value; `first` and `others` are where the keys' colons are."""
    return (
        all_are(rows_at(text, first[:1] + _OPEN, 6), b'{"t":"')
        and all_are(rows_at(text, first[1:] + _OPEN - 2, 8), b'},{"t":"')
        and all_are(rows_at(text, first + _AFTER_STAMP, 6), b'","o":')
        and all(all_are(rows_at(text, colon - 4, 5), b',"%c":' % key) for colon, key in zip(others, keys, strict=True))
    )


def rows(content: bytes) -> list[Any]:
    """Return the list of bars of a body of any spelling. Raises Malformed."""
    try:
        document = foreign_json.loads(content)
    except foreign_json.MalformedJson as error:
        raise Malformed(str(error)) from error
    found = document.get("bars") if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise Malformed("no list of bars")
    return found


def columns(bars: list[Any], *, trades: bool) -> tuple[Bars, int]:
    """Return the bars that are whole, as they came, and the number of the others; a bar needs no volume.

    Raises Malformed where there are bars and none is whole, with the fields that none of them has.
    """
    objects = [bar if isinstance(bar, dict) else {} for bar in bars]
    if not objects:
        return empty(trades=trades), 0
    at = bar_fields.times(bar_fields.values(objects, "t"))
    o, h, low, c = (bar_fields.numbers(objects, name) for name in _PRICES)
    v = numeric_json.quantities(bar_fields.values(objects, "v"))
    n = _trades(objects) if trades else None
    fields = {"t": at != NOWHEN, **{name: ~np.isnan(p) for name, p in zip(_PRICES, (o, h, low, c), strict=True)}}
    good = np.logical_and.reduce(list(fields.values()))
    if not np.any(good):
        raise Malformed(f"no bar has a usable {bar_fields.absent(fields) or 'set of fields'}")
    whole = Bars(at // MICROSECONDS, o, h, low, c, v, n)
    if bool(np.all(good)):
        return whole, 0
    usable = whole.take(good)
    volumes = usable.v if usable.v.dtype.kind == "i" else numeric_json.whole(usable.v.astype(np.float64))
    return replace(usable, v=volumes), int(np.count_nonzero(~good))


def _trades(objects: list[dict[str, Any]]) -> Ints:
    """Return the number of trades of each bar, 0 where the backend does not say it."""
    counts = numeric_json.ints(bar_fields.values(objects, "n"), len(objects))
    return np.where(counts == UNKNOWN, 0, counts)


def tidy(bars: Bars, rejected: int) -> Parsed:
    """Put bars in order and leave out all but the last of equal stamps; count both in `rejected`."""
    t = bars.t
    if len(t) < 2 or bool(np.all(t[1:] > t[:-1])):
        return Parsed(bars, rejected)
    late = int(np.count_nonzero(t[1:] < np.maximum.accumulate(t)[:-1]))
    bars = bars.take(np.argsort(t, kind="stable"))
    keep = np.append(bars.t[1:] != bars.t[:-1], [True])
    return Parsed(bars.take(keep), rejected + late + int(np.count_nonzero(~keep)))
