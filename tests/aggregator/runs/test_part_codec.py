from typing import Any

import numpy as np
import pytest

from bff_aggregator.backend.equity_curve import make_curve
from bff_aggregator.backend.part import Part, State, failed_part
from bff_aggregator.runs import part_codec, revision
from bff_aggregator.runs.part_codec import Packed, data_of

CURVE = make_curve(
    np.arange(5, dtype=np.int64), np.array([1.0, 2.0, np.pi, 1e-300, 7.0]), None, [{"n": i} for i in range(5)]
)


@pytest.mark.parametrize("data", [{"total_return": 0.1}, [{"order_id": "o1"}], []])
def test_json_parts_go_both_ways(data: Any) -> None:
    part = Part("orders", State.OK, data, began=1.0, at=2.0, count=1, revision="r", extra={"x": 1})
    back = part_codec.unpack_part(part_codec.pack_part(part))
    assert back is not None
    assert data_of(back) == data
    assert (back.state, back.at, back.revision, back.extra, back.count) == (State.OK, 2.0, "r", {"x": 1}, 1)


def test_curve_goes_both_ways_without_being_copied() -> None:
    text = part_codec.pack_part(Part("equity", State.OK, CURVE, at=2.0, rejected=1))
    back = part_codec.unpack_part(text)
    assert back is not None
    assert isinstance(back.data, Packed)
    curve = data_of(back)
    assert (curve.at.tolist(), curve.value.tolist()) == (CURVE.at.tolist(), CURVE.value.tolist())
    assert np.array_equal(curve.drawdown, CURVE.drawdown)
    assert (curve.extra, curve.given, curve.rejected) == (CURVE.extra, False, 1)
    assert not curve.value.flags.owndata
    assert part_codec.pack_part(back) == text


def test_missing_part_has_no_data() -> None:
    part = failed_part("equity", State.MISSING, {"code": "ARTIFACT_MISSING"}, 1.0, 2.0)
    back = part_codec.unpack_part(part_codec.pack_part(part))
    assert back is not None
    assert (back.state, data_of(back), back.error) == (State.MISSING, None, {"code": "ARTIFACT_MISSING"})


def test_sighting_goes_both_ways() -> None:
    snapshot = revision.take_snapshot({"run_id": "r", "status": "DONE"}, None, 5.0)
    assert part_codec.unpack_snapshot(part_codec.pack_snapshot(snapshot)) == snapshot


@pytest.mark.parametrize("data", [b"", b"garbage", b"{}\n", b'{"v":0}\n', b"[]\n", b'{"v":2,"name":"equity"}\nxx'])
def test_foreign_bytes_are_nothing(data: bytes) -> None:
    assert part_codec.unpack_part(data) is None
    assert part_codec.unpack_snapshot(data) is None
