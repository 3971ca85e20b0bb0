import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_aggregator.backend import frames_reader
from bff_aggregator.backend.frames_reader import EventScanner, Frames, parts_of, read_events


def frame(minute: int, value: Any = 100.0, *orders: dict[str, Any], **more: Any) -> dict[str, Any]:
    ts = f"2025-01-02T14:{minute:02}:00Z"
    return {"t": "frame", "ts": ts, "ohlc": None, "orders": orders, "equity": {"ts": ts, "value": value}, **more}


def event(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def read(text: bytes, size: int) -> list[Frames]:
    scanner = EventScanner()
    pieces = [scanner.feed(text[at : at + size]) for at in range(0, len(text), size)]
    return [read_events(piece) for piece in [*pieces, scanner.end()] if piece]


ORDER = {"ts_utc": "2025-01-02T14:31:00Z", "side": "BUY", "qty": 1, "price": 389.27, "order_id": "o0", "type": "MKT"}


def test_parts_are_what_the_frames_say() -> None:
    text = event("frame", frame(30)) + event("frame", frame(31, 101.5, ORDER, metrics={"sharpe": 1.5}))
    curve, orders, metrics = parts_of([found := read_events(text + event("end", {"t": "end"}))])
    assert found.ended
    assert curve.value.tolist() == [100.0, 101.5]
    assert [(order["order_id"], order["ts"], order["quantity"]) for order in orders] == [("o0", ORDER["ts_utc"], 1)]
    assert metrics["sharpe_ratio"] == 1.5


@given(st.integers(1, 400), st.booleans(), st.integers(0, 12))
def test_it_does_not_matter_how_the_stream_is_cut(size: int, windows: bool, count: int) -> None:
    text = b": ping\n\n" + b"".join(event("frame", frame(n, 100 + n, ORDER)) for n in range(count)) + event("end", {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames_reader, "PIECE", 300)
        pieces = read(text.replace(b"\n", b"\r\n") if windows else text, size)
    curve, orders, _ = parts_of(pieces)
    assert (curve.value.tolist(), len(orders)) == ([100.0 + n for n in range(count)], count)
    assert pieces[-1].ended
    assert sum(piece.rejected for piece in pieces) == 0


def test_values_that_json_does_not_know_leave_gaps() -> None:
    text = event("frame", frame(30, float("nan"))) + event("frame", frame(31, 2.0)) + event("frame", frame(32, None))
    curve, _, metrics = parts_of([read_events(text)])
    assert curve.value.tolist() == [2.0]
    assert curve.rejected == 2
    assert set(metrics.values()) == {None}


@pytest.mark.parametrize("data", [{"t": "err", "msg": "so"}, {"msg": "so"}])
def test_error_event_says_why(data: dict[str, str]) -> None:
    assert read_events(event("error", data)).error == "so"


@pytest.mark.parametrize("text", [b"data: {\n\n", b"data: 7\n\n", b'data: {"t":"news"}\n\n', b"data: []\n\n"])
def test_events_that_are_no_frames_are_counted(text: bytes) -> None:
    found = read_events(text + b"data: " + orjson.dumps(frame(30)) + b"\n\n")
    assert (found.rejected, found.values) == (1, [100.0])


def test_run_without_frames_has_empty_parts() -> None:
    curve, orders, metrics = parts_of([read_events(event("end", {"t": "end"}))])
    assert (len(curve), orders, set(metrics.values())) == (0, [], {None})


def test_what_a_frame_has_not_said_is_not_made_up() -> None:
    text = event("frame", {**frame(30), "equity": None, "orders": None}) + event("frame", {"t": "frame", "metrics": {}})
    curve, orders, metrics = parts_of([read_events(text + event("end", {}))])
    assert (curve.value.tolist(), orders, set(metrics.values())) == ([], [], {None})


def test_an_event_that_is_not_over_waits() -> None:
    assert read(b"event: frame" + b"x" * frames_reader.PIECE, 1 << 20) == [Frames(rejected=1)]
