from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_aggregator.backend.timestamps import NOWHEN, iso_times, parse_times, unix_seconds

MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1))  # noqa: DTZ001  naive is what hypothesis wants


@given(st.lists(MOMENTS.map(lambda moment: moment.replace(microsecond=0, tzinfo=UTC))))
def test_times_to_the_second_go_both_ways(moments: list[datetime]) -> None:
    texts = [moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in moments]
    parsed = parse_times(texts)
    assert unix_seconds(parsed).tolist() == [int(moment.timestamp()) for moment in moments]
    assert iso_times(parsed) == texts


@given(st.lists(MOMENTS, min_size=1))
def test_times_to_the_microsecond_go_both_ways(moments: list[datetime]) -> None:
    parsed = parse_times([moment.isoformat() for moment in moments])
    epoch = datetime(1970, 1, 1)  # noqa: DTZ001  as the others
    assert parsed.tolist() == [(moment - epoch) // timedelta(microseconds=1) for moment in moments]


@pytest.mark.parametrize(
    "text", ["2025-02-30T00:00:00Z", "2025-01-02T25:00:00Z", "2025-01-02T23:60:00Z", "2025-01-02 23:00:0xZ", None, 7]
)
def test_what_is_no_time_is_nowhen(text: object) -> None:
    assert parse_times([text, "2025-01-02T14:30:00Z"]).tolist() == [NOWHEN, 1735828200000000]


def test_seconds_have_a_fraction_only_where_one_is_needed() -> None:
    assert unix_seconds(np.array([1_000_000, 2_000_000])).tolist() == [1, 2]
    assert unix_seconds(np.array([1_000_000, 2_500_000])).tolist() == [1.0, 2.5]
