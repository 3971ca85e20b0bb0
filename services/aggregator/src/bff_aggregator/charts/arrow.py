"""Bars as an Arrow IPC stream: one schema message, one record batch, end of stream. Pure.

The format is that of https://arrow.apache.org/docs/format/Columnar.html (Message.fbs, Schema.fbs, metadata version 5),
written here because its libraries weigh more than this service. Columns: `timestamp` (seconds, UTC), `open`, `high`,
`low`, `close` (float64), `volume` and, for days, `trades` (int64), none of them with nulls. What other formats have
beside their bars stands in the schema's metadata under `bff`, as JSON.
"""

import struct
from dataclasses import dataclass

from bff_aggregator.backend.bars import Bars

METADATA_KEY = "bff"
_CONTINUATION = b"\xff\xff\xff\xff"
_END = _CONTINUATION + bytes(4)
_VERSION_5 = 4
_SCHEMA, _RECORD_BATCH = 1, 3
_INT, _FLOATING_POINT, _TIMESTAMP = 2, 3, 10
_DOUBLE, _SECOND = 2, 0
_ALIGN = 8
_NAMES = ("timestamp", "open", "high", "low", "close", "volume", "trades")


def stream(bars: Bars, metadata: bytes) -> bytes:
    """Return the stream of bars, with JSON `metadata` in its schema."""
    columns = [column.astype(column.dtype.newbyteorder("<"), copy=False).tobytes() for column in bars.columns]
    schema = _schema(_NAMES[: len(columns)], metadata.decode())
    batch = _batch(len(bars), [len(column) for column in columns])
    return b"".join([schema, batch, *columns, _END])


@dataclass(frozen=True, slots=True)
class _Ref:
    """Where an object begins, in bytes from the buffer's end."""

    place: int


_Scalar = tuple[str, int]
_Field = _Scalar | _Ref | None


class _Builder:
    """A FlatBuffer (https://flatbuffers.dev/internals), made from its end to its start, so references point forward."""

    def __init__(self) -> None:
        self._tail = b""

    def _prepend(self, data: bytes, align: int) -> _Ref:
        padding = bytes(-(len(self._tail) + len(data)) % align)
        self._tail = data + padding + self._tail
        return _Ref(len(self._tail))

    def string(self, text: str) -> _Ref:
        """Add a string."""
        data = text.encode()
        return self._prepend(struct.pack("<I", len(data)) + data + b"\0", 4)

    def references(self, items: list[_Ref]) -> _Ref:
        """Add a vector of references."""
        place = len(self._tail) + -len(self._tail) % 4 + 4 * len(items)
        offsets = [place - 4 * index - item.place for index, item in enumerate(items)]
        return self._prepend(struct.pack(f"<{len(items) + 1}I", len(items), *offsets), 4)

    def pairs(self, items: list[tuple[int, int]]) -> _Ref:
        """Add a vector of structs of two int64."""
        self._prepend(b"".join(struct.pack("<qq", *item) for item in items), _ALIGN)
        return self._prepend(struct.pack("<I", len(items)), 4)

    def table(self, *fields: _Field) -> _Ref:
        """Add a table; a field is (struct code, value), a reference, or None for its default."""
        body, slots = bytearray(4), []
        references: list[tuple[int, int]] = []
        for field in fields:
            if field is None:
                slots.append(0)
                continue
            code, value = ("I", 0) if isinstance(field, _Ref) else field
            body += bytes(-len(body) % struct.calcsize(code))
            slots.append(len(body))
            if isinstance(field, _Ref):
                references.append((len(body), field.place))
            body += struct.pack(f"<{code}", value)
        body += bytes(-len(body) % 4)
        vtable = struct.pack(f"<{len(slots) + 2}H", 4 + 2 * len(slots), len(body), *slots)
        vtable = bytes(-len(vtable) % 4) + vtable
        # The table begins on a multiple of 8 from the end, so its fields' offsets are their alignment.
        begin = len(self._tail) + len(body)
        begin += -begin % _ALIGN
        for offset, place in references:
            struct.pack_into("<I", body, offset, begin - offset - place)
        struct.pack_into("<i", body, 0, 4 + 2 * len(slots))
        found = self._prepend(bytes(body), _ALIGN)
        self._tail = vtable + self._tail
        return found

    def finish(self, root: _Ref) -> bytes:
        """Return the buffer, its length a multiple of 8."""
        size = len(self._tail) + 4
        size += -size % _ALIGN
        return (struct.pack("<I", size - root.place) + bytes(size - 4 - len(self._tail))) + self._tail


def _message(builder: _Builder, kind: int, header: _Ref, body: int) -> bytes:
    """Return an encapsulated message without its body."""
    root = builder.table(("h", _VERSION_5), ("B", kind), header, ("q", body))
    metadata = builder.finish(root)
    return _CONTINUATION + struct.pack("<i", len(metadata)) + metadata


def _schema(names: tuple[str, ...], metadata: str) -> bytes:
    builder = _Builder()
    fields = builder.references([_field(builder, name) for name in names])
    pair = builder.table(builder.string(METADATA_KEY), builder.string(metadata))
    return _message(builder, _SCHEMA, builder.table(None, fields, builder.references([pair])), 0)


def _field(builder: _Builder, name: str) -> _Ref:
    if name == "timestamp":
        kind, details = _TIMESTAMP, builder.table(("h", _SECOND), builder.string("UTC"))
    elif name in {"volume", "trades"}:
        kind, details = _INT, builder.table(("i", 64), ("B", 1))
    else:
        kind, details = _FLOATING_POINT, builder.table(("h", _DOUBLE))
    children = builder.references([])
    return builder.table(builder.string(name), None, ("B", kind), details, None, children)


def _batch(rows: int, sizes: list[int]) -> bytes:
    """Return the record batch's message: each column has an empty validity buffer and one of eight-byte values."""
    builder = _Builder()
    buffers, offset = list[tuple[int, int]](), 0
    for size in sizes:
        buffers += [(offset, 0), (offset, size)]
        offset += size
    places = builder.pairs(buffers)
    nodes = builder.pairs([(rows, 0)] * len(sizes))
    return _message(builder, _RECORD_BATCH, builder.table(("q", rows), nodes, places), offset)
