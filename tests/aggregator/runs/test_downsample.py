from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bff_aggregator.backend.equity_curve import Curve, drawdowns, make_curve
from bff_aggregator.runs.downsample import downsample, landmarks

MINUTE = 60_000_000


def walk(seed: int, length: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return np.asarray(100_000 + np.cumsum(rng.standard_normal(length) * rng.choice([1.0, 30.0, 500.0])))


def curve(value: Any) -> Curve:
    values = np.asarray(value, dtype=np.float64)
    return make_curve(np.arange(len(values), dtype=np.int64) * MINUTE, values, None, None)


def obvious_drawdowns(value: list[float]) -> list[float]:
    found, peak = [], value[0]
    for current in value:
        peak = max(peak, current)
        found.append((peak - current) / peak)
    return found


def test_drawdown_is_the_share_lost_since_the_peak() -> None:
    assert drawdowns(np.array([100.0, 120.0, 90.0, 130.0, 65.0])).tolist() == [0.0, 0.0, 0.25, 0.0, 0.5]


def test_drawdown_is_undefined_below_zero() -> None:
    assert np.isnan(drawdowns(np.array([-5.0, 0.0]))).all()


@pytest.mark.parametrize("seed", range(300))
def test_extremes_of_random_walks_survive(seed: int) -> None:
    value = walk(seed, 1000 + seed * 17)
    whole = curve(value)
    thin = downsample(whole, 100)
    assert len(thin) <= 100
    assert (thin.value[0], thin.value[-1]) == (value[0], value[-1])
    assert (thin.value.max(), thin.value.min()) == (value.max(), value.min())
    losses = obvious_drawdowns(value.tolist())
    assert thin.drawdown.max() == max(losses)
    # Whoever computes it from the points that are left finds the very same.
    assert max(obvious_drawdowns(thin.value.tolist())) == max(losses)


@given(
    st.lists(st.floats(1, 1e9, width=32), min_size=1, max_size=400),
    st.integers(1, 120),
    st.lists(st.integers(-5, 450), max_size=40),
)
@settings(max_examples=300)
def test_points_are_never_more_than_asked_and_are_points_of_the_curve(
    value: list[float], points: int, moments: list[int]
) -> None:
    whole = curve(value)
    thin = downsample(whole, points, np.array(moments, dtype=np.int64) * MINUTE)
    assert 1 <= len(thin) <= points
    assert np.all(np.diff(thin.at) > 0)
    rows = (thin.at // MINUTE).tolist()
    assert thin.value.tolist() == [whole.value[row] for row in rows]
    if points >= 6:
        assert set(landmarks(whole).tolist()) <= set(rows)


def test_minutes_of_orders_stay_when_they_fit() -> None:
    whole = curve(walk(1, 5000))
    moments = np.arange(7, 5000, 100, dtype=np.int64) * MINUTE
    assert np.isin(moments, downsample(whole, 60, moments).at).all()
    assert not np.isin(moments, downsample(whole, 40, moments).at).all()
    assert len(downsample(whole, 40, moments)) <= 40


def test_zero_points_mean_all_of_them() -> None:
    assert len(downsample(curve(walk(2, 500)), 0)) == 500


def test_most_of_the_points_asked_for_are_used() -> None:
    assert len(downsample(curve(walk(3, 98_000)), 2000)) > 1800


def test_points_out_of_order_twice_or_unusable_are_put_right_and_counted() -> None:
    at = np.array([3, 1, 2, 2, 4], dtype=np.int64)
    made = make_curve(at, np.array([30.0, 10.0, 20.0, 21.0, np.nan]), None, [{"k": i} for i in range(5)])
    assert (made.at.tolist(), made.value.tolist(), made.rejected) == ([1, 2, 3], [10.0, 21.0, 30.0], 2)
    assert made.extra == ({"k": 1}, {"k": 3}, {"k": 0})


def test_drawdown_of_the_backend_is_taken_only_if_it_is_whole() -> None:
    at, value = np.arange(3, dtype=np.int64), np.array([4.0, 2.0, 4.0])
    told = make_curve(at, value, np.array([0.0, 0.6, 0.1]), None)
    assert (told.given, told.drawdown.tolist()) == (True, [0.0, 0.6, 0.1])
    partly = make_curve(at, value, np.array([0.0, np.nan, 0.1]), None)
    assert (partly.given, partly.drawdown.tolist()) == (False, [0.0, 0.5, 0.0])


def test_extremes_of_the_backends_own_drawdown_survive() -> None:
    value = walk(4, 3000)
    told = np.random.default_rng(4).random(3000)
    thin = downsample(make_curve(np.arange(3000, dtype=np.int64), value, told, None), 50)
    assert (thin.drawdown.max(), thin.drawdown.min()) == (told.max(), told.min())


def test_empty_curve_stays_empty() -> None:
    assert len(downsample(curve([]), 10)) == 0
