import numpy as np
import pytest

from bff_aggregator.backend.bars import Bars, concatenate, empty
from bff_aggregator.backend.timestamps import iso_times


def bars(*times: int, trades: bool = True) -> Bars:
    t = np.array(times, np.int64)
    prices = t.astype(np.float64)
    return Bars(t, prices, prices, prices, prices, t, t if trades else None)


def test_nothing_put_together_is_no_bars() -> None:
    assert len(concatenate([])) == 0
    assert len(concatenate([empty(), empty(trades=True)])) == 0


def test_what_is_alone_beside_empty_parts_is_not_copied() -> None:
    alone = bars(1, 2)
    assert concatenate([empty(), alone, empty()]) is alone


@pytest.mark.parametrize("trades", [True, False])
def test_trades_are_kept_where_every_part_has_them(trades: bool) -> None:
    whole = concatenate([bars(1, 2), bars(3, trades=trades)])
    assert whole.t.tolist() == [1, 2, 3]
    assert (whole.n is not None) == trades


def test_times_have_a_fraction_where_one_of_them_has() -> None:
    seconds = np.array([1_700_000_000_000_000, 1_700_000_000_000_000 + 60_000_000], np.int64)
    assert iso_times(seconds) == ["2023-11-14T22:13:20Z", "2023-11-14T22:14:20Z"]
    assert iso_times(seconds + 250_000) == ["2023-11-14T22:13:20.250000Z", "2023-11-14T22:14:20.250000Z"]
