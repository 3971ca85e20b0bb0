import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_aggregator.backend import numeric_json
from bff_aggregator.backend.numeric_json import UNKNOWN, WIDEST, floats_at, ints_at

Texts = list[str]


def places(numbers: Texts) -> tuple[numeric_json.Text, numeric_json.Places, numeric_json.Places]:
    """Return a text that holds numbers, and where each begins and ends."""
    stops = np.cumsum([len(number) + 1 for number in numbers]) - 1
    starts = np.array([0, *(stops[:-1] + 1)])
    return np.frombuffer("|".join(numbers).encode() + bytes(WIDEST), np.uint8), starts, stops


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_floats_are_cut_out_to_the_last_bit(values: list[float]) -> None:
    found = floats_at(*places([orjson.dumps(value).decode() for value in values]))
    assert found is not None
    assert found.tolist() == values


@given(st.lists(st.integers(0, 2**62 - 1), min_size=1, max_size=20))
def test_whole_numbers_are_cut_out_beyond_what_floats_can_tell_apart(values: list[int]) -> None:
    found = ints_at(*places([str(value) for value in values]))
    assert found is not None
    assert found.tolist() == values


@pytest.mark.parametrize("odd", ["1.5", "1e3", "-1", "4611686018427387904", "007", "", "1,2", "x", "1" * WIDEST])
def test_what_is_not_written_as_a_whole_number_is_not_cut_out(odd: str) -> None:
    assert ints_at(*places(["1", odd, "3"])) is None


@pytest.mark.parametrize("odd", ["", "1,2", "null", "NaN", "01", "+1", "1 2", "1e999"])
def test_what_is_no_number_of_json_is_not_cut_out(odd: str) -> None:
    assert floats_at(*places(["1.5", odd, "3"])) is None


def test_values_that_are_no_numbers_leave_gaps_in_a_column() -> None:
    column = numeric_json.floats([1, 2.5, None, True, "3", [4]], 6)
    assert column[:2].tolist() == [1.0, 2.5]
    assert bool(np.isnan(column[2:]).all())


def test_fractions_are_rounded_in_a_column_of_whole_numbers() -> None:
    column = numeric_json.ints([2**53 + 1, 1.6, None, False, 1e300, -3], 6)
    assert column.tolist() == [2**53 + 1, 2, UNKNOWN, UNKNOWN, UNKNOWN, -3]
