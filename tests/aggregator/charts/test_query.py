import contextlib
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_aggregator.charts.query import ChartQuery, Format, parse, parse_symbol
from bff_aggregator.charts.timeframes import Timeframe
from bff_shared.errors import InvalidRequest

TODAY = date(2025, 6, 30)
GOOD = "symbol=AAPL&timeframe=1D&from_date=2024-01-01&to_date=2024-12-31"


def fields(query: str) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        parse(query.encode(), TODAY)
    found: dict[str, str] = caught.value.details["fields"]
    return found


def test_defaults_are_filled_in() -> None:
    query = parse(GOOD.encode(), TODAY)
    assert query == ChartQuery("AAPL", Timeframe.DAY, date(2024, 1, 1), date(2024, 12, 31), 10_000, True, Format.ROWS)


def test_aliases_and_spaces_are_accepted_and_case_counts_in_symbols_alone() -> None:
    text = (
        b"symbol=+brk.b+&timeframe=1m_decimated&from=2024-01-01&to=2024-01-02&target=500&rth_only=FALSE&format=Columns"
    )
    assert parse(text, TODAY) == ChartQuery(
        "brk.b", Timeframe.DECIMATED, date(2024, 1, 1), date(2024, 1, 2), 500, False, Format.COLUMNS
    )


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("", {"symbol", "timeframe", "from_date", "to_date"}),
        (GOOD.replace("AAPL", ""), {"symbol"}),
        (GOOD.replace("AAPL", "A" * 65), {"symbol"}),
        (GOOD.replace("AAPL", "%FF"), {"symbol"}),
        (GOOD.replace("AAPL", "A%00"), {"symbol"}),
        (GOOD.replace("AAPL", "A%0AB"), {"symbol"}),
        (GOOD.replace("1D", "1W"), {"timeframe"}),
        (GOOD.replace("2024-01-01", "2024-1-1"), {"from_date"}),
        (GOOD.replace("2024-01-01", "2024-02-30"), {"from_date"}),
        (GOOD.replace("2024-01-01", "20240101"), {"from_date"}),
        (GOOD.replace("2024-01-01", "%D9%A2024-01-01"), {"from_date"}),
        (GOOD.replace("2024-01-01", "1969-12-31").replace("2024-12-31", "1970-01-31"), {"from_date"}),
        (GOOD.replace("2024-01-01", "2025-07-01").replace("2024-12-31", "2025-07-02"), {"from_date"}),
        (GOOD.replace("2024-12-31", "2023-12-31"), {"from_date", "to_date"}),
        (GOOD.replace("2024-12-31", "9999-12-31"), {"to_date"}),
        (GOOD.replace("2024-01-01", "1970-01-01"), {"to_date"}),
        (GOOD.replace("1D", "1M").replace("2024-01-01", "2014-01-01"), {"to_date"}),
        (GOOD + "&target_points=99", {"target_points"}),
        (GOOD + "&target=50001", {"target_points"}),
        (GOOD + "&target=1e3", {"target_points"}),
        (GOOD + "&target=%2B500", {"target_points"}),
        (GOOD + "&target=", {"target_points"}),
        (GOOD + "&rth_only=2", {"rth_only"}),
        (GOOD + "&format=csv", {"format"}),
        (GOOD + "&from=2024-01-02", {"from_date"}),
        (GOOD + "&symbol=MSFT", {"symbol"}),
        (GOOD + "&x=" + "y" * 5000, {"query"}),
    ],
)
def test_bad_missing_or_contradictory_fields_are_named(query: str, wrong: set[str]) -> None:
    assert fields(query).keys() == wrong


def test_same_value_under_both_names_is_no_contradiction() -> None:
    assert parse(f"{GOOD}&from=2024-01-01".encode(), TODAY).first == date(2024, 1, 1)


def test_today_may_be_asked_for_and_the_end_may_lie_ahead() -> None:
    text = f"symbol=A&timeframe=1M&from={TODAY}&to={TODAY + timedelta(days=30)}"
    assert parse(text.encode(), TODAY).first == TODAY


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_understood(text: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        assert parse(text, TODAY).first <= TODAY


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2024-01-02T00:00:00", 2),
        ("2024-01-02 00:00:00.123Z", 2),
        ("2024-01-02T23:30:00-05:00", 3),
        ("2024-01-03T01:00:00%2B02:00", 2),
        ("2024-01-03T01:00:00+02:00", 2),
        ("2024-01-02T14:30", 2),
    ],
)
def test_date_times_stand_for_their_utc_date(text: str, day: int) -> None:
    assert parse(GOOD.replace("2024-01-01", text).encode(), TODAY).first == date(2024, 1, day)


@pytest.mark.parametrize("text", ["2024-01-02T25:00:00", "2024-01-02T", "2024-01-02x", "2024-01-02T00:00:00+99:00"])
def test_what_is_neither_date_nor_date_time_is_named(text: str) -> None:
    assert fields(GOOD.replace("2024-01-01", text)).keys() == {"from_date"}


def test_a_date_whose_instant_no_calendar_has_is_no_date() -> None:
    assert "from_date" in fields(GOOD.replace("2024-01-01", "0001-01-01T00:00:00%2B14:00"))


def test_a_symbol_alone_is_checked_as_in_a_query() -> None:
    assert parse_symbol(" brk.b ") == "brk.b"
    with pytest.raises(InvalidRequest) as caught:
        parse_symbol(" ")
    assert caught.value.details["fields"].keys() == {"symbol"}
