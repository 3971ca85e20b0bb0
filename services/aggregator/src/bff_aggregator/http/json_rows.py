"""Columns as JSON objects, one for each row. Pure."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z


def objects(columns: Mapping[str, NDArray[Any]]) -> bytes:
    """Return one JSON object per row of numeric or time columns of one length, with commas between them.

    The columns are encoded whole and then dealt out, which takes half the time of encoding an object per row.
    """
    count = len(next(iter(columns.values())))
    if not count:
        return b""
    step = 2 * len(columns)
    pieces = [""] * (step * count)
    for index, (name, column) in enumerate(columns.items()):
        key = (',"' if index else '},{"') + name + '":'
        text = orjson.dumps(np.ascontiguousarray(column), option=OPTIONS).decode("ascii")
        pieces[2 * index :: step] = [key] * count
        pieces[2 * index + 1 :: step] = text[1:-1].split(",")
    # Strings are joined in two thirds of the time that it takes for bytes.
    return "".join(pieces)[2:].encode("ascii") + b"}"
