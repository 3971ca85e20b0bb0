"""Bars as an Arrow IPC stream: one schema message, one record batch, end of stream. Pure.

Columns: `timestamp` (seconds, UTC), `open`, `high`, `low`, `close` (float64), `volume` and, for days, `trades` (int64),
none of them with nulls; where a volume is a fraction or missing, `volume` is float64 and has them. What other formats
have beside their bars stands in the schema's metadata under `bff`, as JSON.
nanoarrow writes it, in 3 MB; pyarrow, which reads it in the tests, takes 170.
"""

import io
from typing import Any

import nanoarrow
import numpy as np
from nanoarrow.ipc import StreamWriter

from bff_aggregator.backend.bars import Bars, Floats, Ints

METADATA_KEY = b"bff"
_PRICE, _COUNT = nanoarrow.float64(nullable=False), nanoarrow.int64(nullable=False)
_COLUMNS = {
    "timestamp": nanoarrow.timestamp("s", "UTC", nullable=False),
    **dict.fromkeys(("open", "high", "low", "close"), _PRICE),
    **dict.fromkeys(("volume", "trades"), _COUNT),
}


def stream(bars: Bars, metadata: bytes) -> bytes:
    """Return the stream of bars, with JSON `metadata` in its schema."""
    types = dict(list(_COLUMNS.items())[: len(bars.columns)])
    if bars.v.dtype.kind == "f":
        types["volume"] = nanoarrow.float64()
    schema = nanoarrow.Schema(nanoarrow.struct(types, nullable=False), metadata={METADATA_KEY: metadata})
    columns = [_array(kind, column) for kind, column in zip(types.values(), bars.columns, strict=True)]
    batch = nanoarrow.c_array_from_buffers(schema, len(bars), [None], null_count=0, children=columns)
    out = io.BytesIO()
    with StreamWriter.from_writable(out) as writer:
        writer.write_array(batch)
    return out.getvalue()


def _array(kind: nanoarrow.Schema, column: Ints | Floats) -> Any:
    """Return a column as an array; NaN is null in a nullable one."""
    absent = np.isnan(column) if kind.nullable else np.zeros(0, np.bool_)
    nulls = int(np.count_nonzero(absent))
    validity = np.packbits(~absent, bitorder="little") if nulls else None
    return nanoarrow.c_array_from_buffers(kind, len(column), [validity, np.ascontiguousarray(column)], null_count=nulls)
